//! Every setting, once: its key, type, default, what it is for, and whether a reload can change it. The structs, the
//! reader, `sluice config` and the table in docs/configure.md all come from this list.

use super::values::{Advertised, LogFormat, Secret};
use serde_json::Value as Json;
use signaling::api::model::CodecPolicy;
use signaling::protocol::VideoCodec;
use signaling::{IceServers, IceServersError};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// One setting, for code that handles all of them alike.
pub(crate) struct Key {
    /// `section.key`.
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) about: &'static str,
    /// Whether SIGHUP changes it while the server runs.
    pub(crate) live: bool,
    /// Gives it a value.
    pub(super) set: fn(&mut Settings, config::Value) -> Result<(), config::ConfigError>,
    /// Its value for people; secrets are not in it.
    pub(crate) show: fn(&Settings) -> Json,
    /// Whether it is the same in both.
    pub(crate) same: fn(&Settings, &Settings) -> bool,
    /// Takes the value of the second into the first.
    copy: fn(&mut Settings, &Settings),
}

macro_rules! settings {
    ($( $(#[doc = $section_doc:literal])+ $section:ident: $Section:ident {
        $( $(#[doc = $doc:literal])+ [$when:ident] $key:ident: $type:ty = $default:expr, )+
    } )+) => {
        /// All settings, after merging.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub(crate) struct Settings { $( $(#[doc = $section_doc])+ pub(crate) $section: $Section, )+ }

        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq)]
            pub(crate) struct $Section { $( $(#[doc = $doc])+ pub(crate) $key: $type, )+ }

            impl Default for $Section {
                fn default() -> Self {
                    $Section { $( $key: $default, )+ }
                }
            }
        )+

        /// Every key, in the order of the sections.
        pub(crate) const KEYS: &[Key] = &[ $( $( Key {
            name: concat!(stringify!($section), ".", stringify!($key)),
            about: concat!($($doc),+),
            live: settings!(@live $when),
            set: |settings, value| {
                settings.$section.$key = value.try_deserialize()?;
                Ok(())
            },
            show: |settings| serde_json::to_value(&settings.$section.$key).unwrap_or_default(),
            same: |one, other| one.$section.$key == other.$section.$key,
            copy: |one, other| one.$section.$key.clone_from(&other.$section.$key),
        }, )+ )+ ];
    };
    (@live live) => { true };
    (@live restart) => { false };
}

settings! {
    /// `[http]`: the page, the rooms protocol, WHIP and WHEP.
    http: HttpSettings {
        /// Where the page and the rooms protocol are served.
        [restart] listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)),
        /// Web origins whose pages may use WHIP, WHEP and the SDK from elsewhere; `*` for every one.
        [restart] cors_origins: Vec<String> = vec!["*".to_owned()],
    }

    /// `[https]`: encryption on `http.listen`.
    https: HttpsSettings {
        /// PEM file with the certificate and its chain; read again when it changes.
        [live] certificate: Option<PathBuf> = None,
        /// PEM file with the certificate's private key.
        [live] key: Option<PathBuf> = None,
        /// Make a certificate at the start, for tries in a local network. Browsers warn about it once.
        [restart] self_signed: bool = false,
        /// Names and addresses of the self-signed certificate beside those of the machine.
        [restart] names: Vec<String> = Vec::new(),
    }

    /// `[admin]`: metrics, health and the admin API, apart from what clients reach.
    admin: AdminSettings {
        /// Where they are served. Default: 127.0.0.1, the port after that of `http.listen`.
        [restart] listen: Option<SocketAddr> = None,
    }

    /// `[media]`: the media port and the addresses that clients are told.
    media: MediaSettings {
        /// UDP and TCP port; 0 picks a free one.
        [restart] port: u16 = 7882,
        /// Addresses to take media on.
        [restart] listen: Vec<IpAddr> = vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        /// Addresses that clients are told: IPs, host names, or `interfaces` for those of the machine. Default:
        /// `interfaces`.
        [restart] advertise: Vec<Advertised> = Vec::new(),
        /// STUN server (`host:port`) that is asked at the start for the public address, which is then advertised too.
        [restart] stun: Option<String> = None,
        /// Whether media is taken by TCP too.
        [restart] tcp: bool = true,
        /// Media threads; 0 means one for each core.
        [restart] shards: usize = 0,
    }

    /// `[access]`: who may join.
    access: AccessSettings {
        /// Shared secrets that sign access tokens (HS256), each under an id of its own; 32 characters or more.
        [live] keys: BTreeMap<String, Secret> = BTreeMap::new(),
        /// JWK Set file with more keys: EdDSA, ES256, RS256, HS256.
        [live] jwks: Option<PathBuf> = None,
        /// Let everybody in without a token. Default: only where `http.listen` is a loopback address and there are no
        /// keys.
        [live] open: Option<bool> = None,
        /// What the `aud` of a token must name.
        [live] audience: Option<String> = None,
        /// How far the clocks of this server and of whoever issues tokens may differ.
        [live] leeway_seconds: u64 = 60,
    }

    /// `[ice]`: STUN and TURN servers for clients in networks that let nothing through to the media port.
    ice: IceSettings {
        /// STUN and TURN servers that clients are told, for example `turn:turn.example.org:3478?transport=tcp`.
        [live] urls: Vec<String> = Vec::new(),
        /// Secret shared with the TURN servers, by which each participant gets a credential of its own (coturn:
        /// `static-auth-secret`).
        [live] turn_secret: Option<Secret> = None,
        /// Seconds that a credential is good for. Calls that go through a TURN server by then go on.
        [live] turn_seconds: u64 = 86_400,
    }

    /// `[limits]`: what one client, one room and the server may have.
    limits: LimitSettings {
        /// Rooms at the same time.
        [restart] rooms: usize = 10_000,
        /// Participants in one room.
        [restart] participants_per_room: usize = 1000,
        /// Tracks that one participant publishes at the same time.
        [restart] tracks_per_participant: usize = 8,
        /// m= sections in one offer.
        [restart] sections_per_offer: usize = 128,
        /// Video slots that a client is asked for.
        [restart] video_slots: usize = 49,
        /// Talkers of one room that are heard at once.
        [restart] talkers: usize = 8,
        /// Bytes in one message of the rooms protocol. The default holds the largest offer that is read, with what JSON
        /// adds to it.
        [restart] message_bytes: usize = 384 << 10,
        /// Messages of one client in a second, on average; twice as many at once after a quiet time.
        [restart] messages_per_second: u32 = 50,
        /// Seconds that a session waits for its client after the WebSocket dropped.
        [restart] resume_seconds: u64 = 30,
        /// Tracks that one participant may state preferences for.
        [restart] subscriptions: usize = 2000,
        /// Kilobits per second that one participant may send on its data channels, on average; a second's worth at
        /// once.
        [restart] data_kbps: u64 = 16_000,
        /// WebSocket connections from one address.
        [restart] connections_per_address: usize = 1000,
    }

    /// `[codecs]`: in which codecs the video of rooms is sent. Whatever they say, publishers are told to use one that
    /// everybody in the room can receive, where there is one.
    codecs: CodecSettings {
        /// These rather than others, best first: `vp8`, `vp9`, `av1`, `h264`, `h265`. Empty: as each publisher prefers.
        [restart] prefer: Vec<VideoCodec> = Vec::new(),
        /// Only these, best first; offers to publish video in none of them are refused. Empty: any.
        [restart] require: Vec<VideoCodec> = Vec::new(),
        /// Seconds that a publisher keeps a codec after a better one became possible, for whoever lacks that may come
        /// back.
        [restart] return_seconds: u64 = 10,
    }

    /// `[shutdown]`: what SIGTERM does.
    shutdown: ShutdownSettings {
        /// Seconds that calls may go on after SIGTERM. A second signal ends them at once, as Ctrl-C does.
        [live] drain_seconds: u64 = 25,
    }

    /// `[dev]`: for developers of clients, never where strangers can join.
    dev: DevSettings {
        /// Let participants have the server emulate a worse network for them.
        [restart] emulation: bool = false,
    }

    /// `[webhooks]`: events for other services.
    webhooks: WebhookSettings {
        /// Where events are posted to.
        [restart] urls: Vec<String> = Vec::new(),
        /// Secret that signs them.
        [restart] secret: Option<Secret> = None,
    }

    /// `[log]`: what is written to standard error.
    log: LogSettings {
        /// Filter in the syntax of `tracing-subscriber`, for example `info` or `info,sluice=debug,signaling=debug`.
        [live] filter: String = "info,rtc_dtls=error".to_owned(),
        /// `text` or `json`.
        [restart] format: LogFormat = LogFormat::Text,
        /// OpenTelemetry collector that spans are sent to (OTLP by HTTP), like `http://127.0.0.1:4318/v1/traces`. Needs
        /// a program built with `--features otlp`.
        [restart] otlp: Option<String> = None,
    }
}

