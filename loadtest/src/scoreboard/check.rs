//! Compares a run of the check's seeds with the committed scoreboard.

use super::Board;
use super::markdown::{NEVER, name_of, number, shown};
use crate::scenario::Bound;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A row moved if it did by more than this share of its committed value or of its bound: another processor may round
/// otherwise.
const SLACK: f64 = 0.05;

/// What differs from the committed scoreboard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Rows that got worse, and rows that the file does not have.
    pub worse: Vec<String>,
    /// Rows that got better, and rows that are no more.
    pub better: Vec<String>,
}

/// Compares what was measured with the text of the committed file.
pub fn check(committed: &str, board: &Board) -> Findings {
    let mut known = read(committed);
    let mut findings = Findings::default();
    for (outcome, row) in board.outcomes.iter().flat_map(|outcome| outcome.rows.iter().map(move |row| (outcome, row))) {
        let [metric, who, window] = name_of(row);
        let bound = format!("{} {}", row.expectation.over, row.expectation.bound);
        let name = format!("{}: {metric} of {who}, {window}, {bound}", outcome.scenario);
        let Some(before) = known.remove(&name) else {
            findings.worse.push(format!("{name}: not in the scoreboard"));
            continue;
        };
        let now = row.summary.value;
        let moved = format!("{name}: {} before, {} now", shown(before), shown(now));
        match judge(row.expectation.bound, before, now) {
            Moved::Worse => findings.worse.push(moved),
            Moved::Better => findings.better.push(moved),
            Moved::No => {}
        }
    }
    findings
        .better
        .extend(known.into_keys().map(|name| format!("{name}: in the scoreboard, but no expectation any more")));
    findings
}

impl Findings {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (what, rows) in
            [("worse than docs/scoreboard.md", &self.worse), ("better than docs/scoreboard.md", &self.better)]
        {
            if !rows.is_empty() {
                let _ = writeln!(text, "{} rows are {what}:", rows.len());
                rows.iter().for_each(|row| _ = writeln!(text, "  {row}"));
            }
        }
        if text.is_empty() {
            return "The scoreboard holds.\n".into();
        }
        text + "To take the new figures: cargo run --release -p loadtest -- scoreboard, and commit docs/scoreboard.md\n"
    }
}

enum Moved {
    Worse,
    Better,
    No,
}

fn judge(bound: Bound, before: Option<f64>, now: Option<f64>) -> Moved {
    let bad = if bound.wants_more() { f64::NEG_INFINITY } else { f64::INFINITY };
    let (before, now) = (before.unwrap_or(bad), now.unwrap_or(bad));
    if before == now {
        return Moved::No;
    }
    let gain = if bound.wants_more() { now - before } else { before - now };
    // Between a value and none there is no small difference.
    let slack = if before.is_finite() { SLACK * before.abs().max(bound.limit().abs()) } else { 0.0 };
    // What is committed was rounded to be printed.
    let rounded = |value: f64| number(value).parse().unwrap_or(value);
    let lost = bound.holds(before) && !bound.holds(rounded(now)) && before.is_finite();
    if gain < 0.0 && (lost || -gain > slack) {
        Moved::Worse
    } else if gain > slack {
        Moved::Better
    } else {
        Moved::No
    }
}

/// The rows of a committed scoreboard: name and value of the check's seeds.
fn read(committed: &str) -> BTreeMap<String, Option<f64>> {
    let mut rows = BTreeMap::new();
    let mut scenario = None;
    for line in committed.lines() {
        if let Some(name) = line.strip_prefix("### ") {
            scenario = Some(name);
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let (Some(scenario), [metric, who, window, bound, _, _, _, value]) = (scenario, cells.as_slice()) else {
            continue;
        };
        let value = if *value == NEVER { None } else { value.parse().ok() };
        if value.is_some() || cells[7] == NEVER {
            rows.insert(format!("{scenario}: {metric} of {who}, {window}, {bound}"), value);
        }
    }
    rows
}
