//! What outlives a request: a participant that was let in by HTTP, from its POST to its end.
//!
//! A session ends by DELETE, by losing its media connection, by never having one, or by the room. Whoever takes it out
//! of [`Sessions`] first tells the service, so that happens once.

use super::Server;
use super::fragment::Credentials;
use super::selection::Selection;
use super::shown::Shown;
use crate::auth::Grants;
use crate::auth::PublishGrant;
use crate::error::ServiceError;
use crate::events::{Attachment, End, EventSink};
use crate::limits::Permit;
use crate::protocol::{
    ConnectionState, DisplayName, LeaveReason, ParticipantId, PublishedSection, RoomName, ServerMessage,
};
use crate::service::{AnswerReply, JoinRequest, OfferRequest, RoomService};
use dashmap::DashMap;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::time::{Duration, Instant, sleep_until};
use tracing::{Instrument, debug, info_span};

/// A session whose media connection does not come about is removed after this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Which way media goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// To the server.
    Whip,
    /// From the server.
    Whep,
}

/// Every session of the server by its id, which is hard to guess.
#[derive(Default)]
pub(super) struct Sessions(DashMap<String, Arc<Session>>);

/// One participant that came by HTTP.
pub(super) struct Session {
    pub(super) id: String,
    pub(super) protocol: Protocol,
    pub(super) room: RoomName,
    /// What the client authenticated with; its later requests must do the same.
    pub(super) token: Option<String>,
    pub(super) participant: ParticipantId,
    events: EventSink,
    /// Held while an offer is answered, so that changes come one after the other.
    pub(super) media: Mutex<Media>,
}

/// What the client and the server last agreed on.
pub(super) struct Media {
    offer: String,
    tracks: Vec<PublishedSection>,
    /// The client's ICE credentials.
    pub(super) credentials: Credentials,
    /// Counts ICE sessions: the entity tag.
    pub(super) version: u64,
}

/// What a POST asks for.
pub(super) struct Request {
    pub(super) protocol: Protocol,
    pub(super) room: RoomName,
    pub(super) name: DisplayName,
    pub(super) grants: Grants,
    pub(super) token: Option<String>,
    /// What to play, where it is not the whole room.
    pub(super) wanted: Option<String>,
    pub(super) offer: String,
    /// What its sections carry.
    pub(super) tracks: Vec<PublishedSection>,
    pub(super) credentials: Credentials,
}

/// Why a POST made no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotBegun {
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The offer is fine, but nothing in it is of use.
    #[error("no section of the offer can be used")]
    NothingUsable,
}

impl Sessions {
    pub(super) fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.0.get(id).map(|session| session.clone())
    }

    /// True for the one caller that took it out.
    fn remove(&self, session: &Session) -> bool {
        self.0.remove(&session.id).is_some()
    }
}

impl Protocol {
    /// What of these grants a session is for: a publisher receives nothing, a player publishes nothing and others are
    /// not told of it.
    pub(super) fn narrow(self, grants: Grants, shown: Shown) -> Result<Grants, ServiceError> {
        match self {
            Protocol::Whip if !shown.is_granted(&grants) => Err(ServiceError::Forbidden { what: shown.publishing() }),
            Protocol::Whip => Ok(Grants { subscribe: false, data: false, ..grants }),
            Protocol::Whep if !grants.subscribe => Err(ServiceError::Forbidden { what: "subscribe" }),
            Protocol::Whep => Ok(Grants { publish: PublishGrant::NONE, data: false, hidden: true, ..grants }),
        }
    }

    /// As in the path.
    pub(super) fn name(self) -> &'static str {
        match self {
            Protocol::Whip => "whip",
            Protocol::Whep => "whep",
        }
    }
}

