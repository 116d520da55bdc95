//! Words that both directions share: tracks, slots and what may happen to them.

use super::ids::{ParticipantId, TrackId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// A video codec, whatever its profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// AV1.
    Av1,
    /// H.264.
    H264,
    /// H.265.
    H265,
}

/// What a track shows or carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A camera.
    Camera,
    /// A microphone.
    Microphone,
    /// A shared screen or window.
    Screen,
    /// Sound that belongs to a shared screen.
    ScreenAudio,
}

/// What comes first when a receiver's network cannot take all. A higher class is served before a lower one.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Not on screen: nothing is sent, the slot stays.
    Hidden,
    /// A tile like any other.
    #[default]
    Visible,
    /// The dominant speaker's tile; the server raises the speaker's visible camera to this class by itself.
    Speaker,
    /// A shared screen; the server raises visible screens to this class by itself.
    Screen,
    /// Pinned by the user.
    Pinned,
}

/// A track that somebody publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Track {
    /// Its id.
    pub id: TrackId,
    /// Who publishes it.
    pub participant: ParticipantId,
    /// Audio or video.
    pub kind: Kind,
    /// What it shows.
    pub source: Source,
    /// Whether its publisher has muted it.
    pub muted: bool,
}

/// A section on which a client receives, and what the server sends there now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    /// The section's `a=mid` in the client's own offer.
    pub mid: String,
    /// Audio or video.
    pub kind: Kind,
    /// The track sent there; null while the slot is free.
    pub track: Option<TrackId>,
    /// How it is sent; null while the slot is free.
    pub state: Option<SlotState>,
}

/// How the track of a slot is being sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum SlotState {
    /// This layer flows.
    Sending {
        /// Index of the encoding, 0 is the lowest quality.
        encoding: u8,
        /// The encoding's rid, null where the publisher sends a single one.
        rid: Option<String>,
        /// Highest spatial layer of the encoding that is sent, 0 is the base and the only one where it has none.
        #[serde(default)]
        spatial: u8,
        /// Highest temporal layer sent, 0 is the base.
        temporal: u8,
        /// Width in pixels, once known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        width: Option<u16>,
        /// Height in pixels, once known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        height: Option<u16>,
        /// Codec as in `a=rtpmap`: `VP8`, `H264`, `opus`.
        codec: String,
        /// The encoding that the server chose. Where it differs from `encoding`, a key frame is being waited for.
        target_encoding: u8,
        /// The highest temporal layer that the server chose.
        target_temporal: u8,
        /// Why nothing higher was chosen.
        limit: Limit,
    },
    /// A layer is chosen, its first decodable picture has not come yet.
    Starting,
    /// Nothing is sent.
    Paused {
        /// Why.
        reason: PauseReason,
    },
}

/// Why no higher layer is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The publisher sends nothing higher.
    Source,
    /// The receiver asked for no more, or is capped.
    Size,
    /// The receiver's network takes no more.
    Bandwidth,
    /// The server has too much to do.
    ServerLoad,
}

/// Why nothing is sent on a slot that has a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PauseReason {
    /// The receiver's network cannot take even the lowest layer.
    Bandwidth,
    /// The server has too much to do.
    ServerLoad,
    /// The publisher muted the track.
    Muted,
    /// The receiver said that it is hidden.
    NotVisible,
    /// The receiver's section did not negotiate the publisher's codec.
    Codec,
    /// The publisher sends nothing.
    NoMedia,
    /// Not among the loudest talkers of the room.
    NotTalking,
}
