//! A run beside what was possible: metrics that need to know the links' true capacity.

use super::ladder::{Best, Ladder, Offer};
use super::layers::{LayerSpan, layers_of};
use super::picture::freezes;
use super::ratio;
use super::record::{BIN_S, RunRecord};
use crate::scenario::{FlowKind, Loss, LossModel, Path, Rate, Scenario, Source, Steps};
use crate::sim::capacity;
use std::cell::RefCell;
use std::collections::HashMap;

/// Steps in which utilisation is summed.
const STEP_S: f64 = 0.5;
/// Steps in which an optimum is looked for.
const FINE_STEP_S: f64 = 0.05;
/// Layers count as the best from this share of the best sum on.
const OPTIMAL: f64 = 0.97;
/// How long they must be held.
const HELD_S: f64 = 3.0;
/// A picture that stands still for longer holds no layers.
const STANDS_STILL_S: f64 = 1.0;
/// The sent rate may exceed the capacity by this in a quarter of a second, but not over the whole second.
const QUARTER_EXCESS: f64 = 1.2;
/// A queue of less than two packets is empty.
const EMPTY_BYTES: f64 = 3000.0;
/// Window over which the rate of competing traffic is taken.
const FLOW_WINDOW_S: f64 = 1.0;

/// A run and its scenario.
pub struct Truth<'a> {
    /// What happened.
    pub record: &'a RunRecord,
    scenario: &'a Scenario,
    ladder: Ladder,
    capacities: Vec<Steps<Rate>>,
    solved: RefCell<Vec<(Offer, Option<f64>, Best)>>,
    /// By participant and millisecond.
    demands: RefCell<HashMap<(usize, u64), f64>>,
}

