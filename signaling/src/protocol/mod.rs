//! The rooms protocol, version 1: every message, typed. `docs/protocol.md` tells client writers how they fit together.
//!
//! JSON text frames over one WebSocket. Each message has a `type` in kebab-case; keys are in camelCase, enum values in
//! kebab-case. Both sides ignore keys they do not know, so that optional keys can be added without a new version; a
//! client also ignores messages whose `type` it does not know, while the server answers such a message with an error.

mod client;
mod close;
mod ids;
mod media;
mod names;
mod parse;
mod schema;
mod server;

pub use client::{
    ClientMessage, Emulate, Join, Keyframe, Leave, Mute, NetworkPath, Offer, Ping, Preference, PublishedSection,
    Subscribe, TrackPreference,
};
pub use close::CloseCode;
pub use ids::{ParticipantId, ResumeToken, TrackId};
pub use media::{Kind, Limit, PauseReason, Priority, Slot, SlotState, Source, Track, VideoCodec};
pub use names::{DisplayName, InvalidName, RoomName};
pub use parse::BadMessage;
pub use schema::schema;
pub use server::{
    AnsweredSection, ConnectionState, DisconnectReason, EncodingWanted, ErrorMessage, IceServer, Joined, LeaveReason,
    Limits, OthersQuality, ParticipantInfo, Permissions, QualityDetails, RoomLimits, ServerMessage,
};

/// The version that a client names in `join`.
pub const VERSION: u32 = 1;
