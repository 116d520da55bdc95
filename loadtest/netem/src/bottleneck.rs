//! The server of the queue: when does a packet depart? Known when it joins, because the rate of all times is.

use crate::trace::OPPORTUNITY_BYTES;
use crate::{NEVER, Rate, Schedule, Trace};

/// Serves one packet after the other.
pub(crate) enum Bottleneck {
    Schedule(Shaper),
    Trace(Player),
}

impl Bottleneck {
    pub(crate) fn new(rate: Rate) -> Bottleneck {
        match rate {
            Rate::Schedule(rate) => Bottleneck::Schedule(Shaper { rate, free_at: 0, credit: 0 }),
            Rate::Trace(trace) => Bottleneck::Trace(Player { trace, next: 0, left: OPPORTUNITY_BYTES }),
        }
    }

    /// When the last bit of a packet that joins at `now` has departed.
    pub(crate) fn serve(&mut self, now: u64, bytes: usize) -> u64 {
        match self {
            Bottleneck::Schedule(shaper) => shaper.serve(now, bytes),
            Bottleneck::Trace(player) => player.serve(now, bytes),
        }
    }

    /// Bits per second of the moment; `None` where there is no limit, or only opportunities.
    pub(crate) fn rate(&self, now: u64) -> Option<u64> {
        match self {
            Bottleneck::Schedule(shaper) => shaper.rate.at(now),
            Bottleneck::Trace(_) => None,
        }
    }
}

/// Serves bit by bit at a scheduled rate.
pub(crate) struct Shaper {
    rate: Schedule<Option<u64>>,
    free_at: u64,
    /// What the microsecond before `free_at` had left, in millionths of a bit: rounding must not eat into the rate.
    credit: u64,
}

impl Shaper {
    fn serve(&mut self, now: u64, bytes: usize) -> u64 {
        if now > self.free_at {
            self.free_at = now;
            self.credit = 0;
        }
        let mut need = bytes as u64 * 8_000_000;
        while self.free_at != NEVER {
            let change = self.rate.next_change(self.free_at);
            let Some(rate) = self.rate.at(self.free_at) else {
                self.credit = 0;
                break;
            };
            if rate > 0 {
                // A rate of b bit/s gives b millionths of a bit per microsecond.
                let done = self.free_at.saturating_add(need.saturating_sub(self.credit).div_ceil(rate));
                if done <= change {
                    self.credit = self.credit + (done - self.free_at) * rate - need;
                    self.free_at = done;
                    break;
                }
                need -= self.credit + (change - self.free_at) * rate;
            }
            self.credit = 0;
            self.free_at = change;
        }
        self.free_at
    }
}

/// Serves at the opportunities of a recording; a packet may take parts of several.
pub(crate) struct Player {
    trace: Trace,
    next: u64,
    /// Bytes that the opportunity `next` still carries.
    left: usize,
}

impl Player {
    fn serve(&mut self, now: u64, bytes: usize) -> u64 {
        // Opportunities that found no packet are lost.
        let first = self.trace.first_from(now);
        if first > self.next {
            self.next = first;
            self.left = OPPORTUNITY_BYTES;
        }
        let mut need = bytes;
        while need > self.left {
            need -= self.left;
            self.next += 1;
            self.left = OPPORTUNITY_BYTES;
        }
        self.left -= need;
        self.trace.opportunity(self.next)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(steps: &[(u64, u64)], first: u64) -> Bottleneck {
        let steps = steps.iter().map(|(ms, rate)| (Duration::from_millis(*ms), Some(*rate)));
        Bottleneck::new(Rate::Schedule(Schedule::steps(Some(first), steps)))
    }

    #[test]
    fn a_rate_that_no_microsecond_divides_is_still_met() {
        let mut bottleneck = at(&[], 1_000_000_000);
        let last = (0..1000).map(|_| bottleneck.serve(0, 1200)).last();
        assert_eq!(last, Some(9600), "9.6 us each");
    }

    #[test]
    fn a_packet_in_service_feels_the_change_of_rate() {
        let mut bottleneck = at(&[(5, 100_000)], 1_000_000);
        assert_eq!(bottleneck.serve(0, 1250), 5_000 + 50_000);
    }

    #[test]
    fn at_rate_zero_the_queue_stands_still_until_the_rate_returns_if_ever() {
        let mut bottleneck = at(&[(10, 0), (30, 1_000_000)], 1_000_000);
        assert_eq!(bottleneck.serve(5_000, 1250), 5_000 + 10_000 + 20_000);
        let mut dead = at(&[(10, 0)], 1_000_000);
        assert_eq!(dead.serve(0, 1250), 10_000, "just made it");
        assert_eq!((dead.serve(0, 1), dead.serve(11_000, 1)), (NEVER, NEVER));
    }

    #[test]
    fn packets_share_opportunities_and_span_them_and_idle_ones_are_lost() {
        let mut bottleneck = Bottleneck::new(Rate::Trace(Trace::parse("1\n2\n10\n11").unwrap()));
        let departures =
            [(0, 1000), (0, 500), (0, 1501), (500, 1499)].map(|(now, size)| bottleneck.serve(now, size) / 1000);
        assert_eq!(departures, [1, 1, 10, 10]);
        assert_eq!(bottleneck.serve(10_500, 1), 11_000);
        assert_eq!(bottleneck.serve(11_000, 1500), 12_000, "the rest of 11 ms and the start of the repetition");
    }
}
