//! Outcomes as a table for terminals.

use crate::sweep::{Outcome, Row};
use std::fmt::Write;

/// One block for each scenario: what was expected of whom, what came out, whether it holds.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let verdict = if outcome.holds() { "ok" } else { "MISSED" };
        let _ = writeln!(text, "{}  ({} seeds)  {verdict}", outcome.scenario, outcome.seeds.len());
        for row in &outcome.rows {
            write_row(&mut text, row);
        }
        text.push('\n');
    }
    let missed: usize = outcomes.iter().map(|o| o.rows.iter().filter(|row| !row.summary.holds).count()).sum();
    let all: usize = outcomes.iter().map(|o| o.rows.len()).sum();
    let _ = writeln!(text, "{} of {all} bounds hold", all - missed);
    text
}

/// One line; a second one where a value is missing that would count, with the reason.
fn write_row(text: &mut String, row: &Row) {
    let mark = if row.summary.holds { ' ' } else { '!' };
    let value = row.summary.value.map_or("-".into(), number);
    let mut sorted: Vec<f64> = row.values.iter().flatten().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let spread = match (sorted.first(), sorted.last()) {
        (Some(least), Some(most)) if sorted.len() > 1 => format!("{} .. {}", number(*least), number(*most)),
        _ => String::new(),
    };
    let (from, to) = row.window;
    let _ = writeln!(
        text,
        "{mark} {:<20} {:<16} {:>5}-{:<5} {:>9} {:<5} {:<9} {spread}",
        row.expectation.metric,
        short(&row.expectation.who.to_string()),
        number(from),
        number(to),
        value,
        row.expectation.over.to_string(),
        row.expectation.bound.to_string(),
    );
    let (all, missing) = (row.values.len(), row.values.iter().filter(|value| value.is_none()).count());
    if all == 0 {
        let _ = writeln!(text, "    nobody who is meant is there in the window");
    } else if row.summary.value.is_none() {
        let _ = writeln!(text, "    no value in {missing} of {all}: {}", row.expectation.metric.absence());
    }
}

/// Three significant digits or so.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        medium if medium >= 10.0 => 1,
        small if small >= 1.0 || small == 0.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn short(text: &str) -> String {
    if text.chars().count() <= 16 { text.to_owned() } else { text.chars().take(14).chain("..".chars()).collect() }
}
