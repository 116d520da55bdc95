//! Which addresses the server tells clients to send media to.
//!
//! Addresses that are named always win. Where none is, those of the interfaces are told, and the public one that a STUN
//! server sees (RFC 8489) where `media.stun` names one: clouds and Docker hosts translate one public address to the
//! private one of the machine. Whatever cannot be found out is a warning: a server without internet starts all the
//! same.

use crate::settings::{Advertised, Settings};
use rtc_stun::message::{BINDING_REQUEST, Getter, Message, TransactionId};
use rtc_stun::xoraddr::XorMappedAddress;
use sfu_engine::Protocol;
use sfu_engine::sdp::CandidateAddress;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

/// What clients are told, and what is doubtful about it.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    /// Best first.
    pub(crate) ips: Vec<IpAddr>,
    /// For people: what may be wrong, and what to do.
    pub(crate) warnings: Vec<String>,
    /// Why calls from elsewhere cannot work at all.
    pub(crate) problems: Vec<String>,
}

/// Requests to a STUN server, and how long each is waited for.
const STUN_ATTEMPTS: usize = 3;
const STUN_PATIENCE: Duration = Duration::from_millis(700);

/// Files that container engines leave in their containers.
const CONTAINER_MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// Finds the addresses to advertise for sockets that are bound to `bound`.
pub(crate) async fn find(settings: &Settings, bound: &[SocketAddr]) -> Addresses {
    let mut found = Addresses::default();
    let named = settings.media.advertise.iter().any(|advertised| *advertised != Advertised::Interfaces);
    for advertised in &settings.media.advertise {
        match advertised {
            Advertised::Address(ip) => found.ips.push(*ip),
            Advertised::Interfaces => found.ips.extend(reachable(bound)),
            Advertised::Name(name) => found.look_up(name, bound).await,
        }
    }
    if !named && let Some(server) = &settings.media.stun {
        found.ask(server, bound).await;
    }
    // Also where a name is of no use: somebody may still reach us.
    if !named || found.ips.is_empty() {
        found.ips.extend(reachable(bound));
    }
    let mut seen = Vec::new();
    found.ips.retain(|ip| !seen.contains(ip) && (seen.push(*ip), true).1);
    found.doubt(settings, named, is_container());
    found
}

/// Host candidates for the media port.
pub(crate) fn candidates(ips: &[IpAddr], bound: &[SocketAddr], tcp: bool) -> Vec<CandidateAddress> {
    let port = bound.first().map_or(0, SocketAddr::port);
    let protocols = if tcp { &[Protocol::Udp, Protocol::Tcp][..] } else { &[Protocol::Udp][..] };
    let candidate = |ip: &IpAddr, protocol| CandidateAddress { address: SocketAddr::new(*ip, port), protocol };
    protocols.iter().flat_map(|protocol| ips.iter().map(|ip| candidate(ip, *protocol))).collect()
}

impl Addresses {
    /// Adds the addresses of a host name.
    async fn look_up(&mut self, name: &str, bound: &[SocketAddr]) {
        let before = self.ips.len();
        let why = match lookup_host((name, 0)).await {
            Ok(found) => {
                self.ips.extend(found.map(|a| a.ip()).filter(|ip| bound.iter().any(|b| b.is_ipv4() == ip.is_ipv4())));
                "it has no address that media.listen could serve".to_owned()
            }
            Err(error) => error.to_string(),
        };
        if self.ips.len() == before {
            self.warnings.push(format!("media.advertise: the name {name} is of no use: {why}."));
        }
    }

    /// Adds the address under which a STUN server sees this machine.
    async fn ask(&mut self, server: &str, bound: &[SocketAddr]) {
        match ask_stun(server, bound).await {
            Ok(ip) => self.ips.push(ip),
            Err(why) => self.warnings.push(format!(
                "media.stun: {server} did not say our public address: {why}. Name it yourself: --advertise IP."
            )),
        }
    }

    /// Notes what will keep clients away.
    fn doubt(&mut self, settings: &Settings, named: bool, container: bool) {
        let for_others = !settings.http.listen.ip().is_loopback();
        if self.ips.iter().all(IpAddr::is_loopback) && for_others {
            let problem = "There is no address for media that clients elsewhere could reach. Name one: --advertise IP.";
            self.problems.push(problem.to_owned());
        } else if for_others && container && !named && self.ips.iter().all(|ip| !is_public(ip)) {
            let warning = "This is a container. Unless it has the host's network, clients outside cannot reach its address. \
                           Name the host's: --advertise HOST_IP.";
            self.warnings.push(warning.to_owned());
        }
    }
}

/// The addresses under which the bound sockets can be reached: those of this machine's interfaces, where they are bound
/// to all.
///
/// Link-local addresses are left out, since a client cannot use them without a zone. Loopback comes last: it serves
/// browsers on this machine only.
fn reachable(bound: &[SocketAddr]) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for socket in bound {
        if socket.ip().is_unspecified() {
            let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
            found.extend(
                interfaces.iter().map(|i| i.ip()).filter(|ip| ip.is_ipv4() == socket.is_ipv4() && !is_link_local(ip)),
            );
        } else {
            found.push(socket.ip());
        }
    }
    found.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    found
}

