//! The packets of one encoding that were received last, each held once however many subscribers there are.
//!
//! Owned by the encoding's [`crate::uplink`] state; read by every forwarder (to send) and history (to send again).
//! A packet is addressed by its unwrapped sequence number. Memory is bounded by the slot count; buffers are reused, so in steady
//! state nothing is allocated.

use crate::media::{FrameMeta, PacketMeta};
use crate::ring::RingGrowth;
use crate::units::{ExtSeq, PayloadType, RtpTime};
use std::time::Instant;

/// The numbers of packets of parameter sets, above all that can be received.
const PARAMETERS: u64 = 1 << 63;
/// So many changes of parameter sets back they can be sent again.
const MAX_PARAMETERS: usize = 4;

/// A received packet: parsed facts, header extensions to pass on, payload without padding.
#[derive(Debug)]
pub struct StoredPacket {
    /// Facts parsed at arrival.
    pub meta: PacketMeta,
    extensions_len: usize,
    bytes: Vec<u8>,
}

impl StoredPacket {
    /// Header extensions that receivers get too, in the form of [`crate::rtp::extension::ForwardedExtensions`].
    pub fn extensions(&self) -> &[u8] {
        self.bytes.get(..self.extensions_len).unwrap_or_default()
    }

    /// Whether these are parameter sets, which the publisher may have sent long ago, and not so.
    pub fn is_parameters(&self) -> bool {
        self.meta.seq.0 >= PARAMETERS
    }

    /// RTP payload, without padding and without what it repeats of older packets.
    pub fn payload(&self) -> &[u8] {
        self.whole_payload().get(usize::from(self.meta.redundant)..).unwrap_or_default()
    }

    /// RTP payload as it came, without padding: redundant audio (RFC 2198) where [`PacketMeta::redundant`] says so.
    pub fn whole_payload(&self) -> &[u8] {
        self.bytes.get(self.extensions_len..).unwrap_or_default()
    }
}

/// What became of a packet given to [`PacketStore::insert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// Stored.
    New,
    /// This sequence number is in the store already; nothing changed.
    Duplicate,
    /// Older than the window; nothing changed.
    TooOld,
}

/// A ring of the last packets of one encoding.
#[derive(Debug)]
pub struct PacketStore {
    slots: Vec<Option<StoredPacket>>,
    growth: RingGrowth,
    highest: Option<ExtSeq>,
    /// The first packet of the newest keyframe.
    keyframe: Option<ExtSeq>,
    /// What a decoder needs before a keyframe that does not bring it along: the newest last, before it those that may still have to be sent again.
    parameters: Vec<StoredPacket>,
}

impl PacketStore {
    /// Most slots of an audio encoding: 2.5 s at 20 ms a packet.
    pub const AUDIO_SLOTS: usize = 128;
    /// Most slots of a video encoding: a second at 5 Mb/s.
    pub const VIDEO_SLOTS: usize = 512;

    /// A store that remembers a second's packets, `most` (at least 1) at most.
    pub fn new(most: usize) -> Self {
        let growth = RingGrowth::new(most.max(1));
        PacketStore { slots: empty(growth.first_len()), growth, highest: None, keyframe: None, parameters: Vec::new() }
    }

    /// The newest sequence number stored.
    pub fn highest(&self) -> Option<ExtSeq> {
        self.highest
    }

    /// The newest keyframe and what came after it, as a range of sequence numbers, where none of its packets is missing.
    pub fn since_keyframe(&self) -> Option<std::ops::RangeInclusive<u64>> {
        let range = self.keyframe?.0..=self.highest?.0;
        range.clone().all(|seq| self.get(ExtSeq(seq)).is_some()).then_some(range)
    }

    /// Stores a packet unless it is there or too old.
    pub fn insert(&mut self, meta: PacketMeta, extensions: &[u8], payload: &[u8]) -> Inserted {
        self.make_room(&meta);
        let oldest = self.highest.map_or(0, |h| (h.0 + 1).saturating_sub(self.slots.len() as u64));
        if meta.seq.0 < oldest {
            return Inserted::TooOld;
        }
        let Some(slot) = self.slot_mut(meta.seq) else { return Inserted::TooOld };
        if slot.as_ref().is_some_and(|p| p.meta.seq == meta.seq) {
            return Inserted::Duplicate;
        }
        let mut bytes = slot.take().map(|old| old.bytes).unwrap_or_default();
        bytes.clear();
        // A place is used again and again: room for twice as much, as a vector would make it, were never filled.
        bytes.reserve_exact(extensions.len() + payload.len());
        bytes.extend_from_slice(extensions);
        bytes.extend_from_slice(payload);
        *slot = Some(StoredPacket { meta, extensions_len: extensions.len(), bytes });
        self.highest = self.highest.max(Some(meta.seq));
        if meta.frame.keyframe {
            self.keyframe = self.keyframe.max(Some(meta.seq));
        }
        Inserted::New
    }

