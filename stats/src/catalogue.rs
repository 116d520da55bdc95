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
    /// How many values fell into which bucket, cumulative.
    Histogram,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Full name, prefix included.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// What one unit of the value is.
    pub unit: &'static str,
    /// Each label with its values, for the documentation.
    pub labels: &'static [(&'static str, &'static str)],
    /// One sentence; also the `# HELP` line.
    pub help: &'static str,
    /// What an operator does about it, for the documentation.
    pub advice: &'static str,
}

/// Declares the table once: a name in code for each row, and the rows.
macro_rules! catalogue {
    ($($id:ident: $kind:ident $name:literal [$unit:literal] { $($label:ident: $values:literal),* } $help:literal $advice:literal;)*) => {
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
                        advice: $advice,
                    },)*
                }
            }
        }
    };
}

catalogue! {
    BuildInfo: Gauge "build_info" ["1"] { version: "release", commit: "git commit" }
        "Always 1; the labels say what is running."
        "Mark deployments on a dashboard; two versions for long mean an unfinished rollout.";
    Ready: Gauge "ready" ["1 or 0"] {}
        "1 while calls are taken, as /readyz says."
        "At 0 without draining no address for media is known: /readyz names the problem, docs/deploy.md the cure.";
    Draining: Gauge "draining" ["1 or 0"] {}
        "1 from SIGTERM until the process ends."
        "Longer than shutdown.drain_seconds cannot be; raise that if calls get cut off.";
    Rooms: Gauge "rooms" ["rooms"] {}
        "Rooms with at least one participant, or kept open by the admin API."
        "At limits.rooms joins into new rooms are refused (rooms-limit).";
    Participants: Gauge "participants" ["participants"] { role: "member (publishes and receives), publisher, viewer, hidden" }
        "Participants in all rooms, by what their token and their way in let them do."
        "A sudden fall together with sluice_disconnects_total is a network event, alone it is the end of a meeting.";
    Peers: Gauge "peers" ["participants"] { state: "connecting, connected, lost" }
        "Participants by the state of their media connection."
        "Many in connecting: they cannot reach the media port, or were told an address that is wrong (docs/troubleshooting.md).";
    WebsocketSessions: Gauge "websocket_sessions" ["sessions"] {}
        "Open WebSocket connections of the rooms protocol."
        "More than participants: clients that never join, or that wait to be resumed.";
    HttpSessions: Gauge "http_sessions" ["sessions"] {}
        "Open WHIP and WHEP sessions."
        "Compare with what your encoders and players should be.";
    Joins: Counter "joins_total" ["joins"] { outcome: "joined, resumed, or the error code of the refusal" }
        "Attempts to join a room, or to resume a session, by outcome."
        "Each code has an entry in docs/troubleshooting.md.";
    JoinDuration: Histogram "join_duration_seconds" ["seconds"] { phase: "signaling, ice, dtls, first_media" }
        "Time that each phase of joining took, for those that got through it."
        "ice: the first address told did not answer; dtls: loss, or a CPU with no time; first_media: a camera that starts slowly, or a missing key frame.";
    RoomSize: Histogram "room_size_participants" ["participants"] {}
        "The most participants that a room had at once, noted when the room ends."
        "Plan by the largest usual room (docs/capacity.md).";
    AuthFailures: Counter "auth_failures_total" ["requests"] { reason: "error code, token-..." }
        "Access tokens refused, on all ways in, by error code."
        "token-signature: secrets differ; token-expired and token-not-yet-valid: clocks, or tokens minted too early; a flood of token-malformed: somebody tries.";
    SignalingErrors: Counter "signaling_errors_total" ["errors"] { code: "error code" }
        "Errors sent to clients of the rooms protocol."
        "Look the code up in docs/troubleshooting.md; bad-message after a release is a bug of the client.";
    WebhookDeliveries: Counter "webhook_deliveries_total" ["tries"]
        { outcome: "delivered, retried, refused, given_up, dropped" }
        "Tries to deliver a webhook, by outcome; refused, given_up and dropped lose the event."
        "retried: the receiver is slow or down; the others: read the log, it names the status.";
    HttpRequestDuration: Histogram "http_request_duration_seconds" ["seconds"]
        { route: "pattern of the path", method: "GET, POST, ..., other", status: "HTTP status" }
        "Time until the answer to an HTTP request was ready; a WebSocket counts until its upgrade."
        "Slow /whip and /whep: shards are busy; many 4xx on one route: a client that is set up wrongly.";
    QualityScore: Histogram "quality_score" ["score, 1 to 5"] {}
        "Connection quality (E-model, ITU-T G.107) of every connected participant, every two seconds."
        "Compare with loss, RTT and jitter below: they are what it is made of.";
    Tracks: Gauge "tracks" ["tracks"] { kind: "audio, video", source: "camera, microphone, screen, screen_audio" }
        "Published tracks."
        "What the server receives; see sluice_subscriptions for what it sends.";
    Subscriptions: Gauge "subscriptions" ["subscriptions"]
        { kind: "audio, video", state: "active, starting, starved, paused" }
        "Tracks bound to a receiver's slot: media flows, its first key frame is awaited, bandwidth lacks, or it is muted, hidden, silent or without media."
        "starved: receivers' links; starting for long: publishers do not answer key frame requests.";
    SubscriptionEncodings: Gauge "subscription_encodings" ["subscriptions"] { encoding: "0 (lowest), 1, 2" }
        "Video subscriptions that carry media, by the simulcast encoding that flows."
        "A shift to 0 while viewers and tiles are the same: downlinks got worse.";
    RtpPackets: Counter "rtp_packets_total" ["packets"] { direction: "received, sent", kind: "audio, video" }
        "RTP packets: received with retransmissions, sent without them and without the padding of probes."
        "The load. Packets sent decide about CPU (docs/capacity.md).";
    RtpBytes: Counter "rtp_bytes_total" ["bytes"] { direction: "received, sent", kind: "audio, video" }
        "Bytes of RTP packets with their headers, without IP and UDP headers."
        "Compare the rate with the network interface's.";
    RtpPacketsLost: Counter "rtp_packets_lost_total" ["packets"] { direction: "received, sent", kind: "audio, video" }
        "RTP packets that never came: received counts gaps given up in encodings that somebody takes, sent counts what receivers report."
        "For many clients at once: the server's own network, or sluice_udp_socket_drops_total.";
    RtpRetransmitted: Counter "rtp_retransmitted_packets_total" ["packets"] { direction: "received, sent" }
        "RTP packets that repair a loss (RFC 4588)."
        "Their share of packets is the loss before repair.";
    RtpProbePackets: Counter "rtp_probe_packets_total" ["packets"] {}
        "RTP packets sent only to measure a downlink."
        "A few per cent of packets sent; more means that estimates keep falling.";
    RtcpPackets: Counter "rtcp_packets_total" ["packets"]
        { direction: "received, sent", type: "sender_report, receiver_report, nack, pli, fir, remb, transport_feedback, ccfb, other" }
        "Parts of compound RTCP packets."
        "No transport_feedback received: clients did not negotiate it, estimates go by reports or REMB only.";
    Nacks: Counter "nacks_total" ["packets"] { direction: "received, sent" }
        "RTP packets asked for again by NACK: sent to publishers, received from receivers."
        "received counts what was answered; with loss and without NACKs a client lacks RTX.";
    KeyframeRequests: Counter "keyframe_requests_total" ["requests"] { direction: "received, sent", type: "pli, fir" }
        "Requests for a key frame: sent to publishers, received from receivers."
        "Many received: decoders fail, look for loss; key frames are large and cause more of it.";
    KeyframeWait: Histogram "keyframe_wait_seconds" ["seconds"] {}
        "Time from choosing an encoding for a receiver until its key frame came."
        "Above a second or two viewers see it: publishers answer slowly, or requests get lost.";
    PacketsDropped: Counter "packets_dropped_total" ["packets"] { reason: "see DropReason" }
        "Packets that the server took from the network or its queues and did not use."
        "rtp_duplicate and rtp_too_old are usual with loss; rtp_over_rate and rtp_codec_change: a client that misbehaves; srtp_auth or stun_integrity in numbers: a stranger, or a proxy in between; pacer_overflow: a link broke down.";
    ForwardLatency: Histogram "forward_latency_seconds" ["seconds"] {}
        "From a packet's arrival at the machine until it left for a receiver, for each receiver; without retransmissions."
        "p50 is the server, the tail is pacing: compare with sluice_pacer_delay_seconds. If both medians grow, shards are overloaded.";
    PacerDelay: Histogram "pacer_delay_seconds" ["seconds"] { kind: "audio, video" }
        "The part of the forwarding latency that packets waited in a receiver's pacer."
        "Long for video: key frames to slow links. Long for audio: the shard is late, see its tick duration.";
    LayerSwitches: Counter "layer_switches_total" ["switches"] { direction: "up, down", reason: "bandwidth, size, source, server-load" }
        "Changes of the encoding or layer that a receiver gets, by what changed: its downlink, the tile or cap, what the publisher sends, or the load of the server."
        "More than a few per minute and receiver is unrest: bandwidth is unstable links, size clients that change tile sizes all the time, source publishers whose encoders cannot keep up.";
    AllocationDuration: Histogram "allocation_duration_seconds" ["seconds"] {}
        "Time that choosing the layers of one receiver took."
        "p99 above 1 ms: very large rooms; lower limits.video_slots.";
    DataMessages: Counter "data_messages_total" ["messages"] { direction: "received, sent" }
        "Messages on data channels: received from senders, sent for each receiver."
        "sent divided by received is the fan-out.";
    DataBytes: Counter "data_bytes_total" ["bytes"] { direction: "received, sent" }
        "Payload bytes of messages on data channels."
        "Counts beside media in the interface's load; limits.data_kbps bounds what one participant sends.";
    Sharing: Gauge "receivers_sharing_bottleneck" ["participants"] {}
        "Receivers that wait in the same queue as others of their room, and are held to their part of what it lets through."
        "Many for long: people of one household or office; smaller pictures there are no fault of the server.";
    Repeating: Gauge "receivers_with_repeated_sound" ["participants"] {}
        "Receivers that lose packets without a queue, and are sent each packet of sound once or twice more within the next ones (RFC 2198)."
        "Most of all receivers: the loss is near the server.";
    Policed: Gauge "receivers_policed" ["participants"] {}
        "Receivers whose network drops what is beyond a rate instead of queueing it (a policer), and who are kept to that rate."
        "Many at one place: a contract, a firewall or a limit of UDP there; larger pictures need a higher one.";
    Relieved: Gauge "receivers_relieved" ["participants"] { pictures: "smallest, none" }
        "Receivers that are sent the smallest pictures only, or sound alone, since their shard cannot keep up: datagrams wait for more than 30 ms before it takes them."
        "Any: the server is too small for its calls, or something else uses its processors. Sound and joins go on; add cores or servers (docs/capacity.md).";
    TracksHeldBack: Gauge "tracks_held_back" ["tracks"] {}
        "Published tracks of which receivers are offered smaller encodings only, since the publisher's network does not carry more."
        "Small pictures of single publishers: their uplinks. Of many at once: the server's own downlink.";
    Shortfalls: Counter "publisher_shortfalls_total" ["encodings"] { cause: "loss, trial, no_room" }
        "Encodings that a publisher was told to stop since its network does not carry them: more got lost than can be repaired (loss), the same when it was tried again (trial), or it did not come when it was (no_room)."
        "loss: a network became slower; trial and no_room: it stays slow, each try costs its publisher some padding or loss.";
    BandwidthProbes: Counter "bandwidth_probes_total" ["probes"] { outcome: "raised, limited, unproven, unanswered" }
        "Probes of a downlink's capacity that ended: it takes more, its bottleneck was met, nothing was proven, or no feedback came."
        "None while subscriptions starve: receivers lack transport-wide feedback.";
    DownlinkEstimate: Histogram "downlink_estimate_bytes_per_second" ["bytes per second"] {}
        "Estimated capacity of each connected participant's downlink, every two seconds."
        "Most at the start value (62 500): no feedback comes.";
    CongestionMarks: Counter "congestion_marks_total" ["packets"] {}
        "Packets that receivers report as marked Congestion Experienced (RFC 8888)."
        "The server sends Not-ECT, so any is a fault of a router on the way.";
    Rtt: Histogram "rtt_seconds" ["seconds"] {}
        "Round trip to each connected participant, every two seconds."
        "High for all: the server is far from its users, or its link is full.";
    Jitter: Histogram "jitter_seconds" ["seconds"] { direction: "received, sent" }
        "Interarrival jitter (RFC 3550) of each connected participant, every two seconds: received from it, or as it reports."
        "sent above received: the server or its uplink adds it; look at the shards' tick duration.";
    LossRatio: Histogram "loss_ratio" ["ratio"] { direction: "received, sent" }
        "Share of packets lost of each connected participant, every two seconds."
        "Above 0.02 for many: the server's network; for few: theirs.";
    DtlsHandshakes: Counter "dtls_handshakes_total" ["handshakes"] { outcome: "completed, failed" }
        "DTLS handshakes that came to an end."
        "failed: UDP gets through but not all of it (MTU), or a client's certificate is not the one of its offer.";
    IceResults: Counter "ice_results_total" ["transports"]
        { outcome: "connected, failed", protocol: "udp, tcp, none", family: "ipv4, ipv6, none" }
        "Transports that ICE connected, by the first pair, and those that it never did."
        "failed: clients cannot reach any address told: sluice doctor, docs/deploy.md. Many tcp: UDP to the media port is blocked.";
    Disconnects: Counter "disconnects_total" ["transports"]
        { reason: "consent_expired, closed, handshake_failed, bad_certificate, internal_error" }
        "Transports that stopped carrying media while their participant was still in the room."
        "consent_expired: the client's network went away; for many at once: ours did. internal_error is a bug: report it with the log.";
    Panics: Counter "panics_total" ["panics"] { about: "participant, room, track, nobody" }
        "Panics in the media engine. Each cost one participant its media connection, or a room its ranking of speakers, or one step of work."
        "Any is a bug: report it with the log. Calls of others go on.";
    UdpCalls: Counter "udp_calls_total" ["calls"] { direction: "received, sent" }
        "System calls that gave or took UDP datagrams."
        "Datagrams per call say what batching saves; below 2 under load sluice doctor tells about offloads.";
    UdpDatagrams: Counter "udp_datagrams_total" ["datagrams"] { direction: "received, sent", run: "joined, single" }
        "UDP datagrams, by whether they crossed the kernel together with others (UDP_SEGMENT, UDP_GRO)."
        "No joined ones: the kernel or the interface lacks the offload, each packet costs several times as much.";
    UdpReceiveErrors: Counter "udp_receive_errors_total" ["calls"] {}
        "Calls for UDP datagrams that failed."
        "Any at all is worth a look at the kernel's log.";
    UdpSocketDrops: Counter "udp_socket_drops_total" ["datagrams"] {}
        "Datagrams that the kernel threw away since a media socket's buffer was full (Linux)."
        "Raise net.core.rmem_max (sluice doctor); if busy ratios are near 1, add shards or servers.";
    RunPadding: Counter "rtp_run_padding_bytes_total" ["bytes"] {}
        "RTP padding that gave packets the size of the run that they left in."
        "Below 1 % of bytes sent; it buys fewer system calls.";
    RelayedPackets: Counter "relayed_packets_total" ["packets"] { direction: "received, sent" }
        "RTP packets that crossed between shards, once for each shard that takes them."
        "Grows with rooms that span shards; received falling behind sent is loss between shards, see sluice_shard_queue_drops_total.";
    ShardBusyRatio: Gauge "shard_busy_ratio" ["ratio"] { shard: "shard number" }
        "Share of the last second in which the shard's thread was at work."
        "Above 0.7 for long: no headroom for bursts, start another server; one high and others low: one large room.";
    ShardTick: Histogram "shard_tick_duration_seconds" ["seconds"] { shard: "shard number" }
        "Time that one turn of a shard's loop was at work."
        "Everybody on the shard waits that long; p99 above 10 ms is heard. A joining client costs about a millisecond.";
    ShardQueueDepth: Gauge "shard_queue_depth" ["entries"] { shard: "shard number", lane: "queue name" }
        "Entries that wait in a queue into or out of a shard."
        "Near 0 always; growth is a shard that does not keep up.";
    ShardQueueDrops: Counter "shard_queue_drops_total" ["entries"] { shard: "shard number", lane: "queue name" }
        "Entries that a full queue into or out of a shard turned away."
        "sockets: the send buffer or the interface is full; relay and inputs: the other shard is overloaded; events: qualities of connections that the control plane was too busy for.";
}

