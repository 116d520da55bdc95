//! What the server sends.
//!
//! Every event says what is so now, not what changed by how much. Applying one twice, or one whose participant or track
//! is not known (any more), is harmless: `joined` may already contain what the first events after it say.

use super::ids::{ParticipantId, ResumeToken, TrackId};
use super::media::{Slot, Source, Track};
use super::names::{DisplayName, RoomName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A message from the server to a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum ServerMessage {
    /// The client is in the room. The whole state: it replaces everything the client knew.
    Joined(Box<Joined>),
    /// The answer to an offer.
    Answer {
        /// As in the offer.
        id: u64,
        /// The answer's SDP.
        sdp: String,
        /// The track ids of the sections that the client sends on.
        tracks: Vec<AnsweredSection>,
    },
    /// Somebody entered the room.
    ParticipantJoined {
        /// Who.
        participant: ParticipantInfo,
    },
    /// Somebody is gone, and their tracks with them.
    ParticipantLeft {
        /// Who.
        participant: ParticipantId,
        /// Why.
        reason: LeaveReason,
    },
    /// Another participant publishes a track.
    TrackPublished {
        /// The track.
        track: Track,
    },
    /// A track ended.
    TrackEnded {
        /// Which.
        track: TrackId,
    },
    /// A track's publisher muted or unmuted it.
    TrackMuted {
        /// Which.
        track: TrackId,
        /// New state.
        muted: bool,
    },
    /// What the client's slots carry now.
    Slots {
        /// Only those that changed.
        slots: Vec<Slot>,
    },
    /// There are fewer slots than tracks to receive: the client adds this many `recvonly` sections and offers again.
    SlotsWanted {
        /// Audio sections.
        audio: u16,
        /// Video sections.
        video: u16,
    },
    /// Who speaks.
    Speaker {
        /// The dominant speaker; null where nobody is.
        participant: Option<ParticipantId>,
    },
    /// How good the client's connection is, and those of others where that has changed; every few seconds.
    Quality {
        /// The client itself.
        participant: ParticipantId,
        /// 1.0 (bad) to 5.0 (excellent).
        score: f32,
        /// The figures behind the score.
        details: QualityDetails,
        /// Scores of others that have moved since the last message.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<OthersQuality>,
    },
    /// To a publisher: which encodings of a track somebody receives. It should stop encoding the others.
    Encodings {
        /// An own track.
        track: TrackId,
        /// All its encodings, lowest quality first.
        encodings: Vec<EncodingWanted>,
    },
    /// To a publisher: the codec in which a video shall be sent from now on, since others in the room lack the present
    /// one, or none does any more that the room prefers less.
    Codec {
        /// An own track.
        track: TrackId,
        /// As in `a=rtpmap`: `VP8`, `AV1`.
        codec: String,
        /// Which of the payload types of the last answer's section.
        payload_type: u8,
    },
    /// Whether media can flow between this client and the server.
    Connection {
        /// After `disconnected` the client offers again, with an ICE restart or from a new peer connection.
        state: ConnectionState,
        /// Why media stopped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<DisconnectReason>,
    },
    /// The client was removed from the room; the server closes the WebSocket with code 4002.
    Kicked {
        /// Why, for people.
        reason: String,
    },
    /// The server will stop soon: join anew, elsewhere or after a while.
    GoingAway {
        /// Why, for people.
        reason: String,
        /// Calls go on for so long, in seconds.
        seconds: u32,
    },
    /// The answer to a ping.
    Pong {
        /// As in the ping.
        id: u64,
    },
    /// Something that the client sent could not be done.
    Error(ErrorMessage),
}

/// The whole state of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// Protocol version: 1.
    pub version: u32,
    /// The room.
    pub room: RoomName,
    /// Who the client is.
    pub participant: ParticipantId,
    /// The name that others see.
    pub name: DisplayName,
    /// Resumes this session on another WebSocket; a secret.
    pub resume_token: ResumeToken,
    /// True: the session goes on, media never stopped. False: it is a new one and needs an offer.
    pub resumed: bool,
    /// The others in the room.
    pub participants: Vec<ParticipantInfo>,
    /// What the client may do.
    pub limits: Limits,
    /// The client's slots; empty before its first offer.
    pub slots: Vec<Slot>,
    /// The dominant speaker; null where nobody is.
    pub speaker: Option<ParticipantId>,
    /// What the client's access token grants.
    pub permissions: Permissions,
    /// For the client's peer connection (`RTCConfiguration.iceServers`).
    #[serde(default)]
    pub ice_servers: Vec<IceServer>,
}

