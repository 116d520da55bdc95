//! A scenario in real time: its clients, links and competing flows in this process, and a real server behind sockets.
//!
//! It is the world of [`crate::sim`] with a [`remote`] server in it. Media leaves the world by one socket for each
//! client, signaling by the rooms protocol ([`rooms`]) or by WHIP and WHEP ([`http`], for what [`fit`] lets through).
//! Both take as long on their way as the client's path says.

mod fit;
mod http;
mod remote;
mod rooms;

use super::attendance::Protocol;
use super::options::Options;
use crate::metrics::record::RunRecord;
use crate::metrics::{Metric, Truth};
use crate::report::{json, plot, stems, table};
use crate::scenario::Scenario;
use crate::sim::{World, cast};
use crate::sweep::{Outcome, values};
use remote::{Remote, Signaling};
use sfu_engine::crypto;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// A link or a client that is looked after later than this may have changed what is measured.
const LATE: Duration = Duration::from_millis(5);

/// Runs a scenario as often as the options say, and reports. True where all bounds hold.
pub(super) fn run(options: &Options, scenario: &Scenario, file: &Path) -> Result<bool, String> {
    let protocol = super::protocol(options);
    if let Protocol::Http(_) = protocol {
        fit::check(scenario).map_err(|problem| format!("{}: {problem}", file.display()))?;
    }
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| format!("signaling: {error}"))?;
    let seeds: Vec<u64> = (options.load.seed..).take(options.seeds.unwrap_or(1).max(1) as usize).collect();
    let (mut rows, mut lateness) = (vec![Vec::new(); scenario.expectations.len()], Lateness::default());
    for seed in &seeds {
        if !options.quiet {
            eprintln!("{}, seed {seed}: {} s in real time", scenario.name, scenario.duration_s);
        }
        let record = once(scenario, &protocol, *seed, &runtime, &mut lateness)?;
        let truth = Truth::new(scenario, &record)?;
        if let Some(folder) = options.plot.as_deref().filter(|_| Some(seed) == seeds.first()) {
            plot(scenario, &truth, folder, &stems(&[file.to_owned()])[0])?;
        }
        rows.iter_mut().zip(values(scenario, &truth)).for_each(|(row, values)| row.extend(values));
    }
    runtime.shutdown_background();
    let outcomes = [Outcome::new(scenario, seeds, rows)];
    print!("{}", table(&outcomes));
    notes(options, scenario, &protocol, &lateness).iter().for_each(|note| println!("{note}"));
    if let Some(path) = &options.json {
        super::write(path, &json(&outcomes))?;
    }
    Ok(outcomes[0].holds())
}

/// One run.
fn once(
    scenario: &Scenario,
    protocol: &Protocol,
    seed: u64,
    runtime: &Runtime,
    lateness: &mut Lateness,
) -> Result<RunRecord, String> {
    let cast = cast(scenario);
    let remote = Remote::new(cast.len(), |outside| -> Box<dyn Signaling> {
        match protocol {
            Protocol::Rooms(to) => Box::new(rooms::Sessions::new(to.clone(), cast, seed, runtime.handle(), outside)),
            Protocol::Http(to) => Box::new(http::Sessions::new(to.clone(), cast, seed, runtime.handle(), outside)),
        }
    });
    let remote = remote.map_err(|error| format!("sockets: {error}"))?;
    let provider = crypto::default_provider().map_err(|error| error.to_string())?;
    let mut world = World::new(scenario, Instant::now(), provider, seed, remote)?;
    world.begin();
    let end = world.end();
    let result = loop {
        let now = Instant::now();
        lateness.note(now, world.next_wake());
        world.with_server(Remote::receive);
        if let Err(problem) = world.advance(now.max(Instant::now()).min(end)) {
            break Err(problem);
        }
        if now >= end {
            break Ok(());
        }
        let next = world.next_wake().map_or(end, |next| next.min(end));
        world.with_server(|remote| remote.wait(next));
    };
    let (record, remote) = world.finish();
    remote.close(runtime);
    result.map(|()| record)
}

/// What whoever reads the figures must know beside them.
fn notes(options: &Options, scenario: &Scenario, protocol: &Protocol, lateness: &Lateness) -> Vec<String> {
    let mut notes = Vec::new();
    if options.seeds.is_none() && scenario.repeat.seeds > 1 {
        notes.push(format!(
            "repeat.seeds = {} is for virtual time; here each seed takes {} s: --seeds {0} runs them one after the other",
            scenario.repeat.seeds, scenario.duration_s
        ));
    }
    if scenario.expectations.iter().any(|expectation| expectation.metric == Metric::EstimateError) {
        notes.push(match protocol {
            Protocol::Rooms(_) => "estimate_error: the estimate is what the server told last, every few seconds".into(),
            Protocol::Http(_) => "estimate_error cannot be measured by WHEP: the server tells no estimate".to_owned(),
        });
    }
    notes.extend(lateness.told());
    notes
}

/// How far this process was behind the clock.
#[derive(Debug, Default)]
struct Lateness {
    looks: u64,
    late: u64,
    worst: Duration,
}

impl Lateness {
    /// It is `now`, and somebody was to be woken at `due`.
    fn note(&mut self, now: Instant, due: Option<Instant>) {
        let late = due.map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        self.looks += 1;
        self.late += u64::from(late > LATE);
        self.worst = self.worst.max(late);
    }

    /// A word about it, where it matters.
    fn told(&self) -> Option<String> {
        (self.late > 0).then(|| {
            format!(
                "This machine did not keep up: links and clients were looked after more than {} ms late {} times of {}, {} ms at \
                 worst. Run fewer participants, or nothing beside.",
                LATE.as_millis(),
                self.late,
                self.looks,
                self.worst.as_millis()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_behind_says_so() {
        let (start, mut lateness) = (Instant::now(), Lateness::default());
        let at = |ms| start + Duration::from_millis(ms);
        lateness.note(at(10), None);
        lateness.note(at(10), Some(at(20)));
        lateness.note(at(10), Some(at(8)));
        assert_eq!(lateness.told(), None);
        lateness.note(at(50), Some(at(20)));
        let told = lateness.told().unwrap();
        assert!(told.contains("1 times of 4, 30 ms"), "{told}");
    }
}
