//! A shard's counters as `stats` wants them.

use sfu_engine::EngineSnapshot;
use sfu_engine::drops::DropReason;
use sfu_engine::event::DisconnectReason;
use stats::{
    IceResults, KeyframeRequests, Lane, LayerSwitches, PerDirection, PerKind, ShardSnapshot, Subscriptions, Tracks,
    UdpTraffic,
};

/// Puts the engine's figures and the shard's own together.
pub(super) fn compose(engine: &EngineSnapshot, busy_ratio: f64, udp: UdpTraffic, lanes: Vec<Lane>) -> ShardSnapshot {
    let counters = &engine.counters;
    let kinds = |[audio, video]: [u64; 2]| PerKind { audio, video };
    let [camera, microphone, screen, screen_audio] = engine.tracks;
    let state = |kind: usize| Subscriptions {
        active: engine.subscriptions_active[kind],
        starting: engine.subscriptions_starting[kind],
        paused: engine.subscriptions_paused[kind],
    };
    let requests = |pli| KeyframeRequests { pli, fir: 0 };
    ShardSnapshot {
        tracks: Tracks { camera, microphone, screen, screen_audio },
        subscriptions: PerKind { audio: state(0), video: state(1) },
        rtp_packets: PerDirection { received: kinds(counters.rtp_packets_in), sent: kinds(counters.rtp_packets_out) },
        rtp_bytes: PerDirection { received: kinds(counters.rtp_bytes_in), sent: kinds(counters.rtp_bytes_out) },
        rtp_packets_lost: PerDirection { received: kinds(counters.rtp_lost_in), sent: kinds(counters.rtp_lost_out) },
        rtp_retransmitted: PerDirection {
            received: counters.retransmissions.received,
            sent: counters.retransmissions.sent,
        },
        rtcp_packets: PerDirection { received: counters.rtcp_packets.received, sent: counters.rtcp_packets.sent },
        nacks: PerDirection { received: counters.nacks.received, sent: counters.nacks.sent },
        keyframe_requests: PerDirection {
            received: requests(counters.keyframe_requests.received),
            sent: requests(counters.keyframe_requests.sent),
        },
        packets_dropped: DropReason::ALL.iter().map(|reason| (reason.label(), engine.drops.get(*reason))).collect(),
        layer_switches: LayerSwitches { up: counters.layer_switches_up, down: counters.layer_switches_down },
        dtls_completed: counters.handshakes_completed,
        dtls_failed: counters.handshakes_failed(),
        disconnects: DisconnectReason::ALL
            .iter()
            .map(|reason| (reason.label(), counters.disconnected(*reason)))
            .collect(),
        ice: IceResults {
            connected_udp: counters.connected[0],
            connected_tcp: counters.connected[1],
            failed: counters.never_connected,
        },
        udp,
        run_padding_bytes: counters.run_padding_bytes,
        relayed: PerDirection { received: counters.relayed.received, sent: counters.relayed.sent },
        busy_ratio,
        lanes,
    }
}