    /// The packet with this sequence number, while it is remembered.
    pub fn get(&self, seq: ExtSeq) -> Option<&StoredPacket> {
        if seq.0 >= PARAMETERS {
            return self.parameters.iter().find(|p| p.meta.seq == seq);
        }
        let index = (seq.0 % self.slots.len() as u64) as usize;
        self.slots.get(index)?.as_ref().filter(|p| p.meta.seq == seq)
    }

    /// The encoding's parameter sets as a packet that the publisher did not send so. Its number is none of the publisher's, and others get others.
    pub fn parameters(&self) -> Option<&StoredPacket> {
        self.parameters.last()
    }

    /// From now on `payload` has the parameter sets. `payload_type` is the publisher's.
    pub fn set_parameters(&mut self, now: Instant, payload_type: PayloadType, payload: Vec<u8>) {
        if self.parameters().is_some_and(|known| known.payload() == payload) {
            return;
        }
        let seq = self.parameters().map_or(ExtSeq(PARAMETERS), |before| ExtSeq(before.meta.seq.0 + 1));
        let meta = PacketMeta {
            seq,
            timestamp: RtpTime(0),
            marker: false,
            payload_type,
            arrival: now,
            audio_level: None,
            redundant: 0,
            frame: FrameMeta::default(),
        };
        if self.parameters.len() >= MAX_PARAMETERS {
            self.parameters.remove(0);
        }
        self.parameters.push(StoredPacket { meta, extensions_len: 0, bytes: payload });
    }

    /// The source has another codec.
    pub fn forget_parameters(&mut self) {
        self.parameters.clear();
    }

    /// Forgets every packet, for a source that starts over with other numbers. Its parameter sets stay: it may have sent them for good.
    pub fn clear(&mut self) {
        self.slots.fill_with(|| None);
        (self.highest, self.keyframe) = (None, None);
    }

    /// Grows where a packet comes so soon that what is still wanted would be overwritten.
    fn make_room(&mut self, meta: &PacketMeta) {
        let next = self.highest.map_or(meta.seq.0, |highest| highest.0 + 1);
        let Some(length) = self.growth.before(meta.arrival, self.slots.len(), next, meta.seq.0 + 1) else { return };
        let old = std::mem::replace(&mut self.slots, empty(length));
        for packet in old.into_iter().flatten().filter(|packet| packet.meta.seq.0 + length as u64 >= next) {
            if let Some(slot) = self.slot_mut(packet.meta.seq) {
                *slot = Some(packet);
            }
        }
    }

    fn slot_mut(&mut self, seq: ExtSeq) -> Option<&mut Option<StoredPacket>> {
        let index = (seq.0 % self.slots.len() as u64) as usize;
        self.slots.get_mut(index)
    }
}

fn empty(slots: usize) -> Vec<Option<StoredPacket>> {
    std::iter::repeat_with(|| None).take(slots).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::media::FrameMeta;
    use crate::units::{PayloadType, RtpTime};
    use std::time::{Duration, Instant};

    fn meta(seq: u64, arrival: Instant) -> PacketMeta {
        PacketMeta {
            seq: ExtSeq(seq),
            timestamp: RtpTime(0),
            marker: false,
            payload_type: PayloadType(96),
            arrival,
            audio_level: None,
            redundant: 0,
            frame: FrameMeta::default(),
        }
    }

    /// A store after three seconds of so many packets a second.
    fn after(packets: u64) -> PacketStore {
        let (start, mut store) = (Instant::now(), PacketStore::new(PacketStore::VIDEO_SLOTS));
        for n in 0..3 * packets {
            let arrival = start + Duration::from_secs(1) * n as u32 / packets as u32;
            assert_eq!(store.insert(meta(70_000 + n, arrival), &[], &n.to_be_bytes()), Inserted::New);
        }
        store
    }

    #[test]
    fn a_second_is_stored_in_as_many_slots_as_it_needs() {
        for (packets, slots) in [(19, 64), (100, 128), (250, 256), (500, 512), (2000, 512)] {
            let store = after(packets);
            assert_eq!(store.slots.len(), slots, "{packets}");
            for back in 1..=packets.min(slots as u64) {
                let n = 3 * packets - back;
                assert_eq!(store.get(ExtSeq(70_000 + n)).unwrap().payload(), n.to_be_bytes(), "{packets}, {back} back");
            }
        }
    }

    #[test]
    fn a_packet_that_comes_late_into_a_longer_ring_does_not_replace_a_newer_one() {
        let (now, mut store) = (Instant::now(), PacketStore::new(PacketStore::VIDEO_SLOTS));
        (0..100).filter(|n| *n != 40).for_each(|n| {
            store.insert(meta(70_000 + n, now), &[], &[]);
        });
        assert_eq!(store.insert(meta(70_040, now), &[], &[]), Inserted::New);
        assert_eq!(store.insert(meta(70_040, now), &[], &[]), Inserted::Duplicate);
        assert!((0..100).all(|n| store.get(ExtSeq(70_000 + n)).is_some()));
        assert_eq!(store.insert(meta(69_980, now), &[], &[]), Inserted::New, "it is within the ring's length");
        assert_eq!(store.insert(meta(69_500, now), &[], &[]), Inserted::TooOld);
    }
}
