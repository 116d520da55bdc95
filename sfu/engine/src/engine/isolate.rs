//! A panic costs the participant that was being worked for its media connection, and nobody else anything.
//!
//! The engine does not panic by itself (lints deny it), but the crates under it might, on what a stranger sent. What such a participant left
//! behind is thrown away: it is taken out with its tracks, put in anew as after its join, and told to offer again. A panic that belongs to
//! nobody, or one while cleaning up, goes on upwards and ends the shard.

use super::Engine;
use super::keys::ParticipantKey;
use crate::event::{DisconnectReason, Event};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

impl Engine {
    /// From here on until the step ends, or the next call, the work is for this participant.
    #[inline]
    pub(super) fn work_for(&mut self, key: ParticipantKey) {
        self.at_work = Some(key);
        #[cfg(test)]
        self.fail_on_purpose(key);
    }

    /// Does a step of work. `None` where it panicked: whoever it was for starts over.
    #[inline]
    pub(super) fn isolate<T>(&mut self, now: Instant, step: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.at_work = None;
        // What the step left half done is its participant's, which is thrown away, or counters and queues, of which each change is whole.
        match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(done) => Some(done),
            Err(panic) => {
                let Some(key) = self.at_work.take() else { resume_unwind(panic) };
                self.renew(now, key);
                None
            }
        }
    }

    #[cold]
    fn renew(&mut self, now: Instant, key: ParticipantKey) {
        let Some(failed) = self.participants.get(key) else { return };
        let (id, permissions, room) = (failed.id, failed.permissions, failed.room);
        let Some(room) = self.rooms.get(room).map(|room| room.id) else { return };
        // The new one first, or the room might end in between.
        self.participant_keys.remove(&id);
        self.join(now, room, id, permissions);
        let fresh = self.key(id);
        self.leave(now, key);
        self.participant_keys.extend(fresh.map(|fresh| (id, fresh)));
        self.counters.count_disconnect(DisconnectReason::InternalError);
        self.events.push_back(Event::Disconnected { participant: id, reason: DisconnectReason::InternalError });
    }
}

#[cfg(test)]
mod tests;
