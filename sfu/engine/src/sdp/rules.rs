//! Which video codec a client shall send: one that everybody in its room can receive, then what the room prefers, then,
//! of a client that cannot be told another one later, one that most browsers can receive, then what the client prefers.
//!
//! The answer lists the codecs in that order, and a client sends the first (RFC 9429 section 4.2.6). The control plane
//! decides by the same order whether a publisher must change over while the call goes on.

use crate::media::{Codec, VideoFormat};
use crate::units::Mid;
use std::cmp::Reverse;

/// What a room wants of its publishers of video.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodecRules {
    /// Best first. What is not on it comes after, in the client's order.
    pub list: Vec<VideoFormat>,
    /// Nothing but what is on the list may be sent.
    pub required: bool,
    /// How many of the others in the room can receive a codec; nobody one that is not named.
    pub receivers: Vec<(Codec, u32)>,
    /// What sections were told to send, which no new offer changes.
    pub told: Vec<(Mid, Codec)>,
    /// The client cannot be told another codec later (WHIP): participants that join after it must be able to receive
    /// this one.
    pub for_good: bool,
}

/// The rules where there are no wishes.
pub static NO_RULES: CodecRules =
    CodecRules { list: Vec::new(), required: false, receivers: Vec::new(), told: Vec::new(), for_good: false };

impl CodecRules {
    /// Whether a codec may be sent at all. Audio always may.
    pub fn allow(&self, codec: Codec) -> bool {
        codec.video_format().is_none_or(|format| !self.required || self.list.contains(&format))
    }

    /// How many can receive a codec.
    pub fn receivers_of(&self, codec: Codec) -> u32 {
        self.receivers.iter().find(|(known, _)| *known == codec).map_or(0, |(_, count)| *count)
    }

    /// Orders codecs, best first; among equals the client's order decides.
    pub fn rank(&self, codec: Codec) -> impl Ord + use<> {
        let place = self.list.iter().position(|format| Some(*format) == codec.video_format());
        let rarity = if self.for_good { rarity(codec) } else { 0 };
        (Reverse(self.receivers_of(codec)), place.unwrap_or(self.list.len()), rarity)
    }

    /// What a section was told to send.
    pub(super) fn told(&self, mid: Mid) -> Option<Codec> {
        self.told.iter().find(|(of, _)| *of == mid).map(|(_, codec)| *codec)
    }

    /// The list, for people.
    pub(super) fn names(&self) -> String {
        self.list.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ")
    }
}

/// How likely a participant that is yet to come lacks a codec: every browser has VP8 and constrained baseline H.264
/// (RFC 7742 section 5).
fn rarity(codec: Codec) -> u8 {
    match codec {
        Codec::Opus | Codec::Vp8 | Codec::H264 { profile: 0x42e0, packetization_mode: 1 } => 0,
        Codec::H264 { .. } => 1,
        Codec::Vp9 { .. } => 2,
        Codec::Av1 { .. } => 3,
        Codec::H265 { .. } => 4,
    }
}
