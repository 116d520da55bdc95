//! Rooms that span shards: what other shards say, what they are told, and the packets that cross. See [`crate::relay`].

use super::isolate::checkpoint;
use super::keys::{ParticipantKey, RoomKey, TrackKey};
use super::{Engine, Owner};
use crate::ids::{EncodingIndex, ParticipantId, RoomId, ShardId, TrackId};
use crate::media::Source;
use crate::relay::{Batch, Description, Message};
use crate::room::Room;
use crate::units::ExtSeq;
use crate::uplink::track::{Origin, Track};
use std::time::Instant;

impl Engine {
    /// Something that another shard must hear, before the batches that go to it from now on.
    pub fn poll_relay_message(&mut self) -> Option<(ShardId, Message)> {
        self.outbox.poll_message()
    }

    /// Packets and levels for another shard.
    pub fn poll_relay_batch(&mut self) -> Option<(ShardId, Batch)> {
        self.outbox.poll_batch()
    }

    /// Takes a batch back that another shard has read: its memory is used again.
    pub fn reuse_relay_batch(&mut self, batch: Batch) {
        self.outbox.reuse(batch);
    }

    /// Takes what another shard tells. What is about things that are gone is ignored.
    pub fn handle_relay_message(&mut self, now: Instant, from: ShardId, message: Message) {
        self.fan_out(now);
        self.isolate(None, |engine| engine.apply_message(now, from, message));
        self.recover(now);
    }

    fn apply_message(&mut self, now: Instant, from: ShardId, message: Message) {
        match message {
            Message::Hello { room } => self.add_peer(room, from),
            Message::Goodbye { room } => {
                if let Some(room) = self.room_keys.get(&room).copied() {
                    self.at_work = Some(Owner::Room(room));
                    self.remove_peer(room, from);
                }
            }
            Message::Track(description) => self.mirror_track(now, from, &description),
            Message::Ended { track } => {
                if let Some(key) = self.mirror_key(from, track) {
                    self.end_track(key);
                }
            }
            Message::Muted { track, muted } => self.mirror_muted(from, track, muted),
            Message::Layers { track, layers } => {
                let Some(key) = self.mirror_key(from, track) else { return };
                self.work_for_track(key);
                if self.tracks.get_mut(key).is_some_and(|track| track.set_layers(layers)) {
                    self.choose_layers_of(now, key);
                }
            }
            Message::Parameters { track, encoding, payload_type, payload } => {
                let Some(key) = self.mirror_key(from, track) else { return };
                self.work_for_track(key);
                if let Some(track) = self.tracks.get_mut(key) {
                    track.set_parameters(now, encoding, payload_type, payload);
                }
            }
            Message::Interest { track, encodings } => {
                let Some(key) = self.track_key(track) else { return };
                self.work_for_track(key);
                if let Some(track) = self.tracks.get_mut(key) {
                    track.set_taker(from, encodings);
                    for index in track.encoding_indices() {
                        let is_taken = encodings & (1 << index.0) != 0;
                        if let Some(message) = track.parameters_message(index).filter(|_| is_taken) {
                            self.outbox.say(from, message);
                        }
                    }
                }
                self.tell_layers(now, key, true);
                self.touch_track(key);
            }
            Message::Keyframe { track, encoding } => {
                let Some(key) = self.track_key(track) else { return };
                self.request_keyframe(key, |track| track.request_keyframe_for_mirror(now, encoding));
            }
            Message::Nack { track, encoding, packets } => self.repair_mirror(from, track, encoding, &packets),
            Message::Data { room, message } => self.send_data(room, &message),
            Message::Talkers { room, dominant, talking } => self.take_talkers(from, room, dominant, talking),
        }
    }

