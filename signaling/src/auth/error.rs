//! Why a token is refused: precise enough that whoever issued it can mend it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Why a caller is not let in. What a message quotes of an unverified token is cut to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none, and the server is not open.
    #[error("an access token is needed")]
    Missing,
    /// It is no JWT at all.
    #[error("the access token is no JWT: {why}")]
    Malformed {
        /// What is wrong with its form.
        why: String,
    },
    /// `alg` is `none`, or one that the server does not take.
    #[error("the access token is signed by the algorithm {algorithm:?}, which is not accepted")]
    UnsupportedAlgorithm {
        /// Its `alg`.
        algorithm: String,
    },
    /// The key that it names takes another algorithm.
    #[error("the access token is signed by {found}, but its key {key:?} is for {expected}")]
    WrongAlgorithm {
        /// Its `kid`.
        key: String,
        /// What the key is for.
        expected: &'static str,
        /// Its `alg`.
        found: &'static str,
    },
    /// The server has no such key.
    #[error("the access token names the key {key:?}, which this server does not have")]
    UnknownKey {
        /// Its `kid`.
        key: String,
    },
    /// It names no key, and the server has none for its algorithm.
    #[error("the access token is signed by {algorithm}, and this server has no key for that")]
    NoKey {
        /// Its `alg`.
        algorithm: &'static str,
    },
    /// The signature does not fit.
    #[error("the signature of the access token does not fit {}", match .key { Some(key) => format!("the key {key:?}"), None => "any key of this server".to_owned() })]
    BadSignature {
        /// Its `kid`.
        key: Option<String>,
    },
    /// It was good once.
    #[error("the access token expired {} ago", Age(*.ago))]
    Expired {
        /// How long ago, without leeway.
        ago: Duration,
    },
    /// It is not good yet.
    #[error("the access token is valid only in {}", Age(*.wait))]
    NotYetValid {
        /// How long until then, without leeway.
        wait: Duration,
    },
    /// It would be good for ever.
    #[error("the access token has no expiry (`exp`)")]
    NoExpiry,
    /// It is for somebody else.
    #[error("the access token is for the audience {found:?}, {}", match .expected { Some(expected) => format!("not {expected:?}"), None => "and this server is none (`access.audience` is not set)".to_owned() })]
    WrongAudience {
        /// `access.audience` of the server.
        expected: Option<String>,
        /// Its `aud`.
        found: Vec<String>,
    },
    /// The grants in it cannot be read.
    #[error("the grants in the access token cannot be read: {why}")]
    BadGrants {
        /// What is wrong, and where.
        why: String,
    },
    /// It is good, but for another room.
    #[error("the access token is for the room {granted:?}, not for {asked:?}")]
    WrongRoom {
        /// The room that it is for.
        granted: String,
        /// The room that was asked for.
        asked: String,
    },
}

impl TokenError {
    /// Stable, in kebab-case.
    pub fn code(&self) -> &'static str {
        match self {
            TokenError::Missing => "token-required",
            TokenError::Malformed { .. } => "token-malformed",
            TokenError::UnsupportedAlgorithm { .. } | TokenError::WrongAlgorithm { .. } => "token-algorithm",
            TokenError::UnknownKey { .. } | TokenError::NoKey { .. } => "token-unknown-key",
            TokenError::BadSignature { .. } => "token-signature",
            TokenError::Expired { .. } => "token-expired",
            TokenError::NotYetValid { .. } => "token-not-yet-valid",
            TokenError::NoExpiry => "token-no-expiry",
            TokenError::WrongAudience { .. } => "token-audience",
            TokenError::BadGrants { .. } => "token-grants",
            TokenError::WrongRoom { .. } => "token-wrong-room",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Cow<'static, str> {
        match self {
            TokenError::Missing => "Give one: `token` of `join`, `?token=` of the page, or an `Authorization: Bearer` header. `sluice token` mints them.",
            TokenError::Malformed { .. } => "A JWT has three parts in base64url with dots between; check that it was copied whole.",
            TokenError::UnsupportedAlgorithm { .. } => "Sign with HS256, EdDSA, ES256 or RS256.",
            TokenError::WrongAlgorithm { .. } => "Sign with the algorithm of the key, or name another key in `kid`.",
            TokenError::UnknownKey { .. } | TokenError::NoKey { .. } => "See the server's `access.keys` and `access.jwks`; after a change there, reload it (SIGHUP).",
            TokenError::BadSignature { .. } => "The secret of issuer and server must be the same, to the byte.",
            TokenError::Expired { .. } => "Get a fresh one. If it should still be good, compare the clocks of issuer and server.",
            TokenError::NotYetValid { .. } => "Wait, or set `nbf` earlier; if it should be good already, compare the clocks of issuer and server.",
            TokenError::NoExpiry => "Set `exp`; `sluice token --valid 1h` does.",
            TokenError::WrongAudience { .. } => "Set `aud` of the token and `access.audience` of the server to the same, or neither.",
            TokenError::BadGrants { .. } => "Put them into the claim `sluice`, for example {\"room\": \"daily\"}; docs/tokens.md lists all.",
            TokenError::WrongRoom { .. } => "Get an access token for this room.",
        }
        .into()
    }

    /// The HTTP status, where it answers an HTTP request.
    pub fn http_status(&self) -> u16 {
        match self {
            TokenError::WrongRoom { .. } => 403,
            _ => 401,
        }
    }
}

/// Most characters of an unverified token that a message quotes.
pub(super) const QUOTED: usize = 64;

/// At most [`QUOTED`] characters of `text`.
pub(super) fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

/// A span of time in the largest unit that says it well enough.
struct Age(Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (count, unit) = match seconds {
            0..120 => (seconds, "second"),
            120..7200 => (seconds / 60, "minute"),
            7200..172_800 => (seconds / 3600, "hour"),
            _ => (seconds / 86_400, "day"),
        };
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}
