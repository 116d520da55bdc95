//! Participants that have something to send are served in rounds of a few. In each round, first all members do what is
//! due by time, then all members send, then all members note when they must be woken. Running each step for the whole
//! round keeps its code in the instruction cache; the code of all steps together is larger than the cache.

use super::Engine;
use super::keys::ParticipantKey;
use crate::participant::Service;
use std::time::Instant;

/// Participants of one round. The same number of subscribers is given packets at once: the cache can hold their state.
pub(super) const AT_ONCE: usize = 32;

/// The participants that are being served.
#[derive(Debug, Default)]
pub(super) struct Round {
    members: Vec<(ParticipantKey, Option<Service>)>,
    /// Number of members that have finished sending.
    sent: usize,
}

impl Round {
    /// The member that sends next.
    #[inline]
    pub(super) fn next(&self) -> Option<ParticipantKey> {
        self.members.get(self.sent).map(|(key, _)| *key)
    }
}

impl Engine {
    /// Ends the current round and begins one with the next participants of the queue: they do what is due before their
    /// packets are sent. False where the queue is empty.
    pub(super) fn next_round(&mut self, now: Instant) -> bool {
        self.end_round(now);
        let mut members = std::mem::take(&mut self.round.members);
        let count = self.queue.len().min(AT_ONCE);
        members.extend(self.queue.drain(..count).map(|key| (key, None)));
        for (key, _) in &members {
            self.isolate(None, |engine| {
                engine.work_for(*key);
                let Some(participant) = engine.participants.get(*key) else { return };
                match participant.queued {
                    Some(Service::Packets) if !participant.downlink.is_to_be_looked_at(now) => {}
                    Some(Service::Packets | Service::Feedback) => engine.serve_downlink(now, *key),
                    _ => engine.serve(now, *key),
                }
            });
        }
        self.round = Round { members, sent: 0 };
        self.recover(now);
        count > 0
    }

    /// Notes that the member whose turn it was has nothing left to send now. What comes for it from here on waits for
    /// another round.
    pub(super) fn sent_for(&mut self, key: ParticipantKey) {
        let service = self.participants.get_mut(key).and_then(|participant| participant.queued.take());
        if let Some(member) = self.round.members.get_mut(self.round.sent) {
            *member = (key, service);
        }
        self.round.sent += 1;
    }

    fn end_round(&mut self, now: Instant) {
        let Round { mut members, .. } = std::mem::take(&mut self.round);
        for (key, service) in members.drain(..) {
            self.isolate(None, |engine| {
                engine.work_for(key);
                engine.finish(now, key, service);
            });
        }
        self.recover(now);
        self.round.members = members;
    }
}