/// Keys whose values are never printed.
pub(super) const SECRET_KEYS: [&str; 3] = ["access.keys", "ice.turn_secret", "webhooks.secret"];

/// Keys that are gone, and what to do instead.
pub(super) const REMOVED_KEYS: [(&str, &str); 1] = [(
    "access.token",
    "It is gone: put a key into [access.keys] (`sluice key` makes one) and mint tokens by `sluice token`.",
)];

/// As many as the user fragment's two base-36 letters can name, far beyond any machine.
const MAX_SHARDS: usize = 36 * 36;

impl Settings {
    /// Takes what no reload changes from the settings in use.
    pub(crate) fn keep_fixed(&mut self, in_use: &Settings) {
        for key in KEYS.iter().filter(|key| !key.live) {
            (key.copy)(self, in_use);
        }
    }

    /// The number of media threads, never 0.
    pub(crate) fn shards(&self) -> usize {
        match self.media.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            asked => asked,
        }
        .min(MAX_SHARDS)
    }

    /// In which codecs video is sent in rooms that say nothing of it.
    pub(crate) fn codec_policy(&self) -> CodecPolicy {
        match self.codecs.require.is_empty() {
            true => CodecPolicy::Prefer(self.codecs.prefer.clone()),
            false => CodecPolicy::Require(self.codecs.require.clone()),
        }
    }

    /// Where webhooks go.
    pub(crate) fn webhook_config(&self) -> signaling::webhooks::WebhookConfig {
        let secret = self.webhooks.secret.as_ref().map(|secret| secret.reveal().to_owned());
        signaling::webhooks::WebhookConfig { urls: self.webhooks.urls.clone(), secret }
    }

    /// What clients are told of STUN and TURN servers.
    pub(crate) fn ice_servers(&self) -> Result<IceServers, IceServersError> {
        let secret = self.ice.turn_secret.as_ref().map(Secret::reveal);
        IceServers::new(&self.ice.urls, secret, Duration::from_secs(self.ice.turn_seconds))
    }

    /// Where metrics, health and the admin API are served.
    pub(crate) fn admin_listen(&self) -> SocketAddr {
        let beside = match self.http.listen.port() {
            0 => 0,
            port => port.checked_add(1).unwrap_or(0),
        };
        self.admin.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, beside)))
    }

    /// Whether there are keys to check tokens by.
    pub(crate) fn has_keys(&self) -> bool {
        !self.access.keys.is_empty() || self.access.jwks.is_some()
    }

    /// Whether callers without a token are let in.
    pub(crate) fn is_open(&self) -> bool {
        self.access.open.unwrap_or(self.http.listen.ip().is_loopback() && !self.has_keys())
    }

    /// Whether `http.listen` speaks HTTPS.
    pub(crate) fn is_https(&self) -> bool {
        self.https.self_signed || self.https.certificate.is_some()
    }
}
