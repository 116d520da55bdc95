//! How far a participant has come on its way into a call, and how long each phase took.

use std::time::{Duration, Instant};

/// What happens between the join and the first packet of media, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinPhase {
    /// From the join to the answer of the first offer: signaling, and whatever the client does before it offers.
    Signaling,
    /// From there to the first valid check of ICE.
    Ice,
    /// From there to the end of the DTLS handshake.
    Dtls,
    /// From there to the first packet of media, in either direction.
    FirstMedia,
}

impl JoinPhase {
    /// Every phase, in their order.
    pub const ALL: [JoinPhase; 4] = [JoinPhase::Signaling, JoinPhase::Ice, JoinPhase::Dtls, JoinPhase::FirstMedia];

    /// Value of the `phase` label in Prometheus.
    pub const fn label(self) -> &'static str {
        match self {
            JoinPhase::Signaling => "signaling",
            JoinPhase::Ice => "ice",
            JoinPhase::Dtls => "dtls",
            JoinPhase::FirstMedia => "first_media",
        }
    }

    fn next(self) -> Option<JoinPhase> {
        JoinPhase::ALL.get(self as usize + 1).copied()
    }
}

/// Where one participant stands.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The phase that goes on; `None` once all are over.
    phase: Option<JoinPhase>,
    since: Instant,
}

impl Progress {
    /// A participant joins.
    pub fn new(now: Instant) -> Self {
        Progress { phase: Some(JoinPhase::Signaling), since: now }
    }

    /// A phase is over. Returns how long it took, the first time.
    #[inline]
    pub fn complete(&mut self, now: Instant, phase: JoinPhase) -> Option<Duration> {
        if self.phase != Some(phase) {
            return None;
        }
        self.phase = phase.next();
        Some(now.saturating_duration_since(std::mem::replace(&mut self.since, now)))
    }

    /// The state of the media connection, for [`crate::snapshot::EngineSnapshot::connections`]: 0 not there yet, 1
    /// there, 2 lost.
    pub fn connection(&self, connected: bool) -> usize {
        match (connected, self.phase) {
            (true, _) => 1,
            (false, None | Some(JoinPhase::FirstMedia)) => 2,
            (false, Some(_)) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_is_timed_once_and_from_the_end_of_the_one_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut progress = Progress::new(start);
        assert_eq!(progress.complete(at(1), JoinPhase::Ice), None, "not before its turn");
        assert_eq!(progress.complete(at(5), JoinPhase::Signaling), Some(Duration::from_millis(5)));
        assert_eq!(progress.complete(at(6), JoinPhase::Signaling), None, "a second offer is no join");
        assert_eq!(progress.complete(at(25), JoinPhase::Ice), Some(Duration::from_millis(20)));
        assert_eq!(progress.connection(false), 0);
        assert_eq!(progress.complete(at(28), JoinPhase::Dtls), Some(Duration::from_millis(3)));
        assert_eq!((progress.connection(true), progress.connection(false)), (1, 2));
        assert_eq!(progress.complete(at(29), JoinPhase::FirstMedia), Some(Duration::from_millis(1)));
        assert_eq!(progress.complete(at(30), JoinPhase::FirstMedia), None);
    }
}
