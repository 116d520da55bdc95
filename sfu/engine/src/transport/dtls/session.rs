//! One DTLS association: the only file that touches `rtc-dtls`.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc_crypto::RTCCryptoProvider;
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;

use super::certificate::DtlsCertificate;
use super::client_hello::{Selection, Suite};
use super::fingerprint::Fingerprint;
use super::flight::Flight;
use super::guard::{ClearAlert, Guard};
use super::{DtlsEvent, DtlsFailure, DtlsRole};
use crate::drops::DropReason;
use crate::transport::srtp::{SrtpKeys, SrtpProfile};

/// Time from the first datagram, or from [`DtlsSession::start`] as client, to the end of the handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of application data in one record (RFC 5246 section 6.2.1).
const MAX_RECORD_DATA: usize = 1 << 14;
/// The exporter label of RFC 5764 section 4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// `rtc-dtls` keeps associations by address. There is one here, and the transport knows where it really is.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// A handshake and then an association with one participant. Sans-IO: datagrams in, datagrams and events out.
pub struct DtlsSession {
    role: DtlsRole,
    certificate: DtlsCertificate,
    remote: Arc<[Fingerprint]>,
    provider: Arc<dyn RTCCryptoProvider>,
    guard: Guard,
    flight: Flight,
    phase: Phase,
    /// A server's is made when a ClientHello has told which profile to offer.
    engine: Option<Endpoint>,
    outgoing: VecDeque<BytesMut>,
    events: VecDeque<DtlsEvent>,
}

enum Phase {
    /// Not a datagram in either direction yet.
    Idle,
    Handshaking {
        deadline: Instant,
    },
    Connected,
    Ended,
}

impl DtlsSession {
    /// A session that shows `certificate` and accepts a peer whose certificate has any of the `remote` fingerprints.
    pub fn new(
        certificate: &DtlsCertificate,
        role: DtlsRole,
        remote: Vec<Fingerprint>,
        provider: Arc<dyn RTCCryptoProvider>,
    ) -> DtlsSession {
        DtlsSession {
            role,
            certificate: certificate.clone(),
            remote: remote.into(),
            provider,
            guard: Guard::new(role),
            flight: Flight::default(),
            phase: Phase::Idle,
            engine: None,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Sends the ClientHello as client. A server waits for one: nothing happens, and no time runs.
    pub fn start(&mut self, now: Instant) {
        if self.role == DtlsRole::Server || !matches!(self.phase, Phase::Idle) {
            return;
        }
        self.phase = Phase::Handshaking { deadline: now + HANDSHAKE_TIMEOUT };
        let mut engine = Endpoint::new(PEER, TransportProtocol::UDP, None);
        let connected = self.handshake_config(None).and_then(|config| engine.connect(now, PEER, config, None));
        self.engine = Some(engine);
        match connected {
            Ok(()) => self.collect_transmits(now),
            Err(error) => self.fail(failure_of(&error)),
        }
    }

    /// Takes a datagram that came from a validated address. An error is to be counted; it ends nothing.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DropReason> {
        match self.phase {
            Phase::Ended => return Err(DropReason::DtlsRefused),
            Phase::Idle if self.role == DtlsRole::Client => return Err(DropReason::DtlsRefused),
            Phase::Idle => self.phase = Phase::Handshaking { deadline: now + HANDSHAKE_TIMEOUT },
            Phase::Handshaking { .. } | Phase::Connected => {}
        }
        let admitted = self.guard.admit(datagram)?;
        match admitted.alert {
            Some(ClearAlert::CloseNotify) => self.end(DtlsEvent::Closed),
            Some(ClearAlert::Fatal(description)) => self.fail(DtlsFailure::Alert(description)),
            None if admitted.repeated => self.flight.repeat(now, &mut self.outgoing),
            None if admitted.records.is_empty() => {}
            None => return self.feed(now, &admitted.records),
        }
        Ok(())
    }

    /// Sends application data in one record. Nothing happens where the session is not connected, or `data` is longer
    /// than a record may be (2^14 bytes).
    pub fn send(&mut self, now: Instant, data: &[u8]) {
        if matches!(self.phase, Phase::Connected)
            && data.len() <= MAX_RECORD_DATA
            && let Some(engine) = &mut self.engine
            && engine.write(now, PEER, data).is_ok()
        {
            self.collect_transmits(now);
        }
    }

    /// Says goodbye to the peer. No event follows.
    pub fn close(&mut self, now: Instant) {
        if let Some(engine) = &mut self.engine {
            engine.stop(now, PEER);
            self.collect_transmits(now);
        }
        self.events.clear();
        self.end_phase();
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<BytesMut> {
        self.outgoing.pop_front()
    }

    /// The next thing that has happened.
    pub fn poll_event(&mut self) -> Option<DtlsEvent> {
        self.events.pop_front()
    }

    /// Repeats a lost flight, or gives up on the handshake.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Phase::Handshaking { deadline } = self.phase {
            if now >= deadline {
                let refused = self.guard.refused_hello().map(|reason| DtlsFailure::Handshake(reason.into()));
                self.fail(refused.unwrap_or(DtlsFailure::Timeout));
            } else {
                self.flight.handle_timeout(now, &mut self.outgoing);
            }
        }
    }

