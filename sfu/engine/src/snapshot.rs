//! Counters of an engine as plain integers, and the value in which they leave it once a second.

use crate::downlink::estimate::ProbeOutcome;
use crate::downlink::{Relief, SubscriptionState, Written};
use crate::drops::DropCounters;
use crate::engine::keys::{ParticipantKey, RoomKey, TrackKey};
use crate::event::{DisconnectReason, Limit, Quality};
use crate::histogram::{LongTimes, Rates, Ratios, ShortTimes};
use crate::media::MediaKind;
use crate::participant::Participant;
use crate::progress::{JoinPhase, Progress};
use crate::room::Room;
use crate::rtcp::Rtcp;
use crate::sdp::MAX_ENCODINGS;
use crate::uplink::shortfall::Cause;
use crate::uplink::track::Track;
use slotmap::SlotMap;
use std::time::{Duration, Instant};

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
    /// Packets that receivers reported as marked Congestion Experienced (RFC 8888). They are counted only: we send
    /// Not-ECT (RFC 3168), since the estimator does not answer a mark.
    pub ce_marks: u64,
    /// Retransmissions received and sent.
    pub retransmissions: InOut,
    /// Packets of class padding that were sent: those of probes, and the few that bring feedback while everything is
    /// paused for want of bandwidth.
    pub probe_packets: u64,
    /// Bytes of RTP padding that gave packets of one run the same size.
    pub run_padding_bytes: u64,
    /// Packets that crossed to and from other shards.
    pub relayed: InOut,
    /// Messages on data channels: taken from senders, and queued for receivers.
    pub data_messages: InOut,
    /// Payload bytes of those.
    pub data_bytes: InOut,
    /// Parts of compound RTCP packets, in the order of [`RtcpKind::ALL`].
    pub rtcp: [InOut; RtcpKind::ALL.len()],
    /// Packets asked for again, by us (out) and by receivers (in).
    pub nacks: InOut,
    /// Switches of the layer that a receiver gets, to a higher and to a lower one, each by what made them, in the order
    /// of [`Limit::ALL`].
    pub layer_switches: [[u64; Limit::ALL.len()]; 2],
    /// Transports that became ready over UDP and over TCP, each over IPv4 and over IPv6.
    pub connected: [[u64; 2]; 2],
    /// Transports that ended without ever having had a valid address.
    pub never_connected: u64,
    /// DTLS handshakes that ended well.
    pub handshakes_completed: u64,
    /// Participants that lost their transport, in the order of [`DisconnectReason::ALL`].
    pub disconnects: [u64; DisconnectReason::ALL.len()],
    /// How often less was asked of a publisher, in the order of [`Cause::ALL`].
    pub shortfalls: [u64; Cause::ALL.len()],
    /// How probes of a downlink's bandwidth ended, in the order of [`ProbeOutcome::ALL`].
    pub probes: [u64; ProbeOutcome::ALL.len()],
    /// Panics that ended one step of work, in the order of [`PanicSubject::ALL`].
    pub panics: [u64; PanicSubject::ALL.len()],
    /// Distributions.
    pub distributions: Distributions,
}

/// Distributions of what the engine measures. The last five get a value for each connected participant every two
/// seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distributions {
    /// From a packet's arrival at the machine until it is sealed for a receiver, for each receiver; without
    /// retransmissions.
    pub forward_latency: ShortTimes,
    /// The part of that which the packet waited in the receiver's pacer, by kind.
    pub pacer_delay: [ShortTimes; 2],
    /// How long choosing the layers of one participant took.
    pub allocation: ShortTimes,
    /// From the choice of an encoding until its key frame came.
    pub keyframe_wait: LongTimes,
    /// How long each phase of joining took, in the order of [`JoinPhase::ALL`].
    pub join: [LongTimes; JoinPhase::ALL.len()],
    /// Round trips.
    pub rtt: LongTimes,
    /// Interarrival jitter of what clients send.
    pub jitter_in: ShortTimes,
    /// Interarrival jitter that receivers report.
    pub jitter_out: ShortTimes,
    /// Share of packets lost, from clients and to clients.
    pub loss: [Ratios; 2],
    /// Estimated capacity of the downlinks.
    pub estimate: Rates,
}

