//! `docs/scoreboard.md`: every expectation of the scenario files with what was measured, and the targets over them.
//! Written by `loadtest scoreboard`, checked by `loadtest scoreboard --check`.
//!
//! The same program on the same machine writes the same bytes. The check runs the first [`CHECKED_SEEDS`] only, for
//! which each row has a column of its own: figures of five seeds and of twenty are not to be compared.

mod check;
mod markdown;
mod targets;

pub use check::{Findings, check};
pub use markdown::markdown;
pub use targets::Targets;

use crate::scenario::Scenario;
use crate::sweep::{Outcome, sweep_all};
use std::path::{Path, PathBuf};
use targets::Reached;

/// So many seeds are run by the check.
pub const CHECKED_SEEDS: usize = 5;

/// A scenario and the name of its file without extension.
pub struct Entry {
    /// File name without extension.
    pub stem: String,
    /// What it says.
    pub scenario: Scenario,
}

/// Everything that was measured.
pub struct Board {
    /// The scenarios in the order of their files' names.
    pub entries: Vec<Entry>,
    /// What came out of each.
    pub outcomes: Vec<Outcome>,
    /// The targets; none where only the check's seeds were run.
    pub targets: Vec<Reached>,
}

impl Entry {
    /// Reads scenario files.
    pub fn read(files: &[PathBuf]) -> Result<Vec<Entry>, String> {
        let read = |file: &PathBuf| {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok(Entry { stem, scenario: Scenario::read(file).map_err(|error| error.to_string())? })
        };
        files.iter().map(read).collect()
    }
}

impl Board {
    /// Runs everything with the seeds that the files say.
    pub fn measure(entries: Vec<Entry>, targets: &Targets) -> Result<Board, String> {
        let outcomes = run(&entries, |scenario| scenario.repeat.seeds)?;
        let targets = targets.judge(&entries, &outcomes)?;
        Ok(Board { entries, outcomes, targets })
    }

    /// Runs everything with the seeds of the check.
    pub fn measure_for_check(entries: Vec<Entry>) -> Result<Board, String> {
        let outcomes = run(&entries, |scenario| scenario.repeat.seeds.min(CHECKED_SEEDS as u64))?;
        Ok(Board { entries, outcomes, targets: Vec::new() })
    }
}

fn run(entries: &[Entry], seeds: impl Fn(&Scenario) -> u64) -> Result<Vec<Outcome>, String> {
    let jobs: Vec<_> = entries.iter().map(|entry| (&entry.scenario, (1..=seeds(&entry.scenario)).collect())).collect();
    let outcomes = sweep_all(&jobs, |_, _, _| Ok(())).into_iter().zip(entries);
    outcomes.map(|(outcome, entry)| outcome.map_err(|problem| format!("{}: {problem}", entry.stem))).collect()
}

/// Where the targets are, beside the scenarios.
pub fn targets_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("targets.toml")
}

/// Where the scoreboard is.
pub fn board_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scoreboard.md")
}
