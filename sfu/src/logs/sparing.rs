//! Log lines that a client may cause again and again: so many in a minute, and how many were left out.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Lines in each span.
const LINES: u32 = 10;
const SPAN: Duration = Duration::from_secs(60);

/// The allowance of one kind of line.
pub(crate) struct Sparing(Mutex<State>);

struct State {
    began: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Sparing {
    pub(crate) const fn new() -> Sparing {
        Sparing(Mutex::new(State { began: None, written: 0, left_out: 0 }))
    }

    /// Whether a line may be written now, and how many were left out since the last that was.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        if state.began.is_none_or(|began| now.saturating_duration_since(began) >= SPAN) {
            (state.began, state.written) = (Some(now), 0);
        }
        if state.written == LINES {
            state.left_out += 1;
            return None;
        }
        state.written += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_short_and_its_length_told() {
        let (sparing, start) = (Sparing::new(), Instant::now());
        let admitted = |at| (0..1000).filter_map(|_| sparing.admit(at)).collect::<Vec<_>>();
        assert_eq!(admitted(start), [0; 10]);
        assert!(admitted(start + SPAN / 2).is_empty());
        let mut next = vec![1990];
        next.resize(10, 0);
        assert_eq!(admitted(start + SPAN), next);
    }
}
