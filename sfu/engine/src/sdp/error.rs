//! Why an offer is refused as a whole. What concerns one section only is answered by rejecting that section.

use super::{MAX_OFFER_BYTES, MAX_SECTIONS};

/// Why an offer was refused. The state stays as it was before the offer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// Longer than [`MAX_OFFER_BYTES`].
    #[error("the offer is {size} bytes long")]
    TooLarge {
        /// Its length in bytes.
        size: usize,
    },
    /// Not SDP.
    #[error("line {line} of the offer is malformed: {what}")]
    Malformed {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// More m= sections than allowed.
    #[error("the offer has more than {limit} m= sections")]
    TooManySections {
        /// How many are allowed.
        limit: usize,
    },
    /// No m= section at all, or every one is stopped before there ever was a transport.
    #[error("the offer has no m= section in use")]
    NothingOffered,
    /// Fewer m= sections than the offer before: against RFC 3264 section 8.
    #[error("the offer has {now} m= sections, the one before had {before}")]
    SectionsRemoved {
        /// Sections of the offer before.
        before: usize,
        /// Sections of this one.
        now: usize,
    },
    /// A section without mid, or with one that RTP cannot carry.
    #[error("m= section {index} has no usable a=mid")]
    MidInvalid {
        /// Which section, from 0.
        index: usize,
    },
    /// Two sections in use have the same mid.
    #[error("mid {mid} names two m= sections")]
    DuplicateMid {
        /// The mid.
        mid: String,
    },
    /// A section outside of the BUNDLE group.
    #[error("m= section {mid} is not in the BUNDLE group")]
    NotBundled {
        /// The section.
        mid: String,
    },
    /// A section without rtcp-mux.
    #[error("m= section {mid} does not multiplex RTP and RTCP")]
    NoRtcpMux {
        /// The section.
        mid: String,
    },
    /// A section without DTLS-SRTP.
    #[error("m= section {mid} has the profile {profile}")]
    InsecureProfile {
        /// The section.
        mid: String,
        /// Its profile.
        profile: String,
    },
    /// No `a=fingerprint`.
    #[error("the offer has no certificate fingerprint")]
    MissingFingerprint,
    /// Only fingerprints by hash functions that are broken or unknown.
    #[error("the offer has no certificate fingerprint by SHA-256, SHA-384 or SHA-512")]
    UnsupportedFingerprint,
    /// No `a=ice-ufrag` and `a=ice-pwd`, or ones that RFC 8839 does not allow.
    #[error("the offer has no usable ICE credentials")]
    MissingIceCredentials,
    /// A DTLS role other than active, passive and actpass.
    #[error("the offer has the DTLS role {setup}")]
    UnsupportedSetup {
        /// The role.
        setup: String,
    },
    /// Two bundled sections use one payload type for different codecs.
    #[error("payload type {payload_type} means different codecs in different m= sections")]
    PayloadTypeConflict {
        /// The payload type.
        payload_type: u8,
    },
    /// Two bundled sections use one id for different header extensions.
    #[error("header extension id {id} means different extensions in different m= sections")]
    ExtensionConflict {
        /// The id.
        id: u8,
    },
    /// A section that the client sends on offers none of the codecs that its room requires.
    #[error("m= section {mid} offers none of the video codecs that this room requires: {required}")]
    CodecRequired {
        /// The section.
        mid: String,
        /// Names of the codecs, with commas.
        required: String,
    },
}

impl NegotiationError {
    /// Machine-readable name for the rooms protocol.
    pub fn code(&self) -> &'static str {
        match self {
            NegotiationError::TooLarge { .. } => "offer-too-large",
            NegotiationError::Malformed { .. } => "offer-malformed",
            NegotiationError::TooManySections { .. } => "too-many-sections",
            NegotiationError::NothingOffered => "nothing-offered",
            NegotiationError::SectionsRemoved { .. } => "sections-removed",
            NegotiationError::MidInvalid { .. } => "mid-invalid",
            NegotiationError::DuplicateMid { .. } => "duplicate-mid",
            NegotiationError::NotBundled { .. } => "not-bundled",
            NegotiationError::NoRtcpMux { .. } => "no-rtcp-mux",
            NegotiationError::InsecureProfile { .. } => "insecure-profile",
            NegotiationError::MissingFingerprint => "missing-fingerprint",
            NegotiationError::UnsupportedFingerprint => "unsupported-fingerprint",
            NegotiationError::MissingIceCredentials => "missing-ice-credentials",
            NegotiationError::UnsupportedSetup { .. } => "unsupported-setup",
            NegotiationError::PayloadTypeConflict { .. } => "payload-type-conflict",
            NegotiationError::ExtensionConflict { .. } => "extension-conflict",
            NegotiationError::CodecRequired { .. } => "codec-required",
        }
    }

    /// What the client's author should do about it.
    pub fn hint(&self) -> String {
        match self {
            NegotiationError::TooLarge { .. } => {
                format!(
                    "Offers may have {MAX_OFFER_BYTES} bytes. Reuse stopped transceivers instead of adding new ones."
                )
            }
            NegotiationError::Malformed { .. } => {
                "Send localDescription.sdp as the browser made it, with its line ends.".into()
            }
            NegotiationError::TooManySections { limit } => format!(
                "Stop transceivers that you no longer need, so that their places are reused, and stay within {limit} \
                 (never above {MAX_SECTIONS})."
            ),
            NegotiationError::NothingOffered => {
                "Add a transceiver, sendonly to publish or recvonly to receive, before you create the offer.".into()
            }
            NegotiationError::SectionsRemoved { .. } => {
                "An offer keeps every earlier m= section; stop one by port 0. A new peer connection must offer new ICE \
                 credentials and a new certificate."
                    .into()
            }
            NegotiationError::MidInvalid { .. } => {
                "Give every m= section an a=mid of 1 to 16 visible ASCII characters.".into()
            }
            NegotiationError::DuplicateMid { .. } => "Give every m= section a mid of its own.".into(),
            NegotiationError::NotBundled { .. } => {
                "All media travels over one transport: put every mid into one a=group:BUNDLE (bundlePolicy max-bundle)."
                    .into()
            }
            NegotiationError::NoRtcpMux { .. } => "Add a=rtcp-mux (rtcpMuxPolicy require).".into(),
            NegotiationError::InsecureProfile { .. } => {
                "Offer UDP/TLS/RTP/SAVPF: media is sent over DTLS-SRTP only.".into()
            }
            NegotiationError::MissingFingerprint => {
                "Add a=fingerprint with the SHA-256 of your DTLS certificate.".into()
            }
            NegotiationError::UnsupportedFingerprint => "Hash your DTLS certificate with SHA-256.".into(),
            NegotiationError::MissingIceCredentials => {
                "Add a=ice-ufrag (4 to 256 characters) and a=ice-pwd (22 to 256 characters).".into()
            }
            NegotiationError::UnsupportedSetup { .. } => "Offer a=setup:actpass.".into(),
            NegotiationError::PayloadTypeConflict { .. } => {
                "Bundled m= sections must give a payload type the same codec and parameters.".into()
            }
            NegotiationError::ExtensionConflict { .. } => {
                "Bundled m= sections must give a header extension id the same URI.".into()
            }
            NegotiationError::CodecRequired { required, .. } => {
                format!("Offer one of {required} too, or publish from a browser that has one.")
            }
        }
    }
}
