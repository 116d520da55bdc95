//! An abstract publisher for the forwarder's tests: encodings with the reference structures of real encoders.

use crate::forward::CaptureTime;
use crate::media::{Codec, PacketMeta};
use crate::rtp::codec;
use crate::units::{ExtSeq, PayloadType, RtpTime};
use crate::uplink::store::{Inserted, PacketStore};
use std::time::Instant;

/// Clock ticks between two pictures.
pub(super) const FRAME_TICKS: u32 = 3000;

/// By how much the sequence numbers of an encoder that starts over jump, as the uplink unwraps them.
pub(super) const RESTART_JUMP: u64 = 20_000;

/// How an encoder numbers and layers its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoder {
    /// VP8 with one of [`STRUCTURES`]; PictureID of 15 or 7 bits.
    Vp8 { structure: usize, long_picture_id: bool },
    /// H.264 without layers.
    H264,
    /// Opus. Its timestamps do not matter to the tests, so they run as those of video do.
    Opus,
}

impl Encoder {
    fn picture_id_mask(self) -> u16 {
        match self {
            Encoder::Vp8 { long_picture_id: false, .. } => 0x7F,
            _ => 0x7FFF,
        }
    }
}

/// Where an encoding's numbers begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) seq: ExtSeq,
    pub(super) timestamp: RtpTime,
    pub(super) picture_id: u16,
    pub(super) tl0_pic_idx: u8,
    /// By how much the server's idea of the capture clock is wrong, in microseconds.
    pub(super) clock_error: i64,
}

/// A frame that was encoded.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) first: ExtSeq,
    pub(super) packets: u64,
    pub(super) keyframe: bool,
    pub(super) temporal: u8,
    pub(super) timestamp: RtpTime,
    pub(super) picture_id: u16,
    pub(super) tl0_pic_idx: u8,
    /// First sequence numbers of the frames that it was predicted from.
    pub(super) references: Vec<ExtSeq>,
}

/// A packet on its way.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) seq: ExtSeq,
    pub(super) timestamp: RtpTime,
    pub(super) marker: bool,
    pub(super) payload: Vec<u8>,
}

/// One encoding: its encoder, and what the server received of it.
#[derive(Debug)]
pub(super) struct Encoding {
    encoder: Encoder,
    origin: Origin,
    next: ExtSeq,
    picture_id: u16,
    tl0_pic_idx: u8,
    /// Frames since the last key frame; `None` before the first.
    phase: Option<usize>,
    /// First sequence numbers of the frames in VP8's three buffers: last, golden, alternate.
    buffers: [Option<ExtSeq>; 3],
    pub(super) frames: Vec<Frame>,
    pub(super) store: PacketStore,
    pub(super) clock: Clock,
}

/// A frame of a structure: temporal layer, layer sync, buffers read, buffers written.
pub(super) type Step = (u8, bool, &'static [usize], &'static [usize]);

/// Temporal structures: one layer; libwebrtc's of two and of three, whose enhancement layers free themselves once per
/// cycle; and one of three whose upper layer frees itself before the one below does.
pub(super) const STRUCTURES: [&[Step]; 4] = [
    &[(0, false, &[0], &[0])],
    &[(0, false, &[0], &[0]), (1, true, &[0], &[1]), (0, false, &[0], &[0]), (1, false, &[0, 1], &[1])],
    &[
        (0, false, &[0], &[0]),
        (2, true, &[0], &[2]),
        (1, true, &[0], &[1]),
        (2, false, &[0, 1, 2], &[2]),
        (0, false, &[0], &[0]),
        (2, false, &[0, 1, 2], &[2]),
        (1, false, &[0, 1], &[1]),
        (2, false, &[0, 1, 2], &[2]),
    ],
    &[
        (0, false, &[0], &[0]),
        (2, true, &[0], &[2]),
        (1, false, &[0, 1], &[1]),
        (2, false, &[0, 1, 2], &[2]),
        (0, false, &[0], &[0]),
        (2, false, &[0, 1, 2], &[2]),
        (1, true, &[0], &[1]),
        (2, false, &[0, 1, 2], &[2]),
    ],
];

impl Encoding {
    pub(super) fn new(encoder: Encoder, origin: Origin) -> Self {
        let clock = Clock { origin: origin.timestamp, error: origin.clock_error };
        Encoding {
            encoder,
            origin,
            next: origin.seq,
            picture_id: origin.picture_id & encoder.picture_id_mask(),
            tl0_pic_idx: origin.tl0_pic_idx,
            phase: None,
            buffers: [None; 3],
            frames: vec![],
            store: PacketStore::new(PacketStore::VIDEO_SLOTS),
            clock,
        }
    }

    /// Encodes the picture captured at `tick`, in `packets` packets.
    pub(super) fn encode(&mut self, tick: u32, packets: u64, keyframe: bool) -> Vec<Packet> {
        let pattern = match self.encoder {
            Encoder::Vp8 { structure, .. } => STRUCTURES[structure],
            Encoder::H264 | Encoder::Opus => STRUCTURES[0],
        };
        let phase = self.phase.map_or(0, |phase| if keyframe { 0 } else { phase + 1 });
        let keyframe = keyframe || self.phase.is_none();
        let (temporal, sync, reads, writes) = pattern[phase % pattern.len()];
        self.phase = Some(phase);
        self.picture_id = self.picture_id.wrapping_add(1) & self.picture_id_mask();
        self.tl0_pic_idx = self.tl0_pic_idx.wrapping_add(u8::from(temporal == 0));
        let mut references: Vec<ExtSeq> = reads.iter().filter_map(|buffer| self.buffers[*buffer]).collect();
        references.dedup();
        let frame = Frame {
            first: self.next,
            packets,
            keyframe,
            temporal,
            timestamp: self.timestamp(tick),
            picture_id: self.picture_id,
            tl0_pic_idx: self.tl0_pic_idx,
            references: if keyframe { vec![] } else { references },
        };
        for buffer in if keyframe { &[0, 1, 2] } else { writes } {
            self.buffers[*buffer] = Some(frame.first);
        }
        let encoded = (0..packets).map(|index| self.packet(&frame, index, sync)).collect();
        self.next = ExtSeq(self.next.0 + packets);
        self.frames.push(frame);
        encoded
    }

