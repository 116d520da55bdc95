//! A client's ICE, DTLS and SRTP: a full agent's checks towards a server, lite or full, then the engine's own DTLS and
//! SRTP, which its tests compare with independent ones.

use super::sdp::{Answer, LocalTransport};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId};
use rtc_stun::textattrs::TextAttribute;
use rtc_stun::xoraddr::XorMappedAddress;
use sfu_engine::crypto::RTCCryptoProvider;
use sfu_engine::crypto::providers::RingCrypto;
use sfu_engine::transport::demux::{PacketClass, classify};
use sfu_engine::transport::dtls::{CertificateError, DtlsCertificate, DtlsEvent, DtlsRole, DtlsSession};
use sfu_engine::transport::ice::IceCredentials;
use sfu_engine::transport::srtp::{SrtpReceiver, SrtpSender};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between checks until the first is answered; RFC 8445 doubles it, browsers send on at about this pace.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Between checks afterwards, as libwebrtc on a stable path: consent and round trip.
const CONSENT_INTERVAL: Duration = Duration::from_millis(2500);
/// How a binding request and its success response begin.
const REQUEST: [u8; 2] = [0x00, 0x01];
const SUCCESS: [u8; 2] = [0x01, 0x01];
/// Host candidate of component 1.
const PRIORITY: u32 = 0x7e00_1eff;

/// A client's end of the connection.
pub(crate) struct Transport {
    local: IceCredentials,
    certificate: DtlsCertificate,
    provider: Arc<dyn RTCCryptoProvider>,
    rng: ChaCha12Rng,
    remote: Option<IceCredentials>,
    /// Where the server is, by its answer.
    server: Option<SocketAddr>,
    dtls: Option<DtlsSession>,
    srtp: Option<(SrtpReceiver, SrtpSender)>,
    /// The check that waits for its answer: transaction and when it was sent.
    checks: VecDeque<([u8; 12], Instant)>,
    next_check: Option<Instant>,
    answered: bool,
    rtt: Option<Duration>,
    outgoing: VecDeque<Vec<u8>>,
}

/// A packet that the transport opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Plain RTP of this length.
    Rtp(usize),
    /// Plain RTCP of this length.
    Rtcp(usize),
    /// The transport's own affair, or nothing.
    Other,
}

impl Transport {
    /// A transport before its first offer.
    pub(crate) fn new(
        certificate: DtlsCertificate,
        provider: Arc<dyn RTCCryptoProvider>,
        mut rng: ChaCha12Rng,
    ) -> Transport {
        Transport {
            local: IceCredentials::generate(&mut rng, ""),
            certificate,
            provider,
            rng,
            remote: None,
            server: None,
            dtls: None,
            srtp: None,
            checks: VecDeque::new(),
            next_check: None,
            answered: false,
            rtt: None,
            outgoing: VecDeque::new(),
        }
    }

    /// A transport that begins anew, as one of a new peer connection: with another certificate and other credentials.
    pub(crate) fn start_over(&mut self) -> Result<(), CertificateError> {
        let certificate = DtlsCertificate::generate(&self.provider)?;
        *self = Transport::new(certificate, self.provider.clone(), ChaCha12Rng::from_rng(&mut self.rng));
        Ok(())
    }

    /// What the offer says of it.
    pub(crate) fn local(&self) -> LocalTransport {
        LocalTransport {
            ufrag: self.local.ufrag.clone(),
            pwd: self.local.pwd.clone(),
            fingerprint: self.certificate.fingerprint().to_string(),
        }
    }

    /// The first answer starts the checks; later ones change nothing here.
    pub(crate) fn handle_answer(&mut self, now: Instant, answer: &Answer) {
        if self.remote.is_some() {
            return;
        }
        let fingerprints = answer.fingerprint.parse().into_iter().collect();
        self.remote = Some(IceCredentials { ufrag: answer.ufrag.clone(), pwd: answer.pwd.clone() });
        let role = if answer.active { DtlsRole::Server } else { DtlsRole::Client };
        self.dtls = Some(DtlsSession::new(&self.certificate, role, fingerprints, self.provider.clone()));
        self.server = answer.candidates.iter().copied().find(SocketAddr::is_ipv4);
        self.check(now);
    }

    /// Opens a datagram in place.
    pub(crate) fn handle_datagram(&mut self, now: Instant, datagram: &mut [u8]) -> Opened {
        match classify(datagram) {
            Some(PacketClass::Stun) => self.handle_stun(now, datagram),
            Some(PacketClass::Dtls) => {
                if let Some(dtls) = &mut self.dtls {
                    // Whatever is wrong with it, the handshake repeats.
                    let _ = dtls.handle_datagram(now, datagram);
                    self.flush_dtls();
                }
            }
            Some(PacketClass::Rtp) => {
                let opened = self.srtp.as_mut().and_then(|(receiver, _)| receiver.unprotect_rtp(datagram).ok());
                return opened.map_or(Opened::Other, Opened::Rtp);
            }
            Some(PacketClass::Rtcp) => {
                let opened = self.srtp.as_mut().and_then(|(receiver, _)| receiver.unprotect_rtcp(datagram).ok());
                return opened.map_or(Opened::Other, Opened::Rtcp);
            }
            None => {}
        }
        Opened::Other
    }

