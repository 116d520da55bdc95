//! A capture's way through the engine: its publisher's uplink and track, and one slot of a receiver whose target is set
//! by hand.

use crate::capture::Capture;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use sfu_engine::command::PublishHint;
use sfu_engine::downlink::slot::Slot;
use sfu_engine::engine::keys::{ParticipantKey, RoomKey, TrackKey};
use sfu_engine::forward::{Layer, Outgoing};
use sfu_engine::ids::{EncodingIndex, ParticipantId, TrackId};
use sfu_engine::media::{Codec, MediaKind, Source, Sources};
use sfu_engine::net::Protocol;
use sfu_engine::rtp::extension::ReceivedExtensions;
use sfu_engine::rtp::packet::RtpPacket;
use sfu_engine::rtp::template::Stamp;
use sfu_engine::sdp::{
    CandidateAddress, IceParameters, LocalParameters, MAX_SECTIONS, NO_RULES, Negotiation, Section, SectionRole,
};
use sfu_engine::units::ExtSeq;
use sfu_engine::uplink::Uplink;
use sfu_engine::uplink::track::Track;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What one replay gave.
pub struct Replay {
    /// What the capture is encoded with.
    pub codec: Codec,
    /// What the publisher sent: one entry for each frame's first packet.
    pub received: Vec<Frame>,
    /// What the receiver got: plain RTP, in the order of its numbers.
    pub packets: Vec<Vec<u8>>,
    /// The pictures that the receiver got.
    pub pictures: Vec<Sent>,
}

/// One frame of one layer as its packets describe it.
pub struct Frame {
    pub encoding: EncodingIndex,
    pub spatial: u8,
    pub temporal: u8,
    pub keyframe: bool,
    pub size: Option<(u16, u16)>,
    /// Ticks of 90 kHz since the encoding's first frame.
    pub capture_ticks: i64,
}

/// A picture that was sent on.
pub struct Sent {
    /// Ticks of 90 kHz on the receiver's time line.
    pub capture_ticks: i64,
    /// When its first packet was sent, since the start of the capture.
    pub at: Duration,
    /// Its highest layer that was sent.
    pub layer: (EncodingIndex, u8),
    /// How many packets it took.
    pub packets: usize,
}

/// A packet that was sent on.
struct Traced {
    bytes: Vec<u8>,
    at: Duration,
    layer: (EncodingIndex, u8),
}

impl Replay {
    /// Plays the capture with targets that hold from a share (0 to 1) of its length on.
    pub fn run(capture: &Capture, targets: &[(f64, Layer)]) -> Replay {
        let mut rng = ChaCha12Rng::seed_from_u64(7);
        let began = Instant::now();
        let publisher = negotiate(&capture.offer, &mut rng);
        let receiver = negotiate(&receiving(&capture.offer), &mut rng);
        let mut uplink = Uplink::new(began, &mut rng);
        uplink.configure(&publisher);
        let mut track = track(&publisher);
        let mut slot = slot(&receiver, &mut rng);
        let length = capture.packets.last().unwrap().0;
        let mut schedule = targets.iter().peekable();
        let mut replay = Replay { codec: Codec::Opus, received: Vec::new(), packets: Vec::new(), pictures: Vec::new() };
        let mut sent: Vec<Outgoing> = Vec::new();
        let mut origins = BTreeMap::new();
        let mut trace = Vec::new();
        for (at, bytes) in &capture.packets {
            let now = began + *at;
            let packet = RtpPacket::parse(bytes).unwrap();
            let extensions = ReceivedExtensions::read(&packet, &uplink.extensions);
            let stream = uplink.stream_of(now, &packet, &extensions).expect("a source that tells what it is");
            let ids = &uplink.extensions;
            // Probes may repeat packets.
            let Ok(arrival) = track.receive(now, stream, &packet, ids, &extensions, &mut uplink.clock) else {
                continue;
            };
            if arrival.codec_changed {
                // As a downlink does, with the allocator's next choice.
                let target = slot.forwarder.target();
                slot.set_codec(track.codec);
                slot.forwarder.bind();
                slot.forwarder.set_target(target);
                replay.codec = track.codec.unwrap();
            }
            let Some(seq) = arrival.seq else { continue };
            let encoding = track.encoding(stream.encoding).unwrap();
            let stored = encoding.store.get(seq).unwrap();
            let frame = stored.meta.frame;
            if frame.starts_frame {
                let origin = *origins.entry(stream.encoding).or_insert(stored.meta.timestamp);
                let capture_ticks = i64::from(stored.meta.timestamp.distance(origin));
                let (spatial, temporal, keyframe, size) = (frame.spatial, frame.temporal, frame.keyframe, frame.size);
                replay.received.push(Frame {
                    encoding: stream.encoding,
                    spatial,
                    temporal,
                    keyframe,
                    size,
                    capture_ticks,
                });
            }
            while let Some((_, target)) = schedule.next_if(|(share, _)| *at >= length.mul_f64(*share)) {
                slot.forwarder.set_target(Some(*target));
            }
            let views = track.views();
            let from = sent.len();
            let mut numbers = Vec::new();
            slot.forwarder
                .forward(now, stream.encoding, stored, views.as_slice(), &mut |number, _| numbers.push(number));
            sent.extend(numbers.into_iter().map(|number| slot.forwarder.outgoing(number).unwrap()));
            for outgoing in &sent[from..] {
                let source = outgoing.source.map(|seq: ExtSeq| {
                    track.encoding(outgoing.encoding).and_then(|encoding| encoding.store.get(seq)).unwrap()
                });
                let mut out = Vec::new();
                slot.write(outgoing, source, None, Stamp { transport_seq: 0, sent_us: 0 }, &mut out).expect("a packet");
                let spatial = source.map_or(0, |packet| packet.meta.frame.spatial);
                trace.push(Traced { bytes: out, at: *at, layer: (outgoing.encoding, spatial) });
            }
        }
        replay.put_in_order(trace);
        replay
    }

