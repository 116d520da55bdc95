//! How long layers are held on to that the budget does not carry any more. A probe or a key frame of somebody behind
//! the same bottleneck makes the estimate dip for half a second; to give a layer up for that costs two key frames,
//! which make the next dip.
//!
//! What is too much waits in the pacer meanwhile, so its queue tells how much of a shortage is borne, and when no more
//! is.

use super::slack;
use crate::units::Bitrate;
use std::time::{Duration, Instant};

/// A shortage that lasts longer is no dip.
const LONGEST: Duration = Duration::from_secs(3);
/// Nor is it one where the layers cost so many times the budget: the link became slower, and a smaller picture cannot
/// come too soon.
const LARGEST: f64 = 1.5;
/// New video must not wait longer than this in the pacer: the playout delay of a usual receiver takes it.
const QUEUE: Duration = Duration::from_millis(100);
/// Where more than this share is lost, a queue in the network may be full already.
const LOSS: f32 = 0.02;

/// The shortage of one receiver.
#[derive(Clone, Copy, Debug, Default)]
pub struct DipTolerance {
    since: Option<Instant>,
}

/// What a receiver's pacer and estimator say at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Strain {
    /// How long it takes until all has left that waits in the pacer.
    pub queue: Duration,
    /// Share of packets lost lately, 0 to 1.
    pub loss: f32,
}

impl Strain {
    fn is_small(self) -> bool {
        self.queue <= QUEUE && self.loss <= LOSS
    }
}

impl DipTolerance {
    /// What the layers that are sent may cost for now: the budget and its slack, or while a shortage is borne, what
    /// they do cost (`sending`).
    pub fn allowance(&mut self, now: Instant, budget: Bitrate, sending: Bitrate, strain: Strain) -> Bitrate {
        let carried = budget.plus(slack(budget));
        if sending <= carried {
            self.since = None;
            return carried;
        }
        let lasted = now.saturating_duration_since(*self.since.get_or_insert(now));
        let is_borne = lasted < LONGEST && sending <= budget.scale(LARGEST) && strain.is_small();
        if is_borne { sending } else { carried }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Bitrate = Bitrate::kbps(1000);

    const QUIET: Strain = Strain { queue: Duration::ZERO, loss: 0.0 };

    fn kbps(tolerance: &mut DipTolerance, now: Instant, sending: u64, strain: Strain) -> u64 {
        tolerance.allowance(now, BUDGET, Bitrate::kbps(sending), strain).as_bps() / 1000
    }

    #[test]
    fn a_dip_is_borne_for_a_while_and_the_next_one_anew() {
        let (start, mut tolerance) = (Instant::now(), DipTolerance::default());
        let mut at = |now, sending| kbps(&mut tolerance, now, sending, QUIET);
        assert_eq!(at(start, 900), 1033, "what a budget carries anyway");
        assert_eq!(at(start, 1200), 1200);
        assert_eq!(at(start + LONGEST / 2, 1200), 1200);
        assert_eq!(at(start + LONGEST, 1200), 1033, "that is no dip");
        assert_eq!(at(start + LONGEST, 1000), 1033);
        assert_eq!(at(start + LONGEST, 1200), 1200);
    }

    #[test]
    fn neither_a_slower_link_nor_a_long_queue_nor_loss_is_borne() {
        let borne = |sending, strain| kbps(&mut DipTolerance::default(), Instant::now(), sending, strain) == sending;
        assert!(borne(1500, QUIET) && !borne(1510, QUIET));
        let long = QUEUE + Duration::from_millis(1);
        assert!(borne(1200, Strain { queue: QUEUE, ..QUIET }) && !borne(1200, Strain { queue: long, ..QUIET }));
        assert!(borne(1200, Strain { loss: LOSS, ..QUIET }) && !borne(1200, Strain { loss: 0.03, ..QUIET }));
    }
}
