//! The control plane: it knows the rooms and their participants, passes the participants' requests to the shards, and
//! passes the shards' events to the participants.
//!
//! It implements [`RoomService`], which the WebSocket, WHIP and WHEP sessions of `signaling` call. The participants of
//! one room may be on several shards (`placement`). The directory's locks are taken before a room's lock, and no lock
//! is held across an await.

mod admin;
mod codecs;
mod convert;
mod figures;
mod placement;
mod room;

use crate::logs::Sparing;
use crate::settings::{LimitSettings, Settings};
use crate::shard::{ShardHandle, ShardInput};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use parking_lot::{Mutex, RwLock};
use placement::Placement;
use room::{Member, Room, Terms};
use sfu_engine::Command;
use sfu_engine::event::{Answer, DisconnectReason, Event, Quality};
use sfu_engine::ids::{ParticipantId, RequestId, RoomId};
use sfu_engine::report::ParticipantReport;
use sfu_engine::sdp::NegotiationError;
use signaling::api::model::CodecPolicy;
use signaling::protocol::{self as wire, LeaveReason, ServerMessage};
use signaling::webhooks::{Event as WebhookEvent, EventKind, Webhooks};
use signaling::{
    AnswerReply, EventSink, IceServers, JoinRequest, JoinedState, OfferRequest, RoomService, ServiceError,
    SubscribeRequest,
};
use stats::ControlPlane;
use stats::quality::Conditions;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};

const GONE: ServiceError = ServiceError::NotFound { what: "participant" };

/// Every room of the node.
pub(crate) struct Rooms {
    limits: LimitSettings,
    /// Of rooms that nobody made beforehand, or whose maker said nothing of it.
    codecs: CodecPolicy,
    /// How long a better codec must be possible before it is returned to.
    codec_patience: Duration,
    shards: Vec<ShardHandle>,
    placement: Placement,
    directory: DashMap<wire::RoomName, Arc<Mutex<Room>>>,
    by_id: DashMap<RoomId, Arc<Mutex<Room>>>,
    members: DashMap<ParticipantId, Arc<Mutex<Room>>>,
    /// Who waits for the answer to which offer. Leaves with the participant, so that nobody waits for an answer that
    /// cannot come.
    answers: DashMap<ParticipantId, (RequestId, oneshot::Sender<Result<Answer, NegotiationError>>)>,
    /// Who waits for which report of a shard.
    reports: DashMap<RequestId, oneshot::Sender<Vec<ParticipantReport>>>,
    webhooks: Webhooks,
    /// What clients are told.
    ice_servers: RwLock<IceServers>,
    /// For tasks that look at a room later.
    this: Weak<Rooms>,
    next_id: AtomicU64,
    draining: AtomicBool,
    counters: Arc<ControlPlane>,
}

