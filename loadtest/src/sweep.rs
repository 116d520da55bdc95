//! Scenarios over several seeds: runs, measures, judges. Runs are spread over the cores, whichever scenario they belong
//! to.

use crate::metrics::record::RunRecord;
use crate::metrics::{Metric, Summary, Truth};
use crate::scenario::{Expectation, Scenario};
use crate::sim::{Member, cast, run};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What came out of a scenario.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// The seeds that were run.
    pub seeds: Vec<u64>,
    /// Each expectation with what was measured.
    pub rows: Vec<Row>,
}

/// One expectation and what was measured.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was expected.
    pub expectation: Expectation,
    /// The window in seconds.
    pub window: (f64, f64),
    /// The values: for each seed in order, for each participant that is meant.
    pub values: Vec<Option<f64>>,
    /// The judgement.
    pub summary: Summary,
}

impl Outcome {
    /// The judgement of a scenario, by the values of each of its expectations over all seeds.
    pub fn new(scenario: &Scenario, seeds: Vec<u64>, rows: Values) -> Outcome {
        let rows = scenario.expectations.iter().zip(rows).map(|(expectation, values)| Row {
            window: expectation.window(scenario.duration_s),
            summary: Summary::of(&values, expectation.bound, expectation.over),
            expectation: expectation.clone(),
            values,
        });
        Outcome { scenario: scenario.name.clone(), seeds, rows: rows.collect() }
    }

    /// Whether every bound holds.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.summary.holds)
    }

    /// What it would be, had only the first `seeds` been run.
    pub fn first(&self, seeds: usize) -> Outcome {
        let rows = self.rows.iter().map(|row| {
            let each = row.values.len() / self.seeds.len().max(1);
            let values: Vec<_> = row.values.iter().take(each * seeds).copied().collect();
            Row { summary: Summary::of(&values, row.expectation.bound, row.expectation.over), values, ..row.clone() }
        });
        let rows = rows.collect();
        Outcome { rows, seeds: self.seeds.iter().take(seeds).copied().collect(), scenario: self.scenario.clone() }
    }
}

/// For each expectation its values.
pub type Values = Vec<Vec<Option<f64>>>;

/// Runs each scenario with its seeds, and hands every run to `look` with the scenario's place and the seed. One that
/// cannot be run takes nothing from the others.
pub fn sweep_all(
    scenarios: &[(&Scenario, Vec<u64>)],
    look: impl Fn(usize, u64, &Truth<'_>) -> Result<(), String> + Sync,
) -> Vec<Result<Outcome, String>> {
    let seeds = |(place, (_, seeds)): (usize, &(&Scenario, Vec<u64>))| {
        seeds.iter().map(|seed| (place, *seed)).collect::<Vec<_>>()
    };
    let jobs: Vec<(usize, u64)> = scenarios.iter().enumerate().flat_map(seeds).collect();
    let results = parallel(&jobs, |(place, seed)| one(scenarios[*place].0, *seed, |truth| look(*place, *seed, truth)));
    let mut measured: Vec<Result<Values, String>> =
        scenarios.iter().map(|(scenario, _)| Ok(vec![Vec::new(); scenario.expectations.len()])).collect();
    for ((place, _), result) in jobs.iter().zip(results) {
        match (&mut measured[*place], result) {
            (Ok(rows), Ok(values)) => rows.iter_mut().zip(values).for_each(|(row, values)| row.extend(values)),
            (whole @ Ok(_), Err(problem)) => *whole = Err(problem),
            (Err(_), _) => {}
        }
    }
    let outcomes = scenarios.iter().zip(measured);
    outcomes.map(|((scenario, seeds), rows)| Ok(Outcome::new(scenario, seeds.clone(), rows?))).collect()
}

/// As [`sweep_all`], of one scenario.
pub fn sweep(
    scenario: &Scenario,
    seeds: &[u64],
    look: impl Fn(u64, &Truth<'_>) -> Result<(), String> + Sync,
) -> Result<Outcome, String> {
    let mut outcomes = sweep_all(&[(scenario, seeds.to_vec())], |_, seed, truth| look(seed, truth));
    outcomes.pop().unwrap_or_else(|| Err("nothing was run".into()))
}

/// Does every job, on as many threads as there are cores. The results are in the order of the jobs.
pub fn parallel<J: Sync, R: Send>(jobs: &[J], work: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(jobs.len()));
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get()).min(jobs.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((index, job)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(index).map(|job| (index, job))
                } {
                    let result = work(job);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn one(scenario: &Scenario, seed: u64, look: impl Fn(&Truth<'_>) -> Result<(), String>) -> Result<Values, String> {
    let record = run(scenario, seed)?;
    let truth = Truth::new(scenario, &record)?;
    look(&truth)?;
    Ok(values(scenario, &truth))
}

/// The values of all expectations in one run.
pub fn values(scenario: &Scenario, truth: &Truth<'_>) -> Values {
    scenario.expectations.iter().map(|expectation| measure(scenario, expectation, truth)).collect()
}

/// The values of one expectation in one run.
pub fn measure(scenario: &Scenario, expectation: &Expectation, truth: &Truth<'_>) -> Vec<Option<f64>> {
    let places = places(scenario, expectation);
    let window = expectation.window(scenario.duration_s);
    match expectation.metric.is_joint() {
        true => vec![expectation.metric.measure(truth, &places, window)],
        false => places.iter().map(|place| expectation.metric.measure(truth, &[*place], window)).collect(),
    }
}

/// Who is meant: `*` means everybody that is there in the window and receives, or for what concerns publishers,
/// publishes.
fn places(scenario: &Scenario, expectation: &Expectation) -> Vec<usize> {
    let cast = cast(scenario);
    let (from, to) = expectation.window(scenario.duration_s);
    let is_there = |member: &Member| member.join_s < to && member.leave_s > from.max(member.join_s);
    let receives = |place: usize| cast[place].wanted_tracks(&cast) != (0, 0);
    let meant = |place: usize| {
        let member = &cast[place];
        expectation.who.names.iter().any(|name| match name.as_str() {
            "*" if !is_there(member) => false,
            "*" if expectation.metric == Metric::KeyframeRequests => !member.spec.publish.is_empty(),
            "*" => receives(place),
            name => member.name == name || member.spec.name == name,
        })
    };
    (0..cast.len()).filter(|place| meant(*place)).collect()
}

/// A run's record as text that differs where runs differ.
pub fn fingerprint(record: &RunRecord) -> String {
    format!("{record:?}")
}
