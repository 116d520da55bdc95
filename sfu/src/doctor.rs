//! `sluice doctor`: tests what calls need of this machine, with the settings that the server would have, and says what
//! to fix.

use crate::addresses;
use crate::server::{self, Media};
use crate::settings::Settings;
use crate::shard::udp;
use quinn_udp::{UdpSockRef, UdpSocketState};
use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

/// How a test came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Works, but worse than it could, or could not be tested from here.
    Doubtful,
    /// Calls will fail.
    Bad,
}

/// One line of the report.
struct Finding {
    verdict: Verdict,
    what: String,
    /// What to do, where something is to be done.
    fix: Option<String>,
}

/// How long a packet to ourselves may take.
const LOOP_PATIENCE: Duration = Duration::from_secs(2);
/// Sluice was not there before; a clock that says so is wrong.
const EARLIEST_NOW: u64 = 1_760_000_000;
/// Each WebSocket and each TCP media connection is an open file.
const GOOD_OPEN_FILES: u64 = 65_536;

/// Runs every test and prints the findings. Fails if one of them means that calls cannot work.
pub(crate) fn run(settings: &Settings) -> ExitCode {
    let findings = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(examine(settings)),
        Err(error) => vec![bad(format!("no runtime: {error}"), "Is the limit of open files (ulimit -n) very low?")],
    };
    let mut text = String::new();
    for Finding { verdict, what, fix } in &findings {
        text += &format!("{verdict}  {what}\n");
        if let Some(fix) = fix {
            text += &format!("      -> {fix}\n");
        }
    }
    let count = |wanted: Verdict| findings.iter().filter(|finding| finding.verdict == wanted).count();
    let (bad, doubtful) = (count(Verdict::Bad), count(Verdict::Doubtful));
    println!("{text}\n{bad} to fix, {doubtful} doubtful, {} good", count(Verdict::Good));
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn examine(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![good("the settings are good")];
    for (what, address) in
        [("page and protocols", settings.http.listen), ("metrics and admin", settings.admin_listen())]
    {
        findings.push(match TcpListener::bind(address).await {
            Ok(_) => good(format!("{what}: port {} is free on {}", address.port(), address.ip())),
            Err(error) => bad(format!("{what}: cannot listen on {address}: {error}"), IN_USE),
        });
    }
    match server::bind_media(settings).await {
        Ok(media) => {
            findings.push(good(format!("media: {} can be bound", list(&media.bound))));
            examine_addresses(settings, &media, &mut findings).await;
            if let Some(address) = media.bound.first() {
                drop(media.listeners);
                examine_socket(SocketAddr::new(address.ip(), 0), &mut findings);
            }
        }
        Err(error) => findings.push(bad(format!("media: {error}").replace('\n', " "), IN_USE)),
    }
    examine_browser(settings, &mut findings);
    examine_machine(settings, &mut findings);
    findings
}

const IN_USE: &str = "If Sluice itself is running there, stop it for this test, or give the test other ports (--http, --admin, --media-port).";

/// Whether packets to the advertised addresses come back to the media port.
async fn examine_addresses(settings: &Settings, media: &Media, findings: &mut Vec<Finding>) {
    let advertised = addresses::find(settings, &media.bound).await;
    const PAGE: &str = "docs/deploy.md, the part on addresses, says how.";
    findings.extend(advertised.problems.iter().map(|problem| bad(problem.clone(), PAGE)));
    findings.extend(advertised.warnings.iter().map(|warning| doubtful(warning.clone(), PAGE)));
    let port = media.bound.first().map_or(0, SocketAddr::port);
    let own: Vec<IpAddr> = if_addrs::get_if_addrs().unwrap_or_default().iter().map(|i| i.ip()).collect();
    let sockets: Vec<UdpSocket> = media
        .sockets
        .iter()
        .flatten()
        .filter_map(|socket| UdpSocket::from_std(socket.try_clone().ok()?).ok())
        .collect();
    for ip in &advertised.ips {
        let address = SocketAddr::new(*ip, port);
        let scope = match (ip.is_loopback(), addresses::is_public(ip)) {
            (true, _) => "only for browsers on this machine",
            (_, true) => "public",
            (_, false) => "private: for the local network only",
        };
        if !own.contains(ip) {
            let what =
                format!("media: {address} ({scope}) is no address of this machine, so it cannot be tested from here");
            let fix = format!("Whoever translates addresses must pass UDP and TCP port {port} on to this machine.");
            findings.push(doubtful(what, fix));
            continue;
        }
        let udp = udp_arrives(&sockets, address).await;
        let tcp = !settings.media.tcp || matches!(timeout(LOOP_PATIENCE, TcpStream::connect(address)).await, Ok(Ok(_)));
        findings.push(match (udp, tcp) {
            (true, true) => good(format!("media: {address} ({scope}) is reached")),
            _ => bad(
                format!("media: {address} ({scope}): UDP {}, TCP {}", outcome(udp), outcome(tcp)),
                format!("Does a firewall (nft list ruleset, iptables -S) drop port {port}?"),
            ),
        });
    }
}