    /// Takes packets and levels from another shard.
    pub fn handle_relay_batch(&mut self, now: Instant, batch: &Batch) {
        let mut rest = batch.bytes.as_slice();
        for packet in &batch.packets {
            let Some((bytes, behind)) = rest.split_at_checked(packet.len) else { return };
            rest = behind;
            let Some(key) = self.mirrors.get(&packet.track).copied() else { continue };
            self.isolate(Some(Owner::Mirror(key)), |engine| {
                let Some(track) = engine.tracks.get_mut(key) else { return };
                engine.counters.relayed.received += 1;
                let seq = track.receive_relayed(now, packet, bytes);
                checkpoint("relayed");
                if let Some(seq) = seq {
                    engine.arrived(now, key, packet.encoding, seq);
                }
                engine.wake_mirror(key);
            });
        }
        for (track, level) in &batch.levels {
            if let Some(key) = self.mirrors.get(track).copied() {
                self.note_level(now, key, *level);
            }
        }
        self.recover(now);
    }

    // ----- which shards a room spans -----

    /// The room has members on these shards too.
    pub(super) fn span(&mut self, room: RoomId, others: &[ShardId]) {
        for other in others {
            if *other != self.config.shard {
                self.add_peer(room, *other);
            }
        }
    }

    /// Greets a shard on which a room has members, unless that has been done. Before its first member comes here the
    /// room is made for it, so that whoever comes knows.
    fn add_peer(&mut self, id: RoomId, shard: ShardId) {
        let key = self.room_key(id);
        let own = self.config.shard;
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Err(place) = room.peers.binary_search(&shard) else { return };
        let led = room.lead(own) == own;
        room.peers.insert(place, shard);
        self.isolate(Some(Owner::Room(key)), |engine| engine.greet(key, shard, led));
    }

    /// Says to a shard that has just become known what is here. `led`: this shard ranked the speakers so far.
    fn greet(&mut self, key: RoomKey, shard: ShardId, led: bool) {
        let own = self.config.shard;
        let Some(room) = self.rooms.get_mut(key) else { return };
        let id = room.id;
        checkpoint("greeting");
        if led && room.lead(own) != own {
            // Until the new lead has heard enough, those that talked go on.
            let talking = room.tracks.iter().filter(|track| room.speakers.is_talking(**track));
            room.told_talking = Some(talking.filter_map(|track| self.tracks.get(*track)).map(|t| t.id).collect());
        }
        self.outbox.say(shard, Message::Hello { room: id });
        for track in room.tracks.iter().filter_map(|track| self.tracks.get(*track)) {
            if track.owner().is_some() {
                self.outbox.say(shard, Message::Track(track.description(id)));
            }
        }
        self.tell_talkers(key);
    }

    /// Another shard has no members of the room any more.
    fn remove_peer(&mut self, key: RoomKey, shard: ShardId) {
        let own = self.config.shard;
        let Some(room) = self.rooms.get_mut(key) else { return };
        room.peers.retain(|peer| *peer != shard);
        let leads_now = room.told_talking.is_some() && room.lead(own) == own;
        if leads_now {
            room.told_talking = None;
        }
        for track in room.tracks.clone() {
            let Some(known) = self.tracks.get_mut(track) else { continue };
            match &known.origin {
                Origin::Shard(mirror) if mirror.home == shard => self.end_track(track),
                Origin::Shard(_) => {}
                Origin::Participant(_) => {
                    known.set_taker(shard, 0);
                    self.touch_track(track);
                }
            }
        }
        if self.rooms.get(key).is_some_and(Room::is_deserted) {
            return self.remove_room(key);
        }
        if leads_now {
            self.tell_talkers(key);
            self.rebind_room(key);
        }
    }

    /// The last member of this shard has left: the other shards are told, and nothing of the room stays here.
    pub(super) fn end_room(&mut self, key: RoomKey) {
        let Some(room) = self.rooms.get(key) else { return };
        self.outbox.say_all(&room.peers, &Message::Goodbye { room: room.id });
        for track in room.tracks.clone() {
            self.end_track(track);
        }
        self.remove_room(key);
    }

