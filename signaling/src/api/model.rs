//! What the admin API says, in camelCase as the rooms protocol does. Rates are bits per second, shares go from 0 to 1.

use crate::protocol::{Kind, PauseReason, Priority, Source, VideoCodec};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A room.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Room {
    /// Its name.
    pub name: String,
    /// Seconds since 1970 at which it began.
    pub created_at: u64,
    /// Who is in it, the hidden too.
    pub participants: u32,
    /// Tracks that are published in it.
    pub tracks: u32,
    /// Participants that it may have.
    pub max_participants: u32,
    /// Whatever its creator noted.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Value,
    /// Seconds that it stays while nobody is in it.
    pub empty_seconds: u64,
    /// In which codecs its video is sent.
    pub codecs: CodecPolicy,
}

/// In which codecs the video of a room is sent, best first. First of all each publisher is told to use one that
/// everybody in the room can receive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum CodecPolicy {
    /// These rather than others; an empty list leaves it to the publishers.
    Prefer(Vec<VideoCodec>),
    /// Only these: offers to publish video in none of them are refused.
    Require(Vec<VideoCodec>),
}

impl Default for CodecPolicy {
    fn default() -> Self {
        CodecPolicy::Prefer(Vec::new())
    }
}

impl CodecPolicy {
    /// The codecs, and whether there may be no others.
    pub fn list(&self) -> (&[VideoCodec], bool) {
        match self {
            CodecPolicy::Prefer(list) => (list, false),
            CodecPolicy::Require(list) => (list, true),
        }
    }

    /// Why it makes no sense, where that is so.
    pub fn fault(&self) -> Option<&'static str> {
        let (list, required) = self.list();
        let repeats =
            list.iter().enumerate().any(|(place, codec)| list.iter().take(place).any(|before| before == codec));
        match (repeats, required && list.is_empty()) {
            (true, _) => Some("a codec is named twice"),
            (_, true) => Some("without a codec nobody could publish video"),
            _ => None,
        }
    }
}

/// How a room shall be.
#[derive(Clone, Debug, Deserialize, PartialEq, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateRoom {
    /// 1 to 64 of `A-Z a-z 0-9 - . _ ~`.
    #[schema(example = "daily")]
    pub name: String,
    /// Participants that it may have; the server's limit where absent, and never above it.
    #[serde(default)]
    pub max_participants: Option<u32>,
    /// Whatever you want to note. Webhooks carry it too.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: serde_json::Value,
    /// Seconds that it stays while nobody is in it: 300 where absent, at most a day.
    #[serde(default)]
    pub empty_seconds: Option<u64>,
    /// In which codecs its video is sent; as the server's settings say where absent.
    #[serde(default)]
    pub codecs: Option<CodecPolicy>,
}

/// Somebody in a room.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    /// Its id.
    pub id: String,
    /// The name that others see.
    pub name: String,
    /// `sub` of its access token.
    pub identity: Option<String>,
    /// Whatever its access token says of it.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<serde_json::Value>,
    /// Seconds since 1970 at which it joined.
    pub joined_at: u64,
    /// Whether media can flow.
    pub connected: bool,
    /// Others are not told of it: a player, or by its access token.
    pub hidden: bool,
    /// How good its connection is: 1.0 (bad) to 5.0 (excellent); null before it was measured.
    pub quality: Option<f32>,
    /// Tallest picture that it is sent, where the API has capped that.
    pub max_height: Option<u16>,
    /// What it publishes.
    pub tracks: Vec<Track>,
}

/// A published track.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Track {
    /// Its id.
    pub id: String,
    /// Audio or video.
    pub kind: Kind,
    /// What it shows.
    pub source: Source,
    /// Whether it is muted.
    pub muted: bool,
}

/// Why somebody is removed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Removal {
    /// Why, for people: clients are told.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What a participant is sent.
#[derive(Clone, Debug, Deserialize, PartialEq, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeParticipant {
    /// Tallest picture that it is sent, in pixels; null: as it asks for.
    pub max_height: Option<u16>,
}

/// How a track shall be.
#[derive(Clone, Debug, Deserialize, PartialEq, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeTrack {
    /// Whether it is muted. Its publisher is told, and may change it again.
    pub muted: bool,
}

