//! What the admin API needs from whoever runs the rooms. `sfu` implements it.

use super::model::{CreateRoom, Participant, Room, RoomStats};
use crate::error::ServiceError;
use crate::protocol::{ParticipantId, RoomName, TrackId};
use std::future::Future;

/// A message from the server to participants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// What it is about.
    pub topic: String,
    /// Whether it is text (UTF-8).
    pub is_text: bool,
    /// The message.
    pub payload: Vec<u8>,
    /// Who gets it; everybody where `None`.
    pub to: Option<Vec<ParticipantId>>,
    /// On the lossy lane.
    pub is_lossy: bool,
}

/// Rooms, as seen by an operator. Every call comes to an end by itself within seconds.
pub trait RoomAdmin: Send + Sync + 'static {
    /// Every room, by name.
    fn rooms(&self) -> Vec<Room>;

    /// A room.
    fn room(&self, room: &RoomName) -> Result<Room, ServiceError>;

    /// Makes a room before anybody is in it. An error where there is one of that name.
    fn create_room(&self, name: RoomName, request: CreateRoom) -> Result<Room, ServiceError>;

    /// Ends a room: everybody in it is removed, and told why.
    fn close_room(&self, room: &RoomName, reason: String) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Who is in a room, in the order in which they joined.
    fn participants(&self, room: &RoomName) -> Result<Vec<Participant>, ServiceError>;

    /// Removes somebody, who is told why.
    fn kick(
        &self,
        room: &RoomName,
        participant: &ParticipantId,
        reason: String,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Caps the pictures that somebody is sent. None lifts the cap.
    fn cap(
        &self,
        room: &RoomName,
        participant: &ParticipantId,
        max_height: Option<u16>,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Mutes or unmutes a track of anybody, and tells its publisher too.
    fn mute_track(
        &self,
        room: &RoomName,
        track: &TrackId,
        muted: bool,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Sends a message on the data channels of a room's members; who has none gets nothing.
    fn send_data(&self, room: &RoomName, message: Data) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// How a room does now.
    fn stats(&self, room: &RoomName) -> impl Future<Output = Result<RoomStats, ServiceError>> + Send;
}