    /// When [`Self::handle_timeout`] is due. `None` after the handshake.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Handshaking { deadline } => {
                Some(self.flight.poll_timeout().map_or(deadline, |repeat| repeat.min(deadline)))
            }
            Phase::Idle | Phase::Connected | Phase::Ended => None,
        }
    }

    /// Gives records that passed the guard to `rtc-dtls`.
    fn feed(&mut self, now: Instant, records: &[u8]) -> Result<(), DropReason> {
        if self.engine.is_none() {
            match self.handshake_config(self.guard.selection()) {
                Ok(config) => self.engine = Some(Endpoint::new(PEER, TransportProtocol::UDP, Some(config))),
                Err(error) => {
                    self.fail(failure_of(&error));
                    return Err(DropReason::DtlsFailed);
                }
            }
        }
        let Some(engine) = &mut self.engine else { return Err(DropReason::DtlsFailed) };
        let Some(result) = isolated(|| engine.read(now, PEER, None, BytesMut::from(records))) else {
            self.fail(DtlsFailure::Handshake("rtc-dtls panicked".into()));
            return Err(DropReason::DtlsFailed);
        };
        let complete =
            matches!(&result, Ok(events) if events.iter().any(|e| matches!(e, EndpointEvent::HandshakeComplete)));
        if complete {
            // Before what it sends is collected: the last flight has no timer, and is not for a peer that is refused.
            self.complete();
        }
        self.collect_transmits(now);
        match result {
            Ok(events) => events.into_iter().for_each(|event| self.handle_engine_event(event)),
            // After the handshake only an alert, received or sent under the keys, ends the association.
            Err(error) if matches!(self.phase, Phase::Connected) => {
                if matches!(error, Error::ErrAlertFatalOrClose) {
                    self.fail(DtlsFailure::Aborted);
                }
                return Err(DropReason::DtlsFailed);
            }
            Err(error) => {
                self.fail(failure_of(&error));
                return Err(DropReason::DtlsFailed);
            }
        }
        Ok(())
    }

    fn handle_engine_event(&mut self, event: EndpointEvent) {
        match event {
            EndpointEvent::ApplicationData(data) if matches!(self.phase, Phase::Connected) => {
                self.events.push_back(DtlsEvent::ApplicationData(data.freeze()));
            }
            EndpointEvent::PeerClosed => self.end(DtlsEvent::Closed),
            _ => {}
        }
    }

    /// The handshake is done: gives out the keys, if the peer is who the SDP says.
    fn complete(&mut self) {
        match self.authenticated_keys() {
            Ok(keys) => {
                self.phase = Phase::Connected;
                self.guard.establish();
                match self.role {
                    DtlsRole::Server => self.flight.stop_timer(),
                    // The server has answered it.
                    DtlsRole::Client => self.flight.forget(),
                }
                self.events.push_back(DtlsEvent::Connected(keys));
            }
            Err(failure) => self.fail(failure),
        }
    }

    /// Exports the SRTP keys. The certificate is compared again here, as `rtc-dtls` asks its verifier only where the
    /// peer sent a CertificateVerify: this is the comparison that counts.
    fn authenticated_keys(&self) -> Result<SrtpKeys, DtlsFailure> {
        let state = self.engine.as_ref().and_then(|engine| engine.get_connection_state(PEER));
        let state = state.ok_or_else(|| DtlsFailure::Handshake("no association".into()))?;
        let certificate = state.peer_certificates.first().ok_or(DtlsFailure::BadCertificate)?;
        if !is_announced(&self.remote, certificate) {
            return Err(DtlsFailure::BadCertificate);
        }
        let profile =
            SrtpProfile::PREFERENCE.into_iter().find(|ours| protection(*ours) == state.srtp_protection_profile());
        let profile = profile.ok_or_else(|| DtlsFailure::Handshake("no SRTP profile".into()))?;
        let material = state
            .export_keying_material(EXPORTER_LABEL, &[], profile.keying_material_len())
            .map_err(|error| failure_of(&error))?;
        SrtpKeys::from_exporter(profile, material.as_ref(), self.role)
            .ok_or_else(|| DtlsFailure::Handshake("short keying material".into()))
    }

    /// Moves what `rtc-dtls` sends to `outgoing`. Until the handshake is done on both sides it is a flight.
    fn collect_transmits(&mut self, now: Instant) {
        let Some(engine) = &mut self.engine else { return };
        let mut datagrams = Vec::new();
        while let Some(transmit) = engine.poll_transmit() {
            datagrams.push(transmit.message);
        }
        let is_flight = datagrams.iter().any(|datagram| datagram.first().is_some_and(|kind| is_flight_record(*kind)));
        if is_flight {
            let timed = matches!(self.phase, Phase::Handshaking { .. });
            self.flight.launch(now, datagrams, timed, &mut self.outgoing);
        } else {
            datagrams.into_iter().for_each(|datagram| self.flight.pass(datagram, &mut self.outgoing));
        }
    }

    fn fail(&mut self, failure: DtlsFailure) {
        self.end(DtlsEvent::Failed(failure));
    }

    fn end(&mut self, event: DtlsEvent) {
        if !matches!(self.phase, Phase::Ended) {
            self.events.push_back(event);
        }
        self.end_phase();
    }

    fn end_phase(&mut self) {
        self.phase = Phase::Ended;
        self.engine = None;
        self.flight.forget();
    }

    /// How `rtc-dtls` is to behave: as server with what was selected for the ClientHello, as client with all we have.
    fn handshake_config(&self, selection: Option<Selection>) -> Result<Arc<HandshakeConfig>, Error> {
        let certificate =
            Certificate::from_signing_key(vec![self.certificate.der.to_vec().into()], self.certificate.key.clone());
        let (suites, profiles) = match selection {
            Some(Selection { suite, profile }) => (suite_ids(suite).to_vec(), vec![protection(profile)]),
            None => (
                [suite_ids(Suite::ChaCha20Poly1305), suite_ids(Suite::Aes128Gcm)].concat(),
                SrtpProfile::PREFERENCE.map(protection).to_vec(),
            ),
        };
        let remote = self.remote.clone();
        ConfigBuilder::default()
            .with_crypto_provider(self.provider.clone())
            .with_certificates(vec![certificate])
            .with_cipher_suites(suites)
            .with_srtp_protection_profiles(profiles)
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            // There is no chain to verify: the fingerprint says who the peer is.
            .with_insecure_skip_verify(true)
            .with_verify_peer_certificate(Some(Arc::new(move |certificates: &[Vec<u8>], _: &[_]| {
                let announced = certificates.first().is_some_and(|certificate| is_announced(&remote, certificate));
                if announced { Ok(()) } else { Err(Error::ErrInvalidCertificate) }
            })))
            .with_server_name("webrtc".into())
            .build(self.role == DtlsRole::Client, None)
            .map(Arc::new)
    }
}