    /// Media can flow.
    pub(crate) fn is_ready(&self) -> bool {
        self.srtp.is_some()
    }

    /// Round trip of the last check.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Seals a plain RTP packet and queues it.
    pub(crate) fn send_rtp(&mut self, mut packet: Vec<u8>) {
        if self.seal_rtp(&mut packet) {
            self.outgoing.push_back(packet);
        }
    }

    /// Seals a plain RTP packet in place, for callers that send it themselves. False where it must not leave.
    pub(crate) fn seal_rtp(&mut self, packet: &mut Vec<u8>) -> bool {
        self.srtp.as_mut().is_some_and(|(_, sender)| sender.protect_rtp(packet, 0).is_ok())
    }

    /// Where the server takes media, by its answer.
    pub(crate) fn server(&self) -> Option<SocketAddr> {
        self.server
    }

    /// Seals a plain RTCP packet and queues it.
    pub(crate) fn send_rtcp(&mut self, mut packet: Vec<u8>) {
        if let Some((_, sender)) = &mut self.srtp
            && !packet.is_empty()
            && sender.protect_rtcp(&mut packet, 0).is_ok()
        {
            self.outgoing.push_back(packet);
        }
    }

    /// The next datagram to send.
    pub(crate) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    /// When [`Transport::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let dtls = self.dtls.as_ref().and_then(DtlsSession::poll_timeout);
        self.next_check.into_iter().chain(dtls).min()
    }

    /// Sends the checks that are due, repeats what the handshake lost.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.next_check.is_some_and(|at| at <= now) {
            self.check(now);
        }
        if let Some(dtls) = &mut self.dtls
            && dtls.poll_timeout().is_some_and(|at| at <= now)
        {
            dtls.handle_timeout(now);
            self.flush_dtls();
        }
    }

    fn check(&mut self, now: Instant) {
        let Some(remote) = &self.remote else { return };
        let mut transaction = [0; 12];
        self.rng.fill_bytes(&mut transaction);
        let username = format!("{}:{}", remote.ufrag, self.local.ufrag);
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(remote.pwd.clone(), &RingCrypto);
        let mut message = Message::new();
        let built = message.build(&[Box::new(BINDING_REQUEST), Box::new(TransactionId(transaction))]).is_ok()
            && TextAttribute::new(ATTR_USERNAME, username).add_to(&mut message).is_ok();
        message.add(ATTR_ICE_CONTROLLING, &[9; 8]);
        message.add(ATTR_USE_CANDIDATE, &[]);
        message.add(ATTR_PRIORITY, &PRIORITY.to_be_bytes());
        if built && integrity.add_to(&mut message).is_ok() && FINGERPRINT.add_to(&mut message).is_ok() {
            self.outgoing.push_back(message.raw);
        }
        self.checks.push_back((transaction, now));
        if self.checks.len() > 16 {
            self.checks.pop_front();
        }
        self.next_check = Some(now + if self.answered { CONSENT_INTERVAL } else { CHECK_INTERVAL });
    }

    fn handle_stun(&mut self, now: Instant, message: &[u8]) {
        let Some(transaction) = message.get(8..20) else { return };
        if message.starts_with(&REQUEST) {
            return self.respond(transaction);
        }
        if !message.starts_with(&SUCCESS) {
            return;
        }
        let Some(index) = self.checks.iter().position(|(id, _)| id == transaction) else { return };
        let Some((_, sent)) = self.checks.remove(index) else { return };
        self.rtt = Some(now.saturating_duration_since(sent));
        if !self.answered {
            self.answered = true;
            self.next_check = Some(now + CONSENT_INTERVAL);
            if let Some(dtls) = &mut self.dtls {
                dtls.start(now);
                self.flush_dtls();
            }
        }
    }

    /// Answers a check of a server that is a full agent. The address that it came from is the server's: the socket
    /// takes no others.
    fn respond(&mut self, transaction: &[u8]) {
        let Some((server, transaction)) = self.server.zip(transaction.try_into().ok()) else { return };
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(self.local.pwd.clone(), &RingCrypto);
        let address = XorMappedAddress { ip: server.ip(), port: server.port() };
        let mut message = Message::new();
        let built =
            message.build(&[Box::new(BINDING_SUCCESS), Box::new(TransactionId(transaction)), Box::new(address)]);
        if built.is_ok() && integrity.add_to(&mut message).is_ok() && FINGERPRINT.add_to(&mut message).is_ok() {
            self.outgoing.push_back(message.raw);
        }
    }

    fn flush_dtls(&mut self) {
        let Some(dtls) = &mut self.dtls else { return };
        while let Some(datagram) = dtls.poll_transmit() {
            self.outgoing.push_back(datagram.to_vec());
        }
        while let Some(event) = dtls.poll_event() {
            if let DtlsEvent::Connected(keys) = event {
                let crypto = self.provider.crypto();
                self.srtp = SrtpReceiver::new(&keys, crypto).ok().zip(SrtpSender::new(&keys, crypto).ok());
            }
        }
    }
}
