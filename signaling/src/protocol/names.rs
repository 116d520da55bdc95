//! Names that people choose: checked when a message is read, so that everything behind sees only valid ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest room or display name, in characters.
const MAX_CHARS: usize = 64;

/// A room's name: 1 to 64 unreserved characters of a URL (RFC 3986 section 2.3), so that it can stand in a link as it
/// is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(!try_from, !into)]
pub struct RoomName(#[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._~-]+$"))] String);

/// A participant's name for others to see: 1 to 64 printable characters after white space is trimmed at both ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(!try_from, !into)]
pub struct DisplayName(#[schemars(length(min = 1, max = 64))] String);

/// Why a name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Empty or too long.
    #[error("a name has 1 to {MAX_CHARS} characters")]
    Length,
    /// A character that a link would have to escape.
    #[error("a room's name has only letters A-Z a-z, digits and - . _ ~")]
    RoomCharacters,
    /// `.` and `..`, which browsers take out of a link.
    #[error("a room's name is neither . nor .., which links take for folders")]
    RoomDots,
    /// A control character, or one that reorders or hides text.
    #[error("a name has only printable characters")]
    Unprintable,
    /// Nothing but characters that show nothing.
    #[error("a name has a visible character")]
    Invisible,
}

impl RoomName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DisplayName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoomName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        check_length(&name)?;
        let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        if !name.chars().all(unreserved) {
            return Err(InvalidName::RoomCharacters);
        }
        if matches!(name.as_str(), "." | "..") { Err(InvalidName::RoomDots) } else { Ok(RoomName(name)) }
    }
}

impl TryFrom<String> for DisplayName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        let name = name.trim();
        check_length(name)?;
        if name.chars().any(is_unprintable) {
            return Err(InvalidName::Unprintable);
        }
        if name.chars().all(is_invisible) { Err(InvalidName::Invisible) } else { Ok(DisplayName(name.to_owned())) }
    }
}

impl From<RoomName> for String {
    fn from(name: RoomName) -> String {
        name.0
    }
}

impl From<DisplayName> for String {
    fn from(name: DisplayName) -> String {
        name.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_length(name: &str) -> Result<(), InvalidName> {
    match name.chars().take(MAX_CHARS + 1).count() {
        1..=MAX_CHARS => Ok(()),
        _ => Err(InvalidName::Length),
    }
}

/// Control characters, line separators, and the invisible ones that reverse the text around a name.
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// What joins, separates or changes other characters and shows nothing alone (most of Unicode's
/// `Default_Ignorable_Code_Point`).
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_can_stand_in_a_link() {
        assert!(RoomName::try_from("Team-1._~".to_owned()).is_ok());
        assert_eq!(RoomName::try_from("a/b".to_owned()), Err(InvalidName::RoomCharacters));
        assert_eq!(RoomName::try_from(String::new()), Err(InvalidName::Length));
        assert_eq!(RoomName::try_from("x".repeat(65)), Err(InvalidName::Length));
        for dots in [".", ".."] {
            assert_eq!(RoomName::try_from(dots.to_owned()), Err(InvalidName::RoomDots));
        }
        assert!(RoomName::try_from("...".to_owned()).is_ok());
    }

    #[test]
    fn a_display_name_is_trimmed_and_printable_in_any_script() {
        let name = |text: &str| DisplayName::try_from(text.to_owned()).map(String::from);
        assert_eq!(name("  Zoë 👩‍💻 "), Ok("Zoë 👩‍💻".to_owned()));
        assert_eq!(name("דנה"), Ok("דנה".to_owned()));
        assert_eq!(name(" \t "), Err(InvalidName::Length));
        assert_eq!(name("a\u{0}b"), Err(InvalidName::Unprintable));
        assert_eq!(name("ana\u{202e}nimda"), Err(InvalidName::Unprintable));
        assert_eq!(name("\u{200b}"), Err(InvalidName::Invisible));
        assert_eq!(name("\u{200d}\u{fe0f} \u{3164}"), Err(InvalidName::Invisible));
        assert_eq!(name(&"ë".repeat(64)), Ok("ë".repeat(64)));
        assert_eq!(name(&"ë".repeat(65)), Err(InvalidName::Length));
    }
}