impl<'a> Truth<'a> {
    /// Fails where a file of the scenario cannot be read.
    pub fn new(scenario: &'a Scenario, record: &'a RunRecord) -> Result<Truth<'a>, String> {
        let carried = |path| capacity(scenario, path).map(|capacity| within_policer(path, capacity));
        let capacities = scenario.paths.iter().map(carried).collect::<Result<Vec<_>, _>>()?;
        let ladder = Ladder::new(scenario, capacities.clone());
        let (solved, demands) = (RefCell::default(), RefCell::default());
        Ok(Truth { record, scenario, ladder, capacities, solved, demands })
    }

    /// What the participant's downlink could carry for it at a second: its fair part of the path. `None` is unlimited.
    pub fn capacity(&self, place: usize, second: f64) -> Option<f64> {
        let index = self.ladder.cast()[place].down?;
        let limit = self.link_capacity(index, second)?;
        let (mut greedy, mut other) = (0, false);
        for flow in self.scenario.flows.iter().filter(|flow| self.scenario.path(&flow.path) == Some(index)) {
            let active = (flow.from_s..flow.to_s.unwrap_or(f64::INFINITY)).contains(&second);
            match flow.kind {
                FlowKind::Tcp => greedy += usize::from(active),
                FlowKind::Web { .. } | FlowKind::Udp { .. } => other |= active,
            }
        }
        // What a long connection leaves is for the share metric to judge; its fair part is an equal one.
        let taken = if other && greedy == 0 { self.flow_rate(index, second) } else { 0.0 };
        let mut demands: Vec<f64> =
            self.sharing(place, index, second).map(|other| self.demand(other, second)).collect();
        demands.sort_by(f64::total_cmp);
        Some(fair_part((limit - taken).max(0.0), &demands, greedy))
    }

    /// What a path carries at a second. `None` is unlimited.
    fn link_capacity(&self, path: usize, second: f64) -> Option<f64> {
        let spec = &self.scenario.paths[path];
        if spec.outage.iter().any(|(from, to)| (*from..*to).contains(&second)) {
            return Some(0.0);
        }
        self.capacities[path].at(second).limit().map(|limit| limit as f64)
    }

    /// Who else receives over a path at a second.
    fn sharing(&self, place: usize, path: usize, second: f64) -> impl Iterator<Item = usize> + '_ {
        let cast = self.ladder.cast().iter().enumerate();
        let sharing = cast.filter(move |(_, member)| member.down == Some(path) && member.present(second));
        sharing.map(|(other, _)| other).filter(move |other| *other != place)
    }

    /// What everything that a participant wants would cost.
    fn demand(&self, place: usize, second: f64) -> f64 {
        let key = (place, (second * 1e3).round() as u64);
        *self.demands.borrow_mut().entry(key).or_insert_with(|| self.ladder.offer(place, second).demand())
    }

    fn flow_rate(&self, path: usize, second: f64) -> f64 {
        let (from, to) = (second - FLOW_WINDOW_S / 2.0, second + FLOW_WINDOW_S / 2.0);
        self.record.paths[path].flow_bytes.sum(from, to) * 8.0 / FLOW_WINDOW_S
    }

    /// The best sum of layers at a second.
    pub fn best(&self, place: usize, second: f64) -> Best {
        let offer = self.ladder.offer(place, second);
        // Tens of kilobits make no other ladder, and spare solving for every packet of a competing flow.
        let capacity = self.capacity(place, second).map(|rate| (rate / 8000.0).floor() * 8000.0);
        let mut solved = self.solved.borrow_mut();
        if let Some((.., best)) = solved.iter().rev().find(|(o, c, _)| *c == capacity && *o == offer) {
            return *best;
        }
        let best = offer.best(capacity);
        if solved.len() > 64 {
            solved.remove(0);
        }
        solved.push((offer, capacity, best));
        best
    }

    /// Payload rate of the layers on the screen at a second.
    pub fn shown_rate(&self, layers: &[(usize, usize, Vec<LayerSpan>)], second: f64) -> f64 {
        let at = |spans: &[LayerSpan]| {
            let index = spans.partition_point(|span| span.from <= second).checked_sub(1)?;
            spans.get(index).filter(|span| second < span.to).copied()
        };
        let rates = layers.iter().filter_map(|(publisher, track, spans)| {
            let span = at(spans)?;
            Some(self.ladder.layer_rate(*publisher, *track, span.encoding, span.temporal, second))
        });
        rates.sum()
    }

    /// The layers of every track that a participant saw.
    pub fn layers(&self, place: usize) -> Vec<(usize, usize, Vec<LayerSpan>)> {
        let record = &self.record.participants[place];
        let screens = record.screens.iter();
        screens
            .map(|(track, screen)| {
                (usize::from(track.publisher), usize::from(track.track), layers_of(screen, record.leave_s))
            })
            .collect()
    }

    pub(super) fn ladder_utilisation(&self, place: usize, from: f64, to: f64) -> Option<f64> {
        let possible: f64 = steps(from, to, STEP_S).map(|at| self.best(place, at + STEP_S / 2.0).total * STEP_S).sum();
        let end = from + steps(from, to, STEP_S).count() as f64 * STEP_S;
        ratio(self.record.participants[place].media_bytes.sum(from, end.min(to)) * 8.0, possible)
    }

    pub(super) fn estimate_error(&self, place: usize, from: f64, to: f64) -> Option<f64> {
        // A real server need not tell its estimate.
        if self.record.participants[place].estimate.is_empty() {
            return None;
        }
        let (mut sum, mut count) = (0.0, 0.0);
        for at in steps(from, to, BIN_S * 10.0) {
            let Some(capacity) = self.capacity(place, at).filter(|capacity| *capacity > 0.0) else { continue };
            if self.demand(place, at) >= capacity {
                let estimate = self.record.participants[place].estimate.value(at);
                sum += (estimate - capacity).abs() / capacity;
                count += 1.0;
            }
        }
        ratio(sum, count)
    }

    pub(super) fn down_time(&self, place: usize, from: f64, to: f64) -> Option<f64> {
        let sent = &self.record.participants[place].sent_bytes;
        steps(from, to - 1.0, BIN_S).find_map(|at| {
            let limit = self.capacity(place, at)? / 8.0;
            let below = sent.sum(at, at + 1.0) <= limit
                && (0..4)
                    .map(|quarter| at + f64::from(quarter) * 0.25)
                    .all(|start| sent.sum(start, start + 0.25) <= limit * 0.25 * QUARTER_EXCESS);
            below.then_some(at - from)
        })
    }

    pub(super) fn up_time(&self, place: usize, from: f64, to: f64) -> Option<f64> {
        let layers = self.layers(place);
        let screens = self.record.participants[place].screens.values();
        let freezes = screens.flat_map(|screen| freezes(screen, from, to));
        let frozen: Vec<(f64, f64)> = freezes.filter(|(from, to)| to - from > STANDS_STILL_S).collect();
        let mut since = None;
        for at in steps(from, to, FINE_STEP_S) {
            let stands_still = frozen.iter().any(|(from, to)| (*from..*to).contains(&at));
            if stands_still || self.shown_rate(&layers, at) < self.best(place, at).video * OPTIMAL {
                since = None;
            } else if at - *since.get_or_insert(at) >= HELD_S {
                return since.map(|since| since - from);
            }
        }
        None
    }

    pub(super) fn drain_ratio(&self, place: usize, from: f64, to: f64) -> Option<f64> {
        let queue: Vec<f64> = self.record.participants[place].queue_bytes.values(from, to).map(f64::from).collect();
        // The backlog of the drop: its peak before the queue is empty for the first time.
        let limit = self.link_capacity(self.ladder.cast()[place].down?, from)? / 8.0;
        let rises = queue.iter().position(|bytes| *bytes >= EMPTY_BYTES);
        let Some(rises) = rises else { return Some(1.0) };
        let emptied = rises + queue[rises..].iter().position(|bytes| *bytes < EMPTY_BYTES)?;
        let (peak, most) =
            (rises..emptied).map(|bin| (bin, queue[bin])).reduce(|a, b| if b.1 > a.1 { b } else { a })?;
        ratio((emptied - peak) as f64 * BIN_S, (most / limit).max(BIN_S))
    }

    pub(super) fn share(&self, place: usize, from: f64, to: f64) -> Option<f64> {
        let index = self.ladder.cast()[place].down?;
        // Of what is unlimited there is no share.
        let total: f64 =
            steps(from, to, STEP_S).map(|at| Some(self.link_capacity(index, at)? * STEP_S)).sum::<Option<f64>>()?;
        ratio(self.record.participants[place].delivered_bytes.sum(from, to) * 8.0, total)
    }

    pub(super) fn keyframe_requests(&self, place: usize, from: f64, to: f64) -> Option<f64> {
        let tracks = self.ladder.cast()[place].spec.publish.iter().filter(|p| p.source != Source::Microphone);
        let encodings: usize = tracks.map(|publish| publish.ladder().len()).sum();
        let requests = self.record.participants[place].keyframe_requests.iter();
        let requests = requests.filter(|(at, ..)| (from..to).contains(at)).count();
        ratio(requests as f64, encodings as f64 * (to - from))
    }
}

