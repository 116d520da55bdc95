//! Sequence numbers of a slot and what each was given to: read when a packet leaves, to answer NACKs, and to number
//! packets that come late.
//!
//! Holds no payload: that is fetched from the encoding's store when a packet is sent.

use super::rewriter::Offsets;
use super::{Layer, Outgoing, OutgoingPicture};
use crate::ids::EncodingIndex;
use crate::ring::RingGrowth;
use crate::units::{ExtSeq, RtpTime, SeqNo};
use prefetch::fetch;
use std::time::{Duration, Instant};

/// Packets that a video slot remembers at most, as many as the store keeps: a second at 5 Mb/s, 1.5 s at 3.3.
pub(super) const VIDEO_PACKETS: usize = 512;
/// Packets that an audio slot remembers: 1.3 s at 20 ms a packet.
pub(super) const AUDIO_PACKETS: usize = 64;
/// Numbers whose places are fetched ahead: a usual picture's.
const PREFETCHED: usize = 8;

/// A ring over the newest numbers. Numbers are given out without a hole.
#[derive(Debug)]
pub(super) struct History {
    entries: Box<[Entry]>,
    growth: RingGrowth,
    /// The number that is given out next.
    next: ExtSeq,
}

/// What a number was given to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    /// A packet that has not arrived yet.
    Reserved(Reserved),
    /// A packet.
    Sent(SentEntry),
    /// Padding, in place of a packet that came late and was not wanted.
    Fill(SentEntry),
    /// Nothing that could be sent again. Where it has not left yet, a packet without payload leaves, with this
    /// timestamp.
    Forgotten(RtpTime),
}

// A slot's history has to fit the cache beside those of the other slots.
const _: () = assert!(size_of::<Entry>() <= 32);

/// A missing packet, and how it is to be treated should it come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    pub(super) source: ExtSeq,
    pub(super) offsets: Offsets,
    pub(super) encoding: EncodingIndex,
    /// Temporal layers above this one are not sent at this position.
    pub(super) max_temporal: u8,
    /// Nor are spatial layers above this one.
    pub(super) max_spatial: u8,
}

/// A packet as it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentEntry {
    pub(super) source: ExtSeq,
    pub(super) timestamp: RtpTime,
    pub(super) picture_id: u16,
    pub(super) frame_number: u16,
    pub(super) tl0_pic_idx: u8,
    pub(super) encoding: EncodingIndex,
    pub(super) marker: bool,
    pub(super) has_picture: bool,
    /// The layers that the slot took.
    pub(super) max_spatial: u8,
    pub(super) max_temporal: u8,
}

impl History {
    /// An empty history of `capacity` numbers at most; `first` is given out first.
    pub(super) fn new(capacity: usize, first: ExtSeq) -> Self {
        let growth = RingGrowth::new(capacity);
        History { entries: vec![Entry::Forgotten(RtpTime(0)); growth.first_len()].into(), growth, next: first }
    }

    /// Gives the next number to `entry`.
    pub(super) fn push(&mut self, now: Instant, entry: Entry) -> ExtSeq {
        self.make_room(now, 1);
        self.give(entry)
    }

    fn give(&mut self, entry: Entry) -> ExtSeq {
        let number = self.next;
        self.next = ExtSeq(number.0 + 1);
        self.replace(number, entry);
        number
    }

    /// From now on a packet may be asked for until `time` after it was sent.
    pub(super) fn remember(&mut self, time: Duration) {
        self.growth.hold(time);
    }

    /// Has the places of the next numbers fetched into the cache.
    pub(super) fn prefetch_next(&self) {
        let next = self.index(self.next);
        self.entries.get(next..).unwrap_or_default().iter().take(PREFETCHED).for_each(fetch);
    }

