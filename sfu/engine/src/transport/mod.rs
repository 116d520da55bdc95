//! From datagram to plain RTP and back: demultiplexing, ICE-lite, DTLS, SRTP.
//!
//! [`Transport`] is one participant's: every datagram that the demultiplexer assigns to the participant enters here,
//! and every datagram to it leaves here. DTLS and SRTP are taken from validated tuples only.

pub mod demux;
pub mod dtls;
pub mod framing;
pub mod ice;
pub mod srtp;

use crate::drops::DropReason;
use crate::event::DisconnectReason;
use crate::net::Tuple;
use crate::units::Ssrc;
use bytes::Bytes;
use dtls::{DtlsCertificate, DtlsEvent, DtlsFailure, DtlsRole, DtlsSession, Fingerprint};
use ice::{IceCredentials, IceEvent, IceLite, IceOutcome};
use rtc_crypto::RTCCryptoProvider;
use srtp::{SrtpKeys, SrtpReceiver, SrtpSender};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Datagrams of STUN, DTLS and RTCP that may wait for a participant; the oldest is dropped beyond that.
const MAX_CONTROL_QUEUE: usize = 256;

/// SCTP packets that may wait to be read, which is done after each datagram: more than a datagram has room for.
const MAX_DATA_QUEUE: usize = 256;

/// One participant's transport.
pub struct Transport {
    ice: IceLite,
    dtls: DtlsSession,
    provider: Arc<dyn RTCCryptoProvider>,
    fingerprints: Vec<Fingerprint>,
    srtp: Option<Srtp>,
    control: VecDeque<(Tuple, Vec<u8>)>,
    data: VecDeque<Bytes>,
    events: VecDeque<TransportEvent>,
    /// Where media went when [`Transport::has_changed_path`] was last asked.
    path: Option<Tuple>,
}

/// The keyed half of a transport.
struct Srtp {
    receiver: SrtpReceiver,
    sender: SrtpSender,
}

/// What happened to a transport.
#[derive(Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// DTLS is done and the keys are there.
    HandshakeCompleted,
    /// Media can no longer flow.
    Disconnected(DisconnectReason),
    /// A tuple is not valid any more.
    TupleLost(Tuple),
}

impl Transport {
    /// A transport that waits for the client's first check.
    pub fn new(
        local: IceCredentials,
        remote: IceCredentials,
        certificate: &DtlsCertificate,
        role: DtlsRole,
        fingerprints: Vec<Fingerprint>,
        provider: Arc<dyn RTCCryptoProvider>,
    ) -> Self {
        let mut ice = IceLite::new(local);
        ice.set_remote(remote);
        let dtls = DtlsSession::new(certificate, role, fingerprints.clone(), provider.clone());
        Transport {
            ice,
            dtls,
            provider,
            fingerprints,
            srtp: None,
            control: VecDeque::new(),
            data: VecDeque::new(),
            events: VecDeque::new(),
            path: None,
        }
    }

    /// Has the keys that seal RTP fetched into the cache.
    pub fn prefetch_behind(&self) {
        if let Some(srtp) = &self.srtp {
            srtp.sender.prefetch_keys();
        }
    }

    /// The same for the numbers that an SSRC of ours has used, once the keys are there.
    pub fn prefetch_indexes(&self, ssrc: Ssrc) {
        if let Some(srtp) = &self.srtp {
            srtp.sender.prefetch_indexes(ssrc);
        }
    }

    /// The same for the keys that open RTCP.
    pub fn prefetch_for_rtcp(&self) {
        if let Some(srtp) = &self.srtp {
            srtp.receiver.prefetch_rtcp_keys();
        }
    }

    /// The ICE agent's present local credentials.
    pub fn local_credentials(&self) -> &IceCredentials {
        self.ice.local()
    }

    /// The client's ICE credentials.
    pub fn remote_credentials(&self) -> Option<&IceCredentials> {
        self.ice.remote()
    }

    /// The certificate fingerprints that the client announced.
    pub fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    /// ICE restart (RFC 8445 section 9): DTLS and SRTP go on.
    ///
    /// Returns our user fragments that are out of use at once.
    #[must_use = "the fragments must leave the demultiplexer"]
    pub fn restart_ice(&mut self, local: IceCredentials, remote: IceCredentials) -> Vec<String> {
        self.ice.restart(local, remote)
    }