/// How a room does, in figures.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoomStats {
    /// Its name.
    pub name: String,
    /// One entry for each participant.
    pub participants: Vec<ParticipantStats>,
}

/// How a participant does.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantStats {
    /// Who.
    pub id: String,
    /// The name that others see.
    pub name: String,
    /// `udp` or `tcp`; null while media cannot flow.
    pub protocol: Option<String>,
    /// Round trip in milliseconds, once measured.
    pub rtt_ms: Option<f32>,
    /// Media received from it.
    pub uplink_rate: u64,
    /// Media sent to it.
    pub downlink_rate: u64,
    /// Share of packets to it that it reports lost.
    pub downlink_loss: f32,
    /// Jitter that it reports, in milliseconds.
    pub downlink_jitter_ms: f32,
    /// What its downlink can carry, estimated.
    pub downlink_estimate: u64,
    /// What all its video could use.
    pub downlink_demand: u64,
    /// What it publishes.
    pub tracks: Vec<TrackStats>,
    /// What it receives.
    pub slots: Vec<SlotStats>,
}

/// How a published track does.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrackStats {
    /// Its id.
    pub id: String,
    /// Audio or video.
    pub kind: Kind,
    /// What it shows.
    pub source: Source,
    /// Whether it is muted.
    pub muted: bool,
    /// As in `a=rtpmap`; null before the first packet.
    pub codec: Option<String>,
    /// How many receive it.
    pub subscribers: u32,
    /// Its encodings, lowest quality first.
    pub encodings: Vec<EncodingStats>,
}

/// How an encoding arrives.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EncodingStats {
    /// Its rid; null where there is only one.
    pub rid: Option<String>,
    /// Its source.
    pub ssrc: Option<u32>,
    /// Whether media flows.
    pub active: bool,
    /// Whether the publisher should send it; false where nobody takes it.
    pub wanted: bool,
    /// Width in pixels.
    pub width: Option<u16>,
    /// Height in pixels.
    pub height: Option<u16>,
    /// Frames per second.
    pub frame_rate: f32,
    /// Temporal layers that flow.
    pub temporal_layers: u8,
    /// Rate.
    pub rate: u64,
    /// Packets received.
    pub packets: u64,
    /// Packets that never came.
    pub packets_lost: u64,
    /// Jitter in milliseconds.
    pub jitter_ms: f32,
}

/// What a receiver gets on one of its sections, and why.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotStats {
    /// The section.
    pub mid: String,
    /// Audio or video.
    pub kind: Kind,
    /// The track that it carries; null while it is free.
    pub track: Option<String>,
    /// What is sent of it.
    pub state: SlotSending,
    /// Why nothing is sent, where that is so.
    pub pause_reason: Option<PauseReason>,
    /// The encoding that is sent, 0 is the lowest.
    pub encoding: Option<u8>,
    /// Its rid.
    pub rid: Option<String>,
    /// Highest temporal layer that is sent.
    pub temporal: Option<u8>,
    /// The encoding that the allocator chose. Where it differs from `encoding`, a key frame is being waited for.
    pub target_encoding: Option<u8>,
    /// Highest temporal layer that the allocator chose.
    pub target_temporal: Option<u8>,
    /// What the receiver asked for.
    pub priority: Priority,
    /// Tallest picture as asked for and as capped; null: no limit.
    pub max_height: Option<u16>,
    /// Packets sent; counts modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent; counts modulo 2^32.
    pub bytes: u32,
    /// Packets that the receiver reports lost so far.
    pub packets_lost: i32,
}

/// A message to participants, on their data channels. It has `text` or `base64`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SendData {
    /// What it is about, at most 64 bytes; empty where absent.
    #[serde(default)]
    pub topic: String,
    /// The message as text.
    pub text: Option<String>,
    /// The message as bytes, in base64 (RFC 4648 section 4).
    pub base64: Option<String>,
    /// Ids of the participants that get it; everybody in the room where absent.
    pub to: Option<Vec<String>>,
    /// Sent once and in no order, for what is soon out of date.
    #[serde(default)]
    pub lossy: bool,
}

/// What is sent on a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SlotSending {
    /// It has no track.
    Free,
    /// Media flows.
    Sending,
    /// A layer is chosen, its first decodable picture has not come yet.
    Starting,
    /// Nothing is sent.
    Paused,
}
