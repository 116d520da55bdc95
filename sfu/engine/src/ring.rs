//! How long a ring over the newest sequence numbers has to be: it begins short and grows while one turn of it takes less than a second, so that a
//! stream of 150 kb/s takes an eighth of the memory of one of 3 Mb/s.

use std::time::{Duration, Instant};

/// A ring begins with room for so many.
const FIRST: usize = 64;
/// Time that a ring is to hold.
const TURN: Duration = Duration::from_secs(1);

/// The growth of one ring.
#[derive(Debug)]
pub struct RingGrowth {
    /// The ring is never longer than this.
    most: usize,
    /// The first number of this turn, and when it came.
    turn: Option<(u64, Instant)>,
}

impl RingGrowth {
    /// For a ring of `most` places at most.
    pub fn new(most: usize) -> Self {
        RingGrowth { most, turn: None }
    }

    /// How many places to begin with.
    pub fn first_len(&self) -> usize {
        self.most.min(FIRST)
    }

    /// Numbers up to `end` (exclusive) are about to enter a ring of `len` places, of which `next` is the first. Returns the length that the
    /// ring must have before, where that is another.
    pub fn before(&mut self, now: Instant, len: usize, next: u64, end: u64) -> Option<usize> {
        let (turn, turned) = *self.turn.get_or_insert((next, now));
        let needed = end.saturating_sub(turn);
        if needed <= len as u64 {
            return None;
        }
        if len < self.most && now.saturating_duration_since(turned) < TURN {
            let needed = usize::try_from(needed).unwrap_or(usize::MAX).min(self.most);
            return Some(needed.next_power_of_two().min(self.most));
        }
        self.turn = Some((next, now));
        None
    }
}
