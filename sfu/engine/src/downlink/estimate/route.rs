//! Whether the route has become longer: all delays have risen, and their floor stays where it is. A queue that others
//! fill breathes with their windows (TCP), and ours is shortened where it stands (`aimd`).

use super::feedback::OurTime;
use std::time::Duration;

/// The floor is the shortest delay of so much time: between two pictures, packets meet an empty queue.
const SPAN: Duration = Duration::from_millis(250);
/// For so many spans it must not move.
const SPANS: usize = 8;
/// What differs by less is the same, in microseconds.
const SAME_US: i64 = 5_000;
/// A floor that is higher by less than this is of no concern.
const LONGER_US: i64 = 25_000;

/// The floor of the one-way delays over the last seconds.
#[derive(Debug)]
pub(super) struct Floor {
    /// Of the last spans, in microseconds; the newest replaces the oldest.
    spans: [i64; SPANS],
    /// How many spans followed each other without a gap.
    filled: usize,
    /// Of the present span; [`i64::MAX`] where nothing came.
    present: i64,
    ends: OurTime,
}

impl Floor {
    pub(super) fn new(now: OurTime) -> Self {
        Floor { spans: [0; SPANS], filled: 0, present: i64::MAX, ends: now.plus(SPAN) }
    }

    /// Takes a one-way delay in microseconds, on two clocks. Where the floor has been flat for so long, and clearly
    /// higher than `lowest`, the route's new delay.
    pub(super) fn longer(&mut self, now: OurTime, one_way: i64, lowest: i64) -> Option<i64> {
        let ended = now >= self.ends;
        if ended {
            self.end_span(now);
        }
        self.present = self.present.min(one_way);
        let flat = if ended { self.flat() } else { None };
        flat.filter(|floor| floor.saturating_sub(lowest) > LONGER_US)
    }

    /// Packets were lost: where a queue is full its length does not change either.
    pub(super) fn on_loss(&mut self) {
        self.filled = 0;
        self.present = i64::MAX;
    }

    fn end_span(&mut self, now: OurTime) {
        let is_next = now < self.ends.plus(SPAN) && self.present != i64::MAX;
        if is_next {
            self.spans.rotate_left(1);
            self.spans[SPANS - 1] = self.present;
        }
        self.filled = if is_next { (self.filled + 1).min(SPANS) } else { 0 };
        self.present = i64::MAX;
        self.ends = now.plus(SPAN);
    }

    fn flat(&self) -> Option<i64> {
        let (least, most) = (self.spans.iter().min()?, self.spans.iter().max()?);
        (self.filled == SPANS && most.saturating_sub(*least) < SAME_US).then_some(*least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1000;

    /// What is told of packets every 10 ms whose delays in milliseconds, by the milliseconds of their sending, are
    /// these; the lowest that is known is 0.
    fn longer(seconds: i64, delay_ms: impl Fn(i64) -> i64, is_lost: impl Fn(i64) -> bool) -> Option<i64> {
        let mut floor = Floor::new(OurTime(0));
        let mut told = None;
        for ms in (0..1000 * seconds).step_by(10) {
            if is_lost(ms) {
                floor.on_loss();
            } else {
                told = told.or(floor.longer(OurTime(ms * MS), delay_ms(ms) * MS, 0));
            }
        }
        told.map(|us| us / MS)
    }

    /// Longest where a picture's last packet waits for the others.
    fn picture(ms: i64) -> i64 {
        ms % 40
    }

    #[test]
    fn a_floor_that_is_higher_and_does_not_move_is_a_longer_route() {
        assert_eq!(longer(3, |ms| 130 + picture(ms), |_| false), Some(130));
        assert_eq!(longer(60, |ms| 20 + picture(ms), |_| false), None, "of no concern");
        assert_eq!(longer(2, |ms| 130 + picture(ms), |_| false), None, "not yet");
    }

    #[test]
    fn a_queue_is_none() {
        // 100 ms that a window of TCP fills, halves and fills again in four seconds.
        assert_eq!(longer(60, |ms| 50 + ms % 4000 / 80 + picture(ms), |_| false), None);
        assert_eq!(longer(60, |ms| 100 + picture(ms), |ms| ms % 1500 == 0), None, "full, and drops");
        assert_eq!(longer(60, |ms| ms / 10, |_| false), None, "it grows");
    }

    #[test]
    fn spans_without_a_packet_tell_nothing() {
        assert_eq!(longer(60, |_| 130, |ms| ms % 2000 < 600), None);
    }
}
