//! The packets of one encoding that were received last, each held once however many subscribers there are.
//!
//! Owned by the encoding's [`crate::uplink`] state; read by every forwarder (to send) and history (to send again). A
//! packet is found by its unwrapped sequence number. The packets' bytes lie one behind the other in chunks. A chunk is
//! used again when nobody can ask for its packets any more (see [`PacketStore::remember`]). So nothing is allocated in
//! steady state, and no more is held than the bytes of that time and two chunks. The number of slots bounds what a
//! flood of packets can take.

use crate::media::{FrameMeta, PacketMeta};
use crate::ring::RingGrowth;
use crate::units::{ExtSeq, PayloadType, RtpTime};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The packets of parameter sets are numbered from here on: above any number that a received packet can have.
const PARAMETERS: u64 = 1 << 63;
/// Bytes of a chunk for each slot that a store may have: 4 KiB for video, 1 KiB for audio, which is a quarter of a
/// second of it.
const CHUNK_PER_SLOT: usize = 8;
/// Parameter sets that are kept: the newest and those before it, which receivers may still ask for again.
const MAX_PARAMETERS: usize = 4;

/// A received packet: parsed facts, header extensions to pass on, payload without padding.
#[derive(Debug)]
pub struct StoredPacket {
    /// Facts parsed at arrival.
    pub meta: PacketMeta,
    extensions_len: u16,
    bytes: Bytes,
}

