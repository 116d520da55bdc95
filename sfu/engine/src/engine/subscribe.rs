//! Who receives what: binds tracks to slots, and answers "who wants this track" for the publisher.

use super::isolate::checkpoint;
use super::keys::{ParticipantKey, RoomKey, TrackKey};
use super::{Engine, Owner};
use crate::downlink::bind::{self, Wanted};
use crate::event::Event;
use crate::media::MediaKind;
use crate::room::Room;
use std::time::Instant;

impl Engine {
    /// Everybody in a room is to be bound anew: a track began or ended, or other people talk. Done once before the next
    /// packets are sent, however many such changes come together.
    pub(super) fn rebind_room(&mut self, key: RoomKey) {
        if let Some(room) = self.rooms.get_mut(key)
            && !std::mem::replace(&mut room.rebind, true)
        {
            self.rooms_to_rebind.push(key);
        }
    }

    /// Binds anew for everybody in the rooms that need it.
    pub(super) fn rebind_rooms(&mut self, now: Instant) {
        while let Some(key) = self.rooms_to_rebind.pop() {
            self.fan_out(now);
            let Some(room) = self.rooms.get_mut(key) else { continue };
            room.rebind = false;
            for member in room.members.clone() {
                self.isolate(None, |engine| {
                    engine.work_for(member);
                    engine.rebind(member);
                });
            }
        }
    }

    /// Puts the tracks that a participant wants most behind the slots that it has, and asks it for more slots where
    /// they lack.
    pub(super) fn rebind(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get(key) else { return };
        if !participant.permissions.subscribe {
            return;
        }
        let missing = [MediaKind::Audio, MediaKind::Video].map(|kind| self.rebind_kind(key, kind));
        let Some(participant) = self.participants.get_mut(key) else { return };
        participant.downlink.allocate_soon();
        if let [audio, video] = missing
            && participant.downlink.report_missing(audio, video)
        {
            let (audio, video) = (clamp(audio), clamp(video));
            self.events.push_back(Event::SlotsWanted { participant: participant.id, audio, video });
        }
        self.touch(key);
    }

    /// Rebinds one kind and returns how many slots of it are missing.
    fn rebind_kind(&mut self, key: ParticipantKey, kind: MediaKind) -> usize {
        let wanted = self.wanted(key, kind);
        let Some(participant) = self.participants.get_mut(key) else { return 0 };
        let (indices, bound): (Vec<_>, Vec<_>) = participant
            .downlink
            .slots(kind)
            .map(|(index, slot)| (index, slot.binding.as_ref().map(|b| b.track)))
            .unzip();
        let plan = bind::plan(&bound, &wanted);
        let (room, mut unbound) = (participant.room, false);
        let slot_at = |position: usize| indices.get(position).copied();
        for index in plan.unbind.iter().filter_map(|p| slot_at(*p)) {
            if let Some(track) = participant.downlink.unbind(index).and_then(|track| self.tracks.get_mut(track)) {
                track.unsubscribe(key);
                unbound = true;
            }
        }
        checkpoint("rebinding");
        for (index, track_key) in plan.bind.iter().filter_map(|(p, track)| Some((slot_at(*p)?, *track))) {
            if let Some(track) = self.tracks.get_mut(track_key) {
                participant.downlink.bind(index, track_key, track);
                track.subscribe(key, index);
            }
        }
        if unbound {
            self.touch_mirrors(room);
        }
        let most = match kind {
            MediaKind::Audio => self.config.max_talkers,
            MediaKind::Video => self.config.limits.video_slots,
        };
        plan.missing.min(most.saturating_sub(indices.len()))
    }

    /// The tracks of the other members that a participant wants, with their rank.
    fn wanted(&self, key: ParticipantKey, kind: MediaKind) -> Vec<Wanted<TrackKey>> {
        let Some(participant) = self.participants.get(key) else { return Vec::new() };
        let Some(room) = self.rooms.get(participant.room) else { return Vec::new() };
        let others = room.tracks.iter().filter_map(|track| Some((*track, self.tracks.get(*track)?)));
        others
            .filter(|(_, track)| track.kind == kind && track.id.participant != participant.id)
            .filter_map(|(track_key, track)| {
                let preference = participant.downlink.preference(track.id);
                let rank = match kind {
                    MediaKind::Audio => u8::from(room.is_heard(track_key, track)),
                    MediaKind::Video => preference.priority as u8,
                };
                preference.enabled.then_some(Wanted { track: track_key, rank })
            })
            .collect()
    }

    /// A track's state changed (muted, codec, encodings): its subscribers decide anew.
    pub(super) fn refresh_subscribers(&mut self, key: TrackKey) {
        for subscriber in self.subscribers_of(key) {
            if let Some(participant) = self.participants.get_mut(subscriber) {
                participant.downlink.allocate_soon();
            }
            self.touch(subscriber);
        }
    }

    /// The participants that are subscribed to a track.
    pub(super) fn subscribers_of(&self, key: TrackKey) -> Vec<ParticipantKey> {
        let subscribers = self.tracks.get(key).map(|track| track.subscribers.iter());
        subscribers.into_iter().flatten().map(|subscriber| subscriber.participant).collect()
    }

    /// Speech goes on in a room: the dominant speaker and the talkers that are heard.
    pub(super) fn serve_room(&mut self, now: Instant, key: RoomKey) {
        self.rank(key, |room| room.speakers.handle_timeout(now));
        self.serve_speakers(key);
        self.wake_room(key);
    }

    /// Does something about a room's speakers. A fault in that is the room's, whoever spoke.
    pub(super) fn rank(&mut self, key: RoomKey, act: impl FnOnce(&mut Room)) {
        self.isolate(Some(Owner::Room(key)), |engine| {
            if let Some(room) = engine.rooms.get_mut(key) {
                act(room);
                checkpoint("ranking");
            }
        });
    }

    /// Tells what the speaker ranking found out, on the shard that ranks.
    pub(super) fn serve_speakers(&mut self, key: RoomKey) {
        self.isolate(Some(Owner::Room(key)), |engine| engine.tell_speakers(key));
    }

    fn tell_speakers(&mut self, key: RoomKey) {
        let own = self.config.shard;
        let Some(room) = self.rooms.get_mut(key).filter(|room| room.lead(own) == own) else { return };
        let mut speaker_changed = false;
        while let Some(dominant) = room.speakers.poll_change() {
            let participant = dominant.and_then(|track| self.tracks.get(track)).map(|track| track.id.participant);
            room.dominant = participant;
            checkpoint("speakers");
            self.events.push_back(Event::Speaker { room: room.id, participant });
            speaker_changed = true;
        }
        let talkers_changed = room.speakers.poll_talkers_changed();
        if speaker_changed || talkers_changed {
            self.tell_talkers(key);
            self.speech_changed(key, talkers_changed);
        }
    }

    /// Others are heard, or another speaker is dominant: the members' slots and layers follow.
    pub(super) fn speech_changed(&mut self, key: RoomKey, talkers_changed: bool) {
        if talkers_changed {
            return self.rebind_room(key);
        }
        for member in self.rooms.get(key).map(|room| room.members.clone()).unwrap_or_default() {
            if let Some(participant) = self.participants.get_mut(member) {
                participant.downlink.allocate_soon();
            }
            self.touch(member);
        }
    }
}

fn clamp(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
