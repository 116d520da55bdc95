//! When it is worth solving again.

use crate::units::Bitrate;
use std::time::{Duration, Instant};

/// A budget that differs by less than this share changes nothing that matters.
const BUDGET_CHANGE: f64 = 0.03;
/// Increases and drifting layer rates are looked at so often, while something is left to gain.
const PERIOD: Duration = Duration::from_millis(500);

/// Remembers the last solution of one receiver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SolveGuard {
    solved: Option<(Instant, Bitrate)>,
    changed: bool,
}

impl SolveGuard {
    /// A subscription, a layer, a priority or a tile has changed: solve at the next occasion.
    pub fn invalidate(&mut self) {
        self.changed = true;
    }

    /// Whether it is to be solved whatever the budget is.
    pub fn is_invalid(&self) -> bool {
        self.changed || self.solved.is_none()
    }

    /// Whether to solve now. `sending`: what the layers now sent cost, as measured; `demand`: what all could use.
    ///
    /// At once after [`Self::invalidate`] and where the budget no longer carries what is sent; else twice a second,
    /// where the budget has changed and there is something to gain.
    pub fn is_due(&self, now: Instant, budget: Bitrate, sending: impl FnOnce() -> Bitrate, demand: Bitrate) -> bool {
        let Some((at, solved_for)) = self.solved.filter(|_| !self.changed) else { return true };
        let (fell, again) = (budget < solved_for, now.saturating_duration_since(at) >= PERIOD);
        if !fell && !again {
            return false;
        }
        let sending = sending();
        if sending > budget {
            return true;
        }
        let moved = budget > solved_for.scale(1.0 + BUDGET_CHANGE) || budget < solved_for.scale(1.0 - BUDGET_CHANGE);
        moved && sending < demand && again
    }

    /// It has been solved for this budget.
    pub fn solved(&mut self, now: Instant, budget: Bitrate) {
        *self = SolveGuard { solved: Some((now, budget)), changed: false };
    }
}
