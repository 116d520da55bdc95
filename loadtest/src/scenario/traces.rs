//! The files that a scenario names: recorded links, and delays.

use netem::Trace;
use std::path::Path;
use std::time::Duration;

/// Longest delay that a line may say, in milliseconds.
const MOST_MS: f64 = 3_600_000.0;

/// Delivery opportunities.
pub fn opportunities(file: &Path) -> Result<Trace, String> {
    Trace::parse(&read(file)?).map_err(|error| format!("{}: {error}", file.display()))
}

/// Delays of one packet after the other: milliseconds, one number to a line; empty lines and those after `#` are passed
/// over.
pub fn delays(file: &Path) -> Result<Vec<Duration>, String> {
    let text = read(file)?;
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let delay = |(index, line): (usize, &str)| {
        let ms = line.parse().ok().filter(|ms| (0.0..=MOST_MS).contains(ms));
        let otherwise =
            || format!("{}: line {}: {line:?} is no delay from 0 to {MOST_MS} ms", file.display(), index + 1);
        ms.map(|ms: f64| Duration::from_secs_f64(ms / 1e3)).ok_or_else(otherwise)
    };
    let delays: Vec<Duration> = lines.map(delay).collect::<Result<_, _>>()?;
    if delays.is_empty() {
        Err(format!("{}: there is no delay in it, one number to a line", file.display()))
    } else {
        Ok(delays)
    }
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}
