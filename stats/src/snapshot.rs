//! What a shard says about itself once a second: plain values, without names or labels.
//!
//! Counters are cumulative since the shard started, so a snapshot that is lost or read late costs staleness and nothing
//! else. A shard writes, the collector reads; neither ever waits for more than the copy of one snapshot.

use crate::distribution::Distribution;
use parking_lot::Mutex;

/// The latest snapshot of one shard, shared between its thread and the collector.
#[derive(Debug, Default)]
pub struct ShardSlot(Mutex<ShardSnapshot>);

impl ShardSlot {
    /// Replaces the snapshot.
    pub fn publish(&self, snapshot: ShardSnapshot) {
        *self.0.lock() = snapshot;
    }

    /// A copy of the snapshot published last; all zero before the first.
    pub fn latest(&self) -> ShardSnapshot {
        self.0.lock().clone()
    }
}

/// Everything that a shard counts. Numbers are cumulative unless a field says "now".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardSnapshot {
    /// Tracks published here, now.
    pub tracks: Tracks,
    /// Subscriptions served here, now.
    pub subscriptions: PerKind<Subscriptions>,
    /// RTP packets. Retransmissions are included in those received, not in those sent.
    pub rtp_packets: PerDirection<PerKind<u64>>,
    /// Bytes of RTP packets with their headers.
    pub rtp_bytes: PerDirection<PerKind<u64>>,
    /// RTP packets lost: received are gaps given up in encodings that somebody takes, sent is what receivers report.
    pub rtp_packets_lost: PerDirection<PerKind<u64>>,
    /// RTX packets.
    pub rtp_retransmitted: PerDirection<u64>,
    /// Parts of compound RTCP packets by type; the engine owns the types.
    pub rtcp_packets: Vec<(&'static str, PerDirection<u64>)>,
    /// Packets asked for by NACK.
    pub nacks: PerDirection<u64>,
    /// Keyframe requests.
    pub keyframe_requests: PerDirection<KeyframeRequests>,
    /// Dropped packets by reason; the engine owns the reasons and their labels.
    pub packets_dropped: Vec<(&'static str, u64)>,
    /// Layer changes of all subscriptions by reason; the engine owns the reasons.
    pub layer_switches: Vec<(&'static str, LayerSwitches)>,
    /// Panics that ended one step of work, by what they were about; the engine owns what there is.
    pub panics: Vec<(&'static str, u64)>,
    /// DTLS handshakes that completed.
    pub dtls_completed: u64,
    /// DTLS handshakes that failed or took too long.
    pub dtls_failed: u64,
    /// How ICE ended.
    pub ice: IceResults,
    /// Participants by their media connection, now.
    pub connections: Connections,
    /// Receivers that share a bottleneck with others of their room, now.
    pub sharing: u64,
    /// Receivers for whom sound is repeated, now.
    pub repeating: u64,
    /// Receivers behind a policer, now.
    pub policed: u64,
    /// Receivers that are sent the smallest pictures only, and no pictures, since the shard cannot keep up, now.
    pub relieved: [u64; 2],
    /// Published tracks of which less is taken than there is, since their publisher's network does not carry more, now.
    pub held_back: u64,
    /// How often less was asked of a publisher, by cause; the engine owns the causes.
    pub shortfalls: Vec<(&'static str, u64)>,
    /// Video subscriptions that carry media, by the encoding that flows, lowest first, now.
    pub encodings: Vec<u64>,
    /// Bandwidth probes by outcome; the engine owns the outcomes.
    pub probes: Vec<(&'static str, u64)>,
    /// Packets of padding that probes sent.
    pub probe_packets: u64,
    /// Packets that receivers report as marked Congestion Experienced.
    pub congestion_marks: u64,
    /// From arrival to departure, for each packet and receiver, in seconds.
    pub forward_latency: Distribution,
    /// Wait in the pacer, in seconds.
    pub pacer_delay: PerKind<Distribution>,
    /// Wait for key frames, in seconds.
    pub keyframe_wait: Distribution,
    /// Phases of joining, in seconds; the engine owns the phases.
    pub join: Vec<(&'static str, Distribution)>,
    /// Round trips, in seconds.
    pub rtt: Distribution,
    /// Jitter, in seconds.
    pub jitter: PerDirection<Distribution>,
    /// Loss, 0 to 1.
    pub loss: PerDirection<Distribution>,
    /// Estimated capacity of downlinks, in bytes per second.
    pub estimate: Distribution,
    /// Turns of the shard's loop, in seconds.
    pub ticks: Distribution,
    /// Transports that stopped, by reason; the engine owns the reasons.
    pub disconnects: Vec<(&'static str, u64)>,
    /// The UDP sockets' work.
    pub udp: UdpTraffic,
    /// Bytes of padding that gave packets of a run the same size.
    pub run_padding_bytes: u64,
    /// RTP packets that crossed from and to other shards.
    pub relayed: PerDirection<u64>,
    /// Messages on data channels.
    pub data_messages: PerDirection<u64>,
    /// Payload bytes of those.
    pub data_bytes: PerDirection<u64>,
    /// Choices of one receiver's layers, in seconds.
    pub allocation: Distribution,
    /// Share of the last second spent at work, 0 to 1.
    pub busy_ratio: f64,
    /// Queues into and out of this shard.
    pub lanes: Vec<Lane>,
}

/// A value for what comes from clients and one for what goes to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerDirection<T> {
    /// From clients to the server.
    pub received: T,
    /// From the server to clients.
    pub sent: T,
}

/// What UDP sockets did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpTraffic {
    /// Datagrams that the kernel threw away because a socket's buffer was full; 0 where it does not tell.
    pub socket_drops: u64,
    /// Receiving failed, for another reason than that nothing was there.
    pub receive_errors: u64,
    /// System calls.
    pub calls: PerDirection<u64>,
    /// Datagrams that crossed the kernel together with others (UDP_SEGMENT, UDP_GRO).
    pub joined: PerDirection<u64>,
    /// Datagrams that crossed it alone.
    pub single: PerDirection<u64>,
}

impl std::iter::Sum for UdpTraffic {
    fn sum<I: Iterator<Item = UdpTraffic>>(all: I) -> UdpTraffic {
        let add = |a: PerDirection<u64>, b: PerDirection<u64>| PerDirection {
            received: a.received + b.received,
            sent: a.sent + b.sent,
        };
        all.fold(UdpTraffic::default(), |sum, one| UdpTraffic {
            socket_drops: sum.socket_drops + one.socket_drops,
            receive_errors: sum.receive_errors + one.receive_errors,
            calls: add(sum.calls, one.calls),
            joined: add(sum.joined, one.joined),
            single: add(sum.single, one.single),
        })
    }
}

/// A value for audio and one for video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerKind<T> {
    /// Audio.
    pub audio: T,
    /// Video.
    pub video: T,
}

/// Published tracks by source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracks {
    /// Video of a camera.
    pub camera: u64,
    /// Audio of a microphone.
    pub microphone: u64,
    /// Video of a screen or window.
    pub screen: u64,
    /// Audio of a screen or window.
    pub screen_audio: u64,
}

/// Subscriptions by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscriptions {
    /// Media flows.
    pub active: u64,
    /// A layer is chosen, its first decodable packet has not come.
    pub starting: u64,
    /// Nothing is sent, for want of bandwidth.
    pub starved: u64,
    /// Nothing is sent, for another reason.
    pub paused: u64,
}

/// Keyframe requests by message type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyframeRequests {
    /// Picture Loss Indication (RFC 4585).
    pub pli: u64,
    /// Full Intra Request (RFC 5104).
    pub fir: u64,
}

/// Layer changes by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerSwitches {
    /// To a higher encoding, spatial layer or temporal layer.
    pub up: u64,
    /// To a lower one.
    pub down: u64,
}

/// How ICE ended for each transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IceResults {
    /// First pair over UDP.
    pub udp: PerFamily,
    /// First pair over TCP.
    pub tcp: PerFamily,
    /// No valid check in time.
    pub failed: u64,
}

/// A value for each version of IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerFamily {
    /// IPv4.
    pub ipv4: u64,
    /// IPv6.
    pub ipv6: u64,
}

/// Participants by their media connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Not there yet.
    pub connecting: u64,
    /// Media can flow.
    pub connected: u64,
    /// Was there; the participant may come back.
    pub lost: u64,
}

/// One queue of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// Which queue, for instance `commands`; the shard owns the names.
    pub name: &'static str,
    /// Entries waiting, now.
    pub depth: u64,
    /// Entries turned away because it was full.
    pub dropped: u64,
}