/// What a path carries where it is policed.
fn within_policer(path: &Path, capacity: Steps<Rate>) -> Steps<Rate> {
    let policer = match &path.loss {
        Loss::Model(model) if model.model == LossModel::Policer => model.rate.and_then(Rate::limit),
        _ => None,
    };
    let Some(most) = policer else { return capacity };
    let least = |rate: Rate| Rate::bps(rate.limit().map_or(most, |rate| rate.min(most)));
    Steps::from_steps(capacity.steps().iter().map(|(second, rate)| (*second, least(*rate))).collect())
}

fn steps(from: f64, to: f64, step: f64) -> impl Iterator<Item = f64> {
    let count = ((to - from) / step + 1e-9).floor().max(0.0) as usize;
    (0..count).map(move |index| from + index as f64 * step)
}

/// What is left for one who would take everything, beside others with `demands` in increasing order and `greedy` ones
/// who take all they get (max-min fairness): who wants less than an equal part leaves the rest to the others.
fn fair_part(capacity: f64, demands: &[f64], greedy: usize) -> f64 {
    let (mut left, mut takers) = (capacity, demands.len() + greedy + 1);
    for demand in demands {
        if *demand > left / takers as f64 {
            break;
        }
        left -= demand;
        takers -= 1;
    }
    left / takers as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_little_leaves_the_rest_to_the_others() {
        assert_eq!(fair_part(3000.0, &[], 0), 3000.0);
        assert_eq!(fair_part(3000.0, &[5000.0, 5000.0], 0), 1000.0);
        assert_eq!(fair_part(3000.0, &[0.0, 600.0, 5000.0], 0), 1200.0);
        assert_eq!(fair_part(3000.0, &[600.0], 1), 1200.0, "a long TCP connection takes its part");
    }
}
