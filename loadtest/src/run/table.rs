//! A result as a table for terminals.

use super::assertion::Assertion;
use super::figures::{FIGURES, Figures, Unit};
use super::outcome::Outcome;
use std::fmt::Write;

/// All figures that were measured; those about CPU time per packet also in S.
pub(crate) fn table(outcome: &Outcome) -> String {
    let Outcome { server, machine, load, figures, .. } = outcome;
    let mut text = format!("{server} on {machine}\n{} s measured\n\n", load.duration);
    for figure in FIGURES {
        let Some(value) = figures.get(figure.name) else { continue };
        let mut shown = figure.unit.show(value);
        if let Some(sendto) = figures.get("sendto").filter(|_| figure.name == "server_cpu_per_packet") {
            let _ = write!(shown, " = {:.2} S", value / sendto);
        }
        let _ = writeln!(text, "{:<27} {shown:<20} {}", figure.name, figure.about);
    }
    if let Some(reason) = &outcome.first_failure {
        let _ = writeln!(text, "\nThe first join that failed: {reason}");
    }
    text
}

/// Which bounds hold, and whether all do.
pub(crate) fn verdicts(bounds: &[Assertion], figures: &Figures) -> (String, bool) {
    let mut text = String::new();
    let mut all = true;
    for bound in bounds {
        let (holds, value) = bound.check(figures);
        all &= holds;
        let value = value.map_or("not measured".to_owned(), |value| bound.unit().show(value));
        let _ = writeln!(text, "{} {bound}: {value}", if holds { "ok    " } else { "MISSED" });
    }
    (text, all)
}

/// The change from one value to another, in per cent.
pub(crate) fn change(before: f64, after: f64, unit: Unit) -> String {
    match (before, unit) {
        (same, _) if same == after => String::new(),
        (0.0, _) => "from nothing".into(),
        _ => format!("{:+.1} %", (after / before - 1.0) * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_bound_is_told_and_fails_the_whole() {
        let mut figures = Figures::default();
        figures.set("loss", 0.002);
        let bounds: Vec<Assertion> = ["loss<1%", "loss<0.1%", "freezes=0"].map(|text| text.parse().unwrap()).into();
        let (text, all) = verdicts(&bounds, &figures);
        assert_eq!(text, "ok     loss<1%: 0.2 %\nMISSED loss<0.1%: 0.2 %\nMISSED freezes=0: not measured\n");
        assert!(!all && verdicts(&bounds[..1], &figures).1);
    }
}