impl StoredPacket {
    /// Header extensions that receivers get too, in the form of [`crate::rtp::extension::ForwardedExtensions`].
    pub fn extensions(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.extensions_len)).unwrap_or_default()
    }

    /// Whether this packet was synthesised from stored parameter sets.
    pub fn is_parameters(&self) -> bool {
        self.meta.seq.0 >= PARAMETERS
    }

    /// RTP payload, without padding and without what it repeats of older packets.
    pub fn payload(&self) -> &[u8] {
        self.whole_payload().get(usize::from(self.meta.redundant)..).unwrap_or_default()
    }

    /// RTP payload as it came, without padding: redundant audio (RFC 2198) where [`PacketMeta::redundant`] says so.
    pub fn whole_payload(&self) -> &[u8] {
        self.bytes.get(usize::from(self.extensions_len)..).unwrap_or_default()
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

/// The newest key frame, as far as it has come.
#[derive(Clone, Copy, Debug)]
struct Keyframe {
    first: ExtSeq,
    timestamp: RtpTime,
    /// The packets of the key frame before this number have all come.
    next: u64,
    /// The packet with which the last of it had come.
    completed_by: Option<ExtSeq>,
}

/// A ring of the last packets of one encoding.
#[derive(Debug)]
pub struct PacketStore {
    slots: Box<[Option<StoredPacket>]>,
    growth: RingGrowth,
    chunks: Chunks,
    /// How long packets are remembered, see [`PacketStore::remember`].
    memory: Duration,
    highest: Option<ExtSeq>,
    /// Packets before this one that are too old were forgotten.
    swept: u64,
    keyframe: Option<Keyframe>,
    /// What a decoder needs before a key frame that does not bring it along. The newest comes last, after those that
    /// may still have to be sent again.
    parameters: Vec<StoredPacket>,
}

impl PacketStore {
    /// Most slots of an audio encoding: 2.5 s at 20 ms a packet.
    pub const AUDIO_SLOTS: usize = 128;
    /// Most slots of a video encoding: a second at 5 Mb/s.
    pub const VIDEO_SLOTS: usize = 512;
    /// The shortest and the longest time for which packets are remembered. Behind a queue of a second (RFC 8867 section
    /// 5.6) a receiver asks for a repair a second late, and for the second time half a second later.
    pub const MEMORY: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(1500));
    /// A slot to which nothing of a track was sent yet starts from a key frame that is no older than this, instead of
    /// asking for another. The receiver decodes at once what came since, and lags by at most this time until its jitter
    /// buffer has caught up. So all of that is remembered too.
    pub const FRESH: Duration = Duration::from_millis(600);

    /// A key frame of more packets than this counts as whole when this many have come: a ring need not hold all of
    /// them.
    const WHOLE: u64 = 128;

    /// A store of at most `most` packets; 0 counts as 1.
    pub fn new(most: usize) -> Self {
        let growth = RingGrowth::new(most.max(1));
        PacketStore {
            slots: Box::default(),
            growth,
            chunks: Chunks::new(CHUNK_PER_SLOT * most),
            memory: Self::MEMORY.0,
            highest: None,
            swept: 0,
            keyframe: None,
            parameters: Vec::new(),
        }
    }

    /// From now on packets may be asked for until `time` after they came; it is kept within [`Self::MEMORY`].
    pub fn remember(&mut self, time: Duration) {
        self.memory = time.clamp(Self::MEMORY.0, Self::MEMORY.1);
        self.growth.hold(self.memory);
    }

    /// The newest sequence number stored.
    pub fn highest(&self) -> Option<ExtSeq> {
        self.highest
    }

    /// The newest key frame and what came after it, as a range of sequence numbers, where none of its packets is
    /// missing.
    pub fn since_keyframe(&self) -> Option<std::ops::RangeInclusive<u64>> {
        let range = self.keyframe?.first.0..=self.highest?.0;
        range.clone().all(|seq| self.get(ExtSeq(seq)).is_some()).then_some(range)
    }

    /// The first packet of the newest key frame, if packet `by` was the last of its packets to come.
    pub fn keyframe_completed(&self, by: ExtSeq) -> Option<&StoredPacket> {
        let keyframe = self.keyframe.filter(|keyframe| keyframe.completed_by == Some(by))?;
        self.get(keyframe.first)
    }

    /// Stores a packet unless it is there or too old.
    pub fn insert(&mut self, meta: PacketMeta, extensions: &[u8], payload: &[u8]) -> Inserted {
        self.make_room(&meta);
        let oldest = self.highest.map_or(0, |h| (h.0 + 1).saturating_sub(self.slots.len() as u64));
        if meta.seq.0 < oldest {
            return Inserted::TooOld;
        }
        let Ok(extensions_len) = u16::try_from(extensions.len()) else { return Inserted::TooOld };
        let Some(slot) = self.slot_mut(meta.seq) else { return Inserted::TooOld };
        if slot.as_ref().is_some_and(|p| p.meta.seq == meta.seq) {
            return Inserted::Duplicate;
        }
        *slot = None;
        if !self.chunks.has_room(extensions.len() + payload.len()) {
            self.sweep(meta.arrival);
        }
        let bytes = self.chunks.write(extensions, payload);
        if let Some(slot) = self.slot_mut(meta.seq) {
            *slot = Some(StoredPacket { meta, extensions_len, bytes });
        }
        self.highest = self.highest.max(Some(meta.seq));
        if meta.frame.keyframe && self.keyframe.is_none_or(|newest| newest.first < meta.seq) {
            let (first, timestamp, next) = (meta.seq, meta.timestamp, meta.seq.0);
            self.keyframe = Some(Keyframe { first, timestamp, next, completed_by: None });
        }
        self.follow_keyframe(meta.seq);
        Inserted::New
    }

    /// Notes how much of the newest key frame has come, now that packet `with` is there. It ends with its marker, or
    /// where another picture begins.
    fn follow_keyframe(&mut self, with: ExtSeq) {
        let Some(mut keyframe) = self.keyframe.filter(|k| k.next == with.0 && k.completed_by.is_none()) else { return };
        while let Some(packet) = self.get(ExtSeq(keyframe.next)) {
            keyframe.next += 1;
            let ends = packet.meta.marker || packet.meta.timestamp != keyframe.timestamp;
            if ends || keyframe.next - keyframe.first.0 >= Self::WHOLE {
                keyframe.completed_by = Some(with);
                break;
            }
        }
        self.keyframe = Some(keyframe);
    }

    /// The packet with this sequence number, while it is remembered.
    pub fn get(&self, seq: ExtSeq) -> Option<&StoredPacket> {
        if seq.0 >= PARAMETERS {
            return self.parameters.iter().find(|p| p.meta.seq == seq);
        }
        self.slots.get(self.index(seq)?)?.as_ref().filter(|p| p.meta.seq == seq)
    }

    /// The encoding's parameter sets as a packet, which the publisher did not send in this form. It is numbered above
    /// any real sequence number, and each new set gets a new number.
    pub fn parameters(&self) -> Option<&StoredPacket> {
        self.parameters.last()
    }

    /// Takes new parameter sets, as one payload. `payload_type` is the publisher's.
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
        self.parameters.push(StoredPacket { meta, extensions_len: 0, bytes: payload.into() });
    }

    /// Forgets the parameter sets, for a source that has another codec.
    pub fn forget_parameters(&mut self) {
        self.parameters.clear();
    }

    /// Forgets every packet, for a source that starts over with other numbers. Its parameter sets stay: it may have
    /// sent them for good.
    pub fn clear(&mut self) {
        self.release();
        (self.highest, self.keyframe) = (None, None);
    }

    /// Forgets every packet and frees their memory. The source, should it go on, goes on with its numbers.
    pub fn release(&mut self) {
        (self.slots, self.chunks) = (Box::default(), Chunks::new(self.chunks.len));
        self.growth = self.growth.anew();
    }

    /// Makes the ring longer if the packet would overwrite one that is still wanted.
    fn make_room(&mut self, meta: &PacketMeta) {
        if self.slots.is_empty() {
            self.slots = empty(self.growth.first_len());
            self.swept = meta.seq.0;
        }
        let next = self.highest.map_or(meta.seq.0, |highest| highest.0 + 1);
        let Some(length) = self.growth.before(meta.arrival, self.slots.len(), next, meta.seq.0 + 1) else { return };
        let old = std::mem::replace(&mut self.slots, empty(length));
        for packet in old.into_iter().flatten().filter(|packet| packet.meta.seq.0 + length as u64 >= next) {
            if let Some(slot) = self.slot_mut(packet.meta.seq) {
                *slot = Some(packet);
            }
        }
    }

    /// Forgets what nobody asks for any more, so that its chunks can be used again.
    fn sweep(&mut self, now: Instant) {
        let (Some(highest), memory) = (self.highest, self.memory) else { return };
        let last = self.wanted_from(now).map_or(highest.0, |first| highest.0.min(first.0.saturating_sub(1)));
        self.swept = self.swept.max((highest.0 + 1).saturating_sub(self.slots.len() as u64));
        while self.swept <= last {
            let seq = ExtSeq(self.swept);
            let Some(slot) = self.slot_mut(seq) else { return };
            if let Some(packet) = slot.as_ref().filter(|packet| packet.meta.seq == seq) {
                if now.saturating_duration_since(packet.meta.arrival) < memory {
                    return;
                }
                *slot = None;
            }
            self.swept += 1;
        }
    }

    /// The first packet of the newest key frame, if a receiver may still be started with it: it and what follows are
    /// kept. Of one that is not whole, a receiver that waits for the rest needs what has come.
    fn wanted_from(&self, now: Instant) -> Option<ExtSeq> {
        let keyframe = self.keyframe?;
        let kept_for = if keyframe.completed_by.is_some() { Self::FRESH } else { Self::MEMORY.1 };
        let first = &self.get(keyframe.first)?.meta;
        (now.saturating_duration_since(first.arrival) <= kept_for).then_some(first.seq)
    }

    fn slot_mut(&mut self, seq: ExtSeq) -> Option<&mut Option<StoredPacket>> {
        let index = self.index(seq)?;
        self.slots.get_mut(index)
    }

    /// The slot of a sequence number; `None` while the ring has no slots.
    fn index(&self, seq: ExtSeq) -> Option<usize> {
        seq.0.checked_rem(self.slots.len() as u64).map(|index| index as usize)
    }
}