    /// The room with this id; made where there is none.
    pub(super) fn room_key(&mut self, id: RoomId) -> RoomKey {
        let (rooms, talkers) = (&mut self.rooms, self.config.max_talkers);
        *self.room_keys.entry(id).or_insert_with(|| rooms.insert(Room::new(id, talkers)))
    }

    fn remove_room(&mut self, key: RoomKey) {
        if let Some(room) = self.rooms.remove(key) {
            self.room_keys.remove(&room.id);
        }
    }

    // ----- tracks at home -----

    /// Tells the other shards of the room what a track is.
    pub(super) fn describe_track(&mut self, key: TrackKey) {
        let Some(track) = self.tracks.get(key) else { return };
        let Some(room) = self.rooms.get(track.room).filter(|room| !room.peers.is_empty()) else { return };
        self.outbox.say_all(&room.peers, &Message::Track(track.description(room.id)));
    }

    /// Tells the shards that take a track what its layers cost, where that is due or `news`.
    pub(super) fn tell_layers(&mut self, now: Instant, key: TrackKey, news: bool) {
        if let Some((message, shards)) = self.tracks.get_mut(key).and_then(|track| track.poll_layers(now, news)) {
            self.outbox.say_all(&shards, &message);
        }
    }

    /// Tells the shards that take an encoding its parameter sets.
    pub(super) fn tell_parameters(&mut self, key: TrackKey, encoding: EncodingIndex) {
        let Some(track) = self.tracks.get(key) else { return };
        let Some(message) = track.parameters_message(encoding) else { return };
        track.takers_of(encoding).for_each(|shard| self.outbox.say(shard, message.clone()));
    }

    /// Gives a stored packet to every shard that takes its encoding.
    pub(super) fn relay(&mut self, key: TrackKey, encoding: EncodingIndex, seq: ExtSeq, again: bool) {
        let Some(track) = self.tracks.get(key) else { return };
        let Some(packet) = track.encoding(encoding).and_then(|e| e.store.get(seq)) else { return };
        for shard in track.takers_of(encoding) {
            self.counters.relayed.sent += 1;
            self.outbox.add(shard, |batch| track.write_relayed(encoding, packet, again, batch));
        }
    }

    /// Packets did not reach a mirror: those that are here go again, the others when they come.
    fn repair_mirror(&mut self, shard: ShardId, id: TrackId, index: EncodingIndex, packets: &[ExtSeq]) {
        let Some(key) = self.track_key(id) else { return };
        self.work_for_track(key);
        let Some(track) = self.tracks.get(key) else { return };
        let Some(encoding) = track.encoding(index) else { return };
        for packet in packets.iter().filter_map(|seq| encoding.store.get(*seq)) {
            self.counters.relayed.sent += 1;
            self.outbox.add(shard, |batch| track.write_relayed(index, packet, true, batch));
        }
    }

    /// Says who talks to the room's other shards, where this one ranks.
    pub(super) fn tell_talkers(&mut self, key: RoomKey) {
        let own = self.config.shard;
        let Some(room) = self.rooms.get(key).filter(|r| !r.peers.is_empty() && r.lead(own) == own) else { return };
        let talking = room.tracks.iter().filter(|track| room.speakers.is_talking(**track));
        let talking = talking.filter_map(|track| self.tracks.get(*track)).map(|track| track.id).collect();
        let message = Message::Talkers { room: room.id, dominant: room.dominant, talking };
        self.outbox.say_all(&room.peers, &message);
    }

    // ----- mirrors -----

