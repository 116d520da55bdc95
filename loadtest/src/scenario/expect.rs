//! What a scenario expects of whom.

use super::numbers::{Seconds, checked};
use super::units::Bound;
use crate::metrics::Metric;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// Something that must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// About whom.
    pub who: Who,
    /// About what.
    pub metric: Metric,
    /// Start of the window.
    #[serde(default, deserialize_with = "checked::<_, Seconds, _>")]
    pub from_s: f64,
    /// End of the window; default: the end of the run.
    #[serde(default, deserialize_with = "checked::<_, Option<Seconds>, _>")]
    pub to_s: Option<f64>,
    /// What must hold.
    pub bound: Bound,
    /// How the values of several seeds and participants become one.
    #[serde(default)]
    pub over: Over,
}

/// Names of participants; `publisher` in front of a name stands for what reaches it as a publisher.
#[derive(Clone, Debug, PartialEq)]
pub struct Who {
    /// The names, `*` for everybody.
    pub names: Vec<String>,
}

/// How several values become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// The one that is furthest on the wrong side.
    #[default]
    Worst,
    /// Their mean.
    Mean,
    /// The middle one.
    P50,
    /// The one that 95 % of them are not worse than.
    P95,
}

impl Expectation {
    /// The window in seconds.
    pub fn window(&self, duration_s: f64) -> (f64, f64) {
        (self.from_s, self.to_s.unwrap_or(duration_s).min(duration_s))
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Over::Worst => "worst",
            Over::Mean => "mean",
            Over::P50 => "p50",
            Over::P95 => "p95",
        })
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join(", "))
    }
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Vec<String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a participant, \"*\", or a list of participants")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Vec<String>, E> {
                Ok(text.split(',').map(|name| name.trim().to_owned()).collect())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(names)
            }
        }
        let names = deserializer.deserialize_any(Names)?;
        let strip = |name: String| name.strip_prefix("publisher ").map_or(name.clone(), |bare| bare.trim().to_owned());
        let names: Vec<String> = names.into_iter().map(strip).collect();
        if names.iter().any(String::is_empty) || names.is_empty() {
            return Err(D::Error::custom("nobody is named"));
        }
        Ok(Who { names })
    }
}
