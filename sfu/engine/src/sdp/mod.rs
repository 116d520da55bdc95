//! SDP answers: the server never offers (RFC 9429 JSEP, RFC 3264, RFC 9143 BUNDLE).
//!
//! The engine keeps one [`Negotiation`] for each peer connection, looks at an offer with [`peek_transport`] to choose
//! credentials, and lets [`Negotiation::handle_offer`] answer it. What the answer settled comes back as plain values.
//!
//! `negotiation` decides, `offer` and `transport` read text, `codecs`, `extmap` and `simulcast` each settle one part of
//! an m= section, `answer` writes text. Syntax is the work of `rtc-sdp`.

mod answer;
mod codecs;
mod data;
mod error;
pub mod extmap;
mod negotiation;
mod offer;
mod rules;
mod simulcast;
mod transport;

#[cfg(test)]
mod tests;

pub use codecs::{Feedback, PayloadMapping};
pub use error::NegotiationError;
pub use extmap::{ExtensionKind, ExtensionMap};
pub use negotiation::Negotiation;
pub use rules::{CodecRules, NO_RULES};
pub use transport::{RemoteTransport, Setup, peek_transport};

use crate::command::PublishHint;
use crate::media::{MediaKind, Sources};
use crate::net::Protocol;
use crate::units::{Mid, PayloadType, Rid, Ssrc};
use std::net::SocketAddr;

/// Longest offer that is read, in bytes. A browser spends some 4 KB on a video section.
pub const MAX_OFFER_BYTES: usize = 256 * 1024;

/// Most m= sections that are read, whatever the settings allow.
pub const MAX_SECTIONS: usize = 256;

/// Most encodings of a simulcast section; further ones are left out of the answer.
pub const MAX_ENCODINGS: usize = 3;

/// RTCP canonical name of everything that the server sends (RFC 7022); also goes into RTCP SDES.
pub const CNAME: &str = "sluice";

/// Our side of a peer connection: what an answer says about the server.
#[derive(Clone, Copy, Debug)]
pub struct LocalParameters<'a> {
    /// Our ICE credentials for this peer connection; new ones after the client restarted ICE.
    pub ice: &'a IceParameters,
    /// Our DTLS certificate's fingerprint as `a=fingerprint` wants it, e.g. `sha-256 AA:BB:..`.
    pub fingerprint: &'a str,
    /// Where clients reach the server, best first.
    pub candidates: &'a [CandidateAddress],
    /// Most m= sections, stopped ones included, that one offer may have; never above [`MAX_SECTIONS`].
    pub max_sections: usize,
    /// Most sections that the client may send on; further ones are rejected.
    pub max_tracks: usize,
    /// What the client says of its sending sections.
    pub published: &'a [PublishHint],
    /// What the client may send; sections of other sources are rejected.
    pub may_publish: Sources,
    /// Whether the client may receive media; if not, its receiving sections are rejected.
    pub can_subscribe: bool,
    /// Which video codec it shall send.
    pub codecs: &'a CodecRules,
}

/// ICE credentials (RFC 8839 section 5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceParameters {
    /// User name fragment.
    pub ufrag: String,
    /// Password.
    pub pwd: String,
}

/// One host candidate of the server. TCP candidates are passive (RFC 6544).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandidateAddress {
    /// Where the client sends to.
    pub address: SocketAddr,
    /// UDP or TCP.
    pub protocol: Protocol,
}

/// What an offer and its answer settled.
#[derive(Clone, Debug)]
pub struct Negotiated {
    /// The answer's SDP.
    pub answer: String,
    /// Every section in m-line order. Only a stopped section that no longer has a usable mid is missing.
    pub sections: Vec<Section>,
    /// The client's transport. Where the offer stopped every section, that of the offer before.
    pub remote: RemoteTransport,
    /// Our DTLS role as answered: [`Setup::Passive`] (DTLS server) unless the client insisted on that part.
    pub setup: Setup,
}

/// One m= section as it stands after the answer.
#[derive(Clone, Debug)]
pub struct Section {
    /// Which m-line, from 0.
    pub index: usize,
    /// Its name; a stopped section's place may be taken later by a section with another mid.
    pub mid: Mid,
    /// Audio or video; `None` for data channels and what the server does not know.
    pub kind: Option<MediaKind>,
    /// What the section is for.
    pub role: SectionRole,
    /// Ids of the header extensions; no extension where the section is rejected.
    pub extensions: ExtensionMap,
    /// Accepted codecs in the client's order of preference; empty where the section is rejected.
    pub codecs: Vec<PayloadMapping>,
    /// Payload type of redundant audio (RFC 2198) over the section's Opus, where the client takes or sends it.
    pub red: Option<PayloadType>,
}

/// What a section is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionRole {
    /// The client sends: it offered `sendonly`, or `sendrecv` of which the server takes the sending half.
    Publish(PublishSection),
    /// The client receives: it offered `recvonly`.
    Slot(SlotSection),
    /// Data channels (RFC 8841).
    Data,
    /// Nobody sends for now; the section and its slot's SSRCs stay.
    Inactive,
    /// Stopped by the client, or refused by the server (port 0).
    Rejected,
}

/// What the client said about the media that it sends on a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishSection {
    /// At least one, at most [`MAX_ENCODINGS`], in the client's order.
    pub encodings: Vec<DeclaredEncoding>,
    /// Value of `a=msid`: media stream id, then the track id if there is one (RFC 8830).
    pub msid: Option<String>,
}

/// One encoding as declared. What is not declared shows in the RTP header extensions mid, rid and repaired-rid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeclaredEncoding {
    /// Its name where the client simulcasts by rid (RFC 8853).
    pub rid: Option<Rid>,
    /// Its SSRC. Next to a rid it is only what the order of the `a=ssrc` lines suggests: a rid seen in RTP wins.
    pub ssrc: Option<Ssrc>,
    /// SSRC of its retransmissions (`ssrc-group:FID`).
    pub rtx_ssrc: Option<Ssrc>,
    /// Whether the client says that it starts paused (`~`).
    pub paused: bool,
}

/// What the server sends with on a slot. Both numbers stay while the section keeps its mid and is not stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSection {
    /// Media.
    pub ssrc: Ssrc,
    /// Retransmissions; `None` where no codec has an RTX payload type.
    pub rtx_ssrc: Option<Ssrc>,
    /// How the client reports what arrives.
    pub feedback: SlotFeedback,
}

/// How a client reports what arrives on a slot, beside receiver reports (RFC 3550), which all send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotFeedback {
    /// By transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportCc,
    /// By RFC 8888.
    Ccfb,
    /// By receiver reports alone, or REMB.
    Reports,
}
