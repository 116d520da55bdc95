//! How a room does, in figures: what it receives, what it sends, and why each receiver gets what it gets.
//!
//! Made only when the control plane asks ([`crate::Command::Report`]): an operator who looks at one room, never the hot
//! path.

use crate::command::Priority;
use crate::downlink::Downlink;
use crate::engine::keys::TrackKey;
use crate::event::SlotState;
use crate::ids::{EncodingIndex, ParticipantId, TrackId};
use crate::media::{Codec, MediaKind, Source};
use crate::net::Protocol;
use crate::participant::Participant;
use crate::units::{Bitrate, Rid, Ssrc};
use crate::uplink::encoding::Encoding;
use crate::uplink::track::Track;
use slotmap::SlotMap;
use std::time::{Duration, Instant};

/// One participant of the room.
#[derive(Clone, Debug, PartialEq)]
pub struct ParticipantReport {
    /// Who.
    pub id: ParticipantId,
    /// How media travels; `None` while it cannot.
    pub protocol: Option<Protocol>,
    /// Round trip, once measured.
    pub rtt: Option<Duration>,
    /// Media received from it over the last second.
    pub uplink_rate: Bitrate,
    /// Media sent to it over the last second.
    pub downlink_rate: Bitrate,
    /// Share of packets to it that it reports lost, 0 to 1.
    pub downlink_loss: f32,
    /// Interarrival jitter that it reports.
    pub downlink_jitter: Duration,
    /// What its downlink can carry, estimated.
    pub estimate: Bitrate,
    /// What all its slots could use.
    pub demand: Bitrate,
    /// What it publishes.
    pub tracks: Vec<TrackReport>,
    /// What it receives.
    pub slots: Vec<SlotReport>,
}

/// A published track.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackReport {
    /// Its id.
    pub id: TrackId,
    /// Audio or video.
    pub kind: MediaKind,
    /// What it shows.
    pub source: Source,
    /// Muted.
    pub muted: bool,
    /// Codec, once a packet came.
    pub codec: Option<Codec>,
    /// Receivers that have it behind a slot.
    pub subscribers: usize,
    /// Its encodings, lowest first.
    pub encodings: Vec<EncodingReport>,
}

/// A received encoding.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodingReport {
    /// Its name, where it has one.
    pub rid: Option<Rid>,
    /// Its source, once a packet came.
    pub ssrc: Option<Ssrc>,
    /// Media flows.
    pub active: bool,
    /// The publisher should send it: somebody takes it, or took it lately.
    pub wanted: bool,
    /// Picture size in pixels, once known.
    pub size: Option<(u16, u16)>,
    /// Frames per second of all temporal layers; 0 for audio.
    pub frame_rate: f32,
    /// Temporal layers that flow.
    pub temporal_layers: u8,
    /// Rate of all layers.
    pub rate: Bitrate,
    /// Packets received, retransmissions not included.
    pub packets: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Interarrival jitter.
    pub jitter: Duration,
}

/// A section on which a participant receives.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotReport {
    /// What it carries, and what is sent of that, or why nothing is.
    pub state: SlotState,
    /// The layer that the allocator chose: encoding and highest temporal layer. It may wait for a key frame.
    pub target: Option<(EncodingIndex, u8)>,
    /// What the receiver asked for.
    pub priority: Priority,
    /// Tallest useful picture, as asked for and as capped.
    pub max_height: u16,
    /// Packets sent since the section began; counts modulo 2^32.
    pub packets: u32,
    /// Payload octets sent since the section began; counts modulo 2^32.
    pub octets: u32,
    /// Packets that the receiver reports lost so far.
    pub lost: i32,
}

impl ParticipantReport {
    /// What there is to say about a participant now.
    pub fn new(now: Instant, participant: &mut Participant, tracks: &SlotMap<TrackKey, Track>) -> Self {
        let estimator = participant.downlink.estimator();
        let (rtt, estimate, downlink_loss) = (estimator.rtt(), estimator.estimate(), estimator.loss());
        let selected = participant.transport.as_ref().filter(|_| participant.connected).and_then(|t| t.selected());
        ParticipantReport {
            id: participant.id,
            protocol: selected.map(|tuple| tuple.protocol),
            rtt: rtt.or(participant.uplink.rtt()),
            uplink_rate: participant.uplink.rate(now),
            downlink_rate: participant.downlink.rate(now),
            downlink_loss,
            downlink_jitter: participant.downlink.jitter(),
            estimate,
            demand: participant.downlink.demand(),
            tracks: participant.uplink.tracks().filter_map(|key| tracks.get(key)).map(|t| track(now, t)).collect(),
            slots: slots(&participant.downlink, tracks),
        }
    }
}

fn track(now: Instant, track: &Track) -> TrackReport {
    TrackReport {
        id: track.id,
        kind: track.kind,
        source: track.source,
        muted: track.muted,
        codec: track.codec,
        subscribers: track.subscribers.len(),
        encodings: track.encodings().iter().map(|e| encoding(now, track.kind, e)).collect(),
    }
}

fn encoding(now: Instant, kind: MediaKind, encoding: &Encoding) -> EncodingReport {
    let (rates, reception) = (&encoding.rates, encoding.reception.as_ref());
    let layers = rates.temporal_layers(now);
    let spatial = rates.spatial_layers(now).saturating_sub(1);
    EncodingReport {
        rid: encoding.rid,
        ssrc: encoding.ssrc,
        active: encoding.activity.active_since().is_some(),
        wanted: encoding.is_wanted(),
        size: rates.size(),
        frame_rate: if kind == MediaKind::Video { rates.frame_rate(now, spatial, u8::MAX) } else { 0.0 },
        temporal_layers: layers,
        rate: rates.total(now).plus(encoding.repetitions.rate(now)),
        packets: reception.map_or(0, |r| r.received()),
        lost: reception.map_or(0, |r| r.lost()),
        jitter: reception.map_or(Duration::ZERO, |r| r.jitter()),
    }
}

fn slots(downlink: &Downlink, tracks: &SlotMap<TrackKey, Track>) -> Vec<SlotReport> {
    let slots = [MediaKind::Audio, MediaKind::Video].into_iter().flat_map(|kind| downlink.slots(kind));
    let report = |slot: &crate::downlink::slot::Slot| {
        let track = slot.binding.as_ref().and_then(|b| tracks.get(b.track));
        let preference = track.map(|track| downlink.preference(track.id)).unwrap_or_default();
        let (packets, octets) = slot.sent();
        SlotReport {
            state: slot.state(|layer| track.map(|t| t.describe(layer)).unwrap_or_default()),
            target: slot.forwarder.target().map(|target| (target.encoding, target.temporal)),
            priority: preference.priority,
            max_height: preference.max_height,
            packets,
            octets,
            lost: slot.lost(),
        }
    };
    slots.map(|(_, slot)| report(slot)).collect()
}