impl Rooms {
    pub(crate) fn new(
        shards: Vec<ShardHandle>,
        settings: &Settings,
        webhooks: Webhooks,
        counters: Arc<ControlPlane>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Rooms {
            limits: settings.limits.clone(),
            codecs: settings.codec_policy(),
            codec_patience: Duration::from_secs(settings.codecs.return_seconds),
            placement: Placement::new(shards.len()),
            shards,
            directory: DashMap::new(),
            by_id: DashMap::new(),
            members: DashMap::new(),
            answers: DashMap::new(),
            reports: DashMap::new(),
            webhooks,
            ice_servers: RwLock::new(settings.ice_servers().unwrap_or_default()),
            this: this.clone(),
            next_id: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            counters,
        })
    }

    /// Tells other ICE servers from now on.
    pub(crate) fn replace_ice_servers(&self, servers: IceServers) {
        *self.ice_servers.write() = servers;
    }

    /// Passes the shards' events on until the last shard has ended.
    pub(crate) async fn take_events(self: Arc<Self>, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            self.take_event(event);
        }
    }

    /// Tells everybody that the server stops.
    pub(crate) fn stop(&self) {
        self.go_away("the server is stopping", 0);
    }

    /// Tells everybody to move, and makes no more rooms. Whoever wants to join a room that goes on still may.
    pub(crate) fn drain(&self, deadline: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        self.go_away("the server is about to stop", u32::try_from(deadline.as_secs()).unwrap_or(u32::MAX));
    }

    /// Whether nobody is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn go_away(&self, reason: &str, seconds: u32) {
        let message = ServerMessage::GoingAway { reason: reason.to_owned(), seconds };
        for room in self.directory.iter() {
            room.lock().tell_all(&message);
        }
    }

    fn take_event(&self, event: Event) {
        match event {
            Event::Answer { participant, request, result } => {
                if let Ok(answer) = &result {
                    self.with_member(participant, |room| {
                        room.offer_answered(participant, &answer.slots);
                        room.codecs_negotiated(participant, answer);
                        self.review_codecs(room);
                    });
                }
                let waiting = self.answers.remove_if(&participant, |_, (waiting_for, _)| *waiting_for == request);
                if let Some((_, (_, waiting))) = waiting {
                    // Nobody waits any more if the WebSocket ended meanwhile.
                    let _ = waiting.send(result);
                }
            }
            Event::Connected { participant } => {
                self.with_member(participant, |room| room.connection_changed(participant, None))
            }
            Event::Disconnected { participant, reason } => {
                if reason == DisconnectReason::InternalError {
                    static FAULTS: Sparing = Sparing::new();
                    if let Some(left_out) = FAULTS.admit(Instant::now()) {
                        let what = "a fault of this server ended the participant's media; it starts over";
                        tracing::error!(%participant, left_out, "{what}");
                    }
                    // An answer may never come now.
                    self.answers.remove(&participant);
                }
                let reason = convert::disconnect_reason(reason);
                self.with_member(participant, |room| room.connection_changed(participant, Some(reason)));
            }
            Event::TrackPublished(info) => self.with_room(info.room, |room| self.post(room.track_published(&info))),
            Event::TrackEnded { room, track } => self.with_room(room, |room| self.post(room.track_ended(track))),
            Event::TrackMuted { room, track, muted } => self.with_room(room, |room| room.track_muted(track, muted)),
            Event::Slots { participant, slots } => {
                self.with_member(participant, |room| room.slots_changed(participant, &slots))
            }
            Event::SlotsWanted { participant, audio, video } => {
                self.with_member(participant, |room| room.slots_wanted(participant, audio, video));
            }
            Event::Speaker { room, participant } => self.with_room(room, |room| room.speaker_changed(participant)),
            Event::EncodingsWanted { track, encodings } => {
                self.with_member(track.participant, |room| room.encodings_wanted(track, &encodings));
            }
            Event::Quality { participant, quality } => {
                let details = convert::quality_details(&quality);
                let score = score(&quality);
                self.counters.quality_scores.observe(f64::from(score));
                self.with_member(participant, |room| room.quality_measured(participant, score, details));
            }
            Event::Report { request, participants } => {
                if let Some((_, waiting)) = self.reports.remove(&request) {
                    // Nobody waits any more if the request was given up.
                    let _ = waiting.send(participants);
                }
            }
            // Shards keep these among themselves.
            Event::TupleValidated { .. } | Event::TupleForgotten { .. } => {}
        }
    }

    fn with_room(&self, id: RoomId, act: impl FnOnce(&mut Room)) {
        if let Some(room) = self.by_id.get(&id).map(|room| room.clone()) {
            act(&mut room.lock());
        }
    }

    fn with_member(&self, id: ParticipantId, act: impl FnOnce(&mut Room)) {
        if let Some(room) = self.members.get(&id).map(|room| room.clone()) {
            act(&mut room.lock());
        }
    }

    /// The room of this name with `id` in it; made if there is none.
    fn enter(
        &self,
        request: &JoinRequest,
        id: ParticipantId,
        events: EventSink,
    ) -> Result<Arc<Mutex<Room>>, ServiceError> {
        let rooms = self.directory.len();
        let room = match self.directory.entry(request.room.clone()) {
            Entry::Occupied(entry) => {
                let room = entry.get().clone();
                let mut locked = room.lock();
                if locked.members.len() >= locked.terms.max_participants {
                    return Err(ServiceError::RoomFull { limit: clamp(locked.terms.max_participants) });
                }
                self.let_in(&mut locked, id, request, events);
                drop(locked);
                room
            }
            Entry::Vacant(entry) => {
                let room = self.begin_room(rooms, request.room.clone(), self.usual_terms())?;
                self.let_in(&mut room.lock(), id, request, events);
                entry.insert(room.clone());
                room
            }
        };
        self.members.insert(id, room.clone());
        Ok(room)
    }

    /// A new room, for the directory, whose lock the caller holds. `rooms`: how many there are.
    fn begin_room(&self, rooms: usize, name: wire::RoomName, terms: Terms) -> Result<Arc<Mutex<Room>>, ServiceError> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(ServiceError::Draining);
        }
        if rooms >= self.limits.rooms {
            return Err(ServiceError::RoomsLimit { limit: clamp(self.limits.rooms) });
        }
        let id = RoomId(self.fresh_id());
        let room = Room::new(id, name, terms);
        self.webhooks.send(WebhookEvent::new(EventKind::RoomStarted, room.named()));
        let room = Arc::new(Mutex::new(room));
        self.by_id.insert(id, room.clone());
        self.counters.rooms.increment();
        Ok(room)
    }

    /// The terms of a room that nobody made beforehand.
    fn usual_terms(&self) -> Terms {
        let metadata = serde_json::Value::Null;
        let codecs = self.codecs.clone();
        Terms { max_participants: self.limits.participants_per_room, metadata, empty: Duration::ZERO, codecs }
    }

    /// Lets somebody into a room, on the shard that suits it. The directory is locked meanwhile, so that rooms made at
    /// once spread.
    fn let_in(&self, room: &mut Room, id: ParticipantId, request: &JoinRequest, events: EventSink) {
        let shard = self.placement.place(room.members.values().map(|member| member.shard));
        room.enter(id, shard, request, events);
        self.post(room.members.get(&id).map(|member| room.happening(EventKind::ParticipantJoined, id, member)));
        self.counters.participants.of(convert::role(&request.grants)).increment();
    }

    /// Takes a participant out of its room, and the room away if it was the last one. Returns who it was, and the shard
    /// that must know.
    fn exit(&self, id: ParticipantId, reason: LeaveReason) -> Option<(Member, ShardHandle)> {
        let (_, room) = self.members.remove(&id)?;
        self.answers.remove(&id);
        let mut locked = room.lock();
        let member = locked.exit(id, reason)?;
        for track in member.tracks.values() {
            let event = locked.happening(EventKind::TrackUnpublished, id, &member);
            self.post(Some(WebhookEvent { track: Some(track.clone()), ..event }));
        }
        let event = locked.happening(EventKind::ParticipantLeft, id, &member);
        self.post(Some(WebhookEvent { reason: Some(reason), ..event }));
        self.counters.participants.of(convert::role(&member.grants)).decrement();
        self.placement.left(member.shard);
        self.review_codecs(&mut locked);
        let shard = self.shards.get(member.shard).cloned();
        locked.emptied += u64::from(locked.members.is_empty());
        let (name, room_id, emptied) = (locked.name.clone(), locked.id, locked.emptied);
        let stays = locked.terms.empty;
        let is_empty = locked.members.is_empty();
        drop(locked);
        if is_empty {
            self.end_empty(name, room_id, emptied, stays);
        }
        shard.map(|shard| (member, shard))
    }

    /// Tells publishers of a room the codecs that suit who is in it now, and plans to look again where one waits.
    fn review_codecs(&self, room: &mut Room) {
        let Some(at) = room.review_codecs(Instant::now(), self.codec_patience) else { return };
        if room.codecs_due.is_some_and(|due| due <= at) {
            return;
        }
        room.codecs_due = Some(at);
        let (rooms, id) = (self.this.clone(), room.id);
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            let Some(rooms) = rooms.upgrade() else { return };
            rooms.with_room(id, |room| {
                room.codecs_due = None;
                rooms.review_codecs(room);
            });
        });
    }

    /// Ends a room that is empty, at once or after the time that its terms give it, unless somebody comes meanwhile.
    fn end_empty(&self, name: wire::RoomName, id: RoomId, emptied: u64, stays: Duration) {
        if stays.is_zero() {
            return self.remove_room(&name, |room| room.id == id && room.members.is_empty());
        }
        let rooms = self.this.clone();
        tokio::spawn(async move {
            tokio::time::sleep(stays).await;
            let Some(rooms) = rooms.upgrade() else { return };
            rooms.remove_room(&name, |room| room.id == id && room.members.is_empty() && room.emptied == emptied);
        });
    }

    /// Takes a room out of the directory, where it is as wanted.
    fn remove_room(&self, name: &wire::RoomName, wanted: impl Fn(&Room) -> bool) {
        let removed = self.directory.remove_if(name, |_, room| {
            let room = room.lock();
            let over = wanted(&room);
            if over {
                self.webhooks.send(WebhookEvent::new(EventKind::RoomFinished, room.named()));
            }
            over
        });
        if let Some((_, room)) = removed {
            let room = room.lock();
            self.by_id.remove(&room.id);
            self.counters.room_sizes.observe(room.most_members as f64);
            self.counters.rooms.decrement();
        }
    }

    fn post(&self, event: Option<WebhookEvent>) {
        event.into_iter().for_each(|event| self.webhooks.send(event));
    }

    /// What a participant's room says; false where it is in none.
    fn in_room(&self, id: ParticipantId, ask: impl FnOnce(&mut Room) -> bool) -> bool {
        let room = self.members.get(&id).map(|room| room.clone());
        room.is_some_and(|room| ask(&mut room.lock()))
    }

    fn fresh_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn room_limits(&self) -> wire::RoomLimits {
        wire::RoomLimits {
            participants: clamp(self.limits.participants_per_room),
            tracks: clamp(self.limits.tracks_per_participant),
            sections: clamp(self.limits.sections_per_offer),
        }
    }

    /// The engine's id and the shard of a member.
    fn locate(&self, participant: &wire::ParticipantId) -> Result<(ParticipantId, ShardHandle), ServiceError> {
        let id = convert::parse_participant(participant).ok_or(GONE)?;
        let room = self.members.get(&id).map(|room| room.clone()).ok_or(GONE)?;
        let shard = room.lock().shard_of(id).ok_or(GONE)?;
        let shard = self.shards.get(shard).cloned().ok_or(ServiceError::Internal)?;
        Ok((id, shard))
    }
}

