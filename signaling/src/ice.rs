//! STUN and TURN servers that clients are told, with credentials that are good for a while.
//!
//! A credential follows draft-uberti-behave-turn-rest-00, which coturn calls `use-auth-secret`: server and TURN server
//! share a secret, the user name is the second of its expiry and whose it is, the password an HMAC-SHA1 of that under
//! the secret. Nothing is stored anywhere.

use crate::protocol::{IceServer, ParticipantId};
use axum::http::uri::Authority;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use std::time::{Duration, SystemTime};

/// The servers. The default is none.
#[derive(Clone, Debug, Default)]
pub struct IceServers {
    stun: Vec<String>,
    turn: Vec<String>,
    secret: Option<hmac::Key>,
    lifetime: Duration,
}

/// Why servers cannot be told to clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IceServersError {
    /// A browser refuses a whole peer connection for one such URL.
    #[error("{url:?}: {why}")]
    BadUrl {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A TURN server, and nothing to make credentials from.
    #[error("{url:?} is a TURN server, and there is no secret to make credentials from")]
    NoSecret {
        /// The TURN server.
        url: String,
    },
}

impl IceServers {
    /// `urls` as in RFC 7064 and RFC 7065; `secret` is what the TURN servers among them share with us; `lifetime` of a
    /// credential.
    pub fn new(urls: &[String], secret: Option<&str>, lifetime: Duration) -> Result<IceServers, IceServersError> {
        let secret = secret
            .filter(|secret| !secret.is_empty())
            .map(|secret| hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes()));
        let mut servers = IceServers { stun: Vec::new(), turn: Vec::new(), secret, lifetime };
        for url in urls {
            match is_turn(url) {
                Ok(true) if servers.secret.is_none() => return Err(IceServersError::NoSecret { url: url.clone() }),
                Ok(true) => servers.turn.push(url.clone()),
                Ok(false) => servers.stun.push(url.clone()),
                Err(why) => return Err(IceServersError::BadUrl { url: url.clone(), why }),
            }
        }
        Ok(servers)
    }

    /// What `participant` is told, with a credential of its own.
    pub fn of(&self, participant: &ParticipantId, now: SystemTime) -> Vec<IceServer> {
        let stun = IceServer { urls: self.stun.clone(), username: None, credential: None };
        let turn = self.secret.as_ref().map(|secret| {
            let expiry = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + self.lifetime;
            let username = format!("{}:{participant}", expiry.as_secs());
            let credential = STANDARD.encode(hmac::sign(secret, username.as_bytes()));
            IceServer { urls: self.turn.clone(), username: Some(username), credential: Some(credential) }
        });
        [Some(stun), turn].into_iter().flatten().filter(|server| !server.urls.is_empty()).collect()
    }
}

/// Whether a URL is of a TURN server; the error says what is wrong with it.
fn is_turn(url: &str) -> Result<bool, &'static str> {
    let (scheme, rest) = url.split_once(':').unwrap_or_default();
    let turn = match scheme {
        "stun" | "stuns" => false,
        "turn" | "turns" => true,
        _ => return Err("it must begin with stun:, stuns:, turn: or turns:"),
    };
    let (server, query) = rest.split_once('?').map_or((rest, None), |(server, query)| (server, Some(query)));
    match query {
        None => {}
        Some("transport=udp" | "transport=tcp") if turn => {}
        Some(_) if turn => return Err("behind the `?` stands transport=udp or transport=tcp"),
        Some(_) => return Err("a STUN server has nothing behind a `?`"),
    }
    // What is left of it behind the host.
    let port = server.parse::<Authority>().ok().filter(|parsed| !parsed.host().is_empty());
    let port = port.and_then(|parsed| server.strip_prefix(parsed.host()));
    let is_port =
        |port: &str| port.strip_prefix(':').and_then(|port| port.parse::<u16>().ok()).is_some_and(|port| port > 0);
    match port {
        Some(port) if port.is_empty() || is_port(port) => Ok(turn),
        _ => Err("behind the scheme stands a host name or an address, and a port where it is not the usual one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(urls: &[&str]) -> Vec<String> {
        urls.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_turn_credential_names_its_expiry_and_is_signed_with_the_shared_secret() {
        let urls = urls(&["turn:turn.example:3478?transport=udp", "stun:stun.example", "turns:turn.example"]);
        let servers = IceServers::new(&urls, Some("north"), Duration::from_secs(600)).unwrap();
        let told =
            servers.of(&ParticipantId("p3".into()), SystemTime::UNIX_EPOCH + Duration::from_millis(1_699_999_400_900));
        assert_eq!(told[0], IceServer { urls: vec![urls[1].clone()], username: None, credential: None });
        assert_eq!(told[1].urls, [urls[0].clone(), urls[2].clone()]);
        assert_eq!(told[1].username.as_deref(), Some("1700000000:p3"));
        // printf 1700000000:p3 | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(told[1].credential.as_deref(), Some("Rkef8jAl8WKNa1tka81jbMUHLPM="));
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn without_servers_nothing_is_told() {
        let nobody = ParticipantId("p1".into());
        assert!(IceServers::default().of(&nobody, SystemTime::now()).is_empty());
        let secret_only = IceServers::new(&[], Some("north"), Duration::from_secs(600)).unwrap();
        assert!(secret_only.of(&nobody, SystemTime::now()).is_empty());
    }

    #[test]
    fn urls_that_a_browser_would_refuse_are_refused_here() {
        for url in [
            "",
            "turn",
            "turn:",
            "http://turn.example",
            "turn.example:3478",
            "turn://turn.example",
            "turn:turn.example:",
            "turn:turn.example:99999",
            "turn:turn.example?transport=tls",
            "stun:stun.example?transport=udp",
            "turn:ada@turn.example",
            "turn:turn.example/path",
            "turn:two words",
        ] {
            let error = IceServers::new(&urls(&[url]), Some("north"), Duration::ZERO).unwrap_err();
            assert!(matches!(error, IceServersError::BadUrl { .. }), "{url}: {error}");
        }
        for url in [
            "stun:[2001:db8::1]:3478",
            "stuns:stun.example",
            "turn:192.0.2.1:80?transport=tcp",
            "turns:turn.example:443",
        ] {
            assert!(IceServers::new(&urls(&[url]), Some("north"), Duration::ZERO).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_turn_server_wants_a_secret_and_a_stun_server_none() {
        for secret in [None, Some("")] {
            let error = IceServers::new(&urls(&["turn:turn.example"]), secret, Duration::ZERO).unwrap_err();
            assert_eq!(error, IceServersError::NoSecret { url: "turn:turn.example".into() });
            assert!(IceServers::new(&urls(&["stun:stun.example"]), secret, Duration::ZERO).is_ok());
        }
    }
}