    /// The encoder starts over.
    pub(super) fn restart(&mut self, timestamp: RtpTime) {
        self.next = ExtSeq(self.next.0 + RESTART_JUMP);
        self.origin.timestamp = timestamp;
        self.clock.origin = timestamp;
        self.picture_id = self.origin.picture_id & self.encoder.picture_id_mask();
        self.phase = None;
    }

    /// The next frame's VP8 numbers follow on these.
    pub(super) fn reset_vp8_numbers(&mut self, picture_id: u16, tl0_pic_idx: u8) {
        (self.picture_id, self.tl0_pic_idx) = (picture_id, tl0_pic_idx);
    }

    /// A packet of padding only, as a sender probes with.
    pub(super) fn pad(&mut self, tick: u32) -> Packet {
        let packet = Packet { seq: self.next, timestamp: self.timestamp(tick), marker: false, payload: vec![] };
        self.next = ExtSeq(self.next.0 + 1);
        packet
    }

    /// Puts a packet into the store, as the uplink does. `false` where it was there.
    pub(super) fn receive(&mut self, now: Instant, packet: &Packet) -> bool {
        let previous = self.store.get(ExtSeq(packet.seq.0 - 1)).map(|p| p.meta);
        let received = codec::ReceivedPayload {
            payload: &packet.payload,
            descriptor: None,
            marking: None,
            timestamp: packet.timestamp,
            marker: packet.marker,
        };
        let frame = codec::PayloadReader::default().read(self.codec(), &received, previous.as_ref()).unwrap();
        let meta = PacketMeta {
            seq: packet.seq,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload_type: PayloadType(96),
            arrival: now,
            audio_level: None,
            redundant: 0,
            frame,
        };
        self.store.insert(meta, &[], &packet.payload) == Inserted::New
    }

    /// The frame that a packet belongs to; `None` for padding.
    pub(super) fn frame_of(&self, seq: ExtSeq) -> Option<&Frame> {
        let index = self.frames.partition_point(|frame| frame.first <= seq).checked_sub(1)?;
        self.frames.get(index).filter(|frame| frame.seqs().contains(&seq.0))
    }

    pub(super) fn codec(&self) -> Codec {
        match self.encoder {
            Encoder::Vp8 { .. } => Codec::Vp8,
            Encoder::Opus => Codec::Opus,
            Encoder::H264 => Codec::H264 { profile: 0x42E0, packetization_mode: 1 },
        }
    }

    pub(super) fn picture_id_mask(&self) -> u16 {
        self.encoder.picture_id_mask()
    }

    fn timestamp(&self, tick: u32) -> RtpTime {
        RtpTime(self.origin.timestamp.0.wrapping_add(tick.wrapping_mul(FRAME_TICKS)))
    }

    fn packet(&self, frame: &Frame, index: u64, sync: bool) -> Packet {
        let mut payload = match self.encoder {
            Encoder::Vp8 { structure, long_picture_id } => {
                let layered = structure > 0;
                let mut payload = vec![0x80 | if index == 0 { 0x10 } else { 0 }, if layered { 0xE0 } else { 0xC0 }];
                let [high, low] = frame.picture_id.to_be_bytes();
                if long_picture_id {
                    payload.extend([0x80 | high, low])
                } else {
                    payload.push(low)
                }
                payload.push(frame.tl0_pic_idx);
                if layered {
                    payload.push((frame.temporal << 6) | (u8::from(sync) << 5));
                }
                payload.push(u8::from(!frame.keyframe));
                payload
            }
            Encoder::Opus => vec![0xFC],
            // FU-A fragments; a key frame begins with an SPS in a packet of its own.
            Encoder::H264 if frame.keyframe && index == 0 => vec![0x67, 0x42],
            Encoder::H264 => {
                let starts = index == u64::from(frame.keyframe);
                vec![0x7C, if starts { 0x80 } else { 0 } | if frame.keyframe { 5 } else { 1 }, 0x80]
            }
        };
        // Nothing else looks like this packet.
        payload.extend(frame.timestamp.0.to_be_bytes());
        payload.extend(index.to_be_bytes());
        Packet {
            seq: ExtSeq(frame.first.0 + index),
            timestamp: frame.timestamp,
            marker: index + 1 == frame.packets && self.encoder != Encoder::Opus,
            payload,
        }
    }
}

impl Frame {
    pub(super) fn seqs(&self) -> std::ops::Range<u64> {
        self.first.0..self.first.0 + self.packets
    }
}

/// A capture clock as sender reports would give it.
#[derive(Debug)]
pub(super) struct Clock {
    origin: RtpTime,
    pub(super) error: i64,
}

impl CaptureTime for Clock {
    fn capture_time(&self, ts: RtpTime) -> i64 {
        i64::from(ts.distance(self.origin)) * 100 / 9 + self.error
    }
}