    /// A track of another shard began, or is described anew.
    pub(super) fn mirror_track(&mut self, now: Instant, home: ShardId, description: &Description) {
        if let Some(key) = self.mirror_key(home, description.track) {
            self.work_for_track(key);
            if self.tracks.get_mut(key).is_some_and(|track| track.describe_anew(description)) {
                self.codec_changed(key);
                self.choose_layers_of(now, key);
            }
            return;
        }
        let Some(room_key) = self.room_keys.get(&description.room).copied() else { return };
        let Some(room) = self.rooms.get_mut(room_key).filter(|room| room.peers.contains(&home)) else { return };
        let key = self.tracks.insert(Track::mirror_of(home, room_key, description));
        self.mirrors.insert(description.track, key);
        room.tracks.push(key);
        self.work_for_track(key);
        if description.source == Source::Microphone {
            self.rank(room_key, |room| room.add_microphone(key, description.muted));
        }
        self.rebind_room(room_key);
        self.serve_speakers(room_key);
    }

    fn mirror_muted(&mut self, home: ShardId, id: TrackId, muted: bool) {
        if let Some(key) = self.mirror_key(home, id) {
            self.apply_muted(key, muted);
        }
    }

    fn take_talkers(&mut self, from: ShardId, id: RoomId, dominant: Option<ParticipantId>, talking: Vec<TrackId>) {
        let own = self.config.shard;
        let Some(key) = self.room_keys.get(&id).copied() else { return };
        self.at_work = Some(Owner::Room(key));
        // Whoever thought that it leads hears of the lower shard soon.
        let Some(room) = self.rooms.get_mut(key).filter(|room| room.lead(own) == from) else { return };
        room.dominant = dominant;
        let others_talk = room.told_talking.as_ref() != Some(&talking);
        room.told_talking = Some(talking);
        self.speech_changed(key, others_talk);
    }

    fn mirror_key(&self, home: ShardId, id: TrackId) -> Option<TrackKey> {
        let key = self.mirrors.get(&id).copied()?;
        let lives_there = self.tracks.get(key)?.mirror().is_some_and(|mirror| mirror.home == home);
        lives_there.then_some(key)
    }

    /// Who takes a track, or what is asked of it, may have changed: its publisher, or home, must hear.
    pub(super) fn touch_track(&mut self, key: TrackKey) {
        let Some(track) = self.tracks.get_mut(key) else { return };
        match &mut track.origin {
            Origin::Participant(owner) => {
                let owner: ParticipantKey = *owner;
                self.touch(owner);
            }
            Origin::Shard(mirror) => {
                if !std::mem::replace(&mut mirror.queued, true) {
                    self.mirrors_to_serve.push(key);
                }
            }
        }
    }

    /// As [`Engine::touch_track`], for all tracks of a room that live elsewhere.
    pub(super) fn touch_mirrors(&mut self, room: RoomKey) {
        let mut next = 0;
        while let Some(key) = self.rooms.get(room).and_then(|room| room.tracks.get(next).copied()) {
            next += 1;
            if self.tracks.get(key).is_some_and(|track| track.mirror().is_some()) {
                self.touch_track(key);
            }
        }
    }

    /// Says home what mirrors have to say.
    pub(super) fn serve_mirrors(&mut self, now: Instant) {
        while let Some(key) = self.mirrors_to_serve.pop() {
            self.isolate(Some(Owner::Mirror(key)), |engine| {
                let Some(track) = engine.tracks.get_mut(key) else { return };
                track.poll_requests_home(now, &mut |home, message| engine.outbox.say(home, message));
                checkpoint("asking home");
                if let Some(mirror) = track.mirror_mut() {
                    mirror.queued = false;
                }
                engine.wake_mirror(key);
            });
        }
    }

    /// Notes when a mirror wants to ask for something.
    fn wake_mirror(&mut self, key: TrackKey) {
        let Some(track) = self.tracks.get_mut(key) else { return };
        let Some(at) = track.requests_home_timeout() else { return };
        let Some(mirror) = track.mirror_mut() else { return };
        if mirror.wake_at.is_none_or(|noted| at < noted) {
            mirror.wake_at = Some(at);
            self.timers.add(at, Owner::Mirror(key));
        }
    }
}
