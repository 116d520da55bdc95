//! Results as a table in Markdown, for docs/performance.md.

use super::figures::{Figures, find};
use super::outcome::Outcome;
use super::table::verdicts;
use std::fmt::Write;
use std::path::PathBuf;

/// Columns: what stands above, and the figures below each other's slashes.
const COLUMNS: &[(&str, &[&str])] = &[
    ("S", &["sendto"]),
    ("CPU per packet", &["server_cpu_per_packet"]),
    ("kernel's share", &["server_kernel"]),
    ("server CPU", &["server_cpu"]),
    ("busiest thread", &["server_busiest_thread"]),
    ("packets", &["packets_in"]),
    ("loss", &["loss"]),
    ("latency p50 / p99 / p99.9", &["latency_p50", "latency_p99", "latency_p999"]),
    ("join p50 / p99", &["join_p50", "join_p99"]),
    ("memory per participant", &["server_rss_per_participant"]),
    ("load generator's CPU", &["own_cpu"]),
];

/// A table with a row for each result file, named as the file is.
pub fn markdown(results: &[PathBuf]) -> Result<String, String> {
    let mut rows = Vec::new();
    for path in results {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        rows.push((name, Outcome::read(path)?));
    }
    Ok(table(&rows))
}

fn table(rows: &[(String, Outcome)]) -> String {
    let heads = COLUMNS.iter().map(|(head, _)| *head);
    let mut text = format!("| case | {} | missed |\n", heads.collect::<Vec<_>>().join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(COLUMNS.len() + 2));
    for (name, outcome) in rows {
        let cells = COLUMNS.iter().map(|(_, names)| cell(names, &outcome.figures)).collect::<Vec<_>>().join(" | ");
        let (verdicts, _) = verdicts(&outcome.bounds, &outcome.figures);
        let missed: Vec<_> = verdicts.lines().filter_map(|line| line.strip_prefix("MISSED ")).collect();
        let _ = writeln!(text, "| `{name}` | {cells} | {} |", missed.join(", "));
    }
    text
}

fn cell(names: &[&str], figures: &Figures) -> String {
    let show = |name: &&str| {
        let (value, figure) = figures.get(name).zip(find(name))?;
        let in_sendtos = figures.get("sendto").filter(|_| *name == "server_cpu_per_packet");
        let in_sendtos = in_sendtos.map(|sendto| format!("{:.2} S = ", value / sendto)).unwrap_or_default();
        Some(in_sendtos + &figure.unit.show(value))
    };
    names.iter().map(|name| show(name).unwrap_or_else(|| "-".into())).collect::<Vec<_>>().join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::options::Options;
    use clap::{Args, Command, FromArgMatches};

    #[test]
    fn a_row_has_what_was_measured_and_what_was_missed() {
        let matches =
            Options::augment_args(Command::new("run")).get_matches_from(["run", "--assert", "loss<1%", "freezes=0"]);
        let options = Options::from_arg_matches(&matches).unwrap();
        let mut figures = Figures::default();
        for (name, value) in [("sendto", 3e-6), ("server_cpu_per_packet", 1.5e-6), ("loss", 0.0), ("latency_p50", 2e-3)]
        {
            figures.set(name, value);
        }
        let text = table(&[("case".into(), Outcome::new(&options, figures, None, Vec::new()))]);
        let rows: Vec<_> = text.lines().collect();
        let cells = |row: &str| row.matches('|').count();
        assert!(rows.iter().all(|row| cells(row) == cells(rows[0])), "{text}");
        assert!(rows[2].starts_with("| `case` | 3 us | 0.50 S = 1.5 us | - |"), "{text}");
        assert!(rows[2].contains("| 2 ms / - / - |") && rows[2].ends_with("| freezes=0: not measured |"), "{text}");
    }
}
