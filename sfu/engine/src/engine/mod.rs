//! The engine: every room, participant and track of one shard.
//!
//! The files follow a packet: `receive` takes a datagram to its track, `fan_out` hands the packet to the downlinks of
//! the subscribers, `round` chooses the participants that are served together, `transmit` encrypts their packets and
//! returns them, `relay` exchanges packets with other shards. `data` forwards the messages of data channels.
//! `negotiate` answers offers, `subscribe` binds tracks to slots, `serve` does what is due by time. `bottleneck`
//! divides a queue among the receivers that share it, `load` notices when the engine does not keep up. `isolate` limits
//! the effect of a panic to the participant, room or track that the work was about.

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
    /// Stored packets that have not been given to all subscribers yet.
    waiting: fan_out::PendingFanOut,
    /// Participants with something to send or to report, in the order in which it came up.
    queue: VecDeque<ParticipantKey>,
    /// The participants that are being served.
    round: Round,
    /// Rooms in which the slots of the members must be bound to tracks again.
    rooms_to_rebind: Vec<RoomKey>,
    /// The last datagrams of transports that are gone: each tells its client that the transport is closed.
    farewells: VecDeque<(Tuple, Vec<u8>)>,
    /// Mirrors: copies of tracks that are published on other shards.
    mirrors: FxHashMap<TrackId, TrackKey>,
    /// Mirrors that may have a message for the shard on which their track is published.
    mirrors_to_serve: Vec<TrackKey>,
    /// Messages and packets for other shards.
    outbox: Outbox,
    events: VecDeque<Event>,
    drops: DropCounters,
    counters: Counters,
    /// Memory for the choice of layers. It is used only during one choice, so all participants share it.
    allocator: Allocator,
    /// Memory for the packet reports of one feedback message.
    reports: Vec<PacketReport>,
    load: Load,
    /// The participant, room or mirror that the current step of work is about.
    at_work: Option<Owner>,
    /// The participants, rooms and mirrors whose work panicked. They are created again.
    panicked: Vec<Owner>,
}

/// A participant, room or mirror: timers wake it, and steps of work are about it.
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
            waiting: fan_out::PendingFanOut::default(),
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

    /// Carries out a command of the control plane. A command about something that is gone is ignored.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        self.fan_out(now);
        let (joining, leaving) = match &command {
            Command::Join { participant, .. } => (Some(*participant), None),
            Command::Leave { participant } => (None, Some(*participant)),
            _ => (None, None),
        };
        let done = self.isolate(None, |engine| engine.apply_command(now, command));
        self.recover(now);
        if done.is_none() {
            // A participant whose leave panicked was re-created; remove it now.
            if let Some(key) = leaving.and_then(|id| self.key(id)) {
                self.leave(now, key);
            }
            if let Some(id) = joining.filter(|id| !self.has_participant(*id)) {
                self.lost_to_a_fault(id);
            }
        }
    }

    fn apply_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Join { room, participant, permissions, others } => {
                self.join(now, room, participant, permissions);
                self.span(room, &others);
            }
            Command::Offer { participant, request, sdp, published, codecs } => {
                if let Some(key) = self.key(participant) {
                    self.work_for(key);
                    // The answer is the first event: a client that waits for it knows that all later events are about
                    // the new state.
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

    /// Closes the transport of every participant, since the server stops. [`Engine::poll_transmit`] returns the
    /// datagrams that tell the clients.
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

    /// The time at which [`Engine::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Wakes every participant, room and mirror that is due. [`Engine::poll_transmit`] returns what they have to send.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.fan_out(now);
        while let Some((at, owner)) = self.timers.pop_due(now) {
            // A timer is out of date, and is ignored, where its owner was woken earlier or has noted an earlier time
            // since.
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

    /// The estimated capacity of a participant's downlink; `None` where there is no such participant.
    pub fn downlink_estimate(&mut self, participant: ParticipantId) -> Option<crate::units::Bitrate> {
        let key = self.key(participant)?;
        Some(self.participants.get_mut(key)?.downlink.estimator().estimate())
    }

    /// Bytes of data channel messages that wait to be sent to a participant; `None` where there is no such participant.
    pub fn data_queued(&self, participant: ParticipantId) -> Option<usize> {
        Some(self.participants.get(self.key(participant)?)?.data.queued_bytes())
    }

    /// The participant that uses this pair of addresses.
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

    /// Mutes or unmutes a track that is published on this shard, and tells the control plane and the room's other
    /// shards.
    fn set_muted(&mut self, id: TrackId, muted: bool) {
        let Some(key) = self.track_key(id) else { return };
        let Some(room) = self.apply_muted(key, muted).and_then(|room| self.rooms.get(room)) else { return };
        self.events.push_back(Event::TrackMuted { room: room.id, track: id, muted });
        self.outbox.say_all(&room.peers, &Message::Muted { track: id, muted });
    }

    /// Mutes or unmutes a track, which may be a mirror. Returns its room where that is a change.
    fn apply_muted(&mut self, key: TrackKey, muted: bool) -> Option<RoomKey> {
        self.work_for_track(key);
        let track = self.tracks.get_mut(key).filter(|track| track.muted != muted)?;
        track.muted = muted;
        let room = track.room;
        self.rank(room, |room| room.speakers.set_muted(key, muted));
        self.refresh_subscribers(key);
        self.wake_room(room);
        Some(room)
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

    /// Puts a participant in that queue. Where it is there already, it gets the larger of both services.
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
