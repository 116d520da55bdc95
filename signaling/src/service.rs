//! What the protocol needs from whoever runs the rooms. `sfu` implements it; tests script it.

use crate::auth::Grants;
use crate::error::ServiceError;
use crate::events::EventSink;
use crate::protocol::{
    AnsweredSection, DisplayName, Emulate, IceServer, LeaveReason, ParticipantId, ParticipantInfo, Preference,
    PublishedSection, RoomLimits, RoomName, Slot, TrackId, TrackPreference,
};
use std::future::Future;

/// Rooms, as seen from one client's session. Every call must come to an end by itself within seconds.
///
/// `join` and `leave` always run to their end. The others may be dropped at an await when the client's WebSocket ends;
/// the implementation stays consistent when that happens.
pub trait RoomService: Send + Sync + 'static {
    /// Lets somebody into a room. `events` is attached already and is the participant's for as long as it stays, over
    /// any number of WebSockets: hand it to the room **first**, take the returned state **after** that. What happens
    /// between the two then reaches the client twice (in the state and as an event) instead of never; events bear
    /// repetition.
    fn join(
        &self,
        request: JoinRequest,
        events: EventSink,
    ) -> impl Future<Output = Result<JoinedState, ServiceError>> + Send;

    /// The whole state again, for a client that resumes. Called after its new WebSocket was attached to the events. An
    /// error ends the session, and the client joins anew.
    fn state(&self, participant: &ParticipantId) -> impl Future<Output = Result<JoinedState, ServiceError>> + Send;

    /// Answers an SDP offer.
    fn offer(
        &self,
        participant: &ParticipantId,
        request: OfferRequest,
    ) -> impl Future<Output = Result<AnswerReply, ServiceError>> + Send;

    /// ICE servers for this participant, who may be in a network that lets nothing through to us. The server itself
    /// needs none.
    fn ice_servers(&self, participant: &ParticipantId) -> Vec<IceServer>;

    /// Mutes or unmutes a track of this participant.
    fn mute(
        &self,
        participant: &ParticipantId,
        track: &TrackId,
        muted: bool,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Says what this participant wants to receive.
    fn subscribe(
        &self,
        participant: &ParticipantId,
        request: SubscribeRequest,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Asks the publisher of a track that this participant receives for a key frame.
    fn request_keyframe(
        &self,
        participant: &ParticipantId,
        track: &TrackId,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Emulates a worse network for this participant. Called only where [`crate::SignalingConfig::emulation`] allows
    /// it.
    fn emulate(
        &self,
        participant: &ParticipantId,
        network: Emulate,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// The participant is gone. Called once after each successful `join`, except where the service itself ended the
    /// session by [`EventSink::finish`].
    fn leave(&self, participant: &ParticipantId, reason: LeaveReason) -> impl Future<Output = ()> + Send;
}

/// Who wants to enter which room, with a right to.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinRequest {
    /// The room.
    pub room: RoomName,
    /// The name that others shall see.
    pub name: DisplayName,
    /// What they may do there; they are for this room.
    pub grants: Grants,
}

/// A participant's view of its room.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinedState {
    /// Who it is.
    pub participant: ParticipantId,
    /// The room.
    pub room: RoomName,
    /// The name that others see.
    pub name: DisplayName,
    /// The others.
    pub participants: Vec<ParticipantInfo>,
    /// What it may do.
    pub limits: RoomLimits,
    /// Its slots.
    pub slots: Vec<Slot>,
    /// The dominant speaker.
    pub speaker: Option<ParticipantId>,
}

/// An SDP offer.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferRequest {
    /// The client cannot be told to change its codec later: the answer must choose one that serves for the whole call.
    pub for_good: bool,
    /// The offer.
    pub sdp: String,
    /// What its sending sections carry.
    pub tracks: Vec<PublishedSection>,
}

/// The answer to an offer.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerReply {
    /// The answer.
    pub sdp: String,
    /// The tracks that the client's sending sections publish.
    pub tracks: Vec<AnsweredSection>,
    /// How many slots the client has now.
    pub slots: usize,
}

/// What a participant wants to receive.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscribeRequest {
    /// Preferences by track; each replaces the whole earlier one.
    pub tracks: Vec<TrackPreference>,
    /// The new preference for tracks that were never named.
    pub default: Option<Preference>,
}
