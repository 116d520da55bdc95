//! Bounds that a result must keep: `loss<0.1%`, `latency_p99<5ms`, `server_cpu_per_packet<=0.5S`.

use super::figures::{FIGURES, Figures, Unit, find};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// One bound. In files it is its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    text: String,
    name: &'static str,
    comparison: Comparison,
    bound: f64,
    /// The bound counts plain `sendto` calls.
    in_sendtos: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
}

/// Longer ones first: `<` is the beginning of `<=`.
const COMPARISONS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
];

/// Units of bounds, and what they multiply by.
const UNITS: [(&str, Unit, f64); 13] = [
    ("", Unit::Count, 1.0),
    ("", Unit::PacketRate, 1.0),
    ("%", Unit::Ratio, 0.01),
    ("us", Unit::Seconds, 1e-6),
    ("ms", Unit::Seconds, 1e-3),
    ("s", Unit::Seconds, 1.0),
    ("B", Unit::Bytes, 1.0),
    ("KiB", Unit::Bytes, 1024.0),
    ("MiB", Unit::Bytes, 1_048_576.0),
    ("GiB", Unit::Bytes, 1_073_741_824.0),
    ("kb/s", Unit::BitRate, 1e3),
    ("Mb/s", Unit::BitRate, 1e6),
    ("Gb/s", Unit::BitRate, 1e9),
];

/// S, as a unit of time.
const SENDTO: &str = "S";

impl Assertion {
    /// Whether a result keeps the bound, and the figure; a figure that was not measured keeps none.
    pub(crate) fn check(&self, figures: &Figures) -> (bool, Option<f64>) {
        let value = figures.get(self.name);
        let scale = if self.in_sendtos { figures.get("sendto").unwrap_or(f64::NAN) } else { 1.0 };
        let bound = self.bound * scale;
        let holds = value.is_some_and(|value| match self.comparison {
            Comparison::Less => value < bound,
            Comparison::AtMost => value <= bound,
            Comparison::Greater => value > bound,
            Comparison::AtLeast => value >= bound,
            Comparison::Equal => value == bound,
        });
        (holds, value)
    }

    /// The figure that is bounded.
    pub(crate) fn unit(&self) -> Unit {
        find(self.name).map_or(Unit::Count, |figure| figure.unit)
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Assertion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Assertion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl FromStr for Assertion {
    type Err = String;

    fn from_str(text: &str) -> Result<Assertion, String> {
        let found = COMPARISONS.iter().find_map(|(sign, comparison)| Some((text.split_once(sign)?, *comparison)));
        let ((name, bound), comparison) = found.ok_or("no comparison: one of < <= > >= =")?;
        let figure = find(name.trim()).ok_or_else(|| {
            let names: Vec<_> = FIGURES.iter().map(|figure| figure.name).collect();
            format!("no figure is named {:?}; there are {}", name.trim(), names.join(", "))
        })?;
        let bound = bound.trim();
        let digits = bound.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(bound.len());
        let (number, unit) = (&bound[..digits], bound[digits..].trim());
        let number: f64 = number.parse().map_err(|_| format!("{bound:?} does not begin with a number"))?;
        let in_sendtos = figure.unit == Unit::Seconds && unit == SENDTO;
        let scale = UNITS.iter().find(|(name, of, _)| *name == unit && *of == figure.unit).map(|(.., scale)| *scale);
        let scale = scale.or(in_sendtos.then_some(1.0)).ok_or_else(|| {
            let fitting = UNITS.iter().filter(|(_, of, _)| *of == figure.unit).map(|(name, ..)| format!("{name:?}"));
            format!("{unit:?} is no unit of {}: {}", figure.name, fitting.collect::<Vec<_>>().join(", "))
        })?;
        Ok(Assertion { text: text.to_owned(), name: figure.name, comparison, bound: number * scale, in_sendtos })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(assertion: &str, figures: &Figures) -> bool {
        assertion.parse::<Assertion>().unwrap().check(figures).0
    }

    #[test]
    fn bounds_are_compared_in_their_units() {
        let mut figures = Figures::default();
        figures.set("loss", 0.0009);
        figures.set("latency_p99", 0.005);
        figures.set("server_cpu_per_packet", 1.4e-6);
        figures.set("sendto", 3e-6);
        figures.set("joins_failed", 0.0);
        assert!(holds("loss<0.1%", &figures) && !holds("loss < 0.05 %", &figures));
        assert!(holds("latency_p99<=5ms", &figures) && !holds("latency_p99<5ms", &figures));
        assert!(holds("latency_p99>4000us", &figures) && holds("latency_p99>=0.005s", &figures));
        assert!(holds("server_cpu_per_packet<0.5S", &figures) && !holds("server_cpu_per_packet<0.4S", &figures));
        assert!(holds("joins_failed=0", &figures));
        assert!(!holds("freezes<1000", &figures), "not measured");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        let refused = |text: &str| text.parse::<Assertion>().unwrap_err();
        assert!(refused("latency<5ms").contains("latency_p99"));
        assert!(refused("loss<5").contains("\"%\""));
        assert!(refused("loss 5%").contains("<="));
        assert!(refused("loss<x%").contains("number"));
        assert!(refused("loss<5S").contains("no unit"));
    }
}