/// Whether a datagram to `address` is received by one of the media sockets.
async fn udp_arrives(sockets: &[UdpSocket], address: SocketAddr) -> bool {
    const PROBE: &[u8] = b"sluice doctor";
    let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let Ok(sender) = UdpSocket::bind(any).await else { return false };
    if sender.send_to(PROBE, address).await.is_err() {
        return false;
    }
    let receptions = sockets.iter().map(|socket| {
        Box::pin(async move {
            let mut buffer = [0; 64];
            while !matches!(socket.recv_from(&mut buffer).await, Ok((length, _)) if buffer.get(..length) == Some(PROBE))
            {
            }
        })
    });
    let mut receptions: Vec<_> = receptions.collect();
    let first = std::future::poll_fn(|context| {
        let arrived = receptions.iter_mut().any(|reception| reception.as_mut().poll(context).is_ready());
        if arrived { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    });
    timeout(LOOP_PATIENCE, first).await.is_ok()
}

/// Buffers and offloads of UDP sockets.
fn examine_socket(address: SocketAddr, findings: &mut Vec<Finding>) {
    let Ok(socket) = udp::bind(address) else { return };
    let Ok(state) = UdpSocketState::new(UdpSockRef::from(&socket)) else { return };
    let wanted = udp::SOCKET_BUFFER_BYTES;
    let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), wanted);
    let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), wanted);
    let buffers = [
        ("receive", "rmem", state.recv_buffer_size(UdpSockRef::from(&socket))),
        ("send", "wmem", state.send_buffer_size(UdpSockRef::from(&socket))),
    ];
    for (direction, limit, granted) in buffers {
        let granted = granted.unwrap_or(0);
        findings.push(if granted >= wanted {
            good(format!("UDP {direction} buffer: {} KiB", granted >> 10))
        } else {
            doubtful(
                format!("UDP {direction} buffer: {} KiB of the {} KiB asked for; bursts will be lost under load", granted >> 10, wanted >> 10),
                format!("sysctl -w net.core.{limit}_max={wanted} (in /etc/sysctl.d to make it last; on the host, for a container)"),
            )
        });
    }
    let (gso, gro) = (state.max_gso_segments(), state.gro_segments());
    findings.push(if gso > 1 {
        good(format!("UDP offloads: {gso} packets go to the kernel as one message (GSO), {gro} come as one (GRO)"))
    } else {
        doubtful(
            "UDP offloads: the kernel sends every packet by itself (no GSO)",
            "Linux 4.18 or newer sends several times as many packets with the same CPU.",
        )
    });
}

/// What browsers will say.
fn examine_browser(settings: &Settings, findings: &mut Vec<Finding>) {
    let loopback = settings.http.listen.ip().is_loopback();
    findings.push(match (settings.is_https(), loopback) {
        (true, _) => good("HTTPS: browsers give cameras to the page"),
        (false, true) => good("HTTP on this machine: browsers give cameras to http://localhost"),
        (false, false) => doubtful(
            "HTTP without encryption: browsers give cameras to localhost only",
            "--certificate and --certificate-key, --self-signed for a try, or a reverse proxy with a certificate in front (docs/deploy.md).",
        ),
    });
    findings.push(match (settings.is_open(), loopback) {
        (false, _) => good("access: tokens are needed"),
        (true, true) => good("access: open, to this machine"),
        (true, false) => {
            doubtful("access: open, everybody who reaches the page may join", "`sluice key` and docs/tokens.md.")
        }
    });
}

/// Clock, open files, cores.
fn examine_machine(settings: &Settings, findings: &mut Vec<Finding>) {
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs());
    findings.push(match (now >= EARLIEST_NOW, clock_is_synchronised()) {
        (false, _) => bad(
            "clock: it is years behind, and every access token will seem to lie in the future",
            "Set it: timedatectl set-ntp true.",
        ),
        (true, Some(false)) => doubtful(
            "clock: nobody keeps it in time (NTP); access tokens may expire early or late",
            "timedatectl set-ntp true, or install chrony.",
        ),
        (true, Some(true)) => good("clock: kept in time by NTP"),
        (true, None) => good("clock: plausible"),
    });
    if let Some(files) = open_files() {
        findings.push(if files >= GOOD_OPEN_FILES {
            good(format!("open files: {files}"))
        } else {
            doubtful(
                format!("open files: {files}; each client needs one or two"),
                format!(
                    "ulimit -n {GOOD_OPEN_FILES}, LimitNOFILE= in a systemd unit, --ulimit nofile= for a container."
                ),
            )
        });
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    findings.push(good(format!("{} media threads on {cores} cores", settings.shards())));
}

/// Whether the kernel says that something disciplines the clock; `None` where it does not tell.
#[cfg(target_os = "linux")]
fn clock_is_synchronised() -> Option<bool> {
    // SAFETY: `timex` is plain data, for which all zeros is a valid value, and with `modes` 0 the call only reads.
    let state = unsafe {
        let mut clock: libc::timex = std::mem::zeroed();
        libc::adjtimex(&mut clock)
    };
    (state >= 0).then_some(state != libc::TIME_ERROR)
}

#[cfg(not(target_os = "linux"))]
fn clock_is_synchronised() -> Option<bool> {
    None
}

/// How many files this process may open.
fn open_files() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn good(what: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Good, what: what.into(), fix: None }
}

fn doubtful(what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Doubtful, what: what.into(), fix: Some(fix.into()) }
}

fn bad(what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Bad, what: what.into(), fix: Some(fix.into()) }
}

fn outcome(good: bool) -> &'static str {
    if good { "arrives" } else { "does not arrive" }
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" and ")
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Good => "good",
            Verdict::Doubtful => "hmm ",
            Verdict::Bad => "BAD ",
        })
    }
}
