//! DTLS 1.2 for one participant (RFC 6347), authenticated by the fingerprints of the SDP (RFC 8122), keying SRTP (RFC
//! 5764).
//!
//! The transport of a participant owns one [`DtlsSession`]; the process owns one [`DtlsCertificate`]. The handshake
//! itself is `rtc-dtls`, which `session` alone touches. Around it, because it trusts its input and loses its timers:
//! `guard` hands it only whole, plausible handshake messages, `client_hello` chooses the SRTP profile before it does,
//! and `flight` repeats what was lost.

mod certificate;
mod client_hello;
mod fingerprint;
mod flight;
mod guard;
mod session;
mod wire;

#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use certificate::{CertificateError, DtlsCertificate};
pub use fingerprint::{Fingerprint, FingerprintError, HashKind};
pub use session::{DtlsSession, HANDSHAKE_TIMEOUT};

use super::srtp::SrtpKeys;

/// Which side of the handshake we play (RFC 5763 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// Passive: the normal case, as the browser offers `actpass` and we answer `passive`.
    Server,
    /// Active: sends the ClientHello.
    Client,
}

/// What a session tells its transport.
#[derive(Debug)]
pub enum DtlsEvent {
    /// The peer has proved that it owns a certificate with one of the SDP's fingerprints. Comes once, first.
    Connected(SrtpKeys),
    /// A decrypted record: one SCTP packet (RFC 8261).
    ApplicationData(Bytes),
    /// The peer has closed the association. Nothing follows.
    Closed,
    /// The association is unusable. Nothing follows.
    Failed(DtlsFailure),
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DtlsFailure {
    /// The peer presented no certificate, one with another fingerprint, or could not prove that it owns it.
    #[error("the peer's certificate is not the one announced in the SDP")]
    BadCertificate,
    /// No handshake within [`HANDSHAKE_TIMEOUT`].
    #[error("no DTLS handshake in time")]
    Timeout,
    /// The peer sent this fatal alert (RFC 5246 section 7.2).
    #[error("the peer sent the fatal alert {0}")]
    Alert(u8),
    /// The two sides do not agree, or a message is wrong.
    #[error("DTLS handshake: {0}")]
    Handshake(String),
    /// After the handshake, a fatal alert was received or had to be sent.
    #[error("the association was aborted")]
    Aborted,
}
