//! A panic affects only the participant, room or track that the work was about.
//!
//! The engine itself does not panic (lints forbid it), but the crates that it uses might, on input from the network.
//! Every step of work names its subject: a participant, a room, or the mirror of another shard's track. After a panic
//! the subject is thrown away and created again, once the step is over: a participant as it was after its join, and its
//! client is told to offer again; a room's ranking of speakers; a mirror. A step without a subject has not changed
//! anything yet when it panics, so it is skipped. Only a panic while a subject is created again is passed on, and ends
//! the shard.

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
    /// Names the subject of the work that follows, until the step ends or the next call: this participant.
    #[inline]
    pub(super) fn work_for(&mut self, key: ParticipantKey) {
        self.at_work = Some(Owner::Participant(key));
        checkpoint("participant");
    }

    /// Names the owner of a track as the subject: the participant that publishes it, or its mirror.
    pub(super) fn work_for_track(&mut self, key: TrackKey) {
        self.at_work = self.tracks.get(key).map(|track| match track.origin {
            Origin::Participant(owner) => Owner::Participant(owner),
            Origin::Shard(_) => Owner::Mirror(key),
        });
        checkpoint("track");
    }

    /// Does a step of work about a subject, or about none yet. `None` where it panicked: then the next
    /// [`Engine::recover`] creates the subject again.
    #[inline]
    pub(super) fn isolate<T>(&mut self, about: Option<Owner>, step: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let outer = std::mem::replace(&mut self.at_work, about);
        // A half-changed subject is thrown away; counters and queues are never half changed.
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

    /// Creates again what panicked. Every call from outside that is given the time ends with this. After
    /// [`Engine::handle_closed`] and [`Engine::close`], which are not or which stop everything, the next such call does
    /// it, at the latest [`Engine::poll_transmit`]; work on a half-changed subject until then is thrown away with it.
    #[inline]
    pub(super) fn recover(&mut self, now: Instant) {
        if !self.panicked.is_empty() {
            self.renew_all(now);
        }
    }

    #[cold]
    fn renew_all(&mut self, now: Instant) {
        // Subscriptions are about to change, so the packets that wait go to the subscribers of now.
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
        // The transport itself may be broken, so no DTLS close is sent; signaling tells the client.
        drop(self.take_transport(key));
        // The new participant joins before the old one leaves, or the room might end in between.
        self.participant_keys.remove(&id);
        self.join(now, room, id, permissions);
        let fresh = self.key(id);
        self.leave(now, key);
        self.participant_keys.extend(fresh.map(|fresh| (id, fresh)));
        self.lost_to_a_fault(id);
    }

    /// Tells a participant's client to start over.
    pub(super) fn lost_to_a_fault(&mut self, participant: crate::ids::ParticipantId) {
        self.counters.count_disconnect(DisconnectReason::InternalError);
        self.events.push_back(Event::Disconnected { participant, reason: DisconnectReason::InternalError });
    }

    /// Keeps the members and tracks of a room, which do not belong to it alone; its ranking of speakers and what other
    /// shards know of it are made again.
    fn renew_room(&mut self, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        room.start_ranking_anew(self.config.max_talkers, &self.tracks);
        // Other shards ignore what they know already.
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
        // The new mirror has no subscribers yet.
        self.outbox.say(home, Message::Interest { track: description.track, encodings: 0 });
        self.mirror_track(now, home, &description);
    }
}

#[cfg(test)]
mod tests;
