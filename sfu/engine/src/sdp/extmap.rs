//! RTP header extensions (RFC 8285): the ones that the server knows, and the ids that one m= section gave them.
//!
//! The negotiation fills an [`ExtensionMap`] for each section; `rtp/` reads and writes packets by it, without hashing.

use super::answer::{attribute, reversed};
use super::offer::{Offer, OfferedSection};
use rtc_sdp::description::common::Attribute;
use rtc_sdp::direction::Direction;

/// Declares the extensions once: the enum, their number and their URIs.
macro_rules! extensions {
    ($($(#[$doc:meta])* $name:ident = $uri:literal,)*) => {
        /// A header extension that the server reads, writes or passes on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ExtensionKind { $($(#[$doc])* $name,)* }

        impl ExtensionKind {
            /// Every kind, in declaration order.
            pub const ALL: &'static [ExtensionKind] = &[$(ExtensionKind::$name,)*];

            /// The URI of `a=extmap`.
            pub const fn uri(self) -> &'static str {
                match self { $(ExtensionKind::$name => $uri,)* }
            }

            /// The kind that `uri` names; `None` for an extension that the server does not know.
            pub fn from_uri(uri: &str) -> Option<ExtensionKind> {
                match uri { $($uri => Some(ExtensionKind::$name),)* _ => None }
            }
        }
    };
}

extensions! {
    /// Loudness and voice activity of the packet's sound (RFC 6464).
    AudioLevel = "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    /// When the packet was sent, 24 bits of 6.18 fixed point seconds.
    AbsSendTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    /// Sequence number over the whole transport, for congestion control.
    TransportCc = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    /// Which m= section the packet belongs to (RFC 9143 section 15).
    Mid = "urn:ietf:params:rtp-hdrext:sdes:mid",
    /// Which encoding the packet belongs to (RFC 8852).
    Rid = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    /// Which encoding a retransmission repairs (RFC 8852).
    RepairedRid = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    /// How the picture must be turned for display (3GPP TS 26.114).
    VideoOrientation = "urn:3gpp:video-orientation",
    /// Bounds for the receiver's jitter buffer.
    PlayoutDelay = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    /// When the frame was captured, by the capturer's clock.
    AbsCaptureTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
    /// Camera or screen content.
    ContentType = "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type",
    /// Colour space and HDR metadata.
    ColorSpace = "http://www.webrtc.org/experiments/rtp-hdrext/color-space",
    /// Times of encoding steps, for diagnosis.
    VideoTiming = "http://www.webrtc.org/experiments/rtp-hdrext/video-timing",
    /// Layer structure and frame dependencies (AV1 RTP specification, appendix A).
    DependencyDescriptor = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
    /// What a packet's frame is (RFC 9626).
    FrameMarking = "urn:ietf:params:rtp-hdrext:framemarking",
    /// Target rate and size of each layer that the publisher sends.
    VideoLayersAllocation = "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00",
}

/// Ids 1 to 14 fit the one-byte header form; 0 is padding and 15 is reserved (RFC 8285 section 4.2).
pub const MAX_ONE_BYTE_ID: u8 = 14;

const KINDS: usize = ExtensionKind::ALL.len();

/// The ids that one m= section gave to header extensions: a few bytes, since every slot has some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtensionMap {
    /// By kind; 0 where the kind was not negotiated.
    ids: [u8; KINDS],
    two_byte_allowed: bool,
}

impl ExtensionMap {
    /// Adds the ids of another section of the same BUNDLE, where ids mean the same on every section (RFC 9143 section
    /// 9.1).
    pub fn merge(&mut self, other: &ExtensionMap) {
        self.two_byte_allowed |= other.two_byte_allowed;
        for (kind, id) in other.iter() {
            self.insert(kind, id);
        }
    }

    /// The id under which `kind` travels: 1 to 14, or up to 255 where [`two_byte_allowed`](Self::two_byte_allowed).
    pub fn id(&self, kind: ExtensionKind) -> Option<u8> {
        self.ids.get(kind as usize).copied().filter(|id| *id != 0)
    }

    /// What travels under `id`; `None` for ids 0 and 15 and for those not negotiated.
    pub fn kind(&self, id: u8) -> Option<ExtensionKind> {
        let index = self.ids.iter().position(|known| *known == id).filter(|_| id != 0)?;
        ExtensionKind::ALL.get(index).copied()
    }

    /// Whether the section's packets may use the two-byte form, mixed freely with the one-byte form: both sides said
    /// `a=extmap-allow-mixed` (RFC 8285 section 6).
    pub fn two_byte_allowed(&self) -> bool {
        self.two_byte_allowed
    }

    /// Allows or forbids the two-byte form. Comes before [`insert`](Self::insert).
    pub fn set_two_byte_allowed(&mut self, allowed: bool) {
        self.two_byte_allowed = allowed;
    }

