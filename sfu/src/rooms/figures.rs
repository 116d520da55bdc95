//! The engine's reports as the admin API says them.

use super::convert;
use sfu_engine::Protocol;
use sfu_engine::event::Sending;
use sfu_engine::report::{EncodingReport, ParticipantReport, SlotReport, TrackReport};
use signaling::api::model::{EncodingStats, ParticipantStats, SlotSending, SlotStats, TrackStats};
use std::time::Duration;

pub(super) fn participant(report: &ParticipantReport, name: String) -> ParticipantStats {
    ParticipantStats {
        id: report.id.to_string(),
        name,
        protocol: report.protocol.map(|protocol| match protocol {
            Protocol::Udp => "udp".to_owned(),
            Protocol::Tcp => "tcp".to_owned(),
        }),
        rtt_ms: report.rtt.map(ms),
        uplink_rate: report.uplink_rate.as_bps(),
        downlink_rate: report.downlink_rate.as_bps(),
        downlink_loss: report.downlink_loss,
        downlink_jitter_ms: ms(report.downlink_jitter),
        downlink_estimate: report.estimate.as_bps(),
        downlink_demand: report.demand.as_bps(),
        tracks: report.tracks.iter().map(track).collect(),
        slots: report.slots.iter().map(slot).collect(),
    }
}

fn track(report: &TrackReport) -> TrackStats {
    TrackStats {
        id: report.id.to_string(),
        kind: convert::kind(report.kind),
        source: convert::source(report.source),
        muted: report.muted,
        codec: report.codec.map(|codec| codec.name().to_owned()),
        subscribers: super::clamp(report.subscribers),
        encodings: report.encodings.iter().map(encoding).collect(),
    }
}

fn encoding(report: &EncodingReport) -> EncodingStats {
    EncodingStats {
        rid: report.rid.map(|rid| rid.to_string()),
        ssrc: report.ssrc.map(|ssrc| ssrc.0),
        active: report.active,
        wanted: report.wanted,
        width: report.size.map(|(width, _)| width),
        height: report.size.map(|(_, height)| height),
        frame_rate: report.frame_rate,
        temporal_layers: report.temporal_layers,
        rate: report.rate.as_bps(),
        packets: report.packets,
        packets_lost: report.lost,
        jitter_ms: ms(report.jitter),
    }
}

fn slot(report: &SlotReport) -> SlotStats {
    let mut stats = SlotStats {
        mid: report.state.mid.to_string(),
        kind: convert::kind(report.state.kind),
        track: report.state.track.map(|(track, _)| track.to_string()),
        state: SlotSending::Free,
        pause_reason: None,
        encoding: None,
        rid: None,
        temporal: None,
        target_encoding: report.target.map(|(encoding, _)| encoding.0),
        target_temporal: report.target.map(|(_, temporal)| temporal),
        priority: convert::priority(report.priority),
        max_height: Some(report.max_height).filter(|height| *height != u16::MAX),
        packets: report.packets,
        bytes: report.octets,
        packets_lost: report.lost,
    };
    match report.state.track {
        None => {}
        Some((_, Sending::Starting)) => stats.state = SlotSending::Starting,
        Some((_, Sending::Paused(reason))) => {
            stats.state = SlotSending::Paused;
            stats.pause_reason = Some(convert::pause(reason));
        }
        Some((_, Sending::Layer { encoding, rid, temporal, .. })) => {
            stats.state = SlotSending::Sending;
            stats.encoding = Some(encoding.0);
            stats.rid = rid.map(|rid| rid.to_string());
            stats.temporal = Some(temporal);
        }
    }
    stats
}

fn ms(time: Duration) -> f32 {
    time.as_secs_f32() * 1000.0
}
