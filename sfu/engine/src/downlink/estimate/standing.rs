//! The queue that stands at a receiver's bottleneck over time, to be compared with what another receiver meets: who waits in one queue waits as long at
//! the same moments (the idea of RFC 8382, with the delay itself instead of its moments: both paths begin here, on one clock).
//!
//! Of each span the shortest wait counts. What a receiver's own frame adds, which no other packet may have met, is not in it.

use super::feedback::OurTime;
use std::time::Duration;

/// Waits within so long are one.
const SPAN_US: i64 = 50_000;
/// So many spans are remembered: what stands in a queue comes and goes in seconds.
const SPANS: usize = 80;
/// Nothing has arrived of this span.
const UNKNOWN: u16 = u16::MAX;
/// Tenths of milliseconds: less is no queue, but jitter and what the base of the delay is wrong by.
const LEAST: u16 = 80;
/// Two receivers must have met that many spans both.
const COMMON: usize = 20;
/// And so much queue, as tenths of milliseconds above [`LEAST`], summed over the spans of the longer of both.
const EVIDENCE: u32 = 1500;
/// Shortest waits of one receiver's packets, by when they were sent.
#[derive(Debug)]
pub(super) struct StandingQueue {
    /// Tenths of milliseconds, by the number of the span modulo their count.
    waits: [u16; SPANS],
    /// Number of the newest span.
    newest: i64,
}

impl Default for StandingQueue {
    fn default() -> Self {
        StandingQueue { waits: [UNKNOWN; SPANS], newest: 0 }
    }
}

impl StandingQueue {
    /// A packet that was sent at this time has queued for so long.
    pub(super) fn add(&mut self, sent: OurTime, queued: Duration) {
        let span = sent.0.div_euclid(SPAN_US);
        if span > self.newest {
            let passed = (span - self.newest).min(SPANS as i64);
            (0..passed).for_each(|ago| self.set(span - ago, UNKNOWN));
            self.newest = span;
        } else if span <= self.newest - SPANS as i64 {
            return;
        }
        let wait = u16::try_from(queued.as_micros() / 100).unwrap_or(UNKNOWN).min(UNKNOWN - 1);
        self.set(span, wait.min(self.get(span)));
    }

    /// Whether there was enough of a queue within the time that is remembered to be compared.
    pub(super) fn has_stood(&self) -> bool {
        self.waits.iter().filter(|wait| **wait != UNKNOWN).map(|wait| above(*wait)).sum::<u32>() >= EVIDENCE
    }

    /// How much of the longer queue the shorter one has of it, 0 to 1, over the spans that both know; `None` where there was too little of a queue to tell.
    /// `other` counts its time from `later` microseconds after this one does.
    pub(super) fn likeness(&self, other: &StandingQueue, later: i64) -> Option<f64> {
        let shift = (later + SPAN_US / 2).div_euclid(SPAN_US);
        let newest = self.newest.min(other.newest + shift);
        let oldest = 1 + self.newest.max(other.newest + shift) - SPANS as i64;
        let pairs = (oldest..=newest).map(|span| (self.get(span), other.get(span - shift)));
        let (mut common, mut shorter, mut longer) = (0, 0, 0);
        for (one, two) in pairs.filter(|(one, two)| *one != UNKNOWN && *two != UNKNOWN) {
            common += 1;
            shorter += above(one.min(two));
            longer += above(one.max(two));
        }
        (common >= COMMON && longer >= EVIDENCE).then(|| f64::from(shorter) / f64::from(longer))
    }

    fn get(&self, span: i64) -> u16 {
        self.waits.get(index(span)).copied().unwrap_or(UNKNOWN)
    }

    fn set(&mut self, span: i64, wait: u16) {
        if let Some(place) = self.waits.get_mut(index(span)) {
            *place = wait;
        }
    }
}

fn index(span: i64) -> usize {
    span.rem_euclid(SPANS as i64) as usize
}

fn above(wait: u16) -> u32 {
    u32::from(wait.saturating_sub(LEAST))
}
