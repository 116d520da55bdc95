//! A panic costs whoever was being worked for, and nobody else anything.
//!
//! The engine does not panic by itself (lints deny it), but the crates under it might, on what a stranger sent. Every step of work says whom
//! it is about: a participant, a room, or another shard's track. After a panic that is thrown away and made anew, once the step is over:
//! a participant as after its join, and its client is told to offer again; a room's ranking of speakers; a track's mirror. A panic about
//! nobody has changed nothing yet, so that the step is left out. Only a panic while making something anew goes on upwards and ends the shard.

use super::keys::{ParticipantKey, RoomKey, TrackKey};
use super::{Engine, Owner};
use crate::event::{DisconnectReason, Event};
use crate::relay::Message;
use crate::snapshot::{PanicSubject, add};
use crate::uplink::track::Origin;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// A place at which tests make work panic half done.
#[inline(always)]
#[cfg_attr(not(test), expect(unused_variables, reason = "for tests"))]
pub(super) fn checkpoint(place: &'static str) {
    #[cfg(test)]
    tests::reached(place);
}

impl Engine {
    /// From here on until the step ends, or the next call, the work is for this participant.
    #[inline]
    pub(super) fn work_for(&mut self, key: ParticipantKey) {
        self.at_work = Some(Owner::Participant(key));
        checkpoint("participant");
    }

    /// The same for whoever owns a track.
    pub(super) fn work_for_track(&mut self, key: TrackKey) {
        self.at_work = self.tracks.get(key).map(|track| match track.origin {
            Origin::Participant(owner) => Owner::Participant(owner),
            Origin::Shard(_) => Owner::Mirror(key),
        });
        checkpoint("track");
    }

    /// Does a step of work about somebody, or about nobody yet. `None` where it panicked: what it was about is made anew by the next
    /// [`Engine::recover`].
    #[inline]
    pub(super) fn isolate<T>(&mut self, about: Option<Owner>, step: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let outer = std::mem::replace(&mut self.at_work, about);
        // What the step left half done is thrown away, or is counters and queues, of which each change is whole.
        let done = catch_unwind(AssertUnwindSafe(|| step(self)));
        let about = std::mem::replace(&mut self.at_work, outer);
        match done {
            Ok(done) => Some(done),
            Err(_) => {
                self.note_panic(about);
                None
            }
        }
    }

    #[cold]
    fn note_panic(&mut self, about: Option<Owner>) {
        let subject = match about {
            Some(Owner::Participant(_)) => PanicSubject::Participant,
            Some(Owner::Room(_)) => PanicSubject::Room,
            Some(Owner::Mirror(_)) => PanicSubject::Track,
            None => PanicSubject::Nobody,
        };
        add(&mut self.counters.panics, subject as usize, 1);
        self.panicked.extend(about);
    }

    /// Makes anew what panicked. At the end of whatever is done from outside.
    #[inline]
    pub(super) fn recover(&mut self, now: Instant) {
        if !self.panicked.is_empty() {
            self.renew_all(now);
        }
    }

    #[cold]
    fn renew_all(&mut self, now: Instant) {
        // Who subscribes to what is about to change.
        self.fan_out(now);
        while let Some(about) = self.panicked.pop() {
            match about {
                Owner::Participant(key) => self.renew_participant(now, key),
                Owner::Room(key) => self.renew_room(key),
                Owner::Mirror(key) => self.renew_mirror(now, key),
            }
        }
        self.at_work = None;
    }

    fn renew_participant(&mut self, now: Instant, key: ParticipantKey) {
        let Some(failed) = self.participants.get(key) else { return };
        let (id, permissions, room) = (failed.id, failed.permissions, failed.room);
        let Some(room) = self.rooms.get(room).map(|room| room.id) else { return };
        // It may be what is broken, so it says no goodbye; signaling tells the client.
        drop(self.take_transport(key));
        // The new one first, or the room might end in between.
        self.participant_keys.remove(&id);
        self.join(now, room, id, permissions);
        let fresh = self.key(id);
        self.leave(now, key);
        self.participant_keys.extend(fresh.map(|fresh| (id, fresh)));
        self.lost_to_a_fault(id);
    }

    /// A participant's client is told to start over.
    pub(super) fn lost_to_a_fault(&mut self, participant: crate::ids::ParticipantId) {
        self.counters.count_disconnect(DisconnectReason::InternalError);
        self.events.push_back(Event::Disconnected { participant, reason: DisconnectReason::InternalError });
    }

    /// Members and tracks of a room are theirs; what is the room's own is who speaks, and what other shards know of it.
    fn renew_room(&mut self, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        room.start_ranking_anew(self.config.max_talkers, &self.tracks);
        // What other shards have heard already they ignore.
        self.outbox.say_all(&room.peers, &Message::Hello { room: room.id });
        for track in room.tracks.clone() {
            if self.tracks.get(track).is_some_and(|track| track.owner().is_some()) {
                self.describe_track(track);
            }
        }
        self.rebind_room(key);
        self.wake_room(key);
    }

    fn renew_mirror(&mut self, now: Instant, key: TrackKey) {
        let Some(track) = self.tracks.get(key) else { return };
        let Some(home) = track.mirror().map(|mirror| mirror.home) else { return };
        let Some(description) = self.rooms.get(track.room).map(|room| track.description(room.id)) else { return };
        self.end_track(key);
        // Nobody takes the new one yet.
        self.outbox.say(home, Message::Interest { track: description.track, encodings: 0 });
        self.mirror_track(now, home, &description);
    }
}

#[cfg(test)]
mod tests;
