//! From the store to the subscribers: packets that came together are handed on together.
//!
//! `receive` and `relay` note each stored packet by [`Engine::arrived`]. `transmit` gives the packets to a few
//! subscribers at a time, and sends to these before it goes on to the next ones. The state of a subscriber, which has
//! left the cache since the last picture, is so fetched once for all packets of a burst, and once for handing on and
//! sending. Before subscriptions can change (by a command, a timer or a message of another shard), [`Engine::fan_out`]
//! hands on all packets.

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

/// The number of packets that may wait for their subscribers; when it is reached, they are handed on at once. The
/// smallest store holds this many packets, so none is overwritten before.
const MOST_WAITING: usize = PacketStore::AUDIO_SLOTS;

/// A stored packet that its subscribers have not been given yet. Ordered by source, then as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrived {
    track: TrackKey,
    encoding: EncodingIndex,
    /// Its place among all packets that wait.
    place: usize,
    seq: ExtSeq,
}

/// Packets that wait to be handed on, and how far that has come.
#[derive(Debug, Default)]
pub(super) struct PendingFanOut {
    packets: Vec<Arrived>,
    /// Number of packets, in their order, that all their subscribers have been given.
    packets_done: usize,
    /// Number of subscribers that have been given the packets of the next chunk.
    subscriber_cursor: usize,
}

impl PendingFanOut {
    fn has_begun(&self) -> bool {
        self.packets_done + self.subscriber_cursor > 0
    }

    fn is_one_track(&self) -> bool {
        self.packets.first().map(|packet| packet.track) == self.packets.last().map(|packet| packet.track)
    }

    /// The next packets that are all of one encoding, and the number of subscribers that have been given them.
    #[inline]
    fn next_chunk(&mut self) -> Option<(&[Arrived], &mut usize)> {
        let is_alike = |a: &Arrived, b: &Arrived| (a.track, a.encoding) == (b.track, b.encoding);
        let chunk = self.packets.get(self.packets_done..)?.chunk_by(is_alike).next()?;
        Some((chunk, &mut self.subscriber_cursor))
    }

    /// Notes that all subscribers have been given a chunk of this many packets.
    #[inline]
    fn finish_chunk(&mut self, packets: usize) {
        self.packets_done += packets;
        self.subscriber_cursor = 0;
    }

    fn clear_when_done(&mut self) {
        if self.packets_done == self.packets.len() {
            self.packets.clear();
            self.packets_done = 0;
        }
    }
}

impl Engine {
    /// Notes that a packet is in the store.
    pub(super) fn arrived(&mut self, now: Instant, track: TrackKey, encoding: EncodingIndex, seq: ExtSeq) {
        if self.waiting.has_begun() || self.waiting.packets.len() >= MOST_WAITING {
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

    /// As [`Engine::fan_out`], for the next few subscribers only. They are served before the others, while their state
    /// is still in the cache. False where no packet waits.
    #[inline]
    pub(super) fn fan_out_next(&mut self, now: Instant) -> bool {
        let waits = !self.waiting.packets.is_empty();
        if waits {
            self.fan_out_some(now, AT_ONCE);
        }
        waits
    }

    /// Hands on the packets of the next encoding, to at most `limit` of its subscribers. Packets of several tracks are
    /// handed on all at once: a participant that subscribes to more than one of the tracks is served with all of them
    /// together.
    fn fan_out_some(&mut self, now: Instant, limit: usize) {
        let mut waiting = std::mem::take(&mut self.waiting);
        if !waiting.has_begun() {
            waiting.packets.sort_unstable();
        }
        let is_one_track = waiting.is_one_track();
        let limit = if is_one_track { limit } else { usize::MAX };
        while let Some((chunk, subscriber_cursor)) = waiting.next_chunk() {
            let packets = chunk.len();
            if self.give(now, chunk, subscriber_cursor, limit) {
                break;
            }
            waiting.finish_chunk(packets);
            if is_one_track {
                break;
            }
        }
        waiting.clear_when_done();
        self.waiting = waiting;
    }

    /// Prefetches the state of subscribers that their packets need; it has left the cache since the last packets. It
    /// goes in three steps, since each step finds its addresses in what the step before has fetched.
    fn prefetch<'a>(&self, subscribers: impl Iterator<Item = &'a Subscriber> + Clone) {
        let receivers = || subscribers.clone().filter_map(|s| Some((self.participants.get(s.participant)?, s.slot)));
        receivers().for_each(|(receiver, _)| receiver.prefetch());
        receivers().for_each(|(receiver, slot)| receiver.prefetch_behind(slot));
        receivers().for_each(|(receiver, slot)| receiver.prefetch_numbers(slot));
    }

    /// Gives packets of one encoding to at most `limit` subscribers from `cursor` on, and moves it on. True where there
    /// are more subscribers.
    fn give(&mut self, now: Instant, packets: &[Arrived], cursor: &mut usize, limit: usize) -> bool {
        let end = cursor.saturating_add(limit);
        // Where the work for one subscriber panics, the subscribers after it still get the packets.
        loop {
            if let Some(more) = self.isolate(self.at_work, |engine| engine.give_each(now, packets, cursor, end)) {
                return more;
            }
        }
    }

    fn give_each(&mut self, now: Instant, packets: &[Arrived], cursor: &mut usize, end: usize) -> bool {
        let Some(Arrived { track: key, encoding, .. }) = packets.first().copied() else { return false };
        let Some(track) = self.tracks.get(key) else { return false };
        let Some(store) = track.encoding(encoding).map(|encoding| &encoding.store) else { return false };
        let views = track.views();
        self.prefetch(track.subscribers.iter().skip(*cursor).take(AT_ONCE).filter(|s| s.takes(encoding)));
        for subscriber in track.subscribers.iter().skip(*cursor) {
            if *cursor >= end {
                return true;
            }
            *cursor += 1;
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
