//! One WebSocket's life: a `join`, a conversation, an end.
//!
//! The conversation reads and writes at the same time, in one task. All that goes to the client goes through one queue,
//! so replies and events arrive in the order in which they came about, and a client that does not read holds up nobody.

use crate::auth::Grants;
use crate::error::{Fault, Refusal, ServiceError};
use crate::events::{Attachment, End, EventSink, Queued, Wait};
use crate::inbox::{Inbox, Received};
use crate::limits::Permit;
use crate::protocol::{
    ClientMessage, CloseCode, DisplayName, Join, Joined, LeaveReason, Limits, Offer, Permissions, ServerMessage,
    Source, VERSION,
};
use crate::resume::Session;
use crate::router::Server;
use crate::service::{JoinRequest, JoinedState, OfferRequest, RoomService, SubscribeRequest};
use axum::Error;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::stream::SplitSink;
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval_at, timeout};
use tracing::{Instrument, debug, info_span};

/// How long an ending connection may take to deliver what is queued, and then to close.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

type Outlet = SplitSink<WebSocket, Message>;

/// A session with the connection that has it now.
struct Opened {
    session: Arc<Session>,
    attachment: Attachment,
    joined: ServerMessage,
}

/// Serves one WebSocket from its opening until nothing is left to do for its session.
pub(crate) async fn run<S: RoomService>(server: Arc<Server<S>>, socket: WebSocket, permit: Permit) {
    let (mut outlet, frames) = socket.split();
    let mut inbox = Inbox::new(frames, &server.config);

    let opened = match timeout(server.config.join_timeout, server.admit(&mut inbox, &mut outlet)).await {
        Ok(Ok(join)) => server.open(join).await.map_err(|error| Some(Fault::fatal(error))),
        Ok(Err(fault)) => Err(fault),
        Err(_) => Err(Some(Fault::fatal(Refusal::JoinTimeout))),
    };
    match opened {
        Ok(opened) => {
            let span = info_span!("session", room = %opened.session.room, participant = %opened.session.participant);
            attend(server, opened, inbox, outlet, permit).instrument(span).await;
        }
        Err(fault) => server.refuse(fault, &mut inbox, &mut outlet).await,
    }
}

/// Serves a session from its `joined` on.
async fn attend<S: RoomService>(
    server: Arc<Server<S>>,
    opened: Opened,
    mut inbox: Inbox,
    mut outlet: Outlet,
    permit: Permit,
) {
    let Opened { session, attachment, joined } = opened;
    let generation = attachment.generation;
    let conversation = server.converse(&session, attachment, joined, &mut inbox, &mut outlet);
    let end = match AssertUnwindSafe(conversation).catch_unwind().await {
        Ok(end) => end,
        // A fault in the service ends this session as a whole: no participant may stay whom nobody can remove.
        Err(_) => {
            session.events.close(generation);
            server.tell(Fault::fatal(ServiceError::Internal), &mut outlet).await;
            End::Fatal
        }
    };
    debug!(?end, "connection ended");
    let (reload, resume) = (server.config.reload_window, server.config.resume_window);
    let window = if end == End::GoneAway { reload.min(resume) } else { resume };
    let deadline = Instant::now() + window;
    match end {
        End::Left => server.end(&session, LeaveReason::Left).await,
        End::Fatal => server.end(&session, LeaveReason::ConnectionLost).await,
        End::Finished => server.sessions.remove(&session),
        End::TakenOver | End::Lost(_) | End::GoneAway => {}
    }
    close(close_code(end), &mut inbox, &mut outlet).await;
    drop((outlet, inbox, permit));
    if let End::Lost(_) | End::GoneAway = end {
        match session.events.wait_for_resume(generation, deadline).await {
            Wait::Resumed => {}
            Wait::Over => server.sessions.remove(&session),
            Wait::Expired => server.end(&session, LeaveReason::ConnectionLost).await,
        }
    }
}

impl<S: RoomService> Server<S> {
    /// Waits for a valid `join`. The error is what to tell the client before closing, none where the client is gone.
    async fn admit(&self, inbox: &mut Inbox, outlet: &mut Outlet) -> Result<Join, Option<Fault>> {
        loop {
            let fault = match inbox.next().await {
                Received::Message(ClientMessage::Join(join)) if join.version == VERSION => return Ok(join),
                Received::Message(ClientMessage::Join(Join { version, .. })) => {
                    Fault::fatal(Refusal::UnsupportedVersion { version })
                }
                Received::Message(_) => inbox.mistake(Refusal::NotJoined, None),
                Received::Fault(fault) => fault,
                Received::Lost(_) | Received::GoneAway => return Err(None),
            };
            if fault.fatal {
                return Err(Some(fault));
            }
            if outlet.send(frame(&fault.report(&self.counters))).await.is_err() {
                return Err(None);
            }
        }
    }

    /// Ends a connection that did not come to a session.
    async fn refuse(&self, fault: Option<Fault>, inbox: &mut Inbox, outlet: &mut Outlet) {
        let code = fault.is_some().then_some(CloseCode::Refused);
        if let Some(fault) = fault {
            self.counters.joins.count(fault.refusal.code());
            self.tell(fault, outlet).await;
        }
        close(code, inbox, outlet).await;
    }