impl RoomService for Rooms {
    async fn join(&self, request: JoinRequest, events: EventSink) -> Result<JoinedState, ServiceError> {
        let id = ParticipantId(self.fresh_id());
        let room = self.enter(&request, id, events)?;
        let (room_id, shard, others, state) = {
            let room = room.lock();
            let shard = room.shard_of(id).ok_or(GONE)?;
            (room.id, shard, room.other_shards(shard), room.state(id, self.room_limits()))
        };
        let shard = self.shards.get(shard).ok_or(ServiceError::Internal)?;
        let permissions = convert::permissions(&request.grants);
        let command = Command::Join { room: room_id, participant: id, permissions, others };
        if !shard.command(command).await {
            self.exit(id, LeaveReason::ConnectionLost);
            return Err(ServiceError::Internal);
        }
        tracing::info!(room = request.room.as_str(), participant = %id, "joined");
        state.ok_or(GONE)
    }

    async fn state(&self, participant: &wire::ParticipantId) -> Result<JoinedState, ServiceError> {
        let (id, _) = self.locate(participant)?;
        let room = self.members.get(&id).map(|room| room.clone()).ok_or(GONE)?;
        let room = room.lock();
        let state = room.state(id, self.room_limits()).ok_or(GONE)?;
        room.repeat_requests(id);
        Ok(state)
    }