impl Distributions {
    /// A phase of a participant's join is over, unless it was already.
    #[inline]
    pub fn note_phase(&mut self, now: Instant, progress: &mut Progress, phase: JoinPhase) {
        if let Some(took) = progress.complete(now, phase)
            && let Some(distribution) = self.join.get_mut(phase as usize)
        {
            distribution.observe_time(took);
        }
    }

    /// Notes a packet sent for the first time.
    pub fn note_sent(&mut self, written: &Written) {
        if let Some(latency) = written.latency {
            self.forward_latency.observe_time(latency);
        }
        if let Some(delay) = self.pacer_delay.get_mut(written.kind as usize) {
            delay.observe_time(written.queued);
        }
    }

    /// Notes how a participant's connection does.
    pub fn note(&mut self, quality: &Quality) {
        let time = |ms: f32| Duration::try_from_secs_f32(ms / 1000.0).unwrap_or_default();
        if let Some(rtt) = quality.rtt_ms {
            self.rtt.observe_time(time(rtt));
        }
        self.jitter_in.observe_time(time(quality.uplink_jitter_ms));
        self.jitter_out.observe_time(time(quality.downlink_jitter_ms));
        let [uplink, downlink] = &mut self.loss;
        uplink.observe_ratio(quality.uplink_loss);
        downlink.observe_ratio(quality.downlink_loss);
        self.estimate.observe(quality.downlink_estimate.as_bps() / 8);
    }
}

impl Counters {
    /// A participant lost its transport.
    pub fn count_disconnect(&mut self, reason: DisconnectReason) {
        add(&mut self.disconnects, reason as usize, 1);
    }

    /// How many participants lost their transport for `reason`.
    pub fn disconnected(&self, reason: DisconnectReason) -> u64 {
        self.disconnects.get(reason as usize).copied().unwrap_or(0)
    }

    /// Parts of RTCP packets of one kind.
    pub fn rtcp(&self, kind: RtcpKind) -> InOut {
        self.rtcp.get(kind as usize).copied().unwrap_or_default()
    }

    /// DTLS handshakes that did not end well.
    pub fn handshakes_failed(&self) -> u64 {
        self.disconnected(DisconnectReason::HandshakeFailed) + self.disconnected(DisconnectReason::BadCertificate)
    }
}

/// What a panic was about, and so what was made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanicSubject {
    /// A participant: its media connection starts over.
    Participant,
    /// A room: its speakers are ranked anew.
    Room,
    /// A track of another shard: its mirror is made anew.
    Track,
    /// Nobody yet: a datagram or a command was left out.
    Nobody,
}

impl PanicSubject {
    /// Every subject, in the order of the counters.
    pub const ALL: [PanicSubject; 4] =
        [PanicSubject::Participant, PanicSubject::Room, PanicSubject::Track, PanicSubject::Nobody];

    /// Value of the `about` label in Prometheus.
    pub const fn label(self) -> &'static str {
        match self {
            PanicSubject::Participant => "participant",
            PanicSubject::Room => "room",
            PanicSubject::Track => "track",
            PanicSubject::Nobody => "nobody",
        }
    }
}

/// What the parts of a compound RTCP packet are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcpKind {
    /// SR (RFC 3550).
    SenderReport,
    /// RR (RFC 3550).
    ReceiverReport,
    /// Generic NACK (RFC 4585).
    Nack,
    /// Picture loss indication (RFC 4585).
    Pli,
    /// Full intra request (RFC 5104).
    Fir,
    /// Receiver estimated maximum bitrate.
    Remb,
    /// Transport-wide feedback.
    TransportFeedback,
    /// Congestion control feedback (RFC 8888).
    Ccfb,
    /// All else.
    Other,
}

