//! Who is woken next in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// The wake-up times of a fixed set of owners, each with one at most. At the same time the lower owner goes first.
#[derive(Debug)]
pub(super) struct Agenda {
    noted: Vec<Option<Instant>>,
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Agenda {
    /// An empty agenda for owners `0..owners`.
    pub(super) fn new(owners: usize) -> Agenda {
        Agenda { noted: vec![None; owners], heap: BinaryHeap::new() }
    }

    /// From now on `owner` is woken at this time only, or not at all.
    pub(super) fn note(&mut self, owner: usize, at: Option<Instant>) {
        if self.noted[owner] != at {
            self.noted[owner] = at;
            self.heap.extend(at.map(|at| Reverse((at, owner))));
        }
    }

    /// The next owner and its time, no later than `until`.
    pub(super) fn pop(&mut self, until: Instant) -> Option<(Instant, usize)> {
        self.next().filter(|at| *at <= until)?;
        let Reverse((at, owner)) = self.heap.pop()?;
        self.noted[owner] = None;
        Some((at, owner))
    }

    /// When somebody is woken next.
    pub(super) fn next(&mut self) -> Option<Instant> {
        while let Some(&Reverse((at, owner))) = self.heap.peek() {
            if self.noted[owner] == Some(at) {
                return Some(at);
            }
            self.heap.pop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn owners_are_woken_in_order_at_their_last_noted_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut agenda = Agenda::new(3);
        agenda.note(2, Some(at(5)));
        agenda.note(1, Some(at(5)));
        agenda.note(0, Some(at(1)));
        agenda.note(0, Some(at(9)));
        agenda.note(0, Some(at(1)));
        let order: Vec<_> = std::iter::from_fn(|| agenda.pop(at(8))).collect();
        assert_eq!(order, [(at(1), 0), (at(5), 1), (at(5), 2)]);
        assert_eq!(agenda.pop(at(100)), None);
    }
}
