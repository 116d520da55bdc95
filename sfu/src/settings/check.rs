//! What fits its type but would serve nobody, or everybody.

use super::keys::Settings;
use super::problem::Problem;
use super::values::Advertised;
use axum::http::Uri;
use signaling::IceServersError;
use signaling::api::model::CodecPolicy;
use signaling::auth::{Keys, Policy};
use std::net::IpAddr;
use std::time::Duration;

/// A credential must outlive a join, and what the clocks of the two servers differ by.
const MIN_TURN_SECONDS: u64 = 60;

impl Settings {
    /// Everything that is wrong with the values.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.check_limits(&mut problems);
        self.check_media(&mut problems);
        self.check_https(&mut problems);
        self.check_access(&mut problems);
        self.check_ice(&mut problems);
        self.check_codecs(&mut problems);
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            problems.push(Problem::of(
                "log.filter",
                error.to_string(),
                "Use for example \"info\" or \"info,sluice=debug\".",
            ));
        }
        if let Some(url) = &self.log.otlp {
            let uri = url.parse::<Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
            if !cfg!(feature = "otlp") {
                let hint = "Build it with `cargo build --release --features otlp`.";
                problems.push(Problem::of("log.otlp", "this program was built without the feature", hint));
            } else if uri.is_none() {
                let hint = "Usually http://HOST:4318/v1/traces.";
                problems.push(Problem::of("log.otlp", format!("{url:?} is no http:// or https:// URL"), hint));
            }
        }
        for origin in &self.http.cors_origins {
            let host = origin.split_once("://").map(|(_, host)| host);
            if origin != "*" && !host.is_some_and(|host| !host.is_empty() && !host.contains('/')) {
                let why = format!("{origin:?} is no web origin");
                problems.push(Problem::of(
                    "http.cors_origins",
                    why,
                    "An origin is like https://example.org, without a path; * allows every one.",
                ));
            }
        }
        problems
    }

    fn check_limits(&self, problems: &mut Vec<Problem>) {
        let limits = &self.limits;
        for (key, value) in [
            ("limits.rooms", limits.rooms),
            ("limits.participants_per_room", limits.participants_per_room),
            ("limits.sections_per_offer", limits.sections_per_offer),
            ("limits.talkers", limits.talkers),
            ("limits.message_bytes", limits.message_bytes),
            ("limits.messages_per_second", limits.messages_per_second as usize),
            ("limits.connections_per_address", limits.connections_per_address),
        ] {
            if value == 0 {
                problems.push(Problem::of(key, "0 would let nobody in", "Use 1 or more."));
            }
        }
    }

    fn check_media(&self, problems: &mut Vec<Problem>) {
        let listen = &self.media.listen;
        for (place, ip) in listen.iter().enumerate() {
            let before = listen.get(..place).unwrap_or_default();
            if let Some(other) = before.iter().find(|other| overlap(other, ip)) {
                let why = format!("{other} and {ip} overlap");
                problems.push(Problem::of("media.listen", why, "Name one of them."));
            }
        }
        if listen.is_empty() {
            problems.push(Problem::of(
                "media.listen",
                "there is no address to take media on",
                "0.0.0.0 means all of IPv4, :: all of IPv6.",
            ));
        }
        for advertised in &self.media.advertise {
            let Advertised::Address(ip) = advertised else { continue };
            if ip.is_unspecified() || ip.is_multicast() {
                let why = format!("{ip} is no address that a client could send to");
                problems.push(Problem::of(
                    "media.advertise",
                    why,
                    "Name the address by which clients reach this server.",
                ));
            } else if !listen.iter().any(|l| l.is_ipv4() == ip.is_ipv4()) {
                let why = format!("{ip} is of a family that media.listen does not have");
                problems.push(Problem::of("media.advertise", why, "Add an address of that family to media.listen."));
            }
        }
        if let Some(stun) = &self.media.stun
            && stun.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
        {
            let why = format!("{stun:?} is no host with a port");
            problems.push(Problem::of("media.stun", why, "For example stun.example.org:3478."));
        }
    }

    fn check_https(&self, problems: &mut Vec<Problem>) {
        let https = &self.https;
        match (&https.certificate, &https.key) {
            (Some(_), None) => {
                problems.push(Problem::of(
                    "https.certificate",
                    "there is no https.key to it",
                    "Name the private key's PEM file.",
                ));
            }
            (None, Some(_)) => {
                problems.push(Problem::of(
                    "https.key",
                    "there is no https.certificate to it",
                    "Name the certificate's PEM file.",
                ));
            }
            (Some(_), Some(_)) if https.self_signed => {
                let why = "there is a certificate too (https.certificate)";
                problems.push(Problem::of("https.self_signed", why, "Use one of the two."));
            }
            (Some(certificate), Some(key)) => {
                if let Err(error) = crate::server::tls::load(certificate, key) {
                    problems.push(Problem::of(
                        "https.certificate",
                        error.to_string(),
                        "Certificate (with its chain) and key are PEM files that belong together.",
                    ));
                }
            }
            (None, None) => {}
        }
    }

    fn check_ice(&self, problems: &mut Vec<Problem>) {
        if let Err(error) = self.ice_servers() {
            let (key, hint) = match error {
                IceServersError::BadUrl { .. } => ("ice.urls", "For example turn:turn.example.org:3478?transport=udp."),
                IceServersError::NoSecret { .. } => (
                    "ice.turn_secret",
                    "Name the secret that the TURN server has too; coturn calls it static-auth-secret.",
                ),
            };
            problems.push(Problem::of(key, error.to_string(), hint));
        }
        if self.ice.turn_seconds < MIN_TURN_SECONDS {
            let hint = "Joining takes a while, and clocks differ: use 60 or more.";
            problems.push(Problem::of("ice.turn_seconds", "credentials would expire before they are used", hint));
        }
    }

    fn check_codecs(&self, problems: &mut Vec<Problem>) {
        let codecs = &self.codecs;
        for (key, list) in [("codecs.prefer", &codecs.prefer), ("codecs.require", &codecs.require)] {
            if let Some(why) = CodecPolicy::Prefer(list.clone()).fault() {
                problems.push(Problem::of(key, why, "Name each codec once, best first."));
            }
        }
        if !codecs.prefer.is_empty() && !codecs.require.is_empty() {
            let why = "there is a codecs.prefer too";
            problems.push(Problem::of("codecs.require", why, "Use one of the two: both are in order of preference."));
        }
    }

    fn check_access(&self, problems: &mut Vec<Problem>) {
        problems.extend(self.keys().1);
        let reachable = |ip: IpAddr| !ip.is_loopback();
        if reachable(self.http.listen.ip()) && !self.has_keys() && self.access.open != Some(true) {
            problems.push(Problem::of(
                "http.listen",
                "anybody who reaches this address could join, since there are no keys to check access tokens by",
                "Put the output of `sluice key` into the settings file, then `sluice token` lets people in. Or let everybody in: --open.",
            ));
        }
        if reachable(self.admin_listen().ip()) && !self.has_keys() {
            problems.push(Problem::of(
                "admin.listen",
                "anybody who reaches this address could manage the server, since there are no keys to check access tokens by",
                "Make a key (`sluice key`); --open is not enough here. Or listen on 127.0.0.1.",
            ));
        }
    }

    /// The keys that sign access tokens, and what is wrong with those that are not among them.
    pub(crate) fn keys(&self) -> (Keys, Vec<Problem>) {
        let (mut keys, mut problems) = (Keys::default(), Vec::new());
        for (id, secret) in &self.access.keys {
            if let Err(error) = keys.add_secret(id, secret.reveal()) {
                let why = format!("the key {id:?}: {error}");
                problems.push(Problem::of("access.keys", why, "`sluice key` makes a good one."));
            }
        }
        if let Some(path) = &self.access.jwks {
            let read = std::fs::read_to_string(path).map_err(|error| format!("cannot read it: {error}"));
            if let Err(why) = read.and_then(|json| keys.add_jwks(&json).map_err(|error| error.to_string())) {
                let hint = "It must be a JWK Set, {\"keys\": [...]}; `sluice key --ed25519 NAME` writes one.";
                problems.push(Problem::of("access.jwks", why, hint));
            }
        }
        (keys, problems)
    }

    /// By which access is decided.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            keys: self.keys().0,
            open: self.is_open(),
            leeway: Duration::from_secs(self.access.leeway_seconds),
            audience: self.access.audience.clone(),
        }
    }
}

fn overlap(one: &IpAddr, other: &IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4() && (one == other || one.is_unspecified() || other.is_unspecified())
}
