//! The scoreboard as Markdown. What [`super::check`] reads back: headings of scenarios, and in their tables the first
//! three cells, which name a row, and the cell of the check's seeds.

use super::{Board, CHECKED_SEEDS};
use crate::sweep::Row;
use std::fmt::Write;

/// Stands for a value that never came.
pub(super) const NEVER: &str = "never";

/// The whole file.
pub fn markdown(board: &Board) -> String {
    let mut text = format!(
        "# Scoreboard\n\n\
         Written by `cargo run --release -p loadtest -- scoreboard`; do not edit. Each scenario is a file of `loadtest/scenarios`, run in virtual\n\
         time against the engine with full clients. The bound of a row holds for the worst, the mean, the median (p50) or the 95th percentile of\n\
         all seeds and participants that it names; \"from best to worst\" shows their spread. A value that is missing in a seed counts as infinitely\n\
         bad, and **MISS** marks a bound that does not hold. Ladder utilisation may exceed 1: encoders vary around their mean rate.\n\n\
         `./test` runs seeds 1 to {CHECKED_SEEDS} again and compares with the last column. A row that got worse by more than 5 % of its value or bound,\n\
         or that held and no longer does, fails the test. A row that got better by as much is reported: run the command above and commit the file.\n\n"
    );
    write_targets(&mut text, board);
    let rows = board.outcomes.iter().flat_map(|outcome| &outcome.rows);
    let (held, all) = (rows.clone().filter(|row| row.summary.holds).count(), rows.count());
    let _ = writeln!(text, "## Scenarios\n\n{held} of {all} bounds hold.");
    for (entry, outcome) in board.entries.iter().zip(&board.outcomes) {
        let _ = writeln!(
            text,
            "\n### {}\n\n{} (`{}.toml`, {} seeds)\n",
            outcome.scenario,
            about(&entry.scenario.about),
            entry.stem,
            outcome.seeds.len()
        );
        let _ = writeln!(
            text,
            "| metric | who | window | bound | measured | from best to worst | | seeds 1 to {CHECKED_SEEDS} |"
        );
        text.push_str("|---|---|---|---|---|---|---|---|\n");
        for (row, checked) in outcome.rows.iter().zip(&outcome.first(CHECKED_SEEDS).rows) {
            write_row(&mut text, row, checked);
        }
    }
    text
}

fn write_targets(text: &mut String, board: &Board) {
    text.push_str("## Targets\n\n| target | bound | measured | |\n|---|---|---|---|\n");
    for target in &board.targets {
        for (index, (bound, measured, holds)) in target.lines.iter().enumerate() {
            let name = if index == 0 { cell(&target.text) } else { String::new() };
            let _ = writeln!(text, "| {name} | {bound} | {measured} | {} |", verdict(*holds));
        }
    }
    text.push('\n');
}

fn write_row(text: &mut String, row: &Row, checked: &Row) {
    let [metric, who, window] = name_of(row);
    let expectation = &row.expectation;
    let (measured, holds) = (shown(row.summary.value), verdict(row.summary.holds));
    let mut sorted: Vec<f64> = row.values.iter().flatten().copied().collect();
    sorted.sort_by(f64::total_cmp);
    if expectation.bound.wants_more() {
        sorted.reverse();
    }
    let spread = match (sorted.first(), sorted.last()) {
        (Some(best), Some(_)) if sorted.len() < row.values.len() => format!("{} .. {NEVER}", number(*best)),
        (Some(best), Some(worst)) => format!("{} .. {}", number(*best), number(*worst)),
        _ => NEVER.into(),
    };
    let (over, bound) = (expectation.over, expectation.bound);
    let checked = shown(checked.summary.value);
    let _ = writeln!(
        text,
        "| {metric} | {who} | {window} | {over} {bound} | {measured} | {spread} | {holds} | {checked} |"
    );
}

/// The cells that name a row within its scenario, beside its bound.
pub(super) fn name_of(row: &Row) -> [String; 3] {
    let (from, to) = row.window;
    let window = format!("{} to {} s", number(from), number(to));
    [row.expectation.metric.name().into(), cell(&row.expectation.who.to_string()), window]
}

pub(super) fn shown(value: Option<f64>) -> String {
    value.map_or(NEVER.into(), number)
}

/// Four significant digits, whatever the size: a share of 0.0013 is another than one of 0.0014.
pub(super) fn number(value: f64) -> String {
    let magnitude = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
    let digits = (3.0 - magnitude).clamp(0.0, 9.0) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn verdict(holds: bool) -> &'static str {
    if holds { "ok" } else { "**MISS**" }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*")
}

fn about(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}", chars.as_str())
}
