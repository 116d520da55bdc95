//! Who may do what: access tokens (JWT, RFC 7519, checked as RFC 8725 advises) and the keys that sign them.
//!
//! [`Authority`] turns the token that came with a request into [`Grants`], or says exactly why not. The rooms protocol,
//! WHIP, WHEP and the admin API all ask the same one; `sfu` builds it from the settings and gives it a new [`Policy`]
//! on reload. Cryptography is *ring*'s.

mod claims;
mod crypto;
mod error;
mod grants;
mod keys;
#[cfg(test)]
mod tests;

pub use claims::{Audience, Claims, GrantClaims};
pub use error::TokenError;
pub use grants::{Grants, PublishGrant, RoomGrant};
pub use keys::{KeyError, Keys};

use parking_lot::RwLock;
use stats::ControlPlane;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Decides on tokens. Shared by everything that takes requests; its policy can be replaced while it runs.
#[derive(Debug)]
pub struct Authority {
    policy: RwLock<Arc<Policy>>,
    counters: Arc<ControlPlane>,
}

/// By which rules.
#[derive(Debug)]
pub struct Policy {
    /// The keys whose tokens are good.
    pub keys: Keys,
    /// Whether callers without a token may do everything.
    pub open: bool,
    /// How far the clocks of issuer and server may differ.
    pub leeway: Duration,
    /// What `aud` must name.
    pub audience: Option<String>,
}

impl Authority {
    /// An authority that goes by `policy` and counts whom it refuses.
    pub fn new(policy: Policy, counters: Arc<ControlPlane>) -> Authority {
        Authority { policy: RwLock::new(Arc::new(policy)), counters }
    }

    /// Goes by another policy from now on. Whoever is in already stays.
    pub fn replace(&self, policy: Policy) {
        *self.policy.write() = Arc::new(policy);
    }

    /// What the bearer of `token` may do.
    pub fn admit(&self, token: Option<&str>, now: SystemTime) -> Result<Grants, TokenError> {
        self.check(token, now).inspect_err(|error| self.counters.auth_failures.count(error.code()))
    }

    fn check(&self, token: Option<&str>, now: SystemTime) -> Result<Grants, TokenError> {
        let policy = self.policy.read().clone();
        match token.filter(|token| !token.is_empty()) {
            // There is nothing to check a token by.
            _ if policy.open && policy.keys.is_empty() => Ok(Grants::everything()),
            // Where there are keys, they decide who manages.
            None if policy.open => Ok(Grants { admin: false, ..Grants::everything() }),
            None => Err(TokenError::Missing),
            Some(token) => policy.keys.verify(token)?.grants(now, policy.leeway, policy.audience.as_deref()),
        }
    }

    /// What the bearer of `token` may do in `room`.
    pub fn admit_to(&self, room: &str, token: Option<&str>, now: SystemTime) -> Result<Grants, TokenError> {
        let grants = self.admit(token, now)?;
        match &grants.room {
            RoomGrant::Named(granted) if !grants.allows_room(room) => {
                let error = TokenError::WrongRoom { granted: granted.clone(), asked: room.to_owned() };
                self.counters.auth_failures.count(error.code());
                Err(error)
            }
            _ => Ok(grants),
        }
    }
}
