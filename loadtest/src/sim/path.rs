//! A scenario's path as a link of `netem`, and what the rest of the world asks of it.

use super::Parcel;
use crate::scenario::{JitterModel, Loss, LossModel, Path, QueueSize, Rate, Scenario, Steps, traces};
use netem::{Link, LinkConfig};
use std::path::Path as FilePath;
use std::time::{Duration, Instant};

/// Delay of a path that the scenario does not name.
const DEFAULT_DELAY_MS: f64 = 1.0;

/// One direction of one link.
pub(super) struct PathLink {
    /// The emulator.
    pub link: Link<Parcel>,
    delay_ms: Steps<f64>,
}

impl PathLink {
    /// The link of a path in the scenario. Fails where a file that it names cannot be read.
    pub(super) fn new(scenario: &Scenario, path: &Path, start: Instant, seed: u64) -> Result<PathLink, String> {
        let config = config(scenario, path)?;
        Ok(PathLink { link: Link::new(config, start, seed), delay_ms: path.delay_ms.clone() })
    }

    /// A link without limits.
    pub(super) fn unlimited(start: Instant, seed: u64) -> PathLink {
        let delay_ms = Steps::constant(DEFAULT_DELAY_MS);
        let config = LinkConfig { delay: delay_ms.to_schedule(millis), ..LinkConfig::default() };
        PathLink { link: Link::new(config, start, seed), delay_ms }
    }

    /// One-way delay behind the queue.
    pub(super) fn delay(&self, second: f64) -> Duration {
        millis(self.delay_ms.at(second))
    }

    /// How long something that is sent now will take: signalling travels with the media.
    pub(super) fn latency(&self, now: Instant, second: f64) -> Duration {
        self.delay(second) + self.link.queue_delay(now).min(Duration::from_secs(10))
    }
}

/// Capacity of a path in bit/s over the run: its rate, or the opportunities of the second.
pub fn capacity(scenario: &Scenario, path: &Path) -> Result<Steps<Rate>, String> {
    let Some(file) = &path.opportunities else {
        return Ok(path.rate.clone().unwrap_or(Steps::constant(Rate::UNLIMITED)));
    };
    let trace = traces::opportunities(&scenario.folder.join(file))?;
    let mut counts = vec![0u64; scenario.duration_s.ceil() as usize + 1];
    for at in trace.times() {
        let Some(count) = counts.get_mut(at.as_secs() as usize) else { break };
        *count += 1;
    }
    let steps = counts.iter().enumerate().map(|(second, count)| (second as f64, Rate::bps(count * 1500 * 8)));
    Ok(Steps::from_steps(steps.collect()))
}

fn config(scenario: &Scenario, path: &Path) -> Result<LinkConfig, String> {
    let rate = match (&path.opportunities, &path.rate) {
        (Some(file), _) => {
            let file = scenario.folder.join(file);
            netem::Rate::Trace(traces::opportunities(&file)?)
        }
        (None, Some(rate)) => netem::Rate::Schedule(rate.to_schedule(Rate::limit)),
        (None, None) => netem::Rate::Schedule(netem::Schedule::constant(None)),
    };
    let model = match path.jitter.model {
        JitterModel::None => netem::JitterModel::None,
        JitterModel::Normal => netem::JitterModel::Normal { sd: millis(path.jitter.sd_ms.unwrap_or(0.0)) },
        JitterModel::Uniform => netem::JitterModel::Uniform { max: millis(path.jitter.max_ms.unwrap_or(0.0)) },
        JitterModel::Trace => {
            let file = path.jitter.file.as_deref().unwrap_or(FilePath::new(""));
            netem::JitterModel::Trace(traces::delays(&scenario.folder.join(file))?)
        }
    };
    let loss = match &path.loss {
        Loss::Random(probability) => netem::Loss::Random(probability.to_schedule(|p| p)),
        Loss::Model(model) => match model.model {
            LossModel::GilbertElliott => {
                netem::Loss::GilbertElliott { mean: model.mean.unwrap_or(0.0), burst: model.burst.unwrap_or(1.0) }
            }
            LossModel::Policer => netem::Loss::Policer {
                rate: model.rate.map_or(0, Rate::finite),
                bucket: model.bucket.map_or(0, |size| size.0),
            },
        },
    };
    Ok(LinkConfig {
        rate,
        delay: path.delay_ms.to_schedule(millis),
        jitter: netem::Jitter { model, reorder: path.jitter.reorder },
        queue: match path.queue {
            None => netem::QueueLimit::Unlimited,
            Some(QueueSize::Bytes(bytes)) => netem::QueueLimit::Bytes(bytes),
            Some(QueueSize::Time(time)) => netem::QueueLimit::Time(time),
        },
        loss,
        duplicate: path.duplicate,
        ecn_above: path.ecn.0,
        outages: path.outage.iter().map(|(from, to)| millis(from * 1e3)..millis(to * 1e3)).collect(),
        pauses: path.pauses.map(|pauses| netem::Pauses {
            every: Duration::from_secs_f64(pauses.every_s),
            length: millis(pauses.for_ms),
        }),
        ..LinkConfig::default()
    })
}

fn millis(ms: f64) -> Duration {
    Duration::from_secs_f64(ms.max(0.0) / 1e3)
}