    /// Sorts the packets by their numbers, none of which may be missing, and finds the pictures.
    fn put_in_order(&mut self, mut trace: Vec<Traced>) {
        let Some(first) = trace.first().map(|packet| RtpPacket::parse(&packet.bytes).unwrap()) else { return };
        let (first_seq, origin) = (first.seq(), first.timestamp());
        let place = |packet: &Traced| RtpPacket::parse(&packet.bytes).unwrap().seq().distance(first_seq);
        trace.sort_by_key(place);
        for (expected, traced) in (0..).zip(&trace) {
            assert_eq!(place(traced), expected, "the numbers have no hole");
            let packet = RtpPacket::parse(&traced.bytes).unwrap();
            if packet.payload().is_empty() {
                continue;
            }
            let capture_ticks = i64::from(packet.timestamp().distance(origin));
            match self.pictures.last_mut().filter(|picture| picture.capture_ticks == capture_ticks) {
                Some(picture) => {
                    picture.layer = picture.layer.max(traced.layer);
                    picture.packets += 1;
                }
                None => self.pictures.push(Sent { capture_ticks, at: traced.at, layer: traced.layer, packets: 1 }),
            }
        }
        assert!(self.pictures.is_sorted_by_key(|picture| picture.capture_ticks), "time runs forward");
        self.packets = trace.into_iter().map(|packet| packet.bytes).collect();
    }
}

fn negotiate(offer: &str, rng: &mut ChaCha12Rng) -> Vec<Section> {
    let local = LocalParameters {
        ice: &IceParameters { ufrag: "abcd".into(), pwd: "0123456789abcdefghijkl".into() },
        fingerprint: "sha-256 00",
        candidates: &[CandidateAddress { address: "192.0.2.1:9".parse().unwrap(), protocol: Protocol::Udp }],
        max_sections: MAX_SECTIONS,
        max_tracks: 1,
        published: &[],
        may_publish: Sources::ALL,
        can_subscribe: true,
        codecs: &NO_RULES,
    };
    Negotiation::new(1).handle_offer(offer, &local, rng).unwrap().sections
}

/// What the same browser would offer to receive.
fn receiving(offer: &str) -> String {
    let of_sender = ["a=rid:", "a=simulcast:", "a=ssrc", "a=msid:"];
    let lines = offer.lines().filter(|line| !of_sender.iter().any(|start| line.starts_with(start)));
    lines.map(|line| line.replace("a=sendonly", "a=recvonly") + "\r\n").collect()
}

fn track(sections: &[Section]) -> Track {
    let published = sections.iter().find_map(|section| match &section.role {
        SectionRole::Publish(role) => Some((section, role)),
        _ => None,
    });
    let (section, role) = published.expect("a section that sends");
    let hint = PublishHint { mid: section.mid, source: Source::Camera, muted: false };
    Track::new(track_id(), ParticipantKey::default(), RoomKey::default(), hint, section, role)
}

fn slot(sections: &[Section], rng: &mut ChaCha12Rng) -> Slot {
    let slots = sections.iter().find_map(|section| match &section.role {
        SectionRole::Slot(role) => Some((section, role)),
        _ => None,
    });
    let (section, role) = slots.expect("a section that receives");
    let mut slot = Slot::new(section, MediaKind::Video, role, rng);
    slot.bind(TrackKey::default(), track_id(), None);
    slot
}

fn track_id() -> TrackId {
    TrackId { participant: ParticipantId(1), index: 0 }
}