impl RtcpKind {
    /// Every kind, in the order of the counters.
    pub const ALL: [RtcpKind; 9] = [
        RtcpKind::SenderReport,
        RtcpKind::ReceiverReport,
        RtcpKind::Nack,
        RtcpKind::Pli,
        RtcpKind::Fir,
        RtcpKind::Remb,
        RtcpKind::TransportFeedback,
        RtcpKind::Ccfb,
        RtcpKind::Other,
    ];

    /// Value of the `type` label in Prometheus.
    pub const fn label(self) -> &'static str {
        match self {
            RtcpKind::SenderReport => "sender_report",
            RtcpKind::ReceiverReport => "receiver_report",
            RtcpKind::Nack => "nack",
            RtcpKind::Pli => "pli",
            RtcpKind::Fir => "fir",
            RtcpKind::Remb => "remb",
            RtcpKind::TransportFeedback => "transport_feedback",
            RtcpKind::Ccfb => "ccfb",
            RtcpKind::Other => "other",
        }
    }

    /// What a parsed part is.
    pub fn of(part: &Rtcp<'_>) -> Self {
        match part {
            Rtcp::SenderReport(_) => RtcpKind::SenderReport,
            Rtcp::ReceiverReport(_) => RtcpKind::ReceiverReport,
            Rtcp::Nack(_) => RtcpKind::Nack,
            Rtcp::Pli { .. } => RtcpKind::Pli,
            Rtcp::Fir(_) => RtcpKind::Fir,
            Rtcp::Remb(_) => RtcpKind::Remb,
            Rtcp::TransportFeedback(_) => RtcpKind::TransportFeedback,
            Rtcp::Ccfb(_) => RtcpKind::Ccfb,
            Rtcp::Goodbye(_) => RtcpKind::Other,
        }
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
    /// Bound slots on which nothing is sent for want of bandwidth, by kind.
    pub subscriptions_starved: [u64; 2],
    /// Bound slots on which nothing is sent for another reason, by kind.
    pub subscriptions_paused: [u64; 2],
    /// Video slots that carry media, by the encoding that flows, lowest first.
    pub encodings: [u64; MAX_ENCODINGS],
    /// Participants by their media connection: not there yet, there, lost.
    pub connections: [u64; 3],
    /// Receivers that are held to their part of a bottleneck which they share with others of their room.
    pub sharing: u64,
    /// Receivers whose packets of sound repeat older ones because they lose many.
    pub repeating: u64,
    /// Receivers whose network drops what is beyond a rate, and queues nothing.
    pub policed: u64,
    /// Receivers that are sent the smallest pictures only, and no pictures, since the engine cannot keep up.
    pub relieved: [u64; 2],
    /// Published tracks of which receivers are offered less than there is, since their publisher's network does not
    /// carry more.
    pub held_back: u64,
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
            sharing: rooms.values().map(|room| room.bottlenecks.receivers() as u64).sum(),
            ..EngineSnapshot::default()
        };
        for track in tracks.values().filter(|track| track.owner().is_some()) {
            add(&mut snapshot.tracks, track.source as usize, 1);
            snapshot.held_back += u64::from(track.is_held_back());
        }
        for participant in participants.values() {
            add(&mut snapshot.connections, participant.progress.connection(participant.connected), 1);
            snapshot.repeating += u64::from(participant.downlink.repeats_sound());
            match participant.downlink.relief() {
                Relief::None => {}
                Relief::SmallestPictures => add(&mut snapshot.relieved, 0, 1),
                Relief::NoPictures => add(&mut snapshot.relieved, 1, 1),
            }
            snapshot.policed += u64::from(participant.downlink.is_policed());
        }
        for (kind, state) in participants.values().flat_map(|p| p.downlink.subscriptions()) {
            let counters = match state {
                SubscriptionState::Active(encoding) => {
                    if kind == MediaKind::Video {
                        add(&mut snapshot.encodings, usize::from(encoding.0), 1);
                    }
                    &mut snapshot.subscriptions_active
                }
                SubscriptionState::Starting => &mut snapshot.subscriptions_starting,
                SubscriptionState::Starved => &mut snapshot.subscriptions_starved,
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