async fn ask_stun(server: &str, bound: &[SocketAddr]) -> Result<IpAddr, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut servers = lookup_host(server).await.map_err(text)?;
    let server =
        servers.find(|s| bound.iter().any(|b| b.is_ipv4() == s.is_ipv4())).ok_or("it has no address of our family")?;
    let local: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((local, 0)).await.map_err(text)?;
    socket.connect(server).await.map_err(text)?;
    let mut request = Message::new();
    request.build(&[Box::new(TransactionId::new()), Box::new(BINDING_REQUEST)]).map_err(|error| error.to_string())?;
    let mut buffer = [0; 1500];
    for _ in 0..STUN_ATTEMPTS {
        socket.send(&request.raw).await.map_err(text)?;
        let Ok(received) = timeout(STUN_PATIENCE, socket.recv(&mut buffer)).await else { continue };
        let mut response = Message::new();
        response.raw = buffer.get(..received.map_err(text)?).unwrap_or_default().to_vec();
        let mut mapped = XorMappedAddress::default();
        if response.decode().is_ok()
            && response.transaction_id == request.transaction_id
            && mapped.get_from(&response).is_ok()
        {
            return Ok(mapped.ip);
        }
    }
    Err("it does not answer".to_owned())
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Neither private (RFC 1918, RFC 4193) nor only for this link or machine.
pub(crate) fn is_public(ip: &IpAddr) -> bool {
    let private = match ip {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    !private && !ip.is_loopback() && !is_link_local(ip)
}

pub(crate) fn is_container() -> bool {
    CONTAINER_MARKS.iter().any(|mark| Path::new(mark).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(advertise: &[&str]) -> Settings {
        let mut settings = Settings::default();
        settings.media.advertise = advertise.iter().map(|text| Advertised::from((*text).to_owned())).collect();
        settings
    }

    #[tokio::test]
    async fn named_addresses_win_over_interfaces_and_stun() {
        let mut settings = settings(&["203.0.113.7", "192.0.2.9", "203.0.113.7"]);
        // Nobody is asked, so nobody need be there.
        settings.media.stun = Some("192.0.2.1:1".into());
        let bound = ["0.0.0.0:7882".parse().unwrap()];
        let found = find(&settings, &bound).await;
        assert_eq!(found.warnings, [""; 0]);
        let shown: Vec<String> =
            candidates(&found.ips, &bound, true).iter().map(|c| format!("{:?} {}", c.protocol, c.address)).collect();
        assert_eq!(shown, ["Udp 203.0.113.7:7882", "Udp 192.0.2.9:7882", "Tcp 203.0.113.7:7882", "Tcp 192.0.2.9:7882"]);
    }

    #[tokio::test]
    async fn names_are_looked_up_and_interfaces_can_be_named_beside_them() {
        let bound = ["127.0.0.1:7882".parse().unwrap()];
        let found = find(&settings(&["192.0.2.9", "interfaces"]), &bound).await;
        assert_eq!(found.ips, ["192.0.2.9", "127.0.0.1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!(find(&settings(&["localhost"]), &bound).await.ips, [IpAddr::from([127, 0, 0, 1])]);
        let found = find(&settings(&["nowhere.invalid"]), &bound).await;
        assert!(found.warnings[0].contains("nowhere.invalid"), "{found:?}");
        assert_eq!(found.ips, [IpAddr::from([127, 0, 0, 1])], "some calls may still work");
    }

    #[tokio::test]
    async fn a_stun_server_tells_the_public_address() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut settings = settings(&[]);
        settings.media.stun = Some(server.local_addr().unwrap().to_string());
        let answer = async {
            let mut buffer = [0; 1500];
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            let mut request = Message::new();
            request.raw = buffer[..length].to_vec();
            request.decode().unwrap();
            let (ip, port) = ("198.51.100.4".parse().unwrap(), 1);
            let mut response = Message::new();
            let id = request.transaction_id;
            let mapped = XorMappedAddress { ip, port };
            response.build(&[Box::new(id), Box::new(rtc_stun::message::BINDING_SUCCESS), Box::new(mapped)]).unwrap();
            server.send_to(&response.raw, from).await.unwrap();
        };
        let bound = ["127.0.0.1:7882".parse().unwrap()];
        let (found, ()) = tokio::join!(find(&settings, &bound), answer);
        assert_eq!(found.ips, ["198.51.100.4", "127.0.0.1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!(found.warnings, [""; 0]);
    }

    #[tokio::test]
    async fn a_stun_server_that_is_silent_is_a_warning() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut settings = settings(&[]);
        settings.media.stun = Some(silent.local_addr().unwrap().to_string());
        let found = find(&settings, &["127.0.0.1:7882".parse().unwrap()]).await;
        assert_eq!(found.ips, [IpAddr::from([127, 0, 0, 1])]);
        assert!(found.warnings[0].contains("--advertise"), "{found:?}");
    }

    #[test]
    fn addresses_that_keep_clients_away_are_doubted() {
        let mut public = settings(&[]);
        public.http.listen = "0.0.0.0:80".parse().unwrap();
        let doubts = |settings: &Settings, ip: &str, named, container| {
            let mut addresses = Addresses { ips: vec![ip.parse().unwrap()], ..Addresses::default() };
            addresses.doubt(settings, named, container);
            (addresses.problems.len(), addresses.warnings.len())
        };
        assert_eq!(doubts(&settings(&[]), "127.0.0.1", false, true), (0, 0), "a try on one machine");
        assert_eq!(doubts(&public, "127.0.0.1", false, false), (1, 0));
        assert_eq!(doubts(&public, "172.17.0.2", false, true), (0, 1), "Docker's own address");
        assert_eq!(doubts(&public, "172.17.0.2", true, true), (0, 0), "somebody wants it so");
        assert_eq!(doubts(&public, "192.168.1.9", false, false), (0, 0), "a local network");
        assert_eq!(doubts(&public, "203.0.113.7", false, true), (0, 0));
    }
}
