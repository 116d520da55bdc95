//! Two results beside each other.

use super::figures::FIGURES;
use super::outcome::Outcome;
use super::table::change;
use std::fmt::Write;
use std::path::Path;

/// A table of what two result files say, and how much the second differs.
pub fn compare(before: &Path, after: &Path) -> Result<String, String> {
    let (before, after) = (Outcome::read(before)?, Outcome::read(after)?);
    Ok(side_by_side(&before, &after))
}

fn side_by_side(before: &Outcome, after: &Outcome) -> String {
    let mut text = String::new();
    if before.load != after.load {
        text.push_str("The loads differ:\n");
        let _ = writeln!(text, "  {:?}\n  {:?}\n", before.load, after.load);
    }
    for figure in FIGURES {
        let (a, b) = (before.figures.get(figure.name), after.figures.get(figure.name));
        if a.is_none() && b.is_none() {
            continue;
        }
        let show = |value: Option<f64>| value.map_or("-".to_owned(), |value| figure.unit.show(value));
        let change = a.zip(b).map_or(String::new(), |(a, b)| change(a, b, figure.unit));
        let line = format!("{:<27} {:>14} {:>14}  {change}", figure.name, show(a), show(b));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
