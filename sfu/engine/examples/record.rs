//! Records the plain RTP of one publisher, as its packets are: for the golden captures of `tests/golden`.
//!
//! ```text
//! record NAME SKIP SECONDS < offer.sdp        prints the answer; writes NAME.sdp (the offer) and NAME.rtp
//! ```
//!
//! Answers with the engine's own negotiation, ends DTLS and SRTP, gives transport-wide feedback so that the sender's
//! rate rises, asks for a key frame every second, and for the first after SKIP seconds of media. From then on it writes
//! what comes for SECONDS, in the format of rtpdump: retransmissions and padding too. It sends no receiver reports,
//! since after the first Chromium leaves mid and rid away. `web-demo/tests/capture.mjs` drives it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rand::SeedableRng;
use sfu_engine::crypto::default_provider;
use sfu_engine::media::Sources;
use sfu_engine::rtcp::{RtcpBatch, write};
use sfu_engine::rtp::extension::ReceivedExtensions;
use sfu_engine::rtp::packet::RtpPacket;
use sfu_engine::sdp::{
    CandidateAddress, IceParameters, LocalParameters, MAX_SECTIONS, NO_RULES, Negotiated, Negotiation, Setup,
    peek_transport,
};
use sfu_engine::transport::Transport;
use sfu_engine::transport::demux::{PacketClass, classify};
use sfu_engine::transport::dtls::{DtlsCertificate, DtlsRole};
use sfu_engine::transport::ice::IceCredentials;
use sfu_engine::uplink::Uplink;
use sfu_engine::{Protocol, Tuple};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Between two key frame requests.
const KEYFRAMES: Duration = Duration::from_secs(1);
/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(10);
/// Nothing at all comes for so long: the browser is gone.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, skip, seconds] = arguments.as_slice() else { panic!("record NAME SKIP SECONDS < offer.sdp") };
    let span = |text: &str| Duration::from_secs_f64(text.parse().expect("a number of seconds"));
    let mut offer = String::new();
    std::io::stdin().read_to_string(&mut offer).unwrap();
    std::fs::write(format!("{name}.sdp"), &offer).unwrap();
    let packets = Recorder::start(&offer).record(span(skip), span(seconds));
    std::fs::write(format!("{name}.rtp"), rtpdump(&packets)).unwrap();
}

struct Recorder {
    socket: UdpSocket,
    local: SocketAddr,
    transport: Transport,
    uplink: Uplink,
    sources: BTreeSet<sfu_engine::units::Ssrc>,
}

impl Recorder {
    /// Answers the offer on standard output.
    fn start(offer: &str) -> Recorder {
        let mut rng = rand_chacha::ChaCha12Rng::from_os_rng();
        let provider = default_provider().unwrap();
        let certificate = DtlsCertificate::generate(&provider).unwrap();
        let socket = UdpSocket::bind((own_address(), 0)).unwrap();
        socket.set_read_timeout(Some(TICK)).unwrap();
        let local = socket.local_addr().unwrap();
        let remote = peek_transport(offer).unwrap();
        let credentials = IceCredentials::generate(&mut rng, "rec");
        let Negotiated { answer, sections, setup, .. } = Negotiation::new(1)
            .handle_offer(
                offer,
                &LocalParameters {
                    ice: &IceParameters { ufrag: credentials.ufrag.clone(), pwd: credentials.pwd.clone() },
                    fingerprint: &certificate.fingerprint().to_string(),
                    candidates: &[CandidateAddress { address: local, protocol: Protocol::Udp }],
                    max_sections: MAX_SECTIONS,
                    max_tracks: 1,
                    published: &[],
                    may_publish: Sources::ALL,
                    can_subscribe: false,
                    codecs: &NO_RULES,
                },
                &mut rng,
            )
            .unwrap();
        let mut stdout = std::io::stdout();
        stdout.write_all(answer.as_bytes()).unwrap();
        stdout.write_all(b"\0").unwrap();
        stdout.flush().unwrap();
        let mut uplink = Uplink::new(Instant::now(), &mut rng);
        uplink.configure(&sections);
        let fingerprints = remote.fingerprints.iter().map(|text| text.parse().unwrap()).collect();
        let role = if setup == Setup::Passive { DtlsRole::Server } else { DtlsRole::Client };
        let remote = IceCredentials { ufrag: remote.ufrag, pwd: remote.pwd };
        let transport = Transport::new(credentials, remote, &certificate, role, fingerprints, provider);
        Recorder { socket, local, transport, uplink, sources: BTreeSet::new() }
    }

