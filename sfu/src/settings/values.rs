//! Types of settings that the standard library does not have.

use serde::{Deserialize, Serialize, Serializer};
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Secret(String);

impl Secret {
    /// The secret itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// An address that clients are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) enum Advertised {
    /// This one.
    Address(IpAddr),
    /// Those that this host name has when the server starts.
    Name(String),
    /// Those of the machine's interfaces.
    Interfaces,
}

const INTERFACES: &str = "interfaces";

impl FromStr for Advertised {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.to_owned().into())
    }
}

impl From<String> for Advertised {
    fn from(text: String) -> Self {
        match text.parse() {
            Ok(ip) => Advertised::Address(ip),
            Err(_) if text == INTERFACES => Advertised::Interfaces,
            Err(_) => Advertised::Name(text),
        }
    }
}

impl From<Advertised> for String {
    fn from(advertised: Advertised) -> Self {
        match advertised {
            Advertised::Address(ip) => ip.to_string(),
            Advertised::Name(name) => name,
            Advertised::Interfaces => INTERFACES.to_owned(),
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