    async fn offer(&self, participant: &wire::ParticipantId, offer: OfferRequest) -> Result<AnswerReply, ServiceError> {
        if offer.tracks.len() > self.limits.tracks_per_participant {
            return Err(ServiceError::TooManyTracks { limit: clamp(self.limits.tracks_per_participant) });
        }
        let id = convert::parse_participant(participant).ok_or(GONE)?;
        let request = RequestId(self.fresh_id());
        let (answer, waiting) = oneshot::channel();
        // An offer that still waits here is of a WebSocket that this one took over from.
        self.answers.insert(id, (request, answer));
        // Looked up only now: whoever leaves from here on takes the entry along.
        let shard = match self.locate(participant) {
            Ok((_, shard)) => shard,
            Err(error) => {
                self.answers.remove(&id);
                return Err(error);
            }
        };
        let published = offer.tracks.iter().filter_map(convert::publish_hint).collect();
        let room = self.members.get(&id).map(|room| room.clone()).ok_or(GONE)?;
        let codecs = room.lock().codec_rules(id, offer.for_good);
        if !shard.command(Command::Offer { participant: id, request, sdp: offer.sdp, published, codecs }).await {
            return Err(ServiceError::Internal);
        }
        match waiting.await.map_err(|_| GONE)? {
            Ok(answer) => Ok(AnswerReply {
                slots: answer.slots.len(),
                sdp: answer.sdp,
                tracks: answer
                    .tracks
                    .iter()
                    .map(|(mid, track)| wire::AnsweredSection {
                        mid: mid.to_string(),
                        track: convert::track_id(*track),
                    })
                    .collect(),
            }),
            Err(error) => {
                Err(ServiceError::BadOffer { code: error.code(), message: error.to_string(), hint: error.hint() })
            }
        }
    }

