//! The engine's values as the rooms protocol says them, and back.

use crate::shard::emulation::{Network, Path};
use sfu_engine::command::{Permissions, Preference, Priority, PublishHint};
use sfu_engine::event::{DisconnectReason, Limit, PauseReason, Quality, Sending, SlotState, TrackInfo};
use sfu_engine::ids::{ParticipantId, TrackId};
use sfu_engine::media::{MediaKind, Source, VideoFormat};
use sfu_engine::units::Mid;
use signaling::auth::Grants;
use signaling::protocol as wire;
use stats::Role;
use std::time::Duration;

pub(super) fn participant_id(id: ParticipantId) -> wire::ParticipantId {
    wire::ParticipantId(id.to_string())
}

pub(super) fn track_id(id: TrackId) -> wire::TrackId {
    wire::TrackId(id.to_string())
}

/// Reads an id that [`participant_id`] wrote.
pub(super) fn parse_participant(id: &wire::ParticipantId) -> Option<ParticipantId> {
    Some(ParticipantId(id.0.strip_prefix('p')?.parse().ok()?))
}

/// Reads an id that [`track_id`] wrote.
pub(super) fn parse_track(id: &wire::TrackId) -> Option<TrackId> {
    let (participant, index) = id.0.strip_prefix('p')?.split_once('t')?;
    Some(TrackId { participant: ParticipantId(participant.parse().ok()?), index: index.parse().ok()? })
}

pub(super) fn kind(kind: MediaKind) -> wire::Kind {
    match kind {
        MediaKind::Audio => wire::Kind::Audio,
        MediaKind::Video => wire::Kind::Video,
    }
}

pub(super) fn video_format(codec: &wire::VideoCodec) -> VideoFormat {
    match codec {
        wire::VideoCodec::Vp8 => VideoFormat::Vp8,
        wire::VideoCodec::Vp9 => VideoFormat::Vp9,
        wire::VideoCodec::Av1 => VideoFormat::Av1,
        wire::VideoCodec::H264 => VideoFormat::H264,
        wire::VideoCodec::H265 => VideoFormat::H265,
    }
}

pub(super) fn source(source: Source) -> wire::Source {
    match source {
        Source::Camera => wire::Source::Camera,
        Source::Microphone => wire::Source::Microphone,
        Source::Screen => wire::Source::Screen,
        Source::ScreenAudio => wire::Source::ScreenAudio,
    }
}

pub(super) fn permissions(grants: &Grants) -> Permissions {
    Permissions {
        publish: grants.publishable().map(engine_source).collect(),
        subscribe: grants.subscribe,
        data: grants.may_send_data(),
    }
}

/// What grants make of a participant.
pub(super) fn role(grants: &Grants) -> Role {
    match (grants.hidden, grants.publishable().next().is_some(), grants.subscribe) {
        (true, ..) => Role::Hidden,
        (false, true, true) => Role::Member,
        (false, true, false) => Role::Publisher,
        (false, false, _) => Role::Viewer,
    }
}

fn engine_source(source: wire::Source) -> Source {
    match source {
        wire::Source::Camera => Source::Camera,
        wire::Source::Microphone => Source::Microphone,
        wire::Source::Screen => Source::Screen,
        wire::Source::ScreenAudio => Source::ScreenAudio,
    }
}

/// `None` where the section's mid is none that the engine could know.
pub(super) fn publish_hint(section: &wire::PublishedSection) -> Option<PublishHint> {
    Some(PublishHint { mid: Mid::new(&section.mid)?, source: engine_source(section.source), muted: section.muted })
}

pub(super) fn preference(preference: &wire::Preference) -> Preference {
    let priority = match preference.priority {
        wire::Priority::Hidden => Priority::Hidden,
        wire::Priority::Visible => Priority::Visible,
        wire::Priority::Speaker => Priority::Speaker,
        wire::Priority::Screen => Priority::Screen,
        wire::Priority::Pinned => Priority::Pinned,
    };
    Preference { enabled: preference.enabled, max_height: preference.max_height.unwrap_or(u16::MAX), priority }
}

