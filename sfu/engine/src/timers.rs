//! Who wants to be woken when. A later time for the same owner replaces nothing: the owner is woken at the earlier one and says again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Wake-ups of many owners. Only the earliest one of each owner needs to be kept by the caller.
#[derive(Debug)]
pub struct Timers<K> {
    heap: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K: Ord> Default for Timers<K> {
    fn default() -> Self {
        Timers { heap: BinaryHeap::new() }
    }
}

impl<K: Copy + Ord> Timers<K> {
    /// Wakes `owner` at `at`.
    pub fn add(&mut self, at: Instant, owner: K) {
        self.heap.push(Reverse((at, owner)));
    }

    /// The earliest wake-up.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one wake-up that is due, with the time that it was added for.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, K)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| due)
    }
}
