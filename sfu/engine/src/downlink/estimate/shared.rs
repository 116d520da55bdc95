//! A queue that is not ours: sending less does not shorten it, since somebody who fills queues (TCP) takes what we
//! leave. Giving way would only starve us, so until the queue has gone, half of what the link carried when it was ours
//! is taken. Loss limits that, though not below what TCP would get (`friendly`), and what arrives of it where it is
//! filled.

use super::aimd::LONG_QUEUE;
use crate::units::Bitrate;
use std::time::{Duration, Instant};

/// Others that leave no queue for so long have gone.
const GONE: Duration = Duration::from_secs(1);
/// The highest rate of so long ago tells nothing about the link.
const PEAK_VALID: Duration = Duration::from_secs(120);
/// Part of the link that is ours beside one other.
const PART: f64 = 0.5;
/// A link does not become slower than this share of what it carried without anybody in its queue; what seems so is
/// others' doing.
const SLOWEST: f64 = 0.1;
/// A queue of a few of our own packets is ours.
const OWN_PACKETS_BYTES: u64 = 3 * 600;

/// Whether the bottleneck is shared with somebody who fills its queue.
#[derive(Debug, Default)]
pub(super) struct SharedQueue {
    /// The highest rate that was held alone, and when.
    peak: Option<(Bitrate, Instant)>,
    shared: bool,
    empty_since: Option<Instant>,
}

impl SharedQueue {
    /// Notes a rate that the link has carried without a queue of others.
    pub(super) fn on_alone(&mut self, now: Instant, rate: Bitrate) {
        let is_higher =
            self.peak.is_none_or(|(peak, at)| rate >= peak || now.saturating_duration_since(at) > PEAK_VALID);
        if is_higher {
            self.peak = Some((rate, now));
        }
    }

    /// Sending less, at `rate`, has not shortened the queue below `least`.
    pub(super) fn on_not_drained(&mut self, least: Duration, rate: Bitrate) {
        // Of a link that has become slower than that nothing can be told any more.
        let slowest = self.peak.map_or(rate, |(peak, _)| rate.max(peak.scale(SLOWEST)));
        self.shared = least > LONG_QUEUE + slowest.time_for(OWN_PACKETS_BYTES);
        self.empty_since = None;
    }

    /// Whether it is shared.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// One feedback: our part of the link while it is shared.
    pub(super) fn part(&mut self, now: Instant, queue: Duration, drained: Duration) -> Option<Bitrate> {
        let empty_since = if queue <= drained { Some(self.empty_since.unwrap_or(now)) } else { None };
        self.empty_since = empty_since;
        self.shared &= empty_since.is_none_or(|since| now.saturating_duration_since(since) < GONE);
        self.peak.filter(|_| self.shared).map(|(peak, _)| peak.scale(PART))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_does_not_drain_is_shared_until_it_has_gone() {
        let (start, mut shared) = (Instant::now(), SharedQueue::default());
        let (empty, full) = (Duration::ZERO, Duration::from_millis(200));
        shared.on_alone(start, Bitrate::kbps(1900));
        assert_eq!(shared.part(start, full, empty), None, "ours until shown otherwise");
        shared.on_not_drained(full, Bitrate::kbps(500));
        assert_eq!(shared.part(start, full, empty), Some(Bitrate::kbps(950)));
        assert!(shared.part(start, empty, empty).is_some(), "others have their quiet moments");
        assert_eq!(shared.part(start + GONE, empty, empty), None);
    }

    #[test]
    fn a_few_packets_of_our_own_on_a_slow_link_are_nobody_elses_queue() {
        let (now, mut shared) = (Instant::now(), SharedQueue::default());
        shared.on_alone(now, Bitrate::kbps(500));
        shared.on_not_drained(Duration::from_millis(180), Bitrate::kbps(100));
        assert_eq!(shared.part(now, Duration::from_millis(180), Duration::ZERO), None);
        shared.on_not_drained(Duration::from_millis(350), Bitrate::kbps(20));
        assert!(shared.part(now, Duration::from_millis(350), Duration::ZERO).is_some(), "too slow to be the link's");
    }
}