    /// Sends a last error outside a conversation. A client that does not take it within the grace goes without.
    async fn tell(&self, fault: Fault, outlet: &mut Outlet) {
        let message = frame(&fault.report(&self.counters));
        let _ = timeout(CLOSE_GRACE, outlet.send(message)).await;
    }

    /// Resumes the session that `join` names, or lets the client into the room.
    async fn open(&self, join: Join) -> Result<Opened, ServiceError> {
        if let Some(opened) = self.resume(&join).await {
            self.counters.joins.count("resumed");
            return Ok(opened);
        }
        let grants = self.authority.admit_to(join.room.as_str(), join.token.as_deref(), SystemTime::now())?;
        // A name that the issuer gives wins, unless nobody could show it.
        let name = grants.name.clone().and_then(|name| DisplayName::try_from(name).ok()).unwrap_or(join.name);
        let (events, attachment) = EventSink::new(self.config.event_queue);
        let request = JoinRequest { room: join.room, name, grants: grants.clone() };
        // Not cancelled by anything: a participant whose connection dies now is let in, then waits to be resumed.
        let state = self.service.join(request, events.clone()).await?;
        let session = self.sessions.insert(state.room.clone(), state.participant.clone(), grants, events);
        debug!(participant = %session.participant, room = %session.room, "joined");
        self.counters.joins.count("joined");
        let joined = self.joined(&session, state, false);
        Ok(Opened { session, attachment, joined })
    }

    /// None where there is no such session (any more).
    async fn resume(&self, join: &Join) -> Option<Opened> {
        let session = self.sessions.find(join.resume.as_ref()?, &join.room)?;
        // Events first, state second: what happens in between comes twice instead of never.
        let attachment = session.events.attach(self.config.event_queue)?;
        match self.service.state(&session.participant).await {
            Ok(state) => {
                let joined = self.joined(&session, state, true);
                Some(Opened { session, attachment, joined })
            }
            Err(error) => {
                debug!(participant = %session.participant, %error, "cannot be resumed");
                if session.events.close(attachment.generation) {
                    self.end(&session, LeaveReason::ConnectionLost).await;
                }
                None
            }
        }
    }

    /// Talks to the client until one side ends it. The session's events are let go of, as the end demands.
    async fn converse(
        &self,
        session: &Session,
        attachment: Attachment,
        joined: ServerMessage,
        inbox: &mut Inbox,
        outlet: &mut Outlet,
    ) -> End {
        let Attachment { generation, replies, queue, ended } = attachment;
        let writer = write_all(outlet, joined, queue, self.config.ping_interval);
        tokio::pin!(writer);
        let end = tokio::select! {
            biased;
            // The other half is dropped only after it has said why, or together with the whole session.
            end = ended => end.unwrap_or(End::Finished),
            () = &mut writer => End::Lost(None),
            end = self.serve(session, inbox, replies) => end,
        };
        match end {
            End::Left | End::Fatal if !session.events.close(generation) => return End::TakenOver,
            End::Lost(_) | End::GoneAway => session.events.detach(generation),
            _ => {}
        }
        if matches!(end, End::Left | End::Fatal | End::Finished) {
            // Nothing can be queued any more, so the writer comes to an end; a client too slow for that misses the
            // rest.
            let _ = timeout(CLOSE_GRACE, writer).await;
        }
        end
    }

    /// Does what the client asks, one message after the other.
    async fn serve(&self, session: &Session, inbox: &mut Inbox, replies: mpsc::Sender<Queued>) -> End {
        let (service, who) = (&self.service, &session.participant);
        loop {
            let message = match inbox.next().await {
                Received::Message(message) => Ok(message),
                Received::Fault(fault) => Err(fault),
                Received::Lost(code) => return End::Lost(code),
                Received::GoneAway => return End::GoneAway,
            };
            let reply = match message {
                Ok(ClientMessage::Offer(offer)) if let Some(what) = not_granted(&session.grants, &offer) => {
                    Err(Fault::told(ServiceError::Forbidden { what }, Some(offer.id)))
                }
                Ok(ClientMessage::Offer(offer)) => {
                    let request = OfferRequest { for_good: false, sdp: offer.sdp, tracks: offer.tracks };
                    match service.offer(who, request).instrument(info_span!("offer")).await {
                        Ok(reply) => {
                            Ok(Some(ServerMessage::Answer { id: offer.id, sdp: reply.sdp, tracks: reply.tracks }))
                        }
                        Err(error) => Err(Fault::told(error, Some(offer.id))),
                    }
                }
                Ok(ClientMessage::Mute(mute)) => done(service.mute(who, &mute.track, mute.muted).await),
                Ok(ClientMessage::Subscribe(_)) if !session.grants.subscribe => {
                    Err(Fault::told(ServiceError::Forbidden { what: "subscribe" }, None))
                }
                Ok(ClientMessage::Subscribe(wish)) => {
                    let request = SubscribeRequest { tracks: wish.tracks, default: wish.default };
                    done(service.subscribe(who, request).await)
                }
                Ok(ClientMessage::Keyframe(wish)) => done(service.request_keyframe(who, &wish.track).await),
                Ok(ClientMessage::Emulate(_)) if !self.config.emulation => {
                    Err(Fault::told(ServiceError::Forbidden { what: "have a network emulated" }, None))
                }
                Ok(ClientMessage::Emulate(network)) => done(service.emulate(who, network).await),
                Ok(ClientMessage::Ping(ping)) => Ok(Some(ServerMessage::Pong { id: ping.id })),
                Ok(ClientMessage::Join(_)) => Err(inbox.mistake(Refusal::AlreadyJoined, None)),
                Ok(ClientMessage::Leave(_)) => return End::Left,
                Err(fault) => Err(fault),
            };
            let fatal = reply.as_ref().is_err_and(|fault| fault.fatal);
            let reply = reply.unwrap_or_else(|fault| Some(fault.report(&self.counters)));
            let queued = reply.is_none_or(|reply| replies.try_send(Box::new(reply)).is_ok());
            if fatal {
                return End::Fatal;
            }
            if !queued {
                return End::Lost(Some(CloseCode::TooSlow));
            }
        }
    }