    /// What comes in the given stretch after the first packet, with the time since the stretch began.
    fn record(mut self, skip: Duration, length: Duration) -> Vec<(Duration, Vec<u8>)> {
        let mut packets = Vec::new();
        let mut first = None;
        let mut keyframe_at = None;
        let mut heard = Instant::now();
        let mut buffer = [0; 2048];
        loop {
            let now = Instant::now();
            if first.is_some_and(|at| now > at + skip + length) {
                return packets;
            }
            assert!(now < heard + PATIENCE, "nothing comes; {} packets so far", packets.len());
            if first.is_some_and(|at| now >= at + skip) && keyframe_at.is_none_or(|at| now >= at) {
                keyframe_at = Some(now + KEYFRAMES);
                let mut rtcp = RtcpBatch::default();
                for source in &self.sources {
                    write::pli(rtcp.packet(), self.uplink.ssrc, *source);
                }
                rtcp.into_packets().for_each(|packet| self.transport.send_rtcp(packet));
            }
            self.serve(now);
            let (len, remote) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(error) => panic!("{error}"),
            };
            let now = Instant::now();
            heard = now;
            let tuple = Tuple { protocol: Protocol::Udp, local: self.local, remote };
            if let Some(packet) = self.receive(now, tuple, buffer.get_mut(..len).unwrap()) {
                let begin = *first.get_or_insert(now) + skip;
                if let Some(since) = now.checked_duration_since(begin).filter(|_| keyframe_at.is_some()) {
                    packets.push((since, packet));
                }
            }
        }
    }

    fn receive(&mut self, now: Instant, tuple: Tuple, datagram: &mut [u8]) -> Option<Vec<u8>> {
        match classify(datagram)? {
            PacketClass::Stun => drop(self.transport.handle_stun(now, tuple, datagram)),
            PacketClass::Dtls => drop(self.transport.handle_dtls(now, &tuple, datagram)),
            PacketClass::Rtcp => {}
            PacketClass::Rtp => {
                let len = self.transport.unprotect_rtp(now, &tuple, datagram).ok()?;
                let bytes = datagram.get(..len)?;
                let packet = RtpPacket::parse(bytes)?;
                let extensions = ReceivedExtensions::read(&packet, &self.uplink.extensions);
                self.uplink.note_packet(now, len, extensions.transport_cc);
                if self.uplink.stream_of(now, &packet, &extensions).is_some_and(|stream| !stream.is_rtx) {
                    self.sources.insert(packet.ssrc());
                }
                return Some(bytes.to_vec());
            }
        }
        None
    }

    /// Sends what is due.
    fn serve(&mut self, now: Instant) {
        if self.transport.poll_timeout().is_some_and(|at| at <= now) {
            self.transport.handle_timeout(now);
        }
        let mut rtcp = RtcpBatch::default();
        self.uplink.write_feedback(now, &mut rtcp);
        rtcp.into_packets().for_each(|packet| self.transport.send_rtcp(packet));
        while let Some((tuple, datagram)) = self.transport.poll_control() {
            self.socket.send_to(&datagram, tuple.remote).unwrap();
        }
    }
}

/// The address by which this machine would reach others, since browsers do not send from the loopback interface;
/// nothing is sent.
fn own_address() -> std::net::IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let route = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    route.map_or(std::net::Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

/// The rtpdump format of rtptools: a line, a header of 16 bytes, then for each packet its length with and without this
/// header of 8 bytes, and milliseconds since the start.
fn rtpdump(packets: &[(Duration, Vec<u8>)]) -> Vec<u8> {
    let mut file = b"#!rtpplay1.0 0.0.0.0/0\n".to_vec();
    file.extend([0; 16]);
    for (at, packet) in packets {
        let len = u16::try_from(packet.len()).unwrap();
        file.extend((len + 8).to_be_bytes());
        file.extend(len.to_be_bytes());
        file.extend(u32::try_from(at.as_millis()).unwrap().to_be_bytes());
        file.extend(packet);
    }
    file
}
