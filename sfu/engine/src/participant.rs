//! One participant: its transport, what it negotiated, its uplink and its downlink.

use crate::command::Permissions;
use crate::data::DataChannels;
use crate::downlink::Downlink;
use crate::engine::keys::{RoomKey, TrackKey};
use crate::event::Quality;
use crate::ids::ParticipantId;
use crate::progress::Progress;
use crate::sdp::Negotiation;
use crate::transport::Transport;
use crate::uplink::Uplink;
use crate::uplink::track::Track;
use prefetch::fetch;
use slotmap::SlotMap;
use std::time::Instant;

/// A participant of this engine.
pub struct Participant {
    /// Its id.
    pub id: ParticipantId,
    /// Its room.
    pub room: RoomKey,
    /// What it may do.
    pub permissions: Permissions,
    /// The m= sections over all its offers.
    pub negotiation: Negotiation,
    /// ICE, DTLS and SRTP; there from the first offer on.
    pub transport: Option<Transport>,
    /// What it sends.
    pub uplink: Uplink,
    /// What it receives.
    pub downlink: Downlink,
    /// Its data channels.
    pub data: DataChannels,
    /// What it stands in the engine's queue for.
    pub queued: Option<Service>,
    /// The earliest wake-up that the engine has noted for it.
    pub wake_at: Option<Instant>,
    /// The same for its pacer alone.
    pub pace_at: Option<Instant>,
    /// How far it has come with joining.
    pub progress: Progress,
    /// The control plane was told that media can flow.
    pub connected: bool,
    /// When its connection quality is told next; while it is connected.
    pub quality_at: Option<Instant>,
    /// A packet that did not fit the last run.
    pub carried: Carried,
}

/// Why a participant is to be served. Most are for media alone, for which nothing but its downlink needs to be looked
/// at, or nothing at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The pacer was given packets, or may send what it has.
    Packets,
    /// The estimator was given feedback.
    Feedback,
    /// Something else came for it, or from it, or a time has come.
    Everything,
}

/// A sealed packet that waits for the next run.
#[derive(Debug, Default)]
pub struct Carried {
    /// The packet; empty where none waits.
    pub bytes: Vec<u8>,
    /// Its length before it was sealed.
    pub plain: usize,
}

impl Participant {
    /// How good its connection is now.
    pub fn quality(&mut self, now: Instant, tracks: &SlotMap<TrackKey, Track>) -> Quality {
        let arrival = || self.uplink.tracks().filter_map(|key| tracks.get(key)).flat_map(Track::reception);
        let jitter = arrival().map(|r| r.jitter()).max().unwrap_or_default();
        let (received, lost) = arrival().fold((0, 0), |(received, lost), r| (received + r.received(), lost + r.lost()));
        let uplink_loss = self.uplink.loss_since_last(received, lost);
        let downlink_jitter_ms = self.downlink.jitter().as_secs_f32() * 1000.0;
        let estimator = self.downlink.estimator();
        Quality {
            rtt_ms: estimator.rtt().map(|rtt| rtt.as_secs_f32() * 1000.0),
            uplink_jitter_ms: jitter.as_secs_f32() * 1000.0,
            downlink_jitter_ms,
            uplink_loss,
            downlink_loss: estimator.loss(),
            downlink_estimate: estimator.estimate(),
            uplink_rate: self.uplink.rate(now),
            downlink_rate: self.downlink.rate(now),
        }
    }

    /// Has fetched what serving it will read of its own state. [`Self::prefetch_behind`] has the rest.
    pub fn prefetch(&self) {
        fetch(&self.downlink);
        fetch(&self.transport);
        fetch(&self.carried);
        fetch(&self.queued);
        fetch(&self.wake_at);
        fetch(&self.pace_at);
        fetch(&self.connected);
        fetch(&self.quality_at);
        fetch(&self.progress);
        fetch(&self.room);
    }

    /// The same for what a packet on a slot takes, once its own state is there.
    pub fn prefetch_behind(&self, slot: usize) {
        self.downlink.prefetch_behind(slot);
        if let Some(transport) = &self.transport {
            transport.prefetch_behind();
        }
    }

    /// The same for what numbers of the slot were given to and sealed, once slot and keys are there.
    pub fn prefetch_numbers(&self, slot: usize) {
        let Some(ssrc) = self.downlink.prefetch_numbers(slot) else { return };
        if let Some(transport) = &self.transport {
            transport.prefetch_indexes(ssrc);
        }
    }

    /// The same for what transport feedback takes, once its own state is there.
    pub fn prefetch_for_feedback(&self) {
        if let Some(transport) = &self.transport {
            transport.prefetch_for_rtcp();
        }
        self.downlink.prefetch_for_feedback();
    }

    /// Whether media can flow to it now: it is connected, and there is an address to send to.
    pub fn can_send(&self) -> bool {
        self.connected && self.transport.as_ref().is_some_and(Transport::is_ready)
    }
}