    fn ice_servers(&self, participant: &wire::ParticipantId) -> Vec<wire::IceServer> {
        self.ice_servers.read().of(participant, SystemTime::now())
    }

    async fn mute(
        &self,
        participant: &wire::ParticipantId,
        track: &wire::TrackId,
        muted: bool,
    ) -> Result<(), ServiceError> {
        let (id, shard) = self.locate(participant)?;
        let track = convert::parse_track(track)
            .filter(|track| track.participant == id && self.in_room(id, |room| room.has_track(*track)))
            .ok_or(ServiceError::NotFound { what: "track of yours" })?;
        shard.command(Command::SetMuted { track, muted }).await;
        Ok(())
    }

    async fn subscribe(
        &self,
        participant: &wire::ParticipantId,
        request: SubscribeRequest,
    ) -> Result<(), ServiceError> {
        let (id, shard) = self.locate(participant)?;
        let wishes = request.tracks.iter();
        let tracks: Vec<_> = wishes
            .filter_map(|w| Some((convert::parse_track(&w.track)?, convert::preference(&w.preference()))))
            .collect();
        // Tracks that have just ended are no mistake of the client.
        let named = tracks.iter().map(|(track, _)| *track);
        if !self.in_room(id, |room| room.note_preferences(id, named, self.limits.subscriptions)) {
            return Err(ServiceError::TooManySubscriptions { limit: clamp(self.limits.subscriptions) });
        }
        let default = request.default.as_ref().map(convert::preference);
        shard.command(Command::Prefer { participant: id, default, tracks }).await;
        Ok(())
    }

    async fn request_keyframe(
        &self,
        participant: &wire::ParticipantId,
        track: &wire::TrackId,
    ) -> Result<(), ServiceError> {
        let (id, shard) = self.locate(participant)?;
        let track = convert::parse_track(track).ok_or(ServiceError::NotFound { what: "track" })?;
        shard.command(Command::RequestKeyframe { participant: id, track }).await;
        Ok(())
    }

    async fn emulate(&self, participant: &wire::ParticipantId, network: wire::Emulate) -> Result<(), ServiceError> {
        let (id, shard) = self.locate(participant)?;
        let taken = shard.inbox().give(ShardInput::Emulate(id, convert::network(&network)));
        if taken { Ok(()) } else { Err(ServiceError::Overloaded) }
    }

    async fn leave(&self, participant: &wire::ParticipantId, reason: LeaveReason) {
        let Some(id) = convert::parse_participant(participant) else { return };
        if let Some((_, shard)) = self.exit(id, reason) {
            tracing::info!(participant = %id, ?reason, "left");
            shard.command(Command::Leave { participant: id }).await;
        }
    }
}

fn clamp(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Connection quality from 1.0 to 5.0, by the worse of the two directions.
fn score(quality: &Quality) -> f32 {
    stats::quality::score(Conditions {
        loss: f64::from(quality.uplink_loss.max(quality.downlink_loss)),
        rtt: quality.rtt_ms.map(|ms| Duration::from_secs_f32(ms.max(0.0) / 1000.0)),
        jitter: Duration::from_secs_f32(quality.uplink_jitter_ms.max(quality.downlink_jitter_ms).max(0.0) / 1000.0),
    })
}
