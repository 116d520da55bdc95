//! What a client sends.

use super::ids::{ResumeToken, TrackId};
use super::media::{Priority, Source};
use super::names::{DisplayName, RoomName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// A message from a client to the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ClientMessage {
    /// Enters a room, or resumes a session. The first message; answered by `joined` or a fatal `error`.
    Join(Join),
    /// An SDP offer; answered by `answer` or `error` with the same id.
    Offer(Offer),
    /// Mutes or unmutes an own track.
    Mute(Mute),
    /// Says what to receive.
    Subscribe(Subscribe),
    /// Asks for a key frame of a track that the client receives.
    Keyframe(Keyframe),
    /// Has the server emulate a worse network for this client, where it runs with `--dev`.
    Emulate(Emulate),
    /// Leaves the room for good; the server closes the WebSocket with code 1000.
    Leave(Leave),
    /// Answered by `pong` with the same id.
    Ping(Ping),
}

/// Enters a room, or resumes a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Join {
    /// Protocol version: 1.
    pub version: u32,
    /// The room.
    pub room: RoomName,
    /// The name that others see.
    pub name: DisplayName,
    /// Access token, where the server wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// `resumeToken` of an earlier `joined`. Where that session is gone, this is a join like any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<ResumeToken>,
}

/// An SDP offer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// Chosen by the client; comes back in the answer.
    pub id: u64,
    /// The offer. Sections that the client sends on are `sendonly`, slots are `recvonly`.
    pub sdp: String,
    /// What the sending sections carry.
    #[serde(default)]
    pub tracks: Vec<PublishedSection>,
}

/// What a section of an offer carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishedSection {
    /// The section's `a=mid`.
    pub mid: String,
    /// What it shows.
    pub source: Source,
    /// Whether the track starts muted.
    #[serde(default)]
    pub muted: bool,
}

/// Mutes or unmutes an own track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mute {
    /// An own track.
    pub track: TrackId,
    /// New state.
    pub muted: bool,
}

/// Says what to receive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subscribe {
    /// Preferences by track; each replaces the whole earlier preference for that track.
    #[serde(default)]
    pub tracks: Vec<TrackPreference>,
    /// The preference for tracks that were never named; replaces the earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Preference>,
}

/// What to receive of one track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrackPreference {
    /// The track.
    pub track: TrackId,
    /// Whether to receive it at all; false frees its slot.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Tallest useful picture in pixels; null or absent: no limit.
    #[serde(default)]
    pub max_height: Option<u16>,
    /// What comes first when there is not enough for all.
    #[serde(default)]
    pub priority: Priority,
}

/// What to receive of tracks that were never named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preference {
    /// Whether to receive them at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Tallest useful picture in pixels; null or absent: no limit.
    #[serde(default)]
    pub max_height: Option<u16>,
    /// What comes first when there is not enough for all.
    #[serde(default)]
    pub priority: Priority,
}

/// Asks for a key frame of a track that the client receives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Keyframe {
    /// The track.
    pub track: TrackId,
}

/// Has the server emulate a network. Replaces the one before; a direction that is null or absent is as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Emulate {
    /// From the client to the server.
    #[serde(default)]
    pub up: Option<NetworkPath>,
    /// From the server to the client.
    #[serde(default)]
    pub down: Option<NetworkPath>,
}

/// One direction of an emulated network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", try_from = "UncheckedPath")]
#[schemars(!try_from)]
pub struct NetworkPath {
    /// Kilobits per second; null or absent: unlimited.
    #[serde(default)]
    pub kbps: Option<NonZeroU32>,
    /// One-way delay in milliseconds.
    #[serde(default)]
    #[schemars(range(max = 5000))]
    pub delay_ms: u16,
    /// Share of packets that are lost.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub loss: f32,
}

/// A path whose figures may make no sense.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UncheckedPath {
    #[serde(default)]
    kbps: Option<NonZeroU32>,
    #[serde(default)]
    delay_ms: u16,
    #[serde(default)]
    loss: f32,
}

/// Longest delay that is emulated, in milliseconds: what is on its way is held in memory.
const LONGEST_DELAY_MS: u16 = 5000;

impl TryFrom<UncheckedPath> for NetworkPath {
    type Error = &'static str;

    fn try_from(path: UncheckedPath) -> Result<NetworkPath, &'static str> {
        if !(0.0..=1.0).contains(&path.loss) {
            return Err("`loss` is a share from 0 to 1");
        }
        if path.delay_ms > LONGEST_DELAY_MS {
            return Err("`delayMs` is at most 5000");
        }
        Ok(NetworkPath { kbps: path.kbps, delay_ms: path.delay_ms, loss: path.loss })
    }
}

/// Leaves the room for good.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Leave {}

/// Answered by `pong`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ping {
    /// Chosen by the client; comes back in the pong.
    pub id: u64,
}

impl TrackPreference {
    /// The preference without the track.
    pub fn preference(&self) -> Preference {
        Preference { enabled: self.enabled, max_height: self.max_height, priority: self.priority }
    }
}

fn yes() -> bool {
    true
}
