//! From the store to the subscribers: packets that came together are handed on together.
//!
//! `receive` and `relay` note each stored packet by [`Engine::arrived`]; before anything is sent, or anything else happens, [`Engine::fan_out`] goes
//! through them. A subscriber's state, which has left the cache since the last picture, is fetched once for all packets of a burst.

use super::isolate::checkpoint;
use super::keys::TrackKey;
use super::{Engine, Owner};
use crate::ids::EncodingIndex;
use crate::participant::Service;
use crate::units::ExtSeq;
use crate::uplink::store::PacketStore;
use std::time::Instant;

/// Packets that wait for their subscribers at most; then they are handed on at once. Far below what a store holds at a rate at which so many come
/// together, so none is overwritten before.
const MOST_WAITING: usize = PacketStore::VIDEO_SLOTS / 4;

/// A stored packet that its subscribers have not been given yet. Ordered by source, then as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrived {
    track: TrackKey,
    encoding: EncodingIndex,
    /// Its place among all that wait.
    place: usize,
    seq: ExtSeq,
}

impl Engine {
    /// A packet is in the store.
    pub(super) fn arrived(&mut self, now: Instant, track: TrackKey, encoding: EncodingIndex, seq: ExtSeq) {
        self.waiting.push(Arrived { track, encoding, place: self.waiting.len(), seq });
        if self.waiting.len() >= MOST_WAITING {
            self.fan_out(now);
        }
    }

    /// Hands the packets that wait to every subscriber that takes their encodings.
    #[inline]
    pub(super) fn fan_out(&mut self, now: Instant) {
        if !self.waiting.is_empty() {
            self.fan_out_waiting(now);
        }
    }

    fn fan_out_waiting(&mut self, now: Instant) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_unstable();
        for packets in waiting.chunk_by(|a, b| (a.track, a.encoding) == (b.track, b.encoding)) {
            // Where one subscriber's part panics, the others behind it get the packets nevertheless.
            let mut done = 0;
            while self.isolate(self.at_work, |engine| engine.fan_out_from(now, packets, &mut done)).is_none() {}
        }
        waiting.clear();
        self.waiting = waiting;
    }

    /// Begins behind the first `done` subscribers, and counts on. The packets are all of one encoding.
    fn fan_out_from(&mut self, now: Instant, packets: &[Arrived], done: &mut usize) {
        let Some(Arrived { track: key, encoding, .. }) = packets.first().copied() else { return };
        let Some(track) = self.tracks.get(key) else { return };
        let Some(store) = track.encoding(encoding).map(|encoding| &encoding.store) else { return };
        let views = track.views();
        for subscriber in track.subscribers.iter().skip(*done) {
            *done += 1;
            if !subscriber.takes(encoding) {
                continue;
            }
            let Some(receiver) = self.participants.get_mut(subscriber.participant).filter(|p| p.can_send()) else {
                continue;
            };
            self.at_work = Some(Owner::Participant(subscriber.participant));
            checkpoint("fan-out");
            let stored = packets.iter().filter_map(|packet| store.get(packet.seq));
            receiver.downlink.forward(now, subscriber.slot, key, encoding, stored, views.as_slice());
            if receiver.queued.is_none() {
                receiver.queued = Some(Service::Media);
                self.queue.push_back(subscriber.participant);
            }
        }
    }
}
