//! From the store to the subscribers: packets that came together are handed on together.
//!
//! `receive` and `relay` note each stored packet by [`Engine::arrived`]. `transmit` hands them on, a few subscribers at a time, and sends to these before
//! it goes on to the next: a subscriber's state, which has left the cache since the last picture, is fetched once for all packets of a burst, and
//! once for handing on and sending. Before who takes what can change (by a command, a timer, another shard's word), [`Engine::fan_out`] hands on all.

use super::isolate::checkpoint;
use super::keys::TrackKey;
use super::round::AT_ONCE;
use super::{Engine, Owner};
use crate::ids::EncodingIndex;
use crate::participant::Service;
use crate::units::ExtSeq;
use crate::uplink::store::PacketStore;
use crate::uplink::track::Subscriber;
use std::time::Instant;

/// Packets that wait for their subscribers at most; then they are handed on at once. The smallest store holds as many at a rate at which so many come
/// together, so none is overwritten before.
const MOST_WAITING: usize = PacketStore::AUDIO_SLOTS;

/// A stored packet that its subscribers have not been given yet. Ordered by source, then as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrived {
    track: TrackKey,
    encoding: EncodingIndex,
    /// Its place among all that wait.
    place: usize,
    seq: ExtSeq,
}

/// Packets that wait to be handed on, and how far that has come.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    packets: Vec<Arrived>,
    /// So many of them, in their order, have been given to everybody.
    done: usize,
    /// Subscribers that have been given those of the next encoding.
    given: usize,
}

impl Engine {
    /// A packet is in the store.
    pub(super) fn arrived(&mut self, now: Instant, track: TrackKey, encoding: EncodingIndex, seq: ExtSeq) {
        let has_begun = self.waiting.done + self.waiting.given > 0;
        if has_begun || self.waiting.packets.len() >= MOST_WAITING {
            self.fan_out(now);
        }
        let place = self.waiting.packets.len();
        self.waiting.packets.push(Arrived { track, encoding, place, seq });
    }

    /// Hands the packets that wait to every subscriber that takes their encodings.
    #[inline]
    pub(super) fn fan_out(&mut self, now: Instant) {
        while !self.waiting.packets.is_empty() {
            self.fan_out_some(now, usize::MAX);
        }
    }

    /// The same for the next few subscribers, who are to be served before the others: then what is known of them is still in the cache. False where no
    /// packet waits.
    #[inline]
    pub(super) fn fan_out_next(&mut self, now: Instant) -> bool {
        let waits = !self.waiting.packets.is_empty();
        if waits {
            self.fan_out_some(now, AT_ONCE);
        }
        waits
    }

    /// Hands on the packets of the next encoding, to at most so many of its subscribers. Those of several tracks are handed on all at once: whoever
    /// subscribes to more than one of them is served with all of them together.
    fn fan_out_some(&mut self, now: Instant, most: usize) {
        let Waiting { mut packets, mut done, mut given } = std::mem::take(&mut self.waiting);
        if done + given == 0 {
            packets.sort_unstable();
        }
        let is_one_track = packets.first().map(|packet| packet.track) == packets.last().map(|packet| packet.track);
        let most = if is_one_track { most } else { usize::MAX };
        while let Some(rest) = packets.get(done..).filter(|rest| !rest.is_empty()) {
            let is_alike = |a: &Arrived, b: &Arrived| (a.track, a.encoding) == (b.track, b.encoding);
            let next = rest.chunk_by(is_alike).next().unwrap_or_default();
            if self.give(now, next, &mut given, most) {
                break;
            }
            (done, given) = (done + next.len(), 0);
            if is_one_track {
                break;
            }
        }
        if done == packets.len() {
            packets.clear();
            done = 0;
        }
        self.waiting = Waiting { packets, done, given };
    }

    /// Has what subscribers' packets take fetched, whose state has left the cache since the last ones. What is found by what was fetched first, second.
    fn prefetch<'a>(&self, subscribers: impl Iterator<Item = &'a Subscriber> + Clone) {
        let receivers = || subscribers.clone().filter_map(|s| Some((self.participants.get(s.participant)?, s.slot)));
        receivers().for_each(|(receiver, _)| receiver.prefetch());
        receivers().for_each(|(receiver, slot)| receiver.prefetch_behind(slot));
        receivers().for_each(|(receiver, slot)| receiver.prefetch_numbers(slot));
    }

    /// Gives packets of one encoding to at most so many subscribers behind the first `done`, and counts on. True where there are more.
    fn give(&mut self, now: Instant, packets: &[Arrived], done: &mut usize, most: usize) -> bool {
        let end = done.saturating_add(most);
        // Where one subscriber's part panics, the others behind it get the packets nevertheless.
        loop {
            if let Some(more) = self.isolate(self.at_work, |engine| engine.give_each(now, packets, done, end)) {
                return more;
            }
        }
    }

    fn give_each(&mut self, now: Instant, packets: &[Arrived], done: &mut usize, end: usize) -> bool {
        let Some(Arrived { track: key, encoding, .. }) = packets.first().copied() else { return false };
        let Some(track) = self.tracks.get(key) else { return false };
        let Some(store) = track.encoding(encoding).map(|encoding| &encoding.store) else { return false };
        let views = track.views();
        self.prefetch(track.subscribers.iter().skip(*done).take(AT_ONCE).filter(|s| s.takes(encoding)));
        for subscriber in track.subscribers.iter().skip(*done) {
            if *done >= end {
                return true;
            }
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
                receiver.queued = Some(Service::Packets);
                self.queue.push_back(subscriber.participant);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    #[test]
    fn packets_of_one_encoding_stay_in_the_order_in_which_they_came() {
        let mut tracks = SlotMap::<TrackKey, ()>::with_key();
        let [a, b] = [tracks.insert(()), tracks.insert(())];
        let came = [(b, 1, 7), (a, 0, 9), (b, 1, 6), (b, 0, 70), (a, 0, 4), (b, 1, 8)];
        let arrived = |(place, (track, encoding, seq))| Arrived {
            track,
            encoding: EncodingIndex(encoding),
            place,
            seq: ExtSeq(seq),
        };
        let mut packets: Vec<_> = came.into_iter().enumerate().map(arrived).collect();
        packets.sort_unstable();
        let seqs: Vec<_> = packets.iter().map(|packet| packet.seq.0).collect();
        assert_eq!(seqs, [9, 4, 70, 7, 6, 8]);
    }
}