    /// Forgets a session that is over and tells the service.
    async fn end(&self, session: &Session, reason: LeaveReason) {
        self.sessions.remove(session);
        self.service.leave(&session.participant, reason).await;
    }

    fn joined(&self, session: &Session, state: JoinedState, resumed: bool) -> ServerMessage {
        let limits = Limits {
            message_bytes: u32::try_from(self.config.message_bytes).unwrap_or(u32::MAX),
            messages_per_second: self.config.messages_per_second,
            resume_seconds: u32::try_from(self.config.resume_window.as_secs()).unwrap_or(u32::MAX),
            participants: state.limits.participants,
            tracks: state.limits.tracks,
            sections: state.limits.sections,
        };
        ServerMessage::Joined(Box::new(Joined {
            version: VERSION,
            ice_servers: self.service.ice_servers(&state.participant),
            room: state.room,
            participant: state.participant,
            name: state.name,
            resume_token: session.token.clone(),
            resumed,
            participants: state.participants,
            limits,
            slots: state.slots,
            speaker: state.speaker,
            permissions: Permissions {
                publish: session.grants.publishable().collect(),
                subscribe: session.grants.subscribe,
                data: session.grants.may_send_data(),
                hidden: session.grants.hidden,
                emulate: self.config.emulation,
            },
        }))
    }
}

/// Writes `joined`, then everything queued, and pings in between. Ends when the queue ends or the WebSocket fails.
async fn write_all(
    outlet: &mut Outlet,
    joined: ServerMessage,
    mut queue: mpsc::Receiver<Queued>,
    ping_interval: Duration,
) {
    let mut ping = interval_at(Instant::now() + ping_interval, ping_interval);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = frame(&joined);
    while outlet.send(next).await.is_ok() {
        next = tokio::select! {
            message = queue.recv() => match message {
                Some(message) => frame(&message),
                None => return,
            },
            _ = ping.tick() => Message::Ping(Default::default()),
        };
    }
}

/// Closes the WebSocket, or lets the client finish doing so. Waits for the client's side of it: closing TCP over unread
/// frames would destroy what was sent.
async fn close(code: Option<CloseCode>, inbox: &mut Inbox, outlet: &mut Outlet) {
    let closing = async {
        if let Some(code) = code {
            let frame = CloseFrame { code: code as u16, reason: code.reason().into() };
            outlet.send(Message::Close(Some(frame))).await?;
        }
        inbox.drain().await;
        Ok::<_, Error>(())
    };
    // A client that does not close in time is cut off.
    let _ = timeout(CLOSE_GRACE, closing).await;
}

fn close_code(end: End) -> Option<CloseCode> {
    match end {
        End::Left => Some(CloseCode::Left),
        End::Fatal => Some(CloseCode::Refused),
        End::Finished => Some(CloseCode::Removed),
        End::TakenOver => Some(CloseCode::TakenOver),
        End::Lost(code) => code,
        End::GoneAway => None,
    }
}

/// What of an offer its client may not publish. Sections that it does not name are taken as camera and microphone,
/// which the service judges.
fn not_granted(grants: &Grants, offer: &Offer) -> Option<&'static str> {
    let refused = offer.tracks.iter().find(|section| !grants.may_publish(section.source))?;
    Some(match refused.source {
        Source::Camera => "publish a camera",
        Source::Microphone => "publish a microphone",
        Source::Screen => "publish a screen",
        Source::ScreenAudio => "publish the sound of a screen",
    })
}

/// The reply to a request that has none but an error.
fn done(result: Result<(), ServiceError>) -> Result<Option<ServerMessage>, Fault> {
    result.map(|()| None).map_err(|error| Fault::told(error, None))
}

/// No message of this protocol can fail to serialise: no map, no key that is not a string.
fn frame(message: &ServerMessage) -> Message {
    Message::text(serde_json::to_string(message).unwrap_or_default())
}