impl<S: RoomService> Server<S> {
    /// Lets somebody in and answers the offer. Must run to its end, whether the client waits for it or not.
    pub(super) async fn begin(
        self: Arc<Self>,
        request: Request,
        permit: Permit,
    ) -> Result<(Arc<Session>, AnswerReply), NotBegun> {
        let Request { protocol, room, name, grants, token, wanted, offer, tracks, credentials } = request;
        let (events, attachment) = EventSink::new(self.config.event_queue);
        let join = JoinRequest { room: room.clone(), name, grants };
        let state = self.service.join(join, events.clone()).await?;
        let participant = state.participant.clone();

        let mut selection = wanted.map(Selection::new);
        let answered = async {
            if let Some(selection) = &mut selection {
                self.service.subscribe(&participant, Selection::nothing_else()).await?;
                if let Some(change) = selection.begin(&state.participants) {
                    self.service.subscribe(&participant, change).await?;
                }
            }
            let request = OfferRequest { for_good: true, sdp: offer.clone(), tracks: tracks.clone() };
            let reply = self.service.offer(&participant, request).await?;
            let usable = match protocol {
                Protocol::Whip => reply.tracks.len(),
                Protocol::Whep => reply.slots,
            };
            if usable > 0 { Ok(reply) } else { Err(NotBegun::NothingUsable) }
        };
        let reply = match answered.await {
            Ok(reply) => reply,
            Err(error) => {
                events.close(attachment.generation);
                self.service.leave(&participant, LeaveReason::Left).await;
                return Err(error);
            }
        };
        let session = Arc::new(Session {
            id: format!("{:032x}", rand::random::<u128>()),
            protocol,
            room,
            token,
            participant,
            events,
            media: Mutex::new(Media { offer, tracks, credentials, version: 1 }),
        });
        self.sessions.0.insert(session.id.clone(), session.clone());
        let span = info_span!("session", room = %session.room, participant = %session.participant);
        tokio::spawn(self.clone().follow(session.clone(), attachment, selection, permit).instrument(span));
        Ok((session, reply))
    }

    /// Restarts ICE: the same offer again with other credentials. The caller holds `media`.
    pub(super) async fn restart(
        &self,
        session: &Session,
        media: &mut Media,
        credentials: Credentials,
    ) -> Result<AnswerReply, ServiceError> {
        let offer = credentials.put_into(&media.offer);
        let request = OfferRequest { for_good: true, sdp: offer.clone(), tracks: media.tracks.clone() };
        let reply = self.service.offer(&session.participant, request).await?;
        (media.offer, media.credentials, media.version) = (offer, credentials, media.version + 1);
        Ok(reply)
    }

    /// Ends a session. False where it has ended before.
    pub(super) async fn end(&self, session: &Session, reason: LeaveReason) -> bool {
        let first = self.sessions.remove(session);
        if first {
            session.events.over();
            self.service.leave(&session.participant, reason).await;
        }
        first
    }

    /// Reads the session's events until it is over.
    async fn follow(
        self: Arc<Self>,
        session: Arc<Session>,
        mut attachment: Attachment,
        mut selection: Option<Selection>,
        permit: Permit,
    ) {
        let connect_by = Instant::now() + CONNECT_TIMEOUT;
        let mut connected = false;
        let lost = loop {
            let heard = tokio::select! {
                end = &mut attachment.ended => match end {
                    Ok(End::Lost(_)) => None,
                    // The room ended it, or a DELETE.
                    _ => break false,
                },
                event = attachment.queue.recv() => event.map(|event| *event),
                () = sleep_until(connect_by), if !connected => break true,
            };
            let change = match heard {
                Some(ServerMessage::Connection { state, .. }) => {
                    connected = state == ConnectionState::Connected;
                    if !connected {
                        break true;
                    }
                    None
                }
                Some(event) => selection.as_mut().and_then(|selection| selection.follow(&event)),
                // There was more to say than the queue holds: the state says it all.
                None => {
                    let Some(again) = session.events.attach(self.config.event_queue) else { break false };
                    attachment = again;
                    let Ok(state) = self.service.state(&session.participant).await else { break true };
                    selection.as_mut().and_then(|selection| selection.begin(&state.participants))
                }
            };
            if let Some(change) = change
                && let Err(error) = self.service.subscribe(&session.participant, change).await
            {
                debug!(participant = %session.participant, %error, "cannot play what was asked for");
            }
        };
        if lost {
            self.end(&session, LeaveReason::ConnectionLost).await;
        } else {
            self.sessions.remove(&session);
        }
        drop(permit);
    }
}
