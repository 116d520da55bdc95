//! Finds members of a room that share a bottleneck, and gives each its part of it.

use super::Engine;
use super::keys::ParticipantKey;
use crate::participant::Participant;
use crate::room::Room;
use slotmap::SlotMap;
use std::time::Instant;

/// The number of other members with which a receiver is compared. A receiver that shares a queue with one of them is
/// related through it to the others of that queue.
const COMPARED: usize = 32;

impl Engine {
    /// Compares the queue on the way to a receiver, where there is one, with those of other members of its room, and
    /// tells the receiver its part of the bottleneck that they share.
    pub(super) fn share_bottleneck(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key).filter(|p| p.connected) else { return };
        let Some(room) = self.rooms.get_mut(participant.room) else { return };
        if participant.downlink.estimator().take_other_path() {
            room.bottlenecks.remove(key);
        }
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

/// How much the queue of a receiver is like those of other members; members that cannot be compared are left out.
fn relations(
    key: ParticipantKey,
    room: &Room,
    participants: &SlotMap<ParticipantKey, Participant>,
) -> Vec<(ParticipantKey, f64)> {
    let Some(own) = participants.get(key) else { return Vec::new() };
    let place = room.members.iter().position(|member| *member == key).unwrap_or_default();
    // The members that joined after it come first, then those that joined before it.
    let (before, from) = room.members.split_at(place);
    let others = from.iter().skip(1).chain(before).take(COMPARED);
    let like = |other: &ParticipantKey| own.downlink.queue_correlation(&participants.get(*other)?.downlink);
    others.filter_map(|other| Some((*other, like(other)?))).collect()
}