/// `docs/metrics.md`.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Served in Prometheus' text format at `/metrics` of the admin address. Generated from `stats/src/catalogue.rs`; run \
         `UPDATE=1 cargo test -p stats` after a change there.\n\n\
         Counters start at 0 with the process. No label names a room, a participant or a track: for one room ask the admin API, \
         `/api/v1/rooms/{room}/stats` ([api.md](api.md)). The media threads publish what they counted once a second. On Linux the usual \
         `process_*` metrics (CPU, memory, file descriptors, start time) are there too.\n\n\
         Not there on purpose: freezes and frame rates at receivers, which only they see (the SDK's statistics have them); the quality of a \
         subscription by a name, since encodings have numbers in common and no names; anything for one room or participant.\n\n\
         `deploy/prometheus/` has alert and recording rules, `deploy/grafana/sluice.json` a dashboard; `./test ops` evaluates every query \
         of both against a server with calls on it.\n\n\
         | Metric | Type | Unit | Labels | What it says | What to do |\n|---|---|---|---|---|---|\n",
    );
    for metric in Id::ALL.iter().map(|id| id.metric()) {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = metric.labels.iter().map(|(name, values)| format!("`{name}`: {values}")).collect();
        let labels = if labels.is_empty() { "none".to_owned() } else { labels.join("; ") };
        let Metric { name, unit, help, advice, .. } = metric;
        page.push_str(&format!("| `{name}` | {kind} | {unit} | {labels} | {help} | {advice} |\n"));
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
