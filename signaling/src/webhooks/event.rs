//! The events as receivers get them.

use crate::protocol::{LeaveReason, Track};
use serde::Serialize;
use std::time::SystemTime;

/// Something that happened in a room.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Names the event, also when it is delivered again. Set when it is sent.
    pub id: String,
    /// What happened.
    pub event: EventKind,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Where.
    pub room: EventRoom,
    /// To whom, or whose track.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<EventParticipant>,
    /// The track of `track_published` and `track_unpublished`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track: Option<Track>,
    /// Why, of `participant_left`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<LeaveReason>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A room began.
    RoomStarted,
    /// A room is over.
    RoomFinished,
    /// Somebody entered.
    ParticipantJoined,
    /// Somebody is gone.
    ParticipantLeft,
    /// A track began.
    TrackPublished,
    /// A track is over; those of a participant that leaves come before its leaving.
    TrackUnpublished,
}

/// A room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRoom {
    /// Unique on this run of the server, where a name may come again.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whatever its creator noted.
    pub metadata: serde_json::Value,
}

/// Somebody in a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventParticipant {
    /// Id.
    pub id: String,
    /// The name that others see.
    pub name: String,
    /// `sub` of its access token.
    pub identity: Option<String>,
    /// Whatever its access token says of it.
    pub metadata: Option<serde_json::Value>,
    /// Others are not told of it.
    pub hidden: bool,
}

impl Event {
    /// An event of now about a room as a whole.
    pub fn new(event: EventKind, room: EventRoom) -> Event {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Event {
            id: String::new(),
            event,
            created_at: since.as_secs(),
            room,
            participant: None,
            track: None,
            reason: None,
        }
    }
}
