//! A shard's counters as `stats` wants them.

use sfu_engine::EngineSnapshot;
use sfu_engine::downlink::estimate::ProbeOutcome;
use sfu_engine::drops::DropReason;
use sfu_engine::event::{DisconnectReason, Limit};
use sfu_engine::histogram::{Histogram, RATIO_ONE, ShortTimes};
use sfu_engine::progress::JoinPhase;
use sfu_engine::snapshot::{Counters, Distributions, InOut, PanicSubject, RtcpKind};
use sfu_engine::uplink::shortfall::Cause;
use stats::{
    Connections, Distribution, IceResults, KeyframeRequests, Lane, LayerSwitches, PerDirection, PerFamily, PerKind,
    ShardSnapshot, Subscriptions, Tracks, UdpTraffic,
};

/// One second in the microseconds of the engine's distributions of times.
const SECOND: f64 = 1e6;

/// What a shard counts beside its engine.
pub(super) struct OwnFigures<'a> {
    pub(super) busy_ratio: f64,
    pub(super) ticks: &'a ShortTimes,
    pub(super) udp: UdpTraffic,
    pub(super) lanes: Vec<Lane>,
}

/// Puts the engine's figures and the shard's own together.
pub(super) fn compose(engine: &EngineSnapshot, own: OwnFigures<'_>) -> ShardSnapshot {
    let counters = &engine.counters;
    let kinds = |[audio, video]: [u64; 2]| PerKind { audio, video };
    let [camera, microphone, screen, screen_audio] = engine.tracks;
    let [connecting, connected, lost] = engine.connections;
    let state = |kind: usize| Subscriptions {
        active: engine.subscriptions_active[kind],
        starting: engine.subscriptions_starting[kind],
        starved: engine.subscriptions_starved[kind],
        paused: engine.subscriptions_paused[kind],
    };
    let [up, down] = counters.layer_switches;
    let switches = up.into_iter().zip(down).map(|(up, down)| LayerSwitches { up, down });
    let [ice_udp, ice_tcp] = counters.connected.map(|[ipv4, ipv6]| PerFamily { ipv4, ipv6 });
    let snapshot = ShardSnapshot {
        tracks: Tracks { camera, microphone, screen, screen_audio },
        subscriptions: PerKind { audio: state(0), video: state(1) },
        encodings: engine.encodings.to_vec(),
        connections: Connections { connecting, connected, lost },
        sharing: engine.sharing,
        repeating: engine.repeating,
        policed: engine.policed,
        relieved: engine.relieved,
        held_back: engine.held_back,
        rtp_packets: PerDirection { received: kinds(counters.rtp_packets_in), sent: kinds(counters.rtp_packets_out) },
        rtp_bytes: PerDirection { received: kinds(counters.rtp_bytes_in), sent: kinds(counters.rtp_bytes_out) },
        rtp_packets_lost: PerDirection { received: kinds(counters.rtp_lost_in), sent: kinds(counters.rtp_lost_out) },
        rtp_retransmitted: both(counters.retransmissions),
        rtcp_packets: RtcpKind::ALL.map(|kind| (kind.label(), both(counters.rtcp(kind)))).to_vec(),
        nacks: both(counters.nacks),
        keyframe_requests: keyframe_requests(counters),
        packets_dropped: DropReason::ALL.iter().map(|reason| (reason.label(), engine.drops.get(*reason))).collect(),
        layer_switches: Limit::ALL.iter().zip(switches).map(|(reason, switches)| (reason.label(), switches)).collect(),
        panics: PanicSubject::ALL.iter().zip(counters.panics).map(|(about, panics)| (about.label(), panics)).collect(),
        probes: ProbeOutcome::ALL.iter().zip(counters.probes).map(|(how, probes)| (how.label(), probes)).collect(),
        shortfalls: Cause::ALL.iter().zip(counters.shortfalls).map(|(cause, falls)| (cause.label(), falls)).collect(),
        probe_packets: counters.probe_packets,
        congestion_marks: counters.ce_marks,
        dtls_completed: counters.handshakes_completed,
        dtls_failed: counters.handshakes_failed(),
        disconnects: DisconnectReason::ALL
            .iter()
            .map(|reason| (reason.label(), counters.disconnected(*reason)))
            .collect(),
        ice: IceResults { udp: ice_udp, tcp: ice_tcp, failed: counters.never_connected },
        data_messages: both(counters.data_messages),
        data_bytes: both(counters.data_bytes),
        udp: own.udp,
        run_padding_bytes: counters.run_padding_bytes,
        relayed: both(counters.relayed),
        busy_ratio: own.busy_ratio,
        ticks: distribution(own.ticks, SECOND),
        lanes: own.lanes,
        ..ShardSnapshot::default()
    };
    with_distributions(snapshot, &counters.distributions)
}

fn with_distributions(snapshot: ShardSnapshot, engine: &Distributions) -> ShardSnapshot {
    let [audio, video] = &engine.pacer_delay;
    let [received, sent] = &engine.loss;
    ShardSnapshot {
        forward_latency: distribution(&engine.forward_latency, SECOND),
        pacer_delay: PerKind { audio: distribution(audio, SECOND), video: distribution(video, SECOND) },
        allocation: distribution(&engine.allocation, SECOND),
        keyframe_wait: distribution(&engine.keyframe_wait, SECOND),
        join: JoinPhase::ALL
            .iter()
            .zip(&engine.join)
            .map(|(phase, took)| (phase.label(), distribution(took, SECOND)))
            .collect(),
        rtt: distribution(&engine.rtt, SECOND),
        jitter: PerDirection {
            received: distribution(&engine.jitter_in, SECOND),
            sent: distribution(&engine.jitter_out, SECOND),
        },
        loss: PerDirection {
            received: distribution(received, RATIO_ONE as f64),
            sent: distribution(sent, RATIO_ONE as f64),
        },
        estimate: distribution(&engine.estimate, 1.0),
        ..snapshot
    }
}

/// A distribution in a base unit, of which `unit` is one in the engine's.
fn distribution<const L: u32, const B: usize>(histogram: &Histogram<L, B>, unit: f64) -> Distribution {
    Distribution {
        buckets: histogram.buckets().map(|(bound, count)| (bound as f64 / unit, count)).collect(),
        above: histogram.above(),
        sum: histogram.sum() as f64 / unit,
    }
}

fn both(counter: InOut) -> PerDirection<u64> {
    PerDirection { received: counter.received, sent: counter.sent }
}

fn keyframe_requests(counters: &Counters) -> PerDirection<KeyframeRequests> {
    let (pli, fir) = (counters.rtcp(RtcpKind::Pli), counters.rtcp(RtcpKind::Fir));
    PerDirection {
        received: KeyframeRequests { pli: pli.received, fir: fir.received },
        sent: KeyframeRequests { pli: pli.sent, fir: fir.sent },
    }
}
