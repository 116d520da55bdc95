//! Targets over several scenarios, from `targets.toml`: which rows count, what is made of their values, which bounds
//! must hold.

use super::Entry;
use crate::metrics::{Metric, Summary, Truth, layer_difference};
use crate::scenario::{Bound, Over};
use crate::sim::run;
use crate::sweep::{Outcome, Row, parallel};
use serde::Deserialize;
use std::path::Path;

/// All targets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    #[serde(rename = "target")]
    targets: Vec<Target>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    /// For people.
    text: String,
    /// Names of scenario files without extension; a `*` at the end stands for any rest.
    scenarios: Vec<String>,
    /// Rows of this metric; without one, layers are compared with those of a run `without` somebody.
    metric: Option<Metric>,
    /// Rows of these participants only.
    who: Option<Vec<String>>,
    /// Participants that are left out of the other run.
    #[serde(default)]
    without: Vec<String>,
    /// From this second on, where runs are compared.
    #[serde(default)]
    from_s: f64,
    /// What must hold; without any, what each row says.
    #[serde(default)]
    bounds: Vec<(Over, Bound)>,
}

/// A target and what came out.
#[derive(Clone, Debug)]
pub struct Reached {
    /// For people.
    pub text: String,
    /// Each bound as text, the measured value as text, and whether it holds.
    pub lines: Vec<(String, String, bool)>,
}

impl Targets {
    /// Reads the file.
    pub fn read(file: &Path) -> Result<Targets, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        toml::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// What is reached of each target.
    pub fn judge(&self, entries: &[Entry], outcomes: &[Outcome]) -> Result<Vec<Reached>, String> {
        self.targets.iter().map(|target| target.judge(entries, outcomes)).collect()
    }
}

impl Target {
    fn judge(&self, entries: &[Entry], outcomes: &[Outcome]) -> Result<Reached, String> {
        let meant: Vec<_> = entries.iter().zip(outcomes).filter(|(entry, _)| self.means(&entry.stem)).collect();
        let lines = match self.metric {
            None => self.lines(&self.differences(&meant)?),
            Some(metric) => {
                let rows: Vec<&Row> = meant.iter().flat_map(|(_, outcome)| self.rows(metric, outcome)).collect();
                match self.bounds.is_empty() {
                    false => self.lines(&rows.iter().flat_map(|row| row.values.iter().copied()).collect::<Vec<_>>()),
                    true => {
                        let held = rows.iter().filter(|row| row.summary.holds).count();
                        let measured = format!("{held} of {} hold", rows.len());
                        vec![("as each row says".into(), measured, held == rows.len())]
                    }
                }
            }
        };
        if lines.is_empty() {
            return Err(format!("target {:?} has no rows", self.text));
        }
        Ok(Reached { text: self.text.clone(), lines })
    }

    fn means(&self, stem: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => stem.starts_with(start),
            None => stem == pattern,
        };
        self.scenarios.iter().any(fits)
    }

    /// The rows of a metric. Where one is judged in two ways its values count once.
    fn rows<'a>(&self, metric: Metric, outcome: &'a Outcome) -> Vec<&'a Row> {
        let mut rows: Vec<&Row> = Vec::new();
        for row in outcome.rows.iter().filter(|row| row.expectation.metric == metric) {
            let named = |who: &Vec<String>| row.expectation.who.names.iter().all(|name| who.contains(name));
            let same = |other: &&Row| other.window == row.window && other.expectation.who == row.expectation.who;
            let again = !self.bounds.is_empty() && rows.iter().any(same);
            if self.who.as_ref().is_none_or(named) && !again {
                rows.push(row);
            }
        }
        rows
    }

    fn lines(&self, values: &[Option<f64>]) -> Vec<(String, String, bool)> {
        let line = |(over, bound): &(Over, Bound)| {
            let summary = Summary::of(values, *bound, *over);
            let measured = super::markdown::shown(summary.value);
            (format!("{over} {bound}"), measured, summary.holds)
        };
        if values.is_empty() { Vec::new() } else { self.bounds.iter().map(line).collect() }
    }

    /// For each seed and each who is meant, the share of time in another layer than without the others.
    fn differences(&self, meant: &[(&Entry, &Outcome)]) -> Result<Vec<Option<f64>>, String> {
        let seeds = |(entry, outcome): &(&Entry, &Outcome)| {
            let scenario = entry.scenario.clone();
            outcome.seeds.iter().map(move |seed| (scenario.clone(), *seed)).collect::<Vec<_>>()
        };
        let jobs: Vec<_> = meant.iter().flat_map(seeds).collect();
        let results = parallel(&jobs, |(scenario, seed)| {
            let mut without = scenario.clone();
            without.participants.retain(|participant| !self.without.contains(&participant.name));
            let (with_all, with_few) = (run(scenario, *seed)?, run(&without, *seed)?);
            let (a, b) = (Truth::new(scenario, &with_all)?, Truth::new(&without, &with_few)?);
            let window = (self.from_s, scenario.duration_s);
            let who = self.who.iter().flatten();
            Ok(who.map(|name| layer_difference(&a, &b, name, window)).collect::<Vec<_>>())
        });
        Ok(results.into_iter().collect::<Result<Vec<_>, String>>()?.concat())
    }
}
