//! How much must be left free to switch upwards: more after switches that had to be taken back, so that an estimate
//! which swings around the cost of a layer does not make the layer come and go.

use crate::units::Bitrate;
use std::time::{Duration, Instant};

/// A switch upwards that is taken back within this time, for want of budget, was a mistake.
const MISTAKEN_WITHIN: Duration = Duration::from_secs(15);
/// Share of the budget to leave free after the first mistake; it doubles with each one that follows, up to the second
/// value.
const SHARE: (f64, f64) = (0.04, 0.12);
/// Half of the share is forgotten in this time.
const HALF_LIFE: Duration = Duration::from_secs(20);
/// So many times the budget of the last mistake is another link, and a budget that falls by as much is no mistake but a
/// change of the link.
const OTHER_LINK: f64 = 1.3;

/// What one receiver's switches have taught.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpswitchBackoff {
    /// The last switch upwards, and the budget for it.
    raised: Option<(Instant, Bitrate)>,
    mistake: Option<Mistake>,
}

#[derive(Clone, Copy, Debug)]
struct Mistake {
    at: Instant,
    budget: Bitrate,
    share: f64,
}

impl UpswitchBackoff {
    /// Share of the budget that a change must leave free, 0 to 0.12.
    pub fn share(&self, now: Instant, budget: Bitrate) -> f64 {
        let Some(mistake) = self.mistake.filter(|m| budget < m.budget.scale(OTHER_LINK)) else { return 0.0 };
        let age = now.saturating_duration_since(mistake.at);
        mistake.share * 0.5f64.powf(age.as_secs_f64() / HALF_LIFE.as_secs_f64())
    }

    /// Layers were chosen for this budget, some higher or some lower than before.
    pub fn on_choice(&mut self, now: Instant, budget: Bitrate, higher: bool, lower: bool) {
        let raised = self.raised.filter(|(at, _)| now.saturating_duration_since(*at) < MISTAKEN_WITHIN);
        if lower && raised.is_some_and(|(_, then)| budget < then && then < budget.scale(OTHER_LINK)) {
            let share = (2.0 * self.share(now, budget)).clamp(SHARE.0, SHARE.1);
            self.mistake = Some(Mistake { at: now, budget, share });
            self.raised = None;
        }
        if higher {
            self.raised = Some((now, budget));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Bitrate = Bitrate::kbps(1000);
    const LESS: Bitrate = Bitrate::kbps(950);

    fn percent(backoff: &UpswitchBackoff, now: Instant, budget: Bitrate) -> u32 {
        (100.0 * backoff.share(now, budget)).round() as u32
    }

    #[test]
    fn each_switch_that_is_taken_back_teaches_more_and_time_forgets() {
        let (mut now, mut backoff) = (Instant::now(), UpswitchBackoff::default());
        let mut learnt = vec![];
        for _ in 0..4 {
            backoff.on_choice(now, BUDGET, true, false);
            now += Duration::from_secs(1);
            backoff.on_choice(now, LESS, false, true);
            learnt.push(percent(&backoff, now, BUDGET));
        }
        assert_eq!(learnt, [4, 8, 12, 12]);
        assert_eq!(percent(&backoff, now + HALF_LIFE, BUDGET), 6);
        assert_eq!(percent(&backoff, now, Bitrate::kbps(1300)), 0, "another link");
    }

    #[test]
    fn a_late_step_down_or_one_that_the_budget_does_not_explain_or_a_slower_link_is_no_mistake() {
        for (after, budget) in [(16, LESS), (1, BUDGET), (1, Bitrate::kbps(700))] {
            let (now, mut backoff) = (Instant::now(), UpswitchBackoff::default());
            backoff.on_choice(now, BUDGET, true, false);
            backoff.on_choice(now + Duration::from_secs(after), budget, false, true);
            assert_eq!(percent(&backoff, now, BUDGET), 0);
        }
    }
}
