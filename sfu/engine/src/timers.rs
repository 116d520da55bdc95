//! The wake-ups of many owners, in a hierarchical timing wheel (Varghese and Lauck, 1987): to add a wake-up and to find
//! the next one cost the same however many there are. A later time for the same owner replaces nothing: the owner is
//! woken at the earlier time and says then when it wants to be woken next.
//!
//! Own code rather than a crate: wake-ups keep their exact time and their order, so that a run can be repeated, and the
//! engine reads no clock.

use std::cmp::Reverse;
use std::time::Instant;

/// Slots of a level, as bits of the tick, which is a millisecond. Wake-ups keep their exact time: ticks are only how
/// they are sorted.
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
/// Together they reach 139 years from the first wake-up.
const LEVELS: usize = 7;
const LAST_TICK: u64 = (1 << (BITS * LEVELS as u32)) - 1;

/// Wake-ups of many owners. Only the earliest one of each owner needs to be kept by the caller.
#[derive(Debug)]
pub struct Timers<K> {
    /// Ticks count from here: the time of the first wake-up of all.
    epoch: Option<Instant>,
    /// No slot before this tick holds anything.
    elapsed: u64,
    levels: [Level; LEVELS],
    /// All that is in slots, in lists, so that no slot needs memory of its own; and those that are free, in one list
    /// more.
    nodes: Vec<Node<K>>,
    free: Option<u32>,
    /// Wake-ups of the tick that was opened last and of those before it, the latest first.
    due: Vec<Reverse<(Instant, K)>>,
}

/// Slot `n` of level `l` holds the ticks that agree with `elapsed` above digit `l` (base 64) and have the digit `n`
/// there.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// Which slots hold something.
    occupied: u64,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The first of its list of nodes.
    head: Option<u32>,
    earliest: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Node<K> {
    at: Instant,
    owner: K,
    next: Option<u32>,
}

impl<K: Ord> Default for Timers<K> {
    fn default() -> Self {
        let levels = [Level { occupied: 0, slots: [Slot::default(); SLOTS] }; LEVELS];
        Timers { epoch: None, elapsed: 0, levels, nodes: Vec::new(), free: None, due: Vec::new() }
    }
}