fn empty(slots: usize) -> Box<[Option<StoredPacket>]> {
    std::iter::repeat_with(|| None).take(slots).collect()
}

/// Chunks of memory in which bytes are put one behind the other. What is kept of a chunk is its unused rest.
#[derive(Debug)]
struct Chunks {
    /// The oldest first; the last is being filled.
    list: VecDeque<BytesMut>,
    /// Bytes of a chunk; a packet that is longer gets a longer chunk.
    len: usize,
}

impl Chunks {
    fn new(len: usize) -> Self {
        Chunks { list: VecDeque::new(), len }
    }

    fn has_room(&self, len: usize) -> bool {
        self.list.back().is_some_and(|chunk| chunk.capacity() >= len)
    }

    fn write(&mut self, extensions: &[u8], payload: &[u8]) -> Bytes {
        let len = extensions.len() + payload.len();
        if !self.has_room(len) {
            let chunk = self.take_unused(len).unwrap_or_else(|| BytesMut::with_capacity(len.max(self.len)));
            self.list.push_back(chunk);
        }
        let Some(chunk) = self.list.back_mut() else { return Bytes::new() };
        chunk.extend_from_slice(extensions);
        chunk.extend_from_slice(payload);
        chunk.split().freeze()
    }

    /// The oldest chunk, if nothing in it is wanted any more. The chunks after it that are unused too are freed, except
    /// for a sixth of all, since rates vary.
    fn take_unused(&mut self, len: usize) -> Option<BytesMut> {
        let len = len.max(self.len);
        let unused = self.list.iter_mut().map(|chunk| chunk.try_reclaim(len)).take_while(|unused| *unused).count();
        let spare = unused.saturating_sub(1 + self.list.len() / 6);
        self.list.drain(..spare);
        if unused > 0 { self.list.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::media::FrameMeta;
    use crate::units::{PayloadType, RtpTime};
    use std::time::{Duration, Instant};

    const SECOND: Duration = Duration::from_secs(1);

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

    /// A store after three seconds of so many packets a second, of so many bytes.
    fn after(packets: u64, bytes: usize) -> (PacketStore, Instant) {
        let (start, mut store) = (Instant::now(), PacketStore::new(PacketStore::VIDEO_SLOTS));
        store.remember(SECOND);
        let mut now = start;
        for n in 0..3 * packets {
            now = start + Duration::from_secs(1) * n as u32 / packets as u32;
            assert_eq!(store.insert(meta(70_000 + n, now), &[], &content(n, bytes)), Inserted::New);
        }
        (store, now)
    }

    fn content(n: u64, bytes: usize) -> Vec<u8> {
        n.to_be_bytes().into_iter().cycle().take(bytes).collect()
    }

    fn held(store: &PacketStore) -> usize {
        store.chunks.list.len() * 4096
    }

    #[test]
    fn packets_are_stored_in_as_much_memory_as_they_need() {
        for (packets, slots) in [(19, 64), (100, 128), (150, 192), (250, 256), (500, 512), (2000, 512)] {
            for bytes in [8, 200, 1200, 9000] {
                let (store, _) = after(packets, bytes);
                let context = format!("{packets} of {bytes} bytes");
                assert_eq!(store.slots.len(), slots, "{context}");
                let kept = packets.min(slots as u64);
                for back in 1..=kept {
                    let n = 3 * packets - back;
                    let packet = store.get(ExtSeq(70_000 + n)).unwrap();
                    assert_eq!(packet.payload(), content(n, bytes), "{context}, {back} back");
                }
                let chunks = (kept as usize + 1).div_ceil((4096 / bytes).max(1)) + 2;
                assert!(store.chunks.list.len() <= chunks, "{context}: {} of {chunks}", store.chunks.list.len());
            }
        }
    }

    #[test]
    fn no_more_is_held_than_may_be_asked_for_and_what_came_since_a_fresh_keyframe() {
        let after = |before: Duration, memory: Duration, keyframe: u64| {
            let (start, mut store) = (Instant::now(), PacketStore::new(PacketStore::VIDEO_SLOTS));
            for n in 0..400 {
                store.remember(if n < 300 { before } else { memory });
                let mut meta = meta(70_000 + n, start + Duration::from_millis(5) * n as u32);
                (meta.frame.keyframe, meta.marker) = (n == keyframe, n == keyframe);
                store.insert(meta, &[], &content(n, 1200));
            }
            (held(&store), store.since_keyframe().is_some())
        };
        let least = after(Duration::ZERO, Duration::ZERO, 0).0;
        assert!(least <= 25 * 4096, "60 packets, 3 to a chunk, and a sixth of all: {least}");
        assert_eq!(after(SECOND, PacketStore::MEMORY.0, 0), (least, false));
        assert!(after(SECOND, SECOND, 0).0 > 2 * least);
        for before in [Duration::ZERO, SECOND] {
            assert_eq!(after(before, Duration::ZERO, 399 - 119), (41 * 4096, true), "595 ms ago");
            assert!(!after(before, Duration::ZERO, 399 - 125).1, "625 ms ago");
        }
    }

    #[test]
    fn a_keyframe_is_whole_with_the_last_of_its_packets_that_comes() {
        // Which packets come, in order; the key frame is 2 to 5 of 0 to 9, where `marked` ends with a marker.
        let completed = |order: &[u64], marked: bool| {
            let (now, mut store) = (Instant::now(), PacketStore::new(PacketStore::VIDEO_SLOTS));
            let by = order.iter().find(|n| {
                let mut meta = meta(70_000 + **n, now);
                meta.frame.keyframe = **n == 2;
                meta.timestamp = RtpTime(if (2..6).contains(*n) { 3000 } else { 1 });
                meta.marker = marked && **n == 5;
                store.insert(meta, &[], &[]);
                store.keyframe_completed(ExtSeq(70_000 + **n)).is_some_and(|first| first.meta.seq == ExtSeq(70_002))
            });
            by.copied()
        };
        assert_eq!(completed(&[0, 1, 2, 3, 4, 5, 6], true), Some(5));
        assert_eq!(completed(&[0, 1, 2, 3, 4, 5, 6], false), Some(6), "another picture begins");
        assert_eq!(completed(&[0, 1, 2, 5, 4, 6, 3, 7], true), Some(3), "it was repaired");
        assert_eq!(completed(&[3, 4, 5, 6, 1, 2], true), Some(2));
        assert_eq!(completed(&[2, 3, 5, 6, 7, 8, 9], true), None);
    }

    #[test]
    fn of_a_keyframe_that_takes_more_than_a_ring_holds_the_first_part_counts_as_whole() {
        let (now, mut store) = (Instant::now(), PacketStore::new(PacketStore::VIDEO_SLOTS));
        for n in 0..2000 {
            let mut meta = meta(70_000 + n, now);
            meta.frame.keyframe = n == 0;
            store.insert(meta, &[], &[]);
            assert_eq!(store.keyframe_completed(ExtSeq(70_000 + n)).is_some(), n == 127, "{n}");
        }
    }

    #[test]
    fn what_has_come_of_a_keyframe_is_held_until_the_rest_comes() {
        let (start, mut store) = (Instant::now(), PacketStore::new(PacketStore::VIDEO_SLOTS));
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut first = meta(70_000, start);
        first.frame.keyframe = true;
        store.insert(first, &[], &content(0, 1200));
        for n in 2..120 {
            store.insert(meta(70_000 + n, at(n * 7)), &[], &content(n, 1200));
        }
        let mut last = meta(70_001, at(900));
        last.marker = true;
        store.insert(last, &[], &[]);
        assert!(store.keyframe_completed(ExtSeq(70_001)).is_some());
    }

    #[test]
    fn what_may_be_asked_for_later_than_a_second_finds_a_longer_ring() {
        for (memory, kept) in [(SECOND, false), (PacketStore::MEMORY.1, true)] {
            let (start, mut store) = (Instant::now(), PacketStore::new(PacketStore::VIDEO_SLOTS));
            store.remember(memory);
            for n in 0..400 {
                store.insert(meta(70_000 + n, start + Duration::from_millis(10) * n as u32), &[], &content(n, 1200));
            }
            assert_eq!(store.get(ExtSeq(70_399 - 145)).is_some(), kept, "{memory:?}");
        }
    }

    #[test]
    fn memory_is_given_back_when_the_rate_falls_and_when_the_encoding_stops() {
        let (mut store, mut now) = after(250, 1200);
        let before = held(&store);
        for n in 750..850 {
            now += Duration::from_millis(40);
            let _ = store.insert(meta(70_000 + n, now), &[], &content(n, 1200));
        }
        assert!(held(&store) < before / 3, "{before}, then {}", held(&store));
        store.release();
        assert_eq!((held(&store), store.slots.len()), (0, 0));
        assert!(store.get(ExtSeq(70_849)).is_none());
        assert_eq!(store.highest(), Some(ExtSeq(70_849)));
        assert_eq!(store.insert(meta(70_850, now), &[1], &[2]), Inserted::New);
        let packet = store.get(ExtSeq(70_850)).unwrap();
        assert_eq!((packet.extensions(), packet.payload()), (&[1][..], &[2][..]));
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