    /// Gives `kind` the id `id`. `false`, and nothing changes, where `id` is 0, 15, too large for the allowed form or
    /// taken, or `kind` has an id.
    pub fn insert(&mut self, kind: ExtensionKind, id: u8) -> bool {
        let fits = match id {
            0 | 15 => false,
            1..=MAX_ONE_BYTE_ID => true,
            _ => self.two_byte_allowed,
        };
        if !fits || self.kind(id).is_some() || self.id(kind).is_some() {
            return false;
        }
        if let Some(slot) = self.ids.get_mut(kind as usize) {
            *slot = id;
        }
        true
    }

    /// Every negotiated extension with its id, in declaration order of the kinds.
    pub fn iter(&self) -> impl Iterator<Item = (ExtensionKind, u8)> + '_ {
        ExtensionKind::ALL.iter().filter_map(|kind| Some((*kind, self.id(*kind)?)))
    }
}

#[cfg(test)]
impl ExtensionMap {
    /// These ids, in either form.
    pub(crate) fn of(ids: &[(ExtensionKind, u8)]) -> ExtensionMap {
        let mut map = ExtensionMap::default();
        map.set_two_byte_allowed(true);
        assert!(ids.iter().all(|(kind, id)| map.insert(*kind, *id)));
        map
    }
}

/// Takes from `section` what the server knows and the client uses for media in direction `flow` (from the client's
/// view). Ids stay as offered. Returns the answer's `a=extmap` lines too.
pub(super) fn negotiate(offer: &Offer, section: &OfferedSection, flow: &Direction) -> (ExtensionMap, Vec<Attribute>) {
    let mut map = ExtensionMap::default();
    map.set_two_byte_allowed(
        section.attributes.has("extmap-allow-mixed") || offer.attributes.has("extmap-allow-mixed"),
    );
    let mut lines = Vec::new();
    for value in offer.inherited(section, "extmap") {
        let Some((id, direction, kind)) = declaration(value) else { continue };
        let used = match (&direction, flow) {
            (Direction::Unspecified | Direction::SendRecv, _)
            | (Direction::SendOnly | Direction::RecvOnly, Direction::Inactive) => true,
            (direction, flow) => direction == flow,
        };
        if used && map.insert(kind, id) {
            lines.push(attribute(
                "extmap",
                match direction {
                    Direction::Unspecified => format!("{id} {}", kind.uri()),
                    direction => format!("{id}/{} {}", reversed(&direction), kind.uri()),
                },
            ));
        }
    }
    (map, lines)
}

/// Reads `<id>[/<direction>] <uri> [<attributes>]` (RFC 8285 section 8); `None` for ids above 255 and unknown
/// extensions.
fn declaration(value: &str) -> Option<(u8, Direction, ExtensionKind)> {
    let mut words = value.split_ascii_whitespace();
    let number = words.next()?;
    let (id, direction) = match number.split_once('/') {
        None => (number, Direction::Unspecified),
        Some((id, direction)) => {
            (id, Some(Direction::new(direction)).filter(|known| *known != Direction::Unspecified)?)
        }
    };
    Some((id.parse().ok()?, direction, ExtensionKind::from_uri(words.next()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_uri_names_its_own_kind() {
        for kind in ExtensionKind::ALL {
            assert_eq!(ExtensionKind::from_uri(kind.uri()), Some(*kind));
        }
        assert_eq!(ExtensionKind::from_uri("urn:ietf:params:rtp-hdrext:toffset"), None);
    }

    #[test]
    fn a_map_looks_up_both_ways() {
        let mut map = ExtensionMap::default();
        assert!(map.insert(ExtensionKind::Mid, 4));
        assert!(map.insert(ExtensionKind::AudioLevel, 1));
        assert_eq!(map.id(ExtensionKind::Mid), Some(4));
        assert_eq!(map.kind(4), Some(ExtensionKind::Mid));
        assert_eq!((map.id(ExtensionKind::Rid), map.kind(5)), (None, None));
        assert_eq!(map.iter().collect::<Vec<_>>(), [(ExtensionKind::AudioLevel, 1), (ExtensionKind::Mid, 4)]);
    }

    #[test]
    fn an_id_or_a_kind_is_given_once() {
        let mut map = ExtensionMap::default();
        assert!(map.insert(ExtensionKind::Mid, 4));
        assert!(!map.insert(ExtensionKind::Rid, 4));
        assert!(!map.insert(ExtensionKind::Mid, 5));
        assert_eq!(map.iter().count(), 1);
    }

    #[test]
    fn large_ids_need_the_two_byte_form_and_reserved_ids_never_work() {
        let mut map = ExtensionMap::default();
        assert!(!map.insert(ExtensionKind::Mid, 16));
        map.set_two_byte_allowed(true);
        assert!(!map.insert(ExtensionKind::Mid, 0));
        assert!(!map.insert(ExtensionKind::Mid, 15));
        assert!(map.insert(ExtensionKind::Mid, 255));
        assert_eq!(map.kind(255), Some(ExtensionKind::Mid));
    }
}