impl<K: Copy + Ord> Timers<K> {
    /// Wakes `owner` at `at`.
    pub fn add(&mut self, at: Instant, owner: K) {
        let node = Node { at, owner, next: None };
        let index = match self.free {
            Some(index) => {
                if let Some(place) = self.nodes.get_mut(index as usize) {
                    self.free = std::mem::replace(place, node).next;
                }
                index
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        self.link(index);
    }

    /// The earliest wake-up.
    pub fn next(&self) -> Option<Instant> {
        let due = self.due.last().map(|Reverse((at, _))| *at);
        due.into_iter().chain(self.first().and_then(|place| self.slot(place)?.earliest)).min()
    }

    /// Takes one wake-up that is due, the earliest, with the time that it was added for.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, K)> {
        loop {
            let first = self.first().and_then(|place| Some((place, self.slot(place)?.earliest?)));
            match (self.due.last(), first) {
                (Some(Reverse((at, _))), first) if first.is_none_or(|(_, earliest)| *at <= earliest) => {
                    let is_due = *at <= now;
                    return if is_due { self.due.pop().map(|Reverse(due)| due) } else { None };
                }
                (_, Some((place, earliest))) if earliest <= now => self.open(place),
                _ => return None,
            }
        }
    }

    /// Puts a node at the head of the list of its slot.
    fn link(&mut self, index: u32) {
        let Some(node) = self.nodes.get_mut(index as usize) else { return };
        let since = node.at.saturating_duration_since(*self.epoch.get_or_insert(node.at));
        let tick = (since.as_millis() as u64).min(LAST_TICK).max(self.elapsed);
        let level = (tick ^ self.elapsed).checked_ilog2().unwrap_or(0) / BITS;
        let place = (tick >> (BITS * level)) as usize % SLOTS;
        let Some(level) = self.levels.get_mut(level as usize) else { return };
        let Some(slot) = level.slots.get_mut(place) else { return };
        level.occupied |= 1 << place;
        node.next = slot.head.replace(index);
        slot.earliest = Some(slot.earliest.map_or(node.at, |earliest| earliest.min(node.at)));
    }

    /// Level and index of the first slot that holds something: no wake-up of another one is earlier.
    fn first(&self) -> Option<(usize, usize)> {
        let (number, level) = self.levels.iter().enumerate().find(|(_, level)| level.occupied != 0)?;
        Some((number, level.occupied.trailing_zeros() as usize))
    }

    /// Empties the first slot: one of the lowest level is this tick's, the others' wake-ups go further down.
    fn open(&mut self, (number, index): (usize, usize)) {
        let (shift, above) = (BITS * number as u32, BITS * (number as u32 + 1));
        let begins = ((self.elapsed >> above) << above) | ((index as u64) << shift);
        self.elapsed = self.elapsed.max(begins);
        let Some(level) = self.levels.get_mut(number) else { return };
        let Some(slot) = level.slots.get_mut(index).map(std::mem::take) else { return };
        level.occupied &= !(1 << index);
        let mut next = slot.head;
        while let Some((index, node)) = next.and_then(|index| Some((index, self.nodes.get_mut(index as usize)?))) {
            next = node.next;
            if number == 0 {
                self.due.push(Reverse((node.at, node.owner)));
                node.next = self.free.replace(index);
            } else {
                self.link(index);
            }
        }
        if number == 0 {
            self.due.sort_unstable();
        }
    }

    fn slot(&self, (number, index): (usize, usize)) -> Option<&Slot> {
        self.levels.get(number)?.slots.get(index)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use proptest::prelude::*;
    use std::collections::BinaryHeap;
    use std::time::Duration;

    const HOUR: u64 = 3_600_000_000;

    /// Adds a wake-up so many microseconds from now (or before), or lets time pass.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Add(i64),
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let near = (-5_000i64..200_000).prop_map(Step::Add);
        let far = (0i64..40 * 24 * HOUR as i64).prop_map(Step::Add);
        let middle = (0i64..HOUR as i64).prop_map(Step::Add);
        let pass = prop_oneof![0u64..3_000, 0u64..10_000_000, 0u64..HOUR, 0..20 * 24 * HOUR].prop_map(Step::Pass);
        proptest::collection::vec(prop_oneof![3 => near, 1 => middle, 1 => far, 3 => pass], 1..200)
    }

    proptest! {
        /// A heap is the oracle: the same next time always, and the same wake-ups in the same order whenever time has
        /// passed.
        #[test]
        fn wakes_whom_a_heap_would_wake(steps in steps()) {
            let mut now = Instant::now() + Duration::from_secs(1000);
            let (mut timers, mut heap) = (Timers::default(), BinaryHeap::new());
            for (owner, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Add(us) => {
                        let distance = Duration::from_micros(us.unsigned_abs());
                        let at = if us < 0 { now - distance } else { now + distance };
                        timers.add(at, owner);
                        heap.push(Reverse((at, owner)));
                    }
                    Step::Pass(us) => {
                        now += Duration::from_micros(us);
                        let due: Vec<_> = std::iter::from_fn(|| timers.pop_due(now)).collect();
                        let mut expected = vec![];
                        while heap.peek().is_some_and(|Reverse((at, _))| *at <= now) {
                            expected.extend(heap.pop().map(|Reverse(wakeup)| wakeup));
                        }
                        prop_assert_eq!(due, expected);
                    }
                }
                prop_assert_eq!(timers.next(), heap.peek().map(|Reverse((at, _))| *at));
            }
        }
    }

    #[test]
    fn wake_ups_come_in_order_and_those_added_meanwhile_too() {
        let (start, mut timers) = (Instant::now(), Timers::default());
        let at = |us| start + Duration::from_micros(us);
        for us in [5300, 100, 5200, 70_000] {
            timers.add(at(us), us);
        }
        assert_eq!(timers.pop_due(at(6000)), Some((at(100), 100)));
        timers.add(at(5250), 5250);
        let rest: Vec<_> = std::iter::from_fn(|| timers.pop_due(at(6000))).map(|(_, us)| us).collect();
        assert_eq!(rest, [5200, 5250, 5300]);
        assert_eq!((timers.next(), timers.pop_due(at(69_999))), (Some(at(70_000)), None));
        assert_eq!(timers.pop_due(at(70_000)), Some((at(70_000), 70_000)));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn what_has_no_end_of_waiting_does_not_grow() {
        let (start, mut timers) = (Instant::now(), Timers::default());
        for n in 0..100_000u64 {
            let now = start + Duration::from_micros(n * 700);
            timers.add(now + Duration::from_millis(5), n);
            while timers.pop_due(now).is_some() {}
        }
        let free = std::iter::successors(timers.free, |index| timers.nodes[*index as usize].next).count();
        let kept = timers.nodes.len() - free;
        assert!(kept < 10, "{kept}");
    }
}
