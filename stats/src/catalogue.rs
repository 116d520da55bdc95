//! The table of every metric: name, type, unit, labels and help.
//!
//! [`crate::collector`] fills it with values and `docs/metrics.md` is [`markdown`] written to a file. Names follow
//! <https://prometheus.io/docs/practices/naming/>: prefix, base units, `_total` on counters and only there.

/// How a metric's value moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; starts at 0 with the process.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Full name, prefix included.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// What one unit of the value is.
    pub unit: &'static str,
    /// Each label with its values, for the documentation.
    pub labels: &'static [(&'static str, &'static str)],
    /// One sentence; also the `# HELP` line.
    pub help: &'static str,
}

/// Declares the table once: a name in code for each row, and the rows.
macro_rules! catalogue {
    ($($id:ident: $kind:ident $name:literal [$unit:literal] { $($label:ident: $values:literal),* } $help:literal;)*) => {
        /// The name in code of a row of the catalogue.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the row's help says it")]
        pub enum Id { $($id,)* }

        impl Id {
            /// Every id, in the order of the table.
            pub const ALL: &'static [Id] = &[$(Id::$id,)*];

            /// The row.
            pub const fn metric(self) -> &'static Metric {
                match self {
                    $(Id::$id => &Metric {
                        name: concat!("sluice_", $name),
                        kind: Kind::$kind,
                        unit: $unit,
                        labels: &[$((stringify!($label), $values)),*],
                        help: $help,
                    },)*
                }
            }
        }
    };
}

catalogue! {
    BuildInfo: Gauge "build_info" ["1"] { version: "release", commit: "git commit" }
        "Always 1; the labels say what is running.";
    Rooms: Gauge "rooms" ["rooms"] {}
        "Rooms with at least one participant.";
    Participants: Gauge "participants" ["participants"] {}
        "Participants in all rooms.";
    WebsocketSessions: Gauge "websocket_sessions" ["sessions"] {}
        "Open WebSocket connections of the rooms protocol.";
    HttpSessions: Gauge "http_sessions" ["sessions"] {}
        "Open WHIP and WHEP sessions.";
    Joins: Counter "joins_total" ["joins"] { outcome: "joined, resumed, or the error code of the refusal" }
        "Attempts to join a room, or to resume a session, by outcome.";
    SignalingErrors: Counter "signaling_errors_total" ["errors"] { code: "error code" }
        "Errors sent to clients of the rooms protocol.";
    WebhookDeliveries: Counter "webhook_deliveries_total" ["tries"]
        { outcome: "delivered, retried, refused, given_up, dropped" }
        "Tries to deliver a webhook, by outcome; refused, given_up and dropped lose the event.";
    Tracks: Gauge "tracks" ["tracks"] { kind: "audio, video", source: "camera, microphone, screen, screen_audio" }
        "Published tracks.";
    Subscriptions: Gauge "subscriptions" ["subscriptions"] { kind: "audio, video", state: "active, starting, paused" }
        "Tracks bound to a receiver's slot, by whether media flows.";
    RtpPackets: Counter "rtp_packets_total" ["packets"] { direction: "received, sent", kind: "audio, video" }
        "RTP packets, retransmissions included.";
    RtpBytes: Counter "rtp_bytes_total" ["bytes"] { direction: "received, sent", kind: "audio, video" }
        "Bytes of RTP packets with their headers, without IP and UDP headers.";
    RtpPacketsLost: Counter "rtp_packets_lost_total" ["packets"] { direction: "received, sent", kind: "audio, video" }
        "RTP packets that never came: received counts gaps given up, sent counts what receivers report.";
    RtpRetransmitted: Counter "rtp_retransmitted_packets_total" ["packets"] { direction: "received, sent" }
        "RTP packets that repair a loss (RFC 4588).";
    RtcpPackets: Counter "rtcp_packets_total" ["packets"] { direction: "received, sent" }
        "RTCP compound packets.";
    Nacks: Counter "nacks_total" ["packets"] { direction: "received, sent" }
        "RTP packets asked for again by NACK: sent to publishers, received from receivers.";
    KeyframeRequests: Counter "keyframe_requests_total" ["requests"] { direction: "received, sent", type: "pli, fir" }
        "Requests for a keyframe: sent to publishers, received from receivers.";
    PacketsDropped: Counter "packets_dropped_total" ["packets"] { reason: "see DropReason" }
        "Packets that the server took from the network or its queues and did not use.";
    LayerSwitches: Counter "layer_switches_total" ["switches"] { direction: "up, down" }
        "Changes of the encoding or temporal layer that a receiver gets.";
    DtlsHandshakes: Counter "dtls_handshakes_total" ["handshakes"] { outcome: "completed, failed" }
        "DTLS handshakes that came to an end.";
    IceResults: Counter "ice_results_total" ["transports"]
        { outcome: "connected, failed", protocol: "udp, tcp, none" }
        "Transports that ICE connected, by the protocol of the first pair, and those that it never did.";
    Disconnects: Counter "disconnects_total" ["transports"]
        { reason: "consent_expired, closed, handshake_failed, bad_certificate" }
        "Transports that stopped carrying media while their participant was still in the room.";
    UdpCalls: Counter "udp_calls_total" ["calls"] { direction: "received, sent" }
        "System calls that gave or took UDP datagrams.";
    UdpDatagrams: Counter "udp_datagrams_total" ["datagrams"] { direction: "received, sent", run: "joined, single" }
        "UDP datagrams, by whether they crossed the kernel together with others (UDP_SEGMENT, UDP_GRO).";
    RunPadding: Counter "rtp_run_padding_bytes_total" ["bytes"] {}
        "RTP padding that gave packets the size of the run that they left in.";
    RelayedPackets: Counter "relayed_packets_total" ["packets"] { direction: "received, sent" }
        "RTP packets that crossed between shards, once for each shard that takes them.";
    ShardBusyRatio: Gauge "shard_busy_ratio" ["ratio"] { shard: "shard number" }
        "Share of the last second in which the shard's thread was at work.";
    ShardQueueDepth: Gauge "shard_queue_depth" ["entries"] { shard: "shard number", lane: "queue name" }
        "Entries that wait in a queue into or out of a shard.";
    ShardQueueDrops: Counter "shard_queue_drops_total" ["entries"] { shard: "shard number", lane: "queue name" }
        "Entries that a full queue into or out of a shard turned away.";
}

