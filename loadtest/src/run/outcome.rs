//! The result of a run, as it is kept in a file.

use super::assertion::Assertion;
use super::figures::Figures;
use super::monitor::Point;
use super::options::{Load, Options};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// A result, with all that is needed to repeat the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) server: String,
    pub(crate) machine: String,
    pub(crate) load: Load,
    pub(crate) figures: Figures,
    /// What was asserted.
    #[serde(default)]
    pub(crate) bounds: Vec<Assertion>,
    /// Why the first join failed that did.
    pub(crate) first_failure: Option<String>,
    pub(crate) timeline: Vec<Point>,
}

impl Outcome {
    /// Puts a result together.
    pub(crate) fn new(
        options: &Options,
        figures: Figures,
        first_failure: Option<String>,
        timeline: Vec<Point>,
    ) -> Outcome {
        let server = options.whip.clone().unwrap_or_else(|| options.server.clone());
        let (load, bounds) = (options.load.clone(), options.assert.clone());
        Outcome { server, machine: machine(), load, figures, bounds, first_failure, timeline }
    }

    /// Reads what [`Outcome::json`] wrote.
    pub(crate) fn read(path: &Path) -> Result<Outcome, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The result for programs.
    pub(crate) fn json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("maps with string keys");
        text + "\n"
    }
}

/// Processor, cores and kernel.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, name)| name);
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    format!("{model}, {cores} cores, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}