    /// Gives numbers to `count` missing packets, `first` and those behind it.
    pub(super) fn reserve(&mut self, now: Instant, first: Reserved, count: u64) {
        self.make_room(now, count);
        // Only the newest are remembered, so a long gap costs no more than one turn of the ring.
        let skipped = count.saturating_sub(self.entries.len() as u64);
        self.next = ExtSeq(self.next.0 + skipped);
        for index in skipped..count {
            self.give(Entry::Reserved(Reserved { source: ExtSeq(first.source.0 + index), ..first }));
        }
    }

    /// Changes what `number` was given to.
    pub(super) fn replace(&mut self, number: ExtSeq, entry: Entry) {
        let index = self.index(number);
        if let Some(slot) = self.entries.get_mut(index) {
            *slot = entry;
        }
    }

    /// The number reserved for a packet of `encoding`, unless it has come before. The search goes back from the newest
    /// and ends where the packet would stand: within an encoding numbers grow with the source's.
    pub(super) fn find_reserved(&self, encoding: EncodingIndex, source: ExtSeq) -> Option<(ExtSeq, Reserved)> {
        let (number, entry) = (self.remembered_from()..self.next.0)
            .rev()
            .filter_map(|number| Some((ExtSeq(number), self.entries.get(self.index(ExtSeq(number)))?)))
            .find(|(_, entry)| entry.packet().is_some_and(|(of, seq)| of == encoding && seq <= source))?;
        match entry {
            Entry::Reserved(reserved) if reserved.source == source => Some((number, *reserved)),
            _ => None,
        }
    }

    /// The number given out last.
    pub(super) fn newest(&self) -> ExtSeq {
        ExtSeq(self.next.0.saturating_sub(1))
    }

    /// The unwrapped form of a number on the wire.
    pub(super) fn number_of(&self, seq: SeqNo) -> ExtSeq {
        self.next.unwrap_near(seq)
    }

    /// What `number` was given to, while it is remembered.
    pub(super) fn get(&self, number: ExtSeq) -> Option<&Entry> {
        let known = (self.remembered_from()..self.next.0).contains(&number.0);
        self.entries.get(self.index(number)).filter(|_| known)
    }

    /// Forgets what was sent of the encodings that `which` names. Their numbers stay given out.
    pub(super) fn forget(&mut self, which: impl Fn(EncodingIndex) -> bool) {
        for entry in &mut self.entries {
            if entry.packet().is_some_and(|(encoding, _)| which(encoding)) {
                *entry = entry.forgotten();
            }
        }
    }

    /// Grows where `count` more numbers would complete a turn of the ring too soon.
    fn make_room(&mut self, now: Instant, count: u64) {
        let Some(length) = self.growth.before(now, self.entries.len(), self.next.0, self.next.0 + count) else {
            return;
        };
        let (numbers, grown) = (self.remembered_from()..self.next.0, vec![Entry::Forgotten(RtpTime(0)); length].into());
        let old = std::mem::replace(&mut self.entries, grown);
        for number in numbers {
            if let Some(entry) = old.get((number % old.len() as u64) as usize) {
                self.replace(ExtSeq(number), *entry);
            }
        }
    }

    fn remembered_from(&self) -> u64 {
        self.next.0.saturating_sub(self.entries.len() as u64)
    }

    fn index(&self, number: ExtSeq) -> usize {
        (number.0 % self.entries.len() as u64) as usize
    }
}

impl Entry {
    /// The same number, and nothing that could be sent again.
    pub(super) fn forgotten(&self) -> Entry {
        match self {
            Entry::Sent(sent) | Entry::Fill(sent) => Entry::Forgotten(sent.timestamp),
            Entry::Reserved(_) => Entry::Forgotten(RtpTime(0)),
            Entry::Forgotten(timestamp) => Entry::Forgotten(*timestamp),
        }
    }

    /// The packet to send again for this entry; `None` where there is none.
    pub(super) fn outgoing(&self, number: ExtSeq) -> Option<Outgoing> {
        match self {
            Entry::Reserved(_) | Entry::Forgotten(_) => None,
            Entry::Sent(sent) => Some(sent.outgoing(number)),
            Entry::Fill(sent) => Some(Outgoing { source: None, marker: false, picture: None, ..sent.outgoing(number) }),
        }
    }