pub(super) fn priority(priority: Priority) -> wire::Priority {
    match priority {
        Priority::Hidden => wire::Priority::Hidden,
        Priority::Visible => wire::Priority::Visible,
        Priority::Speaker => wire::Priority::Speaker,
        Priority::Screen => wire::Priority::Screen,
        Priority::Pinned => wire::Priority::Pinned,
    }
}

pub(super) fn track(info: &TrackInfo) -> wire::Track {
    wire::Track {
        id: track_id(info.id),
        participant: participant_id(info.id.participant),
        kind: kind(info.kind),
        source: source(info.source),
        muted: info.muted,
    }
}

pub(super) fn slot(slot: &SlotState) -> wire::Slot {
    let (track, state) = slot.track.map(|(id, sending)| (track_id(id), self::sending(sending))).unzip();
    wire::Slot { mid: slot.mid.to_string(), kind: kind(slot.kind), track, state }
}

fn sending(sending: Sending) -> wire::SlotState {
    match sending {
        Sending::Layer { encoding, rid, spatial, temporal, size, codec, target, limit } => wire::SlotState::Sending {
            encoding: encoding.0,
            rid: rid.map(|rid| rid.to_string()),
            spatial,
            temporal,
            width: size.map(|(width, _)| width),
            height: size.map(|(_, height)| height),
            codec: codec.name().to_owned(),
            target_encoding: target.0.0,
            target_temporal: target.1,
            limit: match limit {
                Limit::Source => wire::Limit::Source,
                Limit::Size => wire::Limit::Size,
                Limit::Bandwidth => wire::Limit::Bandwidth,
                Limit::ServerLoad => wire::Limit::ServerLoad,
            },
        },
        Sending::Starting => wire::SlotState::Starting {},
        Sending::Paused(reason) => wire::SlotState::Paused { reason: pause(reason) },
    }
}

pub(super) fn pause(reason: PauseReason) -> wire::PauseReason {
    match reason {
        PauseReason::Bandwidth => wire::PauseReason::Bandwidth,
        PauseReason::ServerLoad => wire::PauseReason::ServerLoad,
        PauseReason::Muted => wire::PauseReason::Muted,
        PauseReason::NotVisible => wire::PauseReason::NotVisible,
        PauseReason::Codec => wire::PauseReason::Codec,
        PauseReason::NoMedia => wire::PauseReason::NoMedia,
        PauseReason::NotTalking => wire::PauseReason::NotTalking,
    }
}

pub(super) fn network(emulate: &wire::Emulate) -> Network {
    let path = |path: wire::NetworkPath| Path {
        rate: path.kbps.map(|kbps| u64::from(kbps.get()) * 1000),
        delay: Duration::from_millis(path.delay_ms.into()),
        loss: path.loss.into(),
    };
    Network { up: emulate.up.map(path), down: emulate.down.map(path) }
}

pub(super) fn disconnect_reason(reason: DisconnectReason) -> wire::DisconnectReason {
    match reason {
        DisconnectReason::ConsentExpired => wire::DisconnectReason::ConsentExpired,
        DisconnectReason::Closed => wire::DisconnectReason::Closed,
        DisconnectReason::HandshakeFailed => wire::DisconnectReason::HandshakeFailed,
        DisconnectReason::BadCertificate => wire::DisconnectReason::BadCertificate,
        DisconnectReason::InternalError => wire::DisconnectReason::InternalError,
    }
}

pub(super) fn quality_details(quality: &Quality) -> wire::QualityDetails {
    wire::QualityDetails {
        rtt_ms: quality.rtt_ms,
        uplink_loss: quality.uplink_loss,
        downlink_loss: quality.downlink_loss,
        downlink_estimate: quality.downlink_estimate.as_bps(),
        uplink_rate: quality.uplink_rate.as_bps(),
        downlink_rate: quality.downlink_rate.as_bps(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_as_written() {
        let id = TrackId { participant: ParticipantId(17), index: 3 };
        assert_eq!(parse_track(&track_id(id)), Some(id));
        assert_eq!(parse_participant(&participant_id(id.participant)), Some(id.participant));
    }

    #[test]
    fn made_up_ids_are_nobody() {
        for text in ["", "p", "pt", "p1", "x1t2", "p1t", "p-1t2", "p1t99999999999"] {
            assert_eq!(parse_track(&wire::TrackId(text.into())), None, "{text}");
        }
    }
}
