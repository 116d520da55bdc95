//! Whether the engine keeps up. Where all datagrams wait before the engine takes them, everything that is sent is late,
//! and datagrams for which the socket has no room are lost. Among them are sound and feedback, without which the
//! estimates of receivers fall. The engine therefore sends less before that happens: it sends no probes, and it sends
//! only the smallest pictures to some receivers, and to more of them until no datagrams wait any more. Where that is
//! not enough, it sends some receivers no pictures.
//!
//! The measure is the shortest wait of a datagram in a window of time (as in CoDel, RFC 8289): a burst makes many
//! datagrams wait, but not all of them for long.

use super::keys::ParticipantKey;
use crate::downlink::Relief;
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

/// The length of the window over which the shortest wait is taken.
const WINDOW: Duration = Duration::from_millis(200);
/// The engine is late where all datagrams of a window waited longer than this.
const LATE: Duration = Duration::from_millis(30);
/// The engine is in time where one datagram of a window waited less than this.
const IN_TIME: Duration = Duration::from_millis(10);
/// Fewer datagrams than this in a window are no load: each may have waited for a processor that slept.
const FEWEST: u32 = 10;
/// Share of the receivers that are relieved, or relieved more, after each window in which the engine is late.
const STEP: f64 = 0.05;
/// No more receivers are relieved where the shortest wait has fallen to this share of that in the window before: the
/// queue is getting shorter already.
const FALLS: f64 = 0.9;
/// Share of the receivers whose relief is reduced in each second in which the engine is in time.
const EASED_PER_SECOND: f64 = 0.05;
/// Relief is first reduced this long after the engine was last late. Where that makes the engine late again, the time
/// doubles, up to the second value.
const HOLD: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// The load of one engine.
#[derive(Debug)]
pub(super) struct Load {
    window: Option<Window>,
    /// The least wait in the window before.
    before: Duration,
    /// Share of the receivers that get the smallest pictures only; beyond 1 the share that gets none.
    relieved: f64,
    hold: Duration,
    held_until: Option<Instant>,
}

/// The datagrams of one window.
#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    datagrams: u32,
    /// The least that one of them has waited.
    least: Duration,
}

impl Default for Load {
    fn default() -> Self {
        Load { window: None, before: Duration::ZERO, relieved: 0.0, hold: HOLD.0, held_until: None }
    }
}

impl Load {
    /// Notes that a datagram is taken which waited this long.
    #[inline]
    pub(super) fn note(&mut self, now: Instant, waited: Duration) {
        if let Some(window) = &mut self.window
            && now.saturating_duration_since(window.began) < WINDOW
        {
            window.datagrams += 1;
            window.least = window.least.min(waited);
            return;
        }
        if let Some(window) = self.window.replace(Window { began: now, datagrams: 1, least: waited }) {
            self.judge(now, &window);
        }
    }

    /// Whether probes may be sent: not while the engine is late, nor before relief may be reduced again.
    pub(super) fn allows_probes(&self, now: Instant) -> bool {
        self.held_until.is_none_or(|until| now >= until)
    }

    /// How much less a receiver is sent. A hash of the key orders the receivers, so the same ones always yield first.
    pub(super) fn relief(&self, receiver: ParticipantKey) -> Relief {
        if self.relieved <= 0.0 {
            return Relief::None;
        }
        let place = FxBuildHasher.hash_one(receiver) as f64 / 2f64.powi(64);
        if place < self.relieved - 1.0 {
            Relief::NoPictures
        } else if place < self.relieved {
            Relief::SmallestPictures
        } else {
            Relief::None
        }
    }

