//! How long a ring over the newest sequence numbers has to be. It begins short, and grows until it spans one second, or
//! the longest repair delay if that is longer. So a stream of 150 kb/s takes an eighth of the memory of one of 3 Mb/s.

use std::time::{Duration, Instant};

/// Places with which a ring begins. It grows by multiples of this.
const FIRST: usize = 64;
/// The shortest time that a full ring spans: a retransmission of a publisher far away comes as late as that, and must
/// find its place.
const TURN: Duration = Duration::from_secs(1);

/// The growth of one ring.
#[derive(Debug)]
pub struct RingGrowth {
    /// The ring is never longer than this.
    most: usize,
    /// Time that the full ring is to span.
    turn: Duration,
    /// When this turn of the ring began, and the first number that is not in it.
    turned: Option<Instant>,
    end: u64,
}

impl RingGrowth {
    /// For a ring of `most` places at most.
    pub fn new(most: usize) -> Self {
        RingGrowth { most, turn: TURN, turned: None, end: 0 }
    }

    /// For a ring of the same kind that begins anew.
    pub fn anew(&self) -> Self {
        RingGrowth { turn: self.turn, ..RingGrowth::new(self.most) }
    }

    /// From now on the full ring is to span this time, and at least a second.
    pub fn hold(&mut self, time: Duration) {
        self.turn = time.max(TURN);
    }

    /// How many places to begin with.
    pub fn first_len(&self) -> usize {
        self.most.min(FIRST)
    }

    /// Numbers up to `end` (exclusive) are about to enter a ring of `len` places, of which `next` is the first. Returns
    /// the length that the ring must have before, where that is another.
    #[inline]
    pub fn before(&mut self, now: Instant, len: usize, next: u64, end: u64) -> Option<usize> {
        if end <= self.end { None } else { self.next_turn(now, len, next, end) }
    }

    fn next_turn(&mut self, now: Instant, len: usize, next: u64, end: u64) -> Option<usize> {
        let begun = self.end.saturating_sub(len as u64);
        let early = self.turned.is_some_and(|turned| now.saturating_duration_since(turned) < self.turn);
        if early && len < self.most {
            let needed = usize::try_from(end.saturating_sub(begun)).unwrap_or(usize::MAX).min(self.most);
            let length = needed.next_multiple_of(FIRST).min(self.most);
            self.end = begun + length as u64;
            return Some(length);
        }
        (self.turned, self.end) = (Some(now), next + len as u64);
        // A first turn that does not hold what enters at once is too short.
        if end > self.end && len < self.most { self.next_turn(now, len, next, end) } else { None }
    }
}
