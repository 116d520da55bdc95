//! What the engine tells the control plane: plain values, given out by [`crate::Engine::poll_event`].

use crate::ids::{EncodingIndex, ParticipantId, RequestId, RoomId, TrackId};
use crate::media::{Codec, MediaKind, Source};
use crate::net::Tuple;
use crate::report::ParticipantReport;
use crate::sdp::NegotiationError;
use crate::units::{Bitrate, Mid, PayloadType, Rid};

/// Something that the control plane must know or pass on.
#[derive(Clone, Debug)]
pub enum Event {
    /// The answer to [`crate::Command::Offer`].
    Answer {
        /// Who offered.
        participant: ParticipantId,
        /// As in the offer.
        request: RequestId,
        /// The answer's SDP, or why there is none. After an error the state is as before the offer.
        result: Result<Answer, NegotiationError>,
    },
    /// ICE and DTLS are done: media can flow.
    Connected {
        /// Who.
        participant: ParticipantId,
    },
    /// Media can no longer flow. The participant stays in the room and may offer again with new ICE credentials, except
    /// after [`DisconnectReason::BadCertificate`].
    Disconnected {
        /// Who.
        participant: ParticipantId,
        /// Why.
        reason: DisconnectReason,
    },
    /// A tuple carries this participant's traffic from now on; shards tell each other so that datagrams find their
    /// owner.
    TupleValidated {
        /// The tuple.
        tuple: Tuple,
    },
    /// A tuple is nobody's any more.
    TupleForgotten {
        /// The tuple.
        tuple: Tuple,
    },
    /// A track began.
    TrackPublished(TrackInfo),
    /// A track ended: its section stopped, or its participant left.
    TrackEnded {
        /// The room.
        room: RoomId,
        /// Which track.
        track: TrackId,
    },
    /// A track's publisher muted or unmuted it.
    TrackMuted {
        /// The room.
        room: RoomId,
        /// Which track.
        track: TrackId,
        /// New state.
        muted: bool,
    },
    /// The slots of a participant that changed since the last such event.
    Slots {
        /// The receiver.
        participant: ParticipantId,
        /// New state of each changed slot.
        slots: Vec<SlotState>,
    },
    /// A participant has fewer slots than tracks it wants; it should add this many recvonly sections and offer again.
    /// Both are 0 once nothing is missing any more.
    SlotsWanted {
        /// The receiver.
        participant: ParticipantId,
        /// Missing audio sections.
        audio: u16,
        /// Missing video sections.
        video: u16,
    },
    /// Another participant is the dominant speaker now.
    Speaker {
        /// The room.
        room: RoomId,
        /// The dominant speaker; `None` once it left and nobody followed.
        participant: Option<ParticipantId>,
    },
    /// Which encodings of a track somebody takes; the publisher should stop encoding the others.
    EncodingsWanted {
        /// The track.
        track: TrackId,
        /// Every encoding, lowest first, with its rid where it has one, and whether somebody takes it.
        encodings: Vec<(EncodingIndex, Option<Rid>, bool)>,
    },
    /// How good a participant's connection is, every few seconds while it is connected.
    Quality {
        /// Who.
        participant: ParticipantId,
        /// The figures.
        quality: Quality,
    },
    /// The answer to [`crate::Command::Report`].
    Report {
        /// As in the command.
        request: RequestId,
        /// Every member of the room that is on this engine.
        participants: Vec<ParticipantReport>,
    },
}

/// An accepted offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The answer's SDP.
    pub sdp: String,
    /// The tracks that the offer's sending sections publish now: section and track id.
    pub tracks: Vec<(Mid, TrackId)>,
    /// The sections that are slots now.
    pub slots: Vec<Mid>,
    /// The published video tracks.
    pub sendable: Vec<Sendable>,
    /// The video codecs that the client can receive on each of its video slots; `None` where it has no such slot.
    pub receivable: Option<Vec<Codec>>,
}

/// What a client can send on a video track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sendable {
    /// The track.
    pub track: TrackId,
    /// Its section.
    pub mid: Mid,
    /// Codecs with their payload types, in the order of the answer: the client begins with the first.
    pub codecs: Vec<(Codec, PayloadType)>,
}