    /// Our user fragments that checks may name.
    pub fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        self.ice.local_ufrags()
    }

    /// A STUN message whose user fragment is ours. Tells which tuples became valid or were evicted.
    pub fn handle_stun(&mut self, now: Instant, tuple: Tuple, message: &[u8]) -> Result<IceOutcome, DropReason> {
        let mut outcome = self.ice.handle_binding_request(now, tuple, message)?;
        self.queue(tuple, std::mem::take(&mut outcome.response));
        if outcome.newly_validated {
            self.dtls.start(now);
            self.flush_dtls();
        }
        Ok(outcome)
    }

    /// A DTLS datagram.
    pub fn handle_dtls(&mut self, now: Instant, tuple: &Tuple, datagram: &[u8]) -> Result<(), DropReason> {
        self.check_tuple(tuple)?;
        let result = self.dtls.handle_datagram(now, datagram);
        self.flush_dtls();
        result
    }

    /// Opens an SRTP packet in place and returns the plain packet's length.
    pub fn unprotect_rtp(&mut self, now: Instant, tuple: &Tuple, packet: &mut [u8]) -> Result<usize, DropReason> {
        self.check_tuple(tuple)?;
        let length = self.srtp.as_mut().ok_or(DropReason::SrtpNoKeys)?.receiver.unprotect_rtp(packet)?;
        self.ice.note_media(now, tuple);
        Ok(length)
    }

    /// Opens an SRTCP packet in place and returns the plain packet's length.
    pub fn unprotect_rtcp(&mut self, now: Instant, tuple: &Tuple, packet: &mut [u8]) -> Result<usize, DropReason> {
        self.check_tuple(tuple)?;
        let length = self.srtp.as_mut().ok_or(DropReason::SrtpNoKeys)?.receiver.unprotect_rtcp(packet)?;
        self.ice.note_media(now, tuple);
        Ok(length)
    }

    /// Seals the plain RTP packet `buffer[start..]` in place. False where there are no keys or the packet cannot be
    /// sealed.
    pub fn protect_rtp(&mut self, buffer: &mut Vec<u8>, start: usize) -> bool {
        self.srtp.as_mut().is_some_and(|srtp| srtp.sender.protect_rtp(buffer, start).is_ok())
    }

    /// Seals a plain RTCP packet and queues it. Dropped where media cannot flow.
    pub fn send_rtcp(&mut self, mut packet: Vec<u8>) {
        let (Some(srtp), Some(tuple)) = (self.srtp.as_mut(), self.ice.selected()) else { return };
        if !packet.is_empty() && srtp.sender.protect_rtcp(&mut packet, 0).is_ok() {
            self.queue(tuple, packet);
        }
    }

    /// The next SCTP packet that came in (RFC 8261).
    pub fn poll_data(&mut self) -> Option<Bytes> {
        self.data.pop_front()
    }

    /// Sends an SCTP packet.
    pub fn send_data(&mut self, now: Instant, packet: &[u8]) {
        self.dtls.send(now, packet);
        self.flush_dtls();
    }

    /// Says goodbye by DTLS.
    pub fn close(&mut self, now: Instant) {
        self.dtls.close(now);
        self.flush_dtls();
    }

    /// Where media goes; `None` until the first valid check.
    pub fn selected(&self) -> Option<Tuple> {
        self.ice.selected()
    }

    /// Whether media goes another way than when this was last asked.
    pub fn has_changed_path(&mut self) -> bool {
        let Some(selected) = self.ice.selected() else { return false };
        self.path.replace(selected).is_some_and(|before| before != selected)
    }

    /// Every tuple that may carry DTLS and SRTP.
    pub fn validated(&self) -> impl Iterator<Item = Tuple> + '_ {
        self.ice.validated()
    }

    /// A TCP connection is gone.
    pub fn forget(&mut self, tuple: &Tuple) {
        self.ice.forget(tuple);
    }

    /// Whether the DTLS handshake has ended well.
    pub fn has_keys(&self) -> bool {
        self.srtp.is_some()
    }

    /// Whether media can flow: keys and an address are known.
    pub fn is_ready(&self) -> bool {
        self.srtp.is_some() && self.ice.selected().is_some()
    }

    /// The next STUN, DTLS or RTCP datagram to send.
    pub fn poll_control(&mut self) -> Option<(Tuple, Vec<u8>)> {
        self.control.pop_front()
    }

    /// What happened since.
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// When [`Transport::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ice.poll_timeout().into_iter().chain(self.dtls.poll_timeout()).min()
    }

    /// Retransmits, expires consent.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(event) = self.ice.handle_timeout(now) {
            self.events.push_back(match event {
                IceEvent::TupleExpired(tuple) => TransportEvent::TupleLost(tuple),
                IceEvent::ConsentExpired => TransportEvent::Disconnected(DisconnectReason::ConsentExpired),
            });
        }
        self.dtls.handle_timeout(now);
        self.flush_dtls();
    }

    fn check_tuple(&self, tuple: &Tuple) -> Result<(), DropReason> {
        if self.ice.is_validated(tuple) { Ok(()) } else { Err(DropReason::UnknownTuple) }
    }

    fn flush_dtls(&mut self) {
        while let Some(datagram) = self.dtls.poll_transmit() {
            if let Some(tuple) = self.ice.selected() {
                self.queue(tuple, datagram.to_vec());
            }
        }
        while let Some(event) = self.dtls.poll_event() {
            match event {
                DtlsEvent::Connected(keys) => self.install_keys(&keys),
                DtlsEvent::ApplicationData(packet) => {
                    if self.data.len() < MAX_DATA_QUEUE {
                        self.data.push_back(packet);
                    }
                }
                DtlsEvent::Closed => self.fail(DisconnectReason::Closed),
                DtlsEvent::Failed(DtlsFailure::BadCertificate) => self.fail(DisconnectReason::BadCertificate),
                DtlsEvent::Failed(_) => self.fail(DisconnectReason::HandshakeFailed),
            }
        }
    }

    fn install_keys(&mut self, keys: &SrtpKeys) {
        let crypto = self.provider.crypto();
        match (SrtpReceiver::new(keys, crypto), SrtpSender::new(keys, crypto)) {
            (Ok(receiver), Ok(sender)) => {
                self.srtp = Some(Srtp { receiver, sender });
                self.events.push_back(TransportEvent::HandshakeCompleted);
            }
            _ => self.fail(DisconnectReason::HandshakeFailed),
        }
    }

    fn fail(&mut self, reason: DisconnectReason) {
        self.srtp = None;
        self.events.push_back(TransportEvent::Disconnected(reason));
    }

    fn queue(&mut self, tuple: Tuple, datagram: Vec<u8>) {
        if datagram.is_empty() {
            return;
        }
        if self.control.len() >= MAX_CONTROL_QUEUE {
            self.control.pop_front();
        }
        self.control.push_back((tuple, datagram));
    }
}