    fn judge(&mut self, now: Instant, &Window { began, datagrams, least }: &Window) {
        let before = std::mem::replace(&mut self.before, least);
        if least >= LATE && datagrams >= FEWEST {
            let was_eased = self.relieved > 0.0 && self.allows_probes(now);
            self.hold = if was_eased { (2 * self.hold).min(HOLD.1) } else { self.hold };
            let step = if least <= before.mul_f64(FALLS) { 0.0 } else { STEP };
            self.relieved = (self.relieved + step).min(2.0);
            self.held_until = Some(now + self.hold);
        } else if (least <= IN_TIME || datagrams < FEWEST) && self.allows_probes(now) {
            self.relieved =
                (self.relieved - EASED_PER_SECOND * now.saturating_duration_since(began).as_secs_f64()).max(0.0);
            self.hold = if self.relieved > 0.0 { self.hold } else { HOLD.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    struct Engine {
        load: Load,
        now: Instant,
    }

    impl Engine {
        fn new() -> Engine {
            Engine { load: Load::default(), now: Instant::now() }
        }

        /// For so long a datagram comes every 10 ms, each tenth of which has waited that much less than `waited`.
        fn run(&mut self, time: Duration, waited: Duration, less: Duration) -> f64 {
            for n in 0..time.as_millis() / 10 {
                self.now += 10 * MS;
                self.load.note(self.now, if n % 10 == 0 { waited - less } else { waited });
            }
            self.load.relieved
        }
    }

    #[test]
    fn bursts_relieve_nobody_and_a_queue_that_stands_more_and_more() {
        let mut engine = Engine::new();
        assert_eq!(engine.run(10 * SECOND, 300 * MS, 280 * MS), 0.0);
        assert!(engine.load.allows_probes(engine.now));
        let after_a_second = engine.run(SECOND, 300 * MS, 100 * MS);
        assert!((0.2..0.3).contains(&after_a_second), "{after_a_second}");
        assert!(!engine.load.allows_probes(engine.now));
        assert_eq!(engine.run(20 * SECOND, 300 * MS, 100 * MS), 2.0);
    }

    #[test]
    fn a_few_datagrams_that_wait_are_no_load() {
        let mut load = Load::default();
        let begin = Instant::now();
        (0..1000).for_each(|n| load.note(begin + n * 25 * MS, 300 * MS));
        assert_eq!(load.relieved, 0.0, "eight in a window");
        (0..1000).for_each(|n| load.note(begin + 25 * SECOND + n * 19 * MS, 300 * MS));
        assert_eq!(load.relieved, 2.0, "eleven");
    }

    #[test]
    fn while_what_waits_is_worked_off_nobody_else_is_relieved() {
        let mut engine = Engine::new();
        let relieved = engine.run(SECOND, 500 * MS, MS);
        for waited in [400, 320, 250, 200, 150, 100, 60, 40] {
            assert!(engine.run(WINDOW, waited * MS, MS) - relieved <= STEP, "{waited} ms");
        }
        assert!(engine.run(SECOND, 40 * MS, MS) > relieved + STEP);
    }

    #[test]
    fn it_is_eased_slowly_after_a_while_that_grows_with_each_relapse() {
        let mut engine = Engine::new();
        let mut pauses = vec![];
        for _ in 0..6 {
            engine.run(SECOND, 50 * MS, MS);
            let (before, most) = (engine.now, engine.run(WINDOW, 20 * MS, MS));
            while engine.run(100 * MS, 5 * MS, MS) >= most {}
            pauses.push((engine.now - before).as_secs());
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        let before = engine.now;
        while engine.run(SECOND, 5 * MS, MS) > 0.0 {}
        let took = (engine.now - before).as_secs_f64();
        assert!((20.0..32.0).contains(&took), "{took} s");
        assert_eq!(engine.load.hold, HOLD.0);
    }

    #[test]
    fn between_late_and_in_time_all_stays_as_it_is() {
        let mut engine = Engine::new();
        engine.run(SECOND, 50 * MS, MS);
        let relieved = engine.run(WINDOW, 20 * MS, MS);
        assert_eq!(engine.run(30 * SECOND, 20 * MS, MS), relieved);
    }

    #[test]
    fn as_many_as_told_are_relieved_and_of_two_shares_the_larger_has_all_of_the_smaller() {
        let mut keys = SlotMap::<ParticipantKey, ()>::with_key();
        let receivers: Vec<_> = (0..1000).map(|_| keys.insert(())).collect();
        let relieved = |share: f64, relief: Relief| {
            let load = Load { relieved: share, ..Load::default() };
            let are: Vec<_> = receivers.iter().filter(|key| load.relief(**key) == relief).collect();
            are
        };
        assert_eq!(relieved(0.0, Relief::None).len(), 1000);
        let (few, many) = (relieved(0.2, Relief::SmallestPictures), relieved(0.5, Relief::SmallestPictures));
        assert!((150..250).contains(&few.len()) && (450..550).contains(&many.len()), "{}, {}", few.len(), many.len());
        assert!(few.iter().all(|key| many.contains(key)));
        assert_eq!(relieved(1.2, Relief::NoPictures), few);
        assert_eq!(relieved(1.2, Relief::None).len(), 0);
    }
}
