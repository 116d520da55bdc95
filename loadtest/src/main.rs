//! The command line of the load generator.

use clap::{CommandFactory, Parser, Subcommand};
use loadtest::report::{json, plot, stems, table};
use loadtest::run::file;
use loadtest::scoreboard::{self, Board, Entry, Targets};
use loadtest::sweep::{Outcome, sweep_all};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures media servers: loads in real time, and whole calls against Sluice's engine in virtual time.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Loads a server in real time; exit status 1 where a bound is missed, 2 where the load cannot be run
    Run(Box<loadtest::run::Options>),
    /// Shows two results of `run --json` beside each other
    Compare { before: PathBuf, after: PathBuf },
    /// Makes a Markdown table of results of `run --json`, a row for each
    Markdown {
        #[arg(required = true)]
        results: Vec<PathBuf>,
    },
    /// Runs scenario files in virtual time; exit status 1 where a bound is missed, 2 where a file cannot be run
    Scenarios {
        /// Scenario files; without any, all that come with the program
        files: Vec<PathBuf>,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        /// Run this seed only
        #[arg(long, conflicts_with = "seeds")]
        seed: Option<u64>,
        /// Run so many seeds, instead of what each file says
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
        seeds: Option<u64>,
        /// Begin with this seed instead of 1: what is tuned on the scoreboard's seeds fits them
        #[arg(long, value_name = "SEED", default_value_t = 1, conflicts_with = "seed")]
        first_seed: u64,
        /// Draw the first seed of each scenario into this folder, one SVG for each receiver
        #[arg(long, value_name = "DIR")]
        plot: Option<PathBuf>,
    },
    /// Runs every scenario that comes with the program and writes docs/scoreboard.md
    Scoreboard {
        /// Run a few seeds only, write nothing, and compare: exit status 1 where a row is worse than in the file
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let arguments = match file::with_file(&Arguments::command(), "run", std::env::args_os().collect()) {
        Ok(arguments) => Arguments::parse_from(arguments),
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let holds = match arguments.command {
        Command::Run(options) => loadtest::run::run(&options),
        Command::Compare { before, after } => loadtest::run::compare(&before, &after).map(|table| {
            print!("{table}");
            true
        }),
        Command::Markdown { results } => loadtest::run::markdown(&results).map(|table| {
            print!("{table}");
            true
        }),
        Command::Scenarios { files, json, seed, seeds, first_seed, plot } => {
            scenarios(files, json, seed, (first_seed, seeds), plot.as_deref())
        }
        Command::Scoreboard { check: true } => check_scoreboard(),
        Command::Scoreboard { check: false } => write_scoreboard(),
    };
    match holds {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn scenarios(
    files: Vec<PathBuf>,
    as_json: bool,
    seed: Option<u64>,
    (first_seed, seeds): (u64, Option<u64>),
    plots: Option<&Path>,
) -> Result<bool, String> {
    let files = if files.is_empty() { shipped()? } else { files };
    // All files are read first: a mistake in the last one shows before minutes have passed.
    let entries = Entry::read(&files)?;
    let seeds = |entry: &Entry| match seed {
        Some(seed) => vec![seed],
        None => (first_seed..).take(seeds.unwrap_or(entry.scenario.repeat.seeds) as usize).collect(),
    };
    let jobs: Vec<_> = entries.iter().map(|entry| (&entry.scenario, seeds(entry))).collect();
    let stems = stems(&files);
    let draw = |place: usize, seed: u64, truth: &loadtest::metrics::Truth<'_>| match plots {
        Some(folder) if jobs[place].1.first() == Some(&seed) => plot(jobs[place].0, truth, folder, &stems[place]),
        _ => Ok(()),
    };
    let (mut outcomes, mut problems) = (Vec::new(), Vec::new());
    for (outcome, file) in sweep_all(&jobs, draw).into_iter().zip(&files) {
        match outcome {
            Ok(outcome) => outcomes.push(outcome),
            Err(problem) => problems.push(format!("{}: {problem}", file.display())),
        }
    }
    print!("{}", if as_json { json(&outcomes) } else { table(&outcomes) });
    if problems.is_empty() { Ok(outcomes.iter().all(Outcome::holds)) } else { Err(problems.join("\n")) }
}

fn write_scoreboard() -> Result<bool, String> {
    let targets = Targets::read(&scoreboard::targets_file())?;
    let board = Board::measure(Entry::read(&shipped()?)?, &targets)?;
    let file = scoreboard::board_file();
    std::fs::write(&file, scoreboard::markdown(&board)).map_err(|error| format!("{}: {error}", file.display()))?;
    println!("{} is written.", file.display());
    Ok(true)
}

fn check_scoreboard() -> Result<bool, String> {
    let file = scoreboard::board_file();
    let committed = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let findings = scoreboard::check(&committed, &Board::measure_for_check(Entry::read(&shipped()?)?)?);
    print!("{}", findings.text());
    Ok(findings.worse.is_empty())
}

/// The scenario files beside this package's manifest, by name.
fn shipped() -> Result<Vec<PathBuf>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    Ok(files)
}
