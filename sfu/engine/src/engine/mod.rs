//! The engine: every room, participant and track of one shard.
//!
//! The files follow a packet: `receive` takes a datagram to its track, `fan_out` hands it to the subscribers' downlinks, `transmit` seals it and
//! gives it out, `relay` takes it to other shards. `negotiate` answers offers, `subscribe` binds tracks to slots, `serve` does what is due by time.
//! `isolate` keeps a panic to whom it is about.

mod bottleneck;
mod data;
mod fan_out;
mod isolate;
pub mod keys;
mod load;
mod negotiate;
mod receive;
mod relay;
mod round;
mod serve;
mod subscribe;
mod transmit;

use crate::command::Command;
use crate::config::EngineConfig;
use crate::data::DataChannels;
use crate::downlink::Downlink;
use crate::downlink::allocate::Allocator;
use crate::downlink::estimate::PacketReport;
use crate::drops::DropCounters;
use crate::event::Event;
use crate::ids::{ParticipantId, RoomId, TrackId};
use crate::net::Tuple;
use crate::participant::{Carried, Participant, Service};
use crate::progress::{JoinPhase, Progress};
use crate::relay::{Message, Outbox};
use crate::report::ParticipantReport;
use crate::room::Room;
use crate::sdp::Negotiation;
use crate::snapshot::{Counters, EngineSnapshot};
use crate::timers::Timers;
use crate::transport::demux::Demux;
use crate::transport::dtls::DtlsCertificate;
use crate::uplink::Uplink;
use crate::uplink::track::Track;
use isolate::checkpoint;
use keys::{ParticipantKey, RoomKey, TrackKey};
use load::Load;
use rand::RngCore;
use rand_chacha::ChaCha12Rng;
use round::Round;
use rtc_crypto::RTCCryptoProvider;
use rustc_hash::FxHashMap;
use slotmap::SlotMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// A selective forwarding unit without I/O. See the crate's documentation for how it is driven.
pub struct Engine {
    config: EngineConfig,
    certificate: DtlsCertificate,
    provider: Arc<dyn RTCCryptoProvider>,
    rng: ChaCha12Rng,
    participants: SlotMap<ParticipantKey, Participant>,
    tracks: SlotMap<TrackKey, Track>,
    rooms: SlotMap<RoomKey, Room>,
    participant_keys: FxHashMap<ParticipantId, ParticipantKey>,
    room_keys: FxHashMap<RoomId, RoomKey>,
    demux: Demux<ParticipantKey>,
    timers: Timers<Owner>,
    /// Stored packets that their subscribers are given next.
    waiting: fan_out::Waiting,
    /// Participants with something to send or to say, in the order in which it came up.
    queue: VecDeque<ParticipantKey>,
    /// Those of them that are being served.
    round: Round,
    /// Rooms whose members are to be bound anew.
    rooms_to_rebind: Vec<RoomKey>,
    /// Last words of transports that are gone.
    farewells: VecDeque<(Tuple, Vec<u8>)>,
    /// Tracks that live on other shards.
    mirrors: FxHashMap<TrackId, TrackKey>,
    /// Mirrors that may have something to tell home.
    mirrors_to_serve: Vec<TrackKey>,
    /// What other shards are to be told and given.
    outbox: Outbox,
    events: VecDeque<Event>,
    drops: DropCounters,
    counters: Counters,
    /// Scratch memory for the choice of layers: who chooses needs it for a moment only.
    allocator: Allocator,
    /// Room for what one feedback reports.
    reports: Vec<PacketReport>,
    load: Load,
    /// Whom or what the present step of work is about.
    at_work: Option<Owner>,
    /// What panicked and is to be made anew.
    panicked: Vec<Owner>,
}

/// Who is woken by a timer, and whom work is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Participant(ParticipantKey),
    Room(RoomKey),
    Mirror(TrackKey),
}