/// Why media stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DisconnectReason {
    /// No authenticated STUN request for 30 s (RFC 7675).
    ConsentExpired,
    /// The client closed DTLS.
    Closed,
    /// The DTLS handshake failed or took too long.
    HandshakeFailed,
    /// The DTLS certificate does not match the fingerprint in the SDP (RFC 8122).
    BadCertificate,
    /// Work for the participant panicked: its media state was thrown away, and it starts over as after its join.
    InternalError,
}

impl DisconnectReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [DisconnectReason; 5] = [
        DisconnectReason::ConsentExpired,
        DisconnectReason::Closed,
        DisconnectReason::HandshakeFailed,
        DisconnectReason::BadCertificate,
        DisconnectReason::InternalError,
    ];

    /// Value of the `reason` label in Prometheus.
    pub const fn label(self) -> &'static str {
        match self {
            DisconnectReason::ConsentExpired => "consent_expired",
            DisconnectReason::Closed => "closed",
            DisconnectReason::HandshakeFailed => "handshake_failed",
            DisconnectReason::BadCertificate => "bad_certificate",
            DisconnectReason::InternalError => "internal_error",
        }
    }
}

/// A published track as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackInfo {
    /// The room.
    pub room: RoomId,
    /// Its id.
    pub id: TrackId,
    /// The section of the publisher's SDP.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// What it shows.
    pub source: Source,
    /// Muted from the start?
    pub muted: bool,
}

/// What a slot carries now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// The receiver's section.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// The track bound to it, and how it is sent.
    pub track: Option<(TrackId, Sending)>,
}

/// How a bound track is being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// This layer flows.
    Layer {
        /// Encoding index, 0 lowest.
        encoding: EncodingIndex,
        /// Its rid, where it has one.
        rid: Option<Rid>,
        /// Highest spatial layer sent.
        spatial: u8,
        /// Highest temporal layer sent.
        temporal: u8,
        /// Picture size in pixels where known.
        size: Option<(u16, u16)>,
        /// Codec.
        codec: Codec,
        /// The encoding and the highest temporal layer that the allocator chose. Others flow while the key frame is
        /// waited for that a switch begins with.
        target: (EncodingIndex, u8),
        /// Why nothing higher was chosen.
        limit: Limit,
    },
    /// Chosen, but the first decodable packet has not come yet.
    Starting,
    /// Nothing is sent.
    Paused(PauseReason),
}

/// Why no higher layer is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The publisher sends nothing higher.
    #[default]
    Source,
    /// The receiver asked for no more, or is capped.
    Size,
    /// The receiver's downlink takes no more.
    Bandwidth,
    /// The server does not keep up.
    ServerLoad,
}

impl Limit {
    /// Every limit, in the order of the counters.
    pub const ALL: [Limit; 4] = [Limit::Source, Limit::Size, Limit::Bandwidth, Limit::ServerLoad];

    /// Value of the `reason` label in Prometheus.
    pub const fn label(self) -> &'static str {
        match self {
            Limit::Source => "source",
            Limit::Size => "size",
            Limit::Bandwidth => "bandwidth",
            Limit::ServerLoad => "server-load",
        }
    }
}

/// Why nothing is sent on a bound slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PauseReason {
    /// The receiver's downlink cannot take even the lowest layer.
    Bandwidth,
    /// The server does not keep up.
    ServerLoad,
    /// The publisher muted the track.
    Muted,
    /// The receiver said it is not on screen.
    NotVisible,
    /// The publisher sends a codec that this receiver's section did not negotiate.
    Codec,
    /// The publisher sends nothing.
    NoMedia,
    /// Not among the loudest talkers of the room.
    NotTalking,
}

/// Connection quality figures over the last period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Round trip in milliseconds, where measured.
    pub rtt_ms: Option<f32>,
    /// Interarrival jitter in milliseconds of what the client sends, the worst of its sources.
    pub uplink_jitter_ms: f32,
    /// Interarrival jitter in milliseconds that the client reports.
    pub downlink_jitter_ms: f32,
    /// Share of packets from the client that did not arrive, 0 to 1.
    pub uplink_loss: f32,
    /// Share of packets to the client that it reports lost, 0 to 1.
    pub downlink_loss: f32,
    /// The downlink's estimated capacity.
    pub downlink_estimate: Bitrate,
    /// Media rate received from the client.
    pub uplink_rate: Bitrate,
    /// Media rate sent to the client.
    pub downlink_rate: Bitrate,
}
