//! What the links did: waits in queues, rates, fairness.

use super::percentile;
use super::record::{Record, RunRecord};

/// A percentile over time of the wait in the participant's queue.
pub(super) fn queue_ms(record: &Record, from: f64, to: f64, share: f64) -> Option<f64> {
    let mut waits: Vec<f64> = record.queue_s.values(from, to).map(|s| f64::from(s) * 1000.0).collect();
    waits.sort_by(f64::total_cmp);
    percentile(&waits, share)
}

/// Jain's index of the rates received: 1 where all are equal, 1/n where one has everything.
pub(super) fn fairness(run: &RunRecord, places: &[usize], from: f64, to: f64) -> Option<f64> {
    let there = |place: &&usize| run.participants[**place].join_s < to && run.participants[**place].leave_s > from;
    let rates: Vec<f64> = places
        .iter()
        .filter(there)
        .map(|place| {
            let record = &run.participants[*place];
            let (from, to) = (from.max(record.join_s), to.min(record.leave_s));
            record.delivered_bytes.sum(from, to) / (to - from)
        })
        .collect();
    let (sum, squares) = rates.iter().fold((0.0, 0.0), |(sum, squares), rate| (sum + rate, squares + rate * rate));
    (squares > 0.0).then(|| sum * sum / (rates.len() as f64 * squares))
}