impl Engine {
    /// An engine without rooms. All randomness comes from `rng` and, for DTLS, from `provider`.
    pub fn new(
        config: EngineConfig,
        certificate: DtlsCertificate,
        provider: Arc<dyn RTCCryptoProvider>,
        rng: ChaCha12Rng,
    ) -> Self {
        Engine {
            config,
            certificate,
            provider,
            rng,
            participants: SlotMap::with_key(),
            tracks: SlotMap::with_key(),
            rooms: SlotMap::with_key(),
            participant_keys: FxHashMap::default(),
            room_keys: FxHashMap::default(),
            demux: Demux::new(),
            timers: Timers::default(),
            waiting: fan_out::Waiting::default(),
            queue: VecDeque::new(),
            round: Round::default(),
            rooms_to_rebind: Vec::new(),
            farewells: VecDeque::new(),
            mirrors: FxHashMap::default(),
            mirrors_to_serve: Vec::new(),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            drops: DropCounters::default(),
            counters: Counters::default(),
            allocator: Allocator::default(),
            reports: Vec::new(),
            load: Load::default(),
            at_work: None,
            panicked: Vec::new(),
        }
    }

    /// Does what the control plane asks. A command about something that is gone is ignored.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        self.fan_out(now);
        let (comes, goes) = match &command {
            Command::Join { participant, .. } => (Some(*participant), None),
            Command::Leave { participant } => (None, Some(*participant)),
            _ => (None, None),
        };
        let done = self.isolate(None, |engine| engine.obey(now, command));
        self.recover(now);
        if done.is_none() {
            // Who should leave is there anew, without anything that could fail.
            if let Some(key) = goes.and_then(|id| self.key(id)) {
                self.leave(now, key);
            }
            if let Some(id) = comes.filter(|id| !self.has_participant(*id)) {
                self.lost_to_a_fault(id);
            }
        }
    }

    fn obey(&mut self, now: Instant, command: Command) {
        match command {
            Command::Join { room, participant, permissions, others } => {
                self.join(now, room, participant, permissions);
                self.span(room, &others);
            }
            Command::Offer { participant, request, sdp, published, codecs } => {
                if let Some(key) = self.key(participant) {
                    self.work_for(key);
                    // The answer goes first: whoever waits for it knows that what follows is no longer about the time before.
                    let place = self.events.len();
                    let result = self.negotiate(now, key, &sdp, &published, &codecs);
                    if let Some(participant) = self.participants.get_mut(key).filter(|_| result.is_ok()) {
                        self.counters.distributions.note_phase(now, &mut participant.progress, JoinPhase::Signaling);
                    }
                    self.events.insert(place, Event::Answer { participant, request, result });
                }
            }
            Command::SetMuted { track, muted } => self.set_muted(track, muted),
            Command::Prefer { participant, default, tracks } => {
                let Some(key) = self.key(participant) else { return };
                self.work_for(key);
                if let Some(participant) = self.participants.get_mut(key) {
                    participant.downlink.prefer(default, &tracks, self.config.limits.preferences);
                }
                self.rebind(key);
            }
            Command::RequestKeyframe { participant, track } => {
                let Some(key) = self.key(participant) else { return };
                self.work_for(key);
                let asked = self.participants.get(key).and_then(|p| p.downlink.encoding_of(track));
                if let Some((track, encoding)) = asked {
                    self.request_keyframe(track, |track| track.request_keyframe(now, encoding));
                }
            }
            Command::Cap { participant, max_height } => {
                let Some(key) = self.key(participant) else { return };
                self.work_for(key);
                if let Some(participant) = self.participants.get_mut(key) {
                    participant.downlink.cap(max_height);
                }
                self.touch(key);
            }
            Command::Report { room, request } => {
                let participants = self.report(now, room);
                self.events.push_back(Event::Report { request, participants });
            }
            Command::SendData { room, message } => self.send_data(room, &message),
            Command::Leave { participant } => {
                if let Some(key) = self.key(participant) {
                    self.leave(now, key);
                }
            }
        }
    }

    /// A TCP connection is gone.
    pub fn handle_closed(&mut self, tuple: Tuple) {
        self.isolate(None, |engine| engine.close_tuple(tuple));
    }

    fn close_tuple(&mut self, tuple: Tuple) {
        if let Some(key) = self.demux.by_tuple(&tuple) {
            self.work_for(key);
            if let Some(transport) = self.participants.get_mut(key).and_then(|p| p.transport.as_mut()) {
                transport.forget(&tuple);
            }
            self.forget_tuple(key, tuple);
            self.touch(key);
        }
    }

    /// Says goodbye to every participant, since the server stops; the goodbyes come out of [`Engine::poll_transmit`].
    pub fn close(&mut self, now: Instant) {
        for key in self.participants.keys().collect::<Vec<_>>() {
            self.isolate(None, |engine| {
                engine.work_for(key);
                engine.drop_transport(now, key);
            });
        }
    }

    /// Something for the control plane.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Engine::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Wakes whoever is due; what they have to send comes out of [`Engine::poll_transmit`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.fan_out(now);
        while let Some((at, owner)) = self.timers.pop_due(now) {
            // Whoever was woken earlier, or noted an earlier time since, left a time behind that means nothing any more.
            match owner {
                Owner::Participant(key) => {
                    let Some(participant) = self.participants.get_mut(key) else { continue };
                    let is_due = |noted: &mut Option<Instant>| noted.take_if(|noted| *noted == at).is_some();
                    let (wakes, paces) = (is_due(&mut participant.wake_at), is_due(&mut participant.pace_at));
                    if wakes || paces {
                        self.queue_for(key, if wakes { Service::Everything } else { Service::Packets });
                    }
                }
                Owner::Mirror(key) => {
                    if let Some(mirror) =
                        self.tracks.get_mut(key).and_then(Track::mirror_mut).filter(|m| m.wake_at == Some(at))
                    {
                        mirror.wake_at = None;
                        self.touch_track(key);
                    }
                }
                Owner::Room(key) => {
                    if let Some(room) = self.rooms.get_mut(key).filter(|r| r.wake_at == Some(at)) {
                        room.wake_at = None;
                        self.isolate(Some(owner), |engine| engine.serve_room(now, key));
                    }
                }
            }
        }
        self.recover(now);
    }

    /// Cumulative counters and present sizes.
    pub fn snapshot(&self) -> EngineSnapshot {
        EngineSnapshot::new(&self.counters, &self.drops, &self.rooms, &self.participants, &self.tracks)
    }

    /// What the engine believes that a participant's downlink can carry; `None` where there is no such participant.
    pub fn downlink_estimate(&mut self, participant: ParticipantId) -> Option<crate::units::Bitrate> {
        let key = self.key(participant)?;
        Some(self.participants.get_mut(key)?.downlink.estimator().estimate())
    }

    /// Bytes of messages that wait for a participant; `None` where there is no such participant.
    pub fn data_queued(&self, participant: ParticipantId) -> Option<usize> {
        Some(self.participants.get(self.key(participant)?)?.data.queued_bytes())
    }

    /// Whose packets go between these addresses.
    pub fn participant_at(&self, tuple: &Tuple) -> Option<ParticipantId> {
        Some(self.participants.get(self.demux.by_tuple(tuple)?)?.id)
    }

    /// Whether there is such a participant.
    pub fn has_participant(&self, participant: ParticipantId) -> bool {
        self.participant_keys.contains_key(&participant)
    }

    fn report(&mut self, now: Instant, room: RoomId) -> Vec<ParticipantReport> {
        let room = self.room_keys.get(&room).and_then(|key| self.rooms.get(*key));
        let members = room.map(|room| room.members.clone()).unwrap_or_default();
        let report = |member| {
            self.isolate(None, |engine| {
                engine.work_for(member);
                Some(ParticipantReport::new(now, engine.participants.get_mut(member)?, &engine.tracks))
            })
        };
        members.into_iter().filter_map(report).flatten().collect()
    }

    fn join(&mut self, now: Instant, room: RoomId, id: ParticipantId, permissions: crate::Permissions) {
        if self.participant_keys.contains_key(&id) {
            return;
        }
        let room = self.room_key(room);
        let key = self.participants.insert(Participant {
            id,
            room,
            permissions,
            negotiation: Negotiation::new(self.rng.next_u64()),
            transport: None,
            uplink: Uplink::new(self.config.wall_clock.at, &mut self.rng),
            downlink: Downlink::new(now, self.config.rates),
            data: DataChannels::new(now, self.config.limits.data_rate, permissions.data),
            queued: None,
            wake_at: None,
            pace_at: None,
            progress: Progress::new(now),
            connected: false,
            quality_at: None,
            carried: Carried::default(),
        });
        self.participant_keys.insert(id, key);
        if let Some(room) = self.rooms.get_mut(room) {
            room.members.push(key);
        }
        self.work_for(key);
    }

    fn leave(&mut self, now: Instant, key: ParticipantKey) {
        self.work_for(key);
        let tracks = self.participants.get(key).map(|p| p.uplink.tracks().collect::<Vec<_>>()).unwrap_or_default();
        for track in tracks {
            self.end_track(track);
        }
        self.drop_transport(now, key);
        checkpoint("leaving");
        let Some(participant) = self.participants.remove(key) else { return };
        self.participant_keys.remove(&participant.id);
        self.unsubscribe_all(participant.room, key);
        if let Some(room) = self.rooms.get_mut(participant.room) {
            room.members.retain(|member| *member != key);
            room.bottlenecks.remove(key);
            if room.members.is_empty() {
                self.end_room(participant.room);
            }
        }
    }

    fn unsubscribe_all(&mut self, room: RoomKey, key: ParticipantKey) {
        for track in self.rooms.get(room).map(|room| room.tracks.as_slice()).unwrap_or_default() {
            if let Some(track) = self.tracks.get_mut(*track) {
                track.unsubscribe(key);
            }
        }
        self.touch_mirrors(room);
    }

    fn set_muted(&mut self, id: TrackId, muted: bool) {
        let Some(key) = self.track_key(id) else { return };
        self.work_for_track(key);
        let Some(track) = self.tracks.get_mut(key) else { return };
        if track.muted == muted {
            return;
        }
        track.muted = muted;
        let room_key = track.room;
        self.rank(room_key, |room| room.speakers.set_muted(key, muted));
        if let Some(room) = self.rooms.get_mut(room_key) {
            self.events.push_back(Event::TrackMuted { room: room.id, track: id, muted });
            self.outbox.say_all(&room.peers, &Message::Muted { track: id, muted });
        }
        self.refresh_subscribers(key);
        self.wake_room(room_key);
    }

    fn key(&self, id: ParticipantId) -> Option<ParticipantKey> {
        self.participant_keys.get(&id).copied()
    }

    fn track_key(&self, id: TrackId) -> Option<TrackKey> {
        let owner = self.participants.get(self.key(id.participant)?)?;
        owner.uplink.tracks().find(|key| self.tracks.get(*key).is_some_and(|t| t.id == id))
    }

    fn forget_tuple(&mut self, key: ParticipantKey, tuple: Tuple) {
        self.demux.remove_tuple(&tuple, key);
        self.events.push_back(Event::TupleForgotten { tuple });
    }

    /// Puts a participant in the queue of those to be served with everything that is due.
    fn touch(&mut self, key: ParticipantKey) {
        self.queue_for(key, Service::Everything);
    }

    /// Puts a participant in that queue, or lets it have more service there.
    fn queue_for(&mut self, key: ParticipantKey, service: Service) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        if participant.queued.is_none() {
            self.queue.push_back(key);
        }
        participant.queued = participant.queued.max(Some(service));
    }

    fn wake_room(&mut self, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        if let Some(at) = room.speakers.poll_timeout()
            && room.wake_at.is_none_or(|noted| at < noted)
        {
            room.wake_at = Some(at);
            self.timers.add(at, Owner::Room(key));
        }
    }
}
