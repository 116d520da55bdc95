//! What receivers may have sent again: a budget, so that asking often does not crowd out media.

use crate::units::Bitrate;
use std::time::{Duration, Instant};

/// Retransmissions, of which each goes out once, may take this share of the estimate (at least [`MIN_REPAIR_RATE`]).
const REPAIR_SHARE: f64 = 0.25;
/// Retransmissions may always take this much.
const MIN_REPAIR_RATE: Bitrate = Bitrate::kbps(100);
/// Bytes of retransmission budget that may be saved up, as time at the budget's rate.
const REPAIR_BURST: Duration = Duration::from_millis(500);

/// A token bucket that keeps retransmissions from crowding out media, however often a receiver asks.
#[derive(Debug)]
pub(super) struct RepairBudget {
    bytes: u64,
    refilled: Instant,
}

impl RepairBudget {
    pub(super) fn new(now: Instant) -> Self {
        RepairBudget { bytes: MIN_REPAIR_RATE.bytes_in(REPAIR_BURST), refilled: now }
    }

    pub(super) fn refill(&mut self, now: Instant, estimate: Bitrate, copies: u32) {
        let rate = estimate.scale(REPAIR_SHARE * f64::from(copies)).max(MIN_REPAIR_RATE);
        let earned = rate.bytes_in(now.saturating_duration_since(self.refilled));
        self.bytes = self.bytes.saturating_add(earned).min(rate.bytes_in(REPAIR_BURST));
        if earned > 0 {
            self.refilled = now;
        }
    }

    pub(super) fn has(&self, bytes: usize) -> bool {
        self.bytes >= bytes as u64
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_estimate_is_for_repair_and_twice_that_where_each_goes_out_twice() {
        for (copies, bytes) in [(1, 62_500), (2, 125_000)] {
            let start = Instant::now();
            let mut budget = RepairBudget::new(start);
            budget.refill(start + Duration::from_secs(10), Bitrate::kbps(4000), copies);
            assert!(budget.has(bytes) && !budget.has(bytes + 1), "{copies}");
        }
    }
}
