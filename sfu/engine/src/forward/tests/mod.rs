//! The forwarder's behaviours one by one, and its continuity over random calls.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod continuity;
mod dependencies;
mod layers;
mod model;
mod numbers;
mod parameters;
mod stored;
mod whole;

use super::{EncodingView, Forwarder, Layer, Outgoing};
use crate::ids::EncodingIndex;
use crate::media::MediaKind;
use crate::units::{ExtSeq, RtpTime, SeqNo};
use model::{Encoder, Encoding, Origin, Packet};
use std::time::{Duration, Instant};

/// One track and one forwarder, to drive by hand. Frame times are 33 ms.
struct Slot {
    began: Instant,
    tick: u32,
    encodings: Vec<Encoding>,
    forwarder: Forwarder,
}

const FIRST_SEQ: SeqNo = SeqNo(65_534);
const FIRST_TIME: RtpTime = RtpTime(1000);

impl Slot {
    /// Encodings of VP8 with the given structures, lowest first.
    fn video(structures: &[usize]) -> Slot {
        let encoders = structures.iter().map(|structure| Encoder::Vp8 { structure: *structure, long_picture_id: true });
        Slot::new(MediaKind::Video, encoders)
    }

    fn audio() -> Slot {
        Slot::new(MediaKind::Audio, [Encoder::Opus].into_iter())
    }

    fn new(kind: MediaKind, encoders: impl Iterator<Item = Encoder>) -> Slot {
        let origin = |index: u32| Origin {
            seq: ExtSeq(0x2_0000 + 1000 * u64::from(index)),
            timestamp: RtpTime(500_000 * index),
            picture_id: 100 * index as u16,
            tl0_pic_idx: 50 * index as u8,
            clock_error: 0,
        };
        Slot {
            began: Instant::now(),
            tick: 0,
            encodings: encoders.zip(0..).map(|(encoder, index)| Encoding::new(encoder, origin(index))).collect(),
            forwarder: Forwarder::new(kind, FIRST_SEQ, FIRST_TIME),
        }
    }

    fn target(&mut self, encoding: u8, temporal: u8) {
        self.forwarder.set_target(Some(Layer { encoding: EncodingIndex(encoding), spatial: 0, temporal }));
    }

    fn current(&self) -> Option<(u8, u8)> {
        self.forwarder.current().map(|current| (current.encoding.0, current.temporal))
    }

    /// Encodes a frame of `packets` packets without sending it; then a frame time passes.
    fn encode(&mut self, encoding: usize, packets: u64, keyframe: bool) -> Vec<Packet> {
        let packets = self.encodings[encoding].encode(self.tick, packets, keyframe);
        self.tick += 1;
        packets
    }

    /// What would be sent again under a number.
    fn lookup(&self, seq: SeqNo) -> Option<Outgoing> {
        self.forwarder.lookup(self.forwarder.number_of(seq))
    }

    /// The forwarder gets a packet; what it sends for it.
    fn deliver(&mut self, encoding: usize, packet: &Packet) -> Vec<Outgoing> {
        let now = self.began + Duration::from_micros(u64::from(self.tick) * 100_000 / 3);
        assert!(self.encodings[encoding].receive(now, packet), "not a duplicate");
        let views: Vec<_> = self.encodings.iter().map(|e| EncodingView { store: &e.store, clock: &e.clock }).collect();
        let stored = self.encodings[encoding].store.get(packet.seq).unwrap();
        let mut sent = vec![];
        self.forwarder.forward(now, EncodingIndex(encoding as u8), stored, &views, &mut |number, _| sent.push(number));
        sent.into_iter().map(|number| self.forwarder.outgoing(number).unwrap()).collect()
    }

    /// A packet of padding.
    fn pad(&mut self) -> Option<Outgoing> {
        self.forwarder.pad(self.began + Duration::from_micros(u64::from(self.tick) * 100_000 / 3))
    }

    /// What it sends of what is stored.
    fn start_from_store(&mut self, most: usize) -> Vec<Outgoing> {
        let now = self.began + Duration::from_micros(u64::from(self.tick) * 100_000 / 3);
        let views: Vec<_> = self.encodings.iter().map(|e| EncodingView { store: &e.store, clock: &e.clock }).collect();
        let mut sent = vec![];
        self.forwarder.start_from_store(now, most, &views, &mut |number, _| sent.push(number));
        sent.into_iter().map(|number| self.forwarder.outgoing(number).unwrap()).collect()
    }

    /// Encodes and delivers a frame of one packet.
    fn frame(&mut self, encoding: usize, keyframe: bool) -> Vec<Outgoing> {
        let packets = self.encode(encoding, 1, keyframe);
        self.deliver(encoding, &packets[0])
    }

    /// Encodes and delivers `count` frames of one packet; whether each was sent.
    fn frames(&mut self, encoding: usize, count: usize) -> Vec<bool> {
        (0..count).map(|_| !self.frame(encoding, false).is_empty()).collect()
    }
}
