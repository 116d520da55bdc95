//! What is wrong with settings, said so that it can be mended: all of it at once, each with key, value, where it came
//! from and what to do.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The key, where it is about one.
    pub(crate) key: Option<String>,
    /// The value, where there is one that may be shown.
    pub(crate) value: Option<String>,
    /// File, variable or flag that it came from; none for a default.
    pub(crate) origin: Option<String>,
    /// What is wrong.
    pub(crate) why: String,
    /// What to do.
    pub(crate) hint: String,
}

/// Everything that is wrong; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Problem {
    /// A problem with one key's value, which and whence are added by whoever knows.
    pub(super) fn of(key: &str, why: impl Into<String>, hint: impl Into<String>) -> Problem {
        Problem { key: Some(key.to_owned()), value: None, origin: None, why: why.into(), hint: hint.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(f, "{key} = {value}")?,
            (Some(key), None) => write!(f, "{key}")?,
            (None, _) => f.write_str("settings")?,
        }
        match &self.origin {
            Some(origin) => write!(f, "  (from {origin})")?,
            None => f.write_str("  (default)")?,
        }
        write!(f, "\n    {}\n    Hint: {}", self.why, self.hint)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} problem{} in the settings", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n\n  {problem}"))
    }
}
