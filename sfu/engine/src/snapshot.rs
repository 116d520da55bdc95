//! Counters of an engine as plain integers, and the value in which they leave it once a second.

use crate::downlink::SubscriptionState;
use crate::drops::DropCounters;
use crate::engine::keys::{ParticipantKey, RoomKey, TrackKey};
use crate::event::DisconnectReason;
use crate::participant::Participant;
use crate::room::Room;
use crate::uplink::track::Track;
use slotmap::SlotMap;

/// Cumulative counters since the engine began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// RTP packets received, by kind (audio, video).
    pub rtp_packets_in: [u64; 2],
    /// RTP payload and header bytes received, by kind.
    pub rtp_bytes_in: [u64; 2],
    /// RTP packets sent, by kind, without retransmissions and padding.
    pub rtp_packets_out: [u64; 2],
    /// RTP bytes sent, by kind.
    pub rtp_bytes_out: [u64; 2],
    /// RTP packets that never came, by kind: given up.
    pub rtp_lost_in: [u64; 2],
    /// RTP packets that receivers reported lost, by kind.
    pub rtp_lost_out: [u64; 2],
    /// Packets that receivers reported as marked Congestion Experienced (RFC 8888). They are counted only: we send Not-ECT (RFC 3168),
    /// since the estimator does not answer a mark.
    pub ce_marks: u64,
    /// Retransmissions received and sent.
    pub retransmissions: InOut,
    /// Padding packets sent by probes.
    pub probe_packets: u64,
    /// Bytes of RTP padding that gave packets of one run the same size.
    pub run_padding_bytes: u64,
    /// Packets that crossed to and from other shards.
    pub relayed: InOut,
    /// Messages on data channels: taken from senders, and queued for receivers.
    pub data_messages: InOut,
    /// Payload bytes of those.
    pub data_bytes: InOut,
    /// RTCP packets.
    pub rtcp_packets: InOut,
    /// Packets asked for again, by us (out) and by receivers (in).
    pub nacks: InOut,
    /// Key frames asked for, by us (out) and by receivers (in).
    pub keyframe_requests: InOut,
    /// Switches of the layer that a receiver gets, to a higher encoding or temporal layer.
    pub layer_switches_up: u64,
    /// The same to a lower one, or to a pause.
    pub layer_switches_down: u64,
    /// Transports that became ready over UDP, and over TCP.
    pub connected: [u64; 2],
    /// Transports that ended without ever having had a valid address.
    pub never_connected: u64,
    /// DTLS handshakes that ended well.
    pub handshakes_completed: u64,
    /// Participants that lost their transport, in the order of [`DisconnectReason::ALL`].
    pub disconnects: [u64; DisconnectReason::ALL.len()],
}

impl Counters {
    /// How many participants lost their transport for `reason`.
    pub fn disconnected(&self, reason: DisconnectReason) -> u64 {
        self.disconnects.get(reason as usize).copied().unwrap_or(0)
    }

    /// DTLS handshakes that did not end well.
    pub fn handshakes_failed(&self) -> u64 {
        self.disconnected(DisconnectReason::HandshakeFailed) + self.disconnected(DisconnectReason::BadCertificate)
    }
}

/// One counter for each direction, seen from the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InOut {
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
}

/// What an engine tells about itself.
#[derive(Clone, Debug, Default)]
pub struct EngineSnapshot {
    /// Cumulative counters.
    pub counters: Counters,
    /// Drops by reason.
    pub drops: DropCounters,
    /// Rooms with members on this engine.
    pub rooms: u64,
    /// Participants.
    pub participants: u64,
    /// Published tracks by source: camera, microphone, screen, screen audio.
    pub tracks: [u64; 4],
    /// Bound slots that carry media, by kind.
    pub subscriptions_active: [u64; 2],
    /// Bound slots whose first decodable packet has not come, by kind.
    pub subscriptions_starting: [u64; 2],
    /// Bound slots on which nothing is sent, by kind.
    pub subscriptions_paused: [u64; 2],
}

impl EngineSnapshot {
    /// Takes the counters and counts what there is.
    pub fn new(
        counters: &Counters,
        drops: &DropCounters,
        rooms: &SlotMap<RoomKey, Room>,
        participants: &SlotMap<ParticipantKey, Participant>,
        tracks: &SlotMap<TrackKey, Track>,
    ) -> Self {
        let mut snapshot = EngineSnapshot {
            counters: counters.clone(),
            drops: drops.clone(),
            rooms: rooms.len() as u64,
            participants: participants.len() as u64,
            ..EngineSnapshot::default()
        };
        for track in tracks.values().filter(|track| track.owner().is_some()) {
            add(&mut snapshot.tracks, track.source as usize, 1);
        }
        for (kind, state) in participants.values().flat_map(|p| p.downlink.subscriptions()) {
            let counters = match state {
                SubscriptionState::Active => &mut snapshot.subscriptions_active,
                SubscriptionState::Starting => &mut snapshot.subscriptions_starting,
                SubscriptionState::Paused => &mut snapshot.subscriptions_paused,
            };
            add(counters, kind as usize, 1);
        }
        snapshot
    }
}

/// Adds to the counter with this index, if there is one.
pub fn add(counters: &mut [u64], index: usize, amount: u64) {
    if let Some(counter) = counters.get_mut(index) {
        *counter += amount;
    }
}