    /// Encoding and number at the source.
    pub(super) fn packet(&self) -> Option<(EncodingIndex, ExtSeq)> {
        match self {
            Entry::Reserved(reserved) => Some((reserved.encoding, reserved.source)),
            Entry::Sent(sent) | Entry::Fill(sent) => Some((sent.encoding, sent.source)),
            Entry::Forgotten(_) => None,
        }
    }
}

impl SentEntry {
    pub(super) fn outgoing(&self, number: ExtSeq) -> Outgoing {
        let picture = OutgoingPicture { picture_id: self.picture_id, tl0_pic_idx: self.tl0_pic_idx };
        Outgoing {
            encoding: self.encoding,
            source: Some(self.source),
            seq: number.wire(),
            timestamp: self.timestamp,
            marker: self.marker,
            picture: self.has_picture.then_some(picture),
            frame_number: self.frame_number,
            max_layer: Layer { encoding: self.encoding, spatial: self.max_spatial, temporal: self.max_temporal },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::time::Duration;

    fn sent(source: u64) -> Entry {
        Entry::Sent(SentEntry {
            source: ExtSeq(source),
            timestamp: RtpTime(0),
            picture_id: 0,
            frame_number: 0,
            tl0_pic_idx: 0,
            encoding: EncodingIndex(0),
            marker: false,
            has_picture: false,
            max_spatial: 0,
            max_temporal: 0,
        })
    }

    fn reserved(source: u64) -> Reserved {
        let offsets = Offsets::default();
        Reserved { source: ExtSeq(source), offsets, encoding: EncodingIndex(0), max_temporal: 0, max_spatial: 0 }
    }

    /// A history after three seconds of so many packets a second.
    fn after(packets: u64) -> (History, ExtSeq) {
        let (start, mut history) = (Instant::now(), History::new(VIDEO_PACKETS, ExtSeq(70_000)));
        let mut last = ExtSeq(0);
        for n in 0..3 * packets {
            last = history.push(start + Duration::from_secs(1) * n as u32 / packets as u32, sent(n));
        }
        (history, last)
    }

    #[test]
    fn a_second_is_remembered_in_as_much_memory_as_it_needs() {
        for (packets, entries) in [(20, 64), (60, 64), (100, 128), (150, 192), (250, 256), (500, 512), (2000, 512)] {
            let (history, last) = after(packets);
            assert_eq!(history.entries.len(), entries, "{packets}");
            for back in 0..packets.min(entries as u64) {
                let kept = history.get(ExtSeq(last.0 - back)).unwrap().packet();
                assert_eq!(kept, Some((EncodingIndex(0), ExtSeq(3 * packets - 1 - back))), "{packets}, {back} back");
            }
        }
    }

    #[test]
    fn more_than_a_second_is_remembered_where_it_is_asked_for_later() {
        let start = Instant::now();
        let at = |n: u64| start + Duration::from_millis(10) * n as u32;
        for (time, kept) in [(500, false), (1500, true)] {
            let mut history = History::new(VIDEO_PACKETS, ExtSeq(70_000));
            history.remember(Duration::from_millis(time));
            let last = (0..400).map(|n| history.push(at(n), sent(n))).last().unwrap();
            let entry = history.get(ExtSeq(last.0 - 145));
            assert_eq!(entry.is_some_and(|entry| entry.packet().is_some()), kept, "{time}");
        }
    }

    #[test]
    fn a_gap_is_remembered_with_what_was_sent_before_it() {
        let (now, mut history) = (Instant::now(), History::new(VIDEO_PACKETS, ExtSeq(70_000)));
        let first = history.push(now, sent(0));
        history.reserve(now, reserved(1), 300);
        assert!(history.get(first).unwrap().packet().is_some());
        for missing in [1, 150, 300] {
            let (number, _) = history.find_reserved(EncodingIndex(0), ExtSeq(missing)).unwrap();
            assert_eq!(number, ExtSeq(70_000 + missing));
        }
    }
}