/// What `rtc-dtls` makes of input that a stranger chose; none where it panicked. Such a panic is the end of one
/// participant's association, which is not looked at again, and not of everybody's calls.
fn isolated<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

fn is_announced(fingerprints: &[Fingerprint], certificate: &[u8]) -> bool {
    fingerprints.iter().fold(false, |found, fingerprint| found | fingerprint.matches(certificate))
}

/// Flights are made of handshake messages and ChangeCipherSpec.
fn is_flight_record(kind: u8) -> bool {
    kind == super::wire::HANDSHAKE || kind == super::wire::CHANGE_CIPHER_SPEC
}

fn protection(profile: SrtpProfile) -> SrtpProtectionProfile {
    SrtpProtectionProfile::from(profile.wire())
}

/// The suites of `rtc-dtls`, by the kind of key that the server may have: an ECDSA one, as ours.
fn suite_ids(suite: Suite) -> [CipherSuiteId; 2] {
    match suite {
        Suite::ChaCha20Poly1305 => [
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
            CipherSuiteId::Tls_Ecdhe_Rsa_With_ChaCha20_Poly1305_Sha256,
        ],
        Suite::Aes128Gcm => [
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
            CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256,
        ],
    }
}

fn failure_of(error: &Error) -> DtlsFailure {
    match error {
        Error::ErrInvalidCertificate
        | Error::ErrClientCertificateRequired
        | Error::ErrCertificateVerifyNoCertificate
        | Error::ErrKeySignatureMismatch => DtlsFailure::BadCertificate,
        error => DtlsFailure::Handshake(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_panic_of_the_library_is_an_outcome() {
        assert_eq!(super::isolated(|| 7), Some(7));
        assert_eq!(super::isolated(|| -> u8 { std::panic::resume_unwind(Box::new("in the library")) }), None);
    }
}
