//! Datagrams that the kernel gave to the wrong shard: gathered for each owner while a shard reads its sockets, and
//! handed over together.
//!
//! The kernel spreads clients over the shards' sockets by a hash that nobody can place participants by, since a
//! client's address is known only after its shard was named in the answer. A program on the socket could follow the
//! user fragment of a check, but nothing in SRTP names the shard, and classic BPF has no table to look a tuple up in.
//! So datagrams cross over: a copy of each, and one wake-up for all that a round of reading found.

use super::queues::{Inbox, ShardInput};
use sfu_engine::Tuple;
use std::time::Instant;

/// Emptied handovers that are kept for their memory.
const SPARES: usize = 16;

/// Datagrams for one shard, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    datagrams: Vec<(Instant, Tuple, usize)>,
    bytes: Vec<u8>,
}

impl Handover {
    /// Hands each datagram to `each`, with its time of arrival, in order.
    pub(super) fn for_each(&mut self, mut each: impl FnMut(Instant, Tuple, &mut [u8])) {
        let mut rest = self.bytes.as_mut_slice();
        for (arrival, tuple, length) in &self.datagrams {
            let (datagram, behind) = rest.split_at_mut((*length).min(rest.len()));
            each(*arrival, *tuple, datagram);
            rest = behind;
        }
    }
}

/// What waits to be handed over, by shard.
pub(super) struct Handovers {
    waiting: Vec<Handover>,
    spares: Vec<Handover>,
    dropped: u64,
}

impl Handovers {
    /// Nothing, for so many shards.
    pub(super) fn new(shards: usize) -> Self {
        Handovers { waiting: (0..shards).map(|_| Handover::default()).collect(), spares: Vec::new(), dropped: 0 }
    }

    /// Adds a datagram for a shard.
    pub(super) fn add(&mut self, shard: usize, arrival: Instant, tuple: Tuple, datagram: &[u8]) {
        if let Some(handover) = self.waiting.get_mut(shard) {
            handover.datagrams.push((arrival, tuple, datagram.len()));
            handover.bytes.extend_from_slice(datagram);
        }
    }

    /// Gives the shards what waits for them.
    pub(super) fn give(&mut self, shards: &[Inbox]) {
        for (waiting, shard) in self.waiting.iter_mut().zip(shards).filter(|(waiting, _)| !waiting.datagrams.is_empty())
        {
            let handover = std::mem::replace(waiting, self.spares.pop().unwrap_or_default());
            let datagrams = handover.datagrams.len() as u64;
            self.dropped += if shard.give(ShardInput::Datagrams(handover)) { 0 } else { datagrams };
        }
    }

    /// Takes the memory of a handover that came from elsewhere.
    pub(super) fn reuse(&mut self, mut handover: Handover) {
        if self.spares.len() < SPARES {
            handover.datagrams.clear();
            handover.bytes.clear();
            self.spares.push(handover);
        }
    }

    /// Datagrams that a full queue turned away so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::super::queues;
    use super::*;
    use sfu_engine::Protocol;

    fn tuple(port: u16) -> Tuple {
        Tuple { protocol: Protocol::Udp, local: ([192, 0, 2, 1], 1).into(), remote: ([192, 0, 2, 2], port).into() }
    }

    #[test]
    fn datagrams_arrive_whole_in_order_and_each_at_its_shard() {
        let shards: Vec<_> = (0..3).map(|_| queues::queues()).collect();
        let inboxes: Vec<_> = shards.iter().map(|(_, handle, _)| handle.inbox()).collect();
        let (mut handovers, now) = (Handovers::new(3), Instant::now());
        for round in 0..3u8 {
            for (shard, port) in [(1, 10), (2, 20), (1, 11)] {
                handovers.add(shard, now, tuple(port), &vec![round; usize::from(port)]);
            }
            handovers.give(&inboxes);
        }
        let mut received = Vec::new();
        for (shard, (_, _, mut queues)) in shards.into_iter().enumerate() {
            while let Ok(ShardInput::Datagrams(mut handover)) = queues.inputs.try_recv() {
                handover.for_each(|_, tuple, datagram| received.push((shard, tuple.remote.port(), datagram.to_vec())));
                handovers.reuse(handover);
            }
        }
        let of = |round: u8, port: u16| vec![round; usize::from(port)];
        let one = (0..3).flat_map(|r| [(1, 10, of(r, 10)), (1, 11, of(r, 11))]);
        assert_eq!(received, one.chain((0..3).map(|r| (2, 20, of(r, 20)))).collect::<Vec<_>>());
        assert_eq!(handovers.dropped(), 0);
        // What came back is empty.
        handovers.add(0, now, tuple(1), &[1]);
        handovers.give(&inboxes[..1]);
        assert_eq!(handovers.dropped(), 1, "that shard has ended");
    }
}
