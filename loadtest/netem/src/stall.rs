//! Times in which nothing passes, or nothing arrives.

use std::ops::Range;
use std::time::Duration;

use crate::{NEVER, Pauses, micros};

pub(crate) struct Outages(Vec<Range<u64>>);

impl Outages {
    pub(crate) fn new(outages: &[Range<Duration>]) -> Outages {
        Outages(outages.iter().map(|range| micros(range.start)..micros(range.end)).collect())
    }

    pub(crate) fn contain(&self, time: u64) -> bool {
        self.0.iter().any(|range| range.contains(&time))
    }
}

/// When a packet that is there at `time` is handed over: at once, or at the end of the pause that it fell into.
pub(crate) fn release(pauses: Option<Pauses>, time: u64) -> u64 {
    let Some(Pauses { every, length }) = pauses else { return time };
    let Some(since) = time.checked_rem(micros(every)) else { return time };
    let in_pause = time >= micros(every) && time != NEVER && since < micros(length);
    if in_pause { time - since + micros(length) } else { time }
}
