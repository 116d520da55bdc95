//! What becomes of a slot's video packets: frames are assembled by sequence numbers and decoded in order, where what
//! they need was decoded. A frame behind a gap waits for the repair until it is due. Knows what a frame truly is from
//! its stamp, so that a rewriter's mistakes show as undecodable frames.

use super::packetize::{Stamp, inspect};
use crate::scenario::Codec;
use sfu_engine::units::{ExtSeq, RtpTime};
use std::collections::VecDeque;

/// Packets kept until their frame is whole.
const WINDOW: u64 = 4096;
/// Whole frames that wait for what they need.
const MAX_WAITING: usize = 64;
/// Decoded frames remembered as references.
const MAX_DECODED: usize = 64;
/// Frames remembered to count those that were never decoded.
const MAX_SEEN: usize = 256;

/// The frames of one slot.
pub(super) struct Decoder {
    packets: Vec<Option<Packet>>,
    waiting: VecDeque<Whole>,
    decoded: VecDeque<Identity>,
    /// Timestamp of each frame seen, and whether it was decoded.
    seen: VecDeque<(RtpTime, bool)>,
    last: Option<RtpTime>,
    /// Number behind the last decoded frame.
    next: u64,
    undecodable: u64,
}

/// A frame that can be shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// What it is.
    pub stamp: Stamp,
    /// Its RTP timestamp.
    pub(super) timestamp: RtpTime,
    /// Number of its first packet: nobody needs anything before it any more.
    pub first: ExtSeq,
}

#[derive(Clone, Copy)]
struct Packet {
    seq: ExtSeq,
    timestamp: RtpTime,
    marker: bool,
    starts: bool,
    filler: bool,
    stamp: Option<Stamp>,
}

struct Whole {
    timestamp: RtpTime,
    first: ExtSeq,
    last: ExtSeq,
    stamp: Stamp,
}

/// Publisher, track, encoding and number.
type Identity = (u16, u8, u8, u32);

impl Decoder {
    /// A decoder that needs a key frame first.
    pub(super) fn new() -> Decoder {
        Decoder {
            packets: vec![None; WINDOW as usize],
            waiting: VecDeque::new(),
            decoded: VecDeque::new(),
            seen: VecDeque::new(),
            last: None,
            next: 0,
            undecodable: 0,
        }
    }

    /// Takes a media packet; one without payload only fills a number.
    pub(super) fn on_packet(
        &mut self,
        codec: Codec,
        (seq, timestamp, marker): (ExtSeq, RtpTime, bool),
        payload: &[u8],
    ) {
        if payload.is_empty() {
            self.packets[(seq.0 % WINDOW) as usize] =
                Some(Packet { seq, timestamp, marker, starts: false, filler: true, stamp: None });
            return;
        }
        let seen = inspect(codec, payload);
        let packet = Packet { seq, timestamp, marker, starts: seen.starts, filler: false, stamp: seen.stamp };
        self.packets[(seq.0 % WINDOW) as usize] = Some(packet);
        if self.last.is_none_or(|last| timestamp.distance(last) > 0)
            && !self.seen.iter().rev().any(|(known, _)| *known == timestamp)
        {
            self.seen.push_back((timestamp, false));
            if self.seen.len() > MAX_SEEN {
                self.seen.pop_front();
            }
        }
        if let Some(whole) = self.assemble(packet) {
            self.waiting.push_back(whole);
            if self.waiting.len() > MAX_WAITING {
                self.waiting.pop_front();
            }
        }
    }

    /// Decodes what can be, oldest first, until nothing more can. `due` tells whether a frame can wait no longer for
    /// those before it.
    pub(super) fn decode(&mut self, due: impl Fn(RtpTime) -> bool) -> Vec<Shown> {
        let mut shown = Vec::new();
        while let Some(index) = self.next_decodable() {
            while self.get(self.next).is_some_and(|packet| packet.filler) {
                self.next += 1;
            }
            let in_order = |whole: &Whole| self.last.is_none() || whole.first.0 <= self.next || due(whole.timestamp);
            if !self.waiting.get(index).is_some_and(in_order) {
                break;
            }
            let Some(whole) = self.waiting.remove(index) else { break };
            self.decoded.push_back(identity(&whole.stamp, whole.stamp.number));
            if self.decoded.len() > MAX_DECODED {
                self.decoded.pop_front();
            }
            (self.last, self.next) = (Some(whole.timestamp), whole.last.0 + 1);
            self.waiting.retain(|other| other.timestamp.distance(whole.timestamp) > 0);
            self.pass(whole.timestamp);
            shown.push(Shown { stamp: whole.stamp, timestamp: whole.timestamp, first: whole.first });
        }
        shown
    }

    /// Frames passed over undecoded since the last call.
    pub(super) fn take_undecodable(&mut self) -> u64 {
        std::mem::take(&mut self.undecodable)
    }

    /// The frame around a packet, if all its packets are there.
    fn assemble(&self, packet: Packet) -> Option<Whole> {
        let of_frame = |seq: u64| self.get(seq).filter(|other| other.timestamp == packet.timestamp && !other.filler);
        let mut first = packet;
        while !first.starts {
            first = *of_frame(first.seq.0.checked_sub(1)?)?;
        }
        let mut last = packet;
        let mut stamp = first.stamp;
        while !last.marker {
            last = *of_frame(last.seq.0 + 1)?;
        }
        let mut seq = first.seq.0;
        while stamp.is_none() && seq < last.seq.0 {
            seq += 1;
            stamp = of_frame(seq)?.stamp;
        }
        Some(Whole { timestamp: packet.timestamp, first: first.seq, last: last.seq, stamp: stamp? })
    }

    fn get(&self, seq: u64) -> Option<&Packet> {
        self.packets[(seq % WINDOW) as usize].as_ref().filter(|packet| packet.seq.0 == seq)
    }

    /// The oldest waiting frame that can be decoded.
    fn next_decodable(&self) -> Option<usize> {
        let usable = |whole: &Whole| {
            let needs = whole.stamp.reference.map(|number| identity(&whole.stamp, number));
            self.last.is_none_or(|last| whole.timestamp.distance(last) > 0)
                && needs.is_none_or(|needed| self.decoded.contains(&needed))
        };
        let candidates = self.waiting.iter().enumerate().filter(|(_, whole)| usable(whole));
        candidates.reduce(|a, b| if b.1.timestamp.distance(a.1.timestamp) < 0 { b } else { a }).map(|(index, _)| index)
    }

    /// Everything up to this timestamp is decided.
    fn pass(&mut self, timestamp: RtpTime) {
        for (seen, decoded) in &mut self.seen {
            *decoded |= *seen == timestamp;
        }
        while let Some((seen, decoded)) = self.seen.front().copied().filter(|(seen, _)| seen.distance(timestamp) <= 0) {
            self.undecodable += u64::from(!decoded && seen != timestamp);
            self.seen.pop_front();
        }
    }
}

fn identity(stamp: &Stamp, number: u32) -> Identity {
    (stamp.publisher, stamp.track, stamp.encoding, number)
}
