//! Recorded links in the format of Mahimahi (Netravali et al., 2015): each line is the millisecond of one opportunity
//! to deliver 1500 bytes; the recording repeats after its last line.

use std::time::Duration;

/// Bytes that one opportunity carries.
pub(crate) const OPPORTUNITY_BYTES: usize = 1500;

/// A recorded link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Microseconds since the start of the recording, never decreasing, not empty.
    opportunities: Vec<u64>,
}

/// Why a text is no trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceError {
    /// This line, counted from 1, is not a whole number of milliseconds.
    NotANumber(usize),
    /// This line, counted from 1, is earlier than the one before.
    Backwards(usize),
    /// There is no line, or the last one is at 0, so that the recording has no length.
    Empty,
}

impl Trace {
    /// Reads a trace; blank lines are skipped.
    ///
    /// # Errors
    /// The text is not in the format.
    pub fn parse(text: &str) -> Result<Trace, TraceError> {
        let mut opportunities = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let ms: u32 = line.trim().parse().map_err(|_| TraceError::NotANumber(index + 1))?;
            let us = u64::from(ms) * 1000;
            if opportunities.last().is_some_and(|last| us < *last) {
                return Err(TraceError::Backwards(index + 1));
            }
            opportunities.push(us);
        }
        match opportunities.last() {
            None | Some(0) => Err(TraceError::Empty),
            Some(_) => Ok(Trace { opportunities }),
        }
    }

    /// When each opportunity comes, without end.
    pub fn times(&self) -> impl Iterator<Item = Duration> + '_ {
        (0..).map(|index| Duration::from_micros(self.opportunity(index)))
    }

    /// When the `index`th opportunity comes, counted over all repetitions.
    pub(crate) fn opportunity(&self, index: u64) -> u64 {
        let (repetition, index) = (index / self.len(), index % self.len());
        repetition * self.period() + self.opportunities[index as usize]
    }

    /// Index of the first opportunity at or after `time`.
    pub(crate) fn first_from(&self, time: u64) -> u64 {
        // The last opportunity of a repetition falls on the start of the next one.
        let repetition = time.saturating_sub(1) / self.period();
        let within = time - repetition * self.period();
        repetition * self.len() + self.opportunities.partition_point(|at| *at < within) as u64
    }

    fn len(&self) -> u64 {
        self.opportunities.len() as u64
    }

    fn period(&self) -> u64 {
        self.opportunities[self.opportunities.len() - 1]
    }
}

impl std::fmt::Display for TraceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TraceError::NotANumber(line) => write!(f, "line {line} is not a whole number of milliseconds"),
            TraceError::Backwards(line) => write!(f, "line {line} is earlier than the line before"),
            TraceError::Empty => write!(f, "a trace needs at least one opportunity after 0 ms"),
        }
    }
}

impl std::error::Error for TraceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_repeats_after_its_last_opportunity() {
        let trace = Trace::parse("0\n2\n2\n\n5\n").unwrap();
        let times: Vec<u64> = (0..9).map(|index| trace.opportunity(index) / 1000).collect();
        assert_eq!(times, [0, 2, 2, 5, 5, 7, 7, 10, 10]);
        for time in 0..30_000 {
            let index = trace.first_from(time);
            assert!(trace.opportunity(index) >= time, "{time}");
            assert!(index == 0 || trace.opportunity(index - 1) < time, "{time}");
        }
    }

    #[test]
    fn what_is_no_trace_is_refused_with_its_line() {
        assert_eq!(Trace::parse("1\nx"), Err(TraceError::NotANumber(2)));
        assert_eq!(Trace::parse("-1"), Err(TraceError::NotANumber(1)));
        assert_eq!(Trace::parse("5\n4"), Err(TraceError::Backwards(2)));
        assert_eq!(Trace::parse(""), Err(TraceError::Empty));
        assert_eq!(Trace::parse("0\n0"), Err(TraceError::Empty));
    }
}
