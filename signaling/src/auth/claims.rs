//! The claims of an access token (RFC 7519). The grants are in a claim of their own, `sluice`, so that an identity
//! provider's other claims can never grant anything by chance; a key in it that nobody knows is an error, since a
//! misspelled restriction would restrict nothing.

use super::error::TokenError;
use super::grants::{Grants, PublishGrant, RoomGrant};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// The claims that Sluice reads and writes; others are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Who the bearer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The name that others see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For which services the token is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<Audience>,
    /// Not before, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<f64>,
    /// Not from here on, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<f64>,
    /// The grants. `None` is refused when they are read, with a better message than a parser's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sluice: Option<GrantClaims>,
}

/// `aud`: one audience or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// The claim `sluice`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantClaims {
    /// A room's name, or `*` for every room.
    pub room: RoomGrant,
    /// `true`, `false` or a list of sources.
    #[serde(default = "all_sources", skip_serializing_if = "is_all_sources")]
    pub publish: PublishGrant,
    /// Receive media.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub subscribe: bool,
    /// Send data.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub data: bool,
    /// Manage rooms and participants.
    #[serde(default, skip_serializing_if = "is_no")]
    pub admin: bool,
    /// Be there unseen.
    #[serde(default, skip_serializing_if = "is_no")]
    pub hidden: bool,
    /// For others to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
}

impl Claims {
    /// Claims that say `grants`, until `expiry`.
    pub fn new(grants: Grants, expiry: SystemTime) -> Claims {
        Claims {
            sub: grants.identity,
            name: grants.name,
            aud: None,
            nbf: None,
            exp: Some(seconds(expiry).floor()),
            sluice: Some(GrantClaims {
                room: grants.room,
                publish: grants.publish,
                subscribe: grants.subscribe,
                data: grants.data,
                admin: grants.admin,
                hidden: grants.hidden,
                metadata: grants.metadata,
            }),
        }
    }

    /// What the claims grant at `now` by a server that is `audience`, with `leeway` for clocks that differ.
    pub(super) fn grants(
        self,
        now: SystemTime,
        leeway: Duration,
        audience: Option<&str>,
    ) -> Result<Grants, TokenError> {
        let (now, leeway) = (seconds(now), leeway.as_secs_f64());
        let expiry = self.exp.ok_or(TokenError::NoExpiry)?;
        if now >= expiry + leeway {
            return Err(TokenError::Expired { ago: span(now - expiry) });
        }
        if let Some(begin) = self.nbf.filter(|begin| now + leeway < *begin) {
            return Err(TokenError::NotYetValid { wait: span(begin - now) });
        }
        let named = match self.aud {
            None => Vec::new(),
            Some(Audience::One(one)) => vec![one],
            Some(Audience::Many(many)) => many,
        };
        // RFC 7519 section 4.1.3: who is not among the audience must refuse.
        let addressed = match audience {
            None => named.is_empty(),
            Some(audience) => named.iter().any(|name| name == audience),
        };
        if !addressed {
            return Err(TokenError::WrongAudience { expected: audience.map(str::to_owned), found: named });
        }
        let grants = self.sluice.ok_or(TokenError::BadGrants { why: "the claim `sluice` is missing".to_owned() })?;
        Ok(Grants {
            identity: self.sub,
            name: self.name,
            room: grants.room,
            publish: grants.publish,
            subscribe: grants.subscribe,
            data: grants.data,
            admin: grants.admin,
            hidden: grants.hidden,
            metadata: grants.metadata,
        })
    }
}

/// Seconds since 1970, as a NumericDate (RFC 7519 section 2) counts them.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A number of seconds that may be too large for a [`Duration`].
fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

fn all_sources() -> PublishGrant {
    PublishGrant::ALL
}

fn is_all_sources(publish: &PublishGrant) -> bool {
    *publish == PublishGrant::ALL
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

fn is_no(value: &bool) -> bool {
    !value
}
