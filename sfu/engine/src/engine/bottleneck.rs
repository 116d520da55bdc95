//! Which members of a room share a bottleneck, and what part of it each has.

use super::Engine;
use super::keys::ParticipantKey;
use crate::participant::Participant;
use crate::room::Room;
use slotmap::SlotMap;
use std::time::Instant;

/// A receiver is compared with so many others: who shares a queue with one of them finds those behind through it.
const COMPARED: usize = 32;

impl Engine {
    /// Compares the queue that a receiver meets, where there is one, with those that others of its room meet, and tells it its part of what they share.
    pub(super) fn share_bottleneck(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key).filter(|p| p.connected) else { return };
        let Some(room) = self.rooms.get_mut(participant.room) else { return };
        if participant.downlink.is_to_be_compared(now) {
            let related = relations(key, room, &self.participants);
            room.bottlenecks.relate(now, key, &related);
        }
        let Some(participant) = self.participants.get_mut(key) else { return };
        let shares = room.bottlenecks.receivers() > 0;
        let fair_share =
            if shares { room.bottlenecks.fair_share(now, key, || participant.downlink.flow(now)) } else { None };
        participant.downlink.set_fair_share(fair_share);
    }
}

/// How a receiver's queue compares with those of others, as far as it does.
fn relations(
    key: ParticipantKey,
    room: &Room,
    participants: &SlotMap<ParticipantKey, Participant>,
) -> Vec<(ParticipantKey, f64)> {
    let Some(own) = participants.get(key) else { return Vec::new() };
    let place = room.members.iter().position(|member| *member == key).unwrap_or_default();
    // Those that joined after it, and round to those before.
    let (before, from) = room.members.split_at(place);
    let others = from.iter().skip(1).chain(before).take(COMPARED);
    let like = |other: &ParticipantKey| own.downlink.queue_correlation(&participants.get(*other)?.downlink);
    others.filter_map(|other| Some((*other, like(other)?))).collect()
}