/// A STUN or TURN server (W3C RTCIceServer).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IceServer {
    /// `turn:turn.example.org?transport=udp` and so on (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// Of TURN servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password, of TURN servers. It expires; a new `joined` has a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// What a client may do. Asking for more gives the error `forbidden`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Permissions {
    /// The sources that it may publish.
    pub publish: Vec<Source>,
    /// Whether it may receive media.
    pub subscribe: bool,
    /// Whether it may send data.
    pub data: bool,
    /// Whether others do not see it.
    pub hidden: bool,
    /// Whether it may have a network emulated.
    pub emulate: bool,
}

/// Somebody in the room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantInfo {
    /// Id.
    pub id: ParticipantId,
    /// The name that others see.
    pub name: DisplayName,
    /// What they publish.
    pub tracks: Vec<Track>,
    /// Who they are to the issuer of their access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What the issuer of their access token wants others to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
}

/// Limits that a client can respect beforehand; going over one gives a typed error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Largest message in bytes.
    pub message_bytes: u32,
    /// Messages per second, in the long run.
    pub messages_per_second: u32,
    /// How long a session can be resumed after its WebSocket dropped, in seconds.
    pub resume_seconds: u32,
    /// Participants in this room.
    pub participants: u32,
    /// Tracks that the client may publish.
    pub tracks: u32,
    /// Sections in an offer.
    pub sections: u32,
}

/// The part of [`Limits`] that the service decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomLimits {
    /// Participants in this room.
    pub participants: u32,
    /// Tracks that the participant may publish.
    pub tracks: u32,
    /// Sections in an offer.
    pub sections: u32,
}

/// A section of an answer on which the client sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnsweredSection {
    /// The section's `a=mid`.
    pub mid: String,
    /// The track that it publishes.
    pub track: TrackId,
}

/// Why a participant is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaveReason {
    /// It said so.
    Left,
    /// Its WebSocket dropped and did not come back in time, or broke the rules.
    ConnectionLost,
    /// Somebody with the right to do so removed it.
    Kicked,
    /// The room was closed.
    RoomClosed,
}

/// The figures behind a quality score. Loss is a share from 0 to 1; rates are in bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QualityDetails {
    /// Round trip in milliseconds, once measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f32>,
    /// Share of packets from the client that did not arrive.
    pub uplink_loss: f32,
    /// Share of packets to the client that did not arrive.
    pub downlink_loss: f32,
    /// What the client's downlink can take, estimated.
    pub downlink_estimate: u64,
    /// Media received from the client.
    pub uplink_rate: u64,
    /// Media sent to the client.
    pub downlink_rate: u64,
}

/// How good somebody else's connection is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OthersQuality {
    /// Whose.
    pub participant: ParticipantId,
    /// 1.0 (bad) to 5.0 (excellent).
    pub score: f32,
}

/// Whether somebody takes an encoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EncodingWanted {
    /// The encoding's rid; null where there is only one.
    pub rid: Option<String>,
    /// Whether somebody takes it.
    pub wanted: bool,
}

/// State of the media connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionState {
    /// ICE and DTLS are done.
    Connected,
    /// Media can no longer flow.
    Disconnected,
}

/// Why media stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DisconnectReason {
    /// No STUN check from the client for 30 s (RFC 7675).
    ConsentExpired,
    /// The client closed DTLS.
    Closed,
    /// DTLS failed or took too long.
    HandshakeFailed,
    /// The certificate does not match the fingerprint in the offer.
    BadCertificate,
    /// A fault of the server: this participant's media starts over, from a new peer connection. Its tracks have ended.
    InternalError,
}

/// Something that the client sent could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorMessage {
    /// The id of the message at fault, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// For programs; `docs/protocol.md` lists all.
    pub code: String,
    /// For developers: what is wrong.
    pub message: String,
    /// For developers: what to do about it.
    pub hint: String,
    /// Where in the message it is wrong, as in `tracks[0].source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether the server closes the WebSocket after this.
    pub fatal: bool,
}