/// `docs/metrics.md`.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Served in Prometheus' text format. Generated from `stats/src/catalogue.rs`; run \
         `UPDATE=1 cargo test -p stats` after a change there.\n\n\
         Counters start at 0 with the process. No label names a room, a participant or a track.\n\n\
         | Metric | Type | Unit | Labels | What it says |\n|---|---|---|---|---|\n",
    );
    for metric in Id::ALL.iter().map(|id| id.metric()) {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let labels: Vec<String> = metric.labels.iter().map(|(name, values)| format!("`{name}`: {values}")).collect();
        let labels = if labels.is_empty() { "none".to_owned() } else { labels.join("; ") };
        page.push_str(&format!("| `{}` | {kind} | {} | {labels} | {} |\n", metric.name, metric.unit, metric.help));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_naming_rules_of_prometheus() {
        let mut seen = BTreeSet::new();
        for metric in Id::ALL.iter().map(|id| id.metric()) {
            assert!(seen.insert(metric.name), "{} is there twice", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            assert!(metric.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", metric.name);
        }
    }

    #[test]
    fn no_label_names_a_room_or_a_person() {
        for (label, _) in Id::ALL.iter().flat_map(|id| id.metric().labels) {
            assert!(!["room", "participant", "track", "address"].contains(label), "{label}");
        }
    }

    #[test]
    fn the_page_in_docs_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, markdown()).expect("docs/metrics.md can be written");
        }
        let page = std::fs::read_to_string(path).expect("docs/metrics.md is there");
        assert_eq!(page, markdown(), "run UPDATE=1 cargo test -p stats");
    }
}
