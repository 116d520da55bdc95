//! Sessions by their resume token, so that a client that lost its WebSocket finds its own again.
//!
//! A session lives from `join` to `leave`. While its WebSocket is gone it waits, at most
//! [`crate::SignalingConfig::resume_window`], in the task of the connection that it lost.

use crate::auth::Grants;
use crate::events::EventSink;
use crate::protocol::{ParticipantId, ResumeToken, RoomName};
use dashmap::DashMap;
use std::sync::Arc;

/// Every session of the server; as many as it has participants.
#[derive(Default)]
pub(crate) struct Sessions(DashMap<ResumeToken, Arc<Session>>);

/// One participant's session.
pub(crate) struct Session {
    pub(crate) token: ResumeToken,
    pub(crate) room: RoomName,
    pub(crate) participant: ParticipantId,
    /// What its token granted when it joined.
    pub(crate) grants: Grants,
    pub(crate) events: EventSink,
}

impl Sessions {
    /// Adds a session under a new token.
    pub(crate) fn insert(
        &self,
        room: RoomName,
        participant: ParticipantId,
        grants: Grants,
        events: EventSink,
    ) -> Arc<Session> {
        let token = ResumeToken(format!("{:032x}", rand::random::<u128>()));
        let session = Arc::new(Session { token: token.clone(), room, participant, grants, events });
        self.0.insert(token, session.clone());
        session
    }

    /// The session of `token`, where it is one of `room`.
    pub(crate) fn find(&self, token: &ResumeToken, room: &RoomName) -> Option<Arc<Session>> {
        self.0.get(token).filter(|session| session.room == *room).map(|session| session.clone())
    }

    /// Forgets a session that is over.
    pub(crate) fn remove(&self, session: &Session) {
        self.0.remove(&session.token);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
