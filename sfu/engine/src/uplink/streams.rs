//! Which encoding a source (SSRC) belongs to: declared in the SDP, or learned from the first packets' header
//! extensions.
//!
//! One [`StreamTable`] per participant. `Uplink::configure` fills it after each negotiation; the uplink looks every
//! packet up and offers unknown sources to [`StreamTable::learn`], with the MID, RID and repaired RID that the packet
//! carries (RFC 9143, RFC 8852). An encoding has at most one source for media and one for retransmissions, which bounds
//! the table.

use crate::ids::EncodingIndex;
use crate::units::{Mid, PayloadType, Rid, Ssrc};
use std::time::{Duration, Instant};

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamRef {
    /// The section, by the key that its [`SectionStreams`] gave.
    pub section: u32,
    /// The encoding within the section.
    pub encoding: EncodingIndex,
    /// Whether the source carries retransmissions of the encoding rather than the encoding itself.
    pub is_rtx: bool,
}

/// One section on which the participant sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionStreams {
    /// How [`StreamRef`] names this section; the caller chooses it, the same for the same track in every configuration.
    pub section: u32,
    /// Its media identification.
    pub mid: Mid,
    /// Its encodings, lowest first: one, or several that differ by rid.
    pub encodings: Vec<EncodingStreams>,
    /// Payload types of media that no other section uses. They identify the section where a packet carries no MID.
    pub unique_payloads: Vec<PayloadType>,
    /// Payload types of retransmissions, unique or not.
    pub rtx_payloads: Vec<PayloadType>,
}

/// One encoding as negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodingStreams {
    /// Its rid, where the section has several.
    pub rid: Option<Rid>,
    /// Its source, where `a=ssrc` declares it.
    pub ssrc: Option<Ssrc>,
    /// Its retransmission source, where `a=ssrc-group:FID` declares it.
    pub rtx_ssrc: Option<Ssrc>,
}

/// What a packet of an unknown source says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Its MID extension.
    pub mid: Option<Mid>,
    /// Its RtpStreamId extension.
    pub rid: Option<Rid>,
    /// Its RepairedRtpStreamId extension.
    pub repaired_rid: Option<Rid>,
    /// Its payload type.
    pub payload_type: PayloadType,
}

/// The sources of one participant.
#[derive(Clone, Debug, Default)]
pub struct StreamTable {
    sections: Vec<SectionStreams>,
    /// In ascending order of source.
    bindings: Vec<(Ssrc, StreamRef)>,
    /// Sources that were replaced of late, with the moment.
    retired: Vec<(Ssrc, Instant)>,
}

impl StreamTable {
    /// How long a replaced source is not learned again: its last packets in flight must not take the stream back.
    pub const RETIREMENT: Duration = Duration::from_secs(2);
    /// Replaced sources remembered.
    const MAX_RETIRED: usize = 16;

    /// Takes the sections of a new negotiation. What was learned stays, where section and encoding are still there.
    pub fn configure(&mut self, sections: Vec<SectionStreams>) {
        let before = std::mem::replace(&mut self.sections, sections);
        let learned = std::mem::take(&mut self.bindings);
        for section in 0..self.sections.len() {
            self.bind_declared(section);
        }
        for (ssrc, stream) in learned {
            let same = names(&before, stream).is_some_and(|old| names(&self.sections, stream) == Some(old));
            if same && self.lookup(ssrc).is_none() && self.source_of(stream).is_none() {
                self.insert(ssrc, stream);
            }
        }
    }

    /// What `ssrc` is, if known.
    pub fn lookup(&self, ssrc: Ssrc) -> Option<StreamRef> {
        let index = self.bindings.binary_search_by_key(&ssrc, |(ssrc, _)| *ssrc).ok()?;
        self.bindings.get(index).map(|(_, stream)| *stream)
    }

    /// Finds out what an unknown `ssrc` is. `None` where its packet does not say; a later one may. A source that was
    /// the same stream until now is replaced: the encoder started over.
    pub fn learn(&mut self, now: Instant, ssrc: Ssrc, announcement: &Announcement) -> Option<StreamRef> {
        self.retired.retain(|(_, since)| now.saturating_duration_since(*since) < Self::RETIREMENT);
        if self.lookup(ssrc).is_some() || self.retired.iter().any(|(retired, _)| *retired == ssrc) {
            return None;
        }
        let stream = self.identify(announcement)?;
        if let Some(old) = self.source_of(stream) {
            self.bindings.retain(|(ssrc, _)| *ssrc != old);
            if self.retired.len() == Self::MAX_RETIRED {
                self.retired.remove(0);
            }
            self.retired.push((old, now));
        }
        self.insert(ssrc, stream);
        Some(stream)
    }

    /// The source of a stream, if known: where key frame requests, NACKs and reports go to.
    pub fn source_of(&self, stream: StreamRef) -> Option<Ssrc> {
        self.bindings.iter().find(|(_, bound)| *bound == stream).map(|(ssrc, _)| *ssrc)
    }

    /// Every known source, in ascending order.
    pub fn sources(&self) -> impl Iterator<Item = (Ssrc, StreamRef)> {
        self.bindings.iter().copied()
    }

    fn bind_declared(&mut self, index: usize) {
        let Some(section) = self.sections.get(index) else { return };
        let key = section.section;
        let declared: Vec<_> = (0..=u8::MAX)
            .zip(&section.encodings)
            .flat_map(|(index, encoding)| {
                let stream = |is_rtx| StreamRef { section: key, encoding: EncodingIndex(index), is_rtx };
                let media = encoding.ssrc.map(|ssrc| (ssrc, stream(false)));
                media.into_iter().chain(encoding.rtx_ssrc.map(|ssrc| (ssrc, stream(true))))
            })
            .collect();
        for (ssrc, stream) in declared {
            self.insert(ssrc, stream);
        }
    }

    /// Binds `ssrc` unless it is bound: of two sections that declare the same source, the first has it.
    fn insert(&mut self, ssrc: Ssrc, stream: StreamRef) {
        if let Err(index) = self.bindings.binary_search_by_key(&ssrc, |(ssrc, _)| *ssrc) {
            self.bindings.insert(index, (ssrc, stream));
        }
    }

    fn identify(&self, announcement: &Announcement) -> Option<StreamRef> {
        let section = self.section_of(announcement)?;
        let rid = announcement.repaired_rid.or(announcement.rid);
        let encoding = match (rid, section.encodings.len()) {
            // A section that negotiated no rid has one encoding, whatever it may be called.
            (_, 1) if section.encodings.iter().all(|encoding| encoding.rid.is_none()) => 0,
            (None, 1) => 0,
            (None, _) => return None,
            (Some(_), _) => section.encodings.iter().position(|encoding| encoding.rid == rid)?,
        };
        let is_rtx = announcement.repaired_rid.is_some() || section.rtx_payloads.contains(&announcement.payload_type);
        Some(StreamRef { section: section.section, encoding: EncodingIndex(u8::try_from(encoding).ok()?), is_rtx })
    }

    /// By MID; without one by a payload type that is unique; then by a rid that is (RFC 9143 section 9.2).
    fn section_of(&self, announcement: &Announcement) -> Option<&SectionStreams> {
        if let Some(mid) = announcement.mid {
            return self.sections.iter().find(|section| section.mid == mid);
        }
        let payload_type = announcement.payload_type;
        let by_payload = self.only_section(|section| section.unique_payloads.contains(&payload_type));
        by_payload.or_else(|| {
            let rid = announcement.repaired_rid.or(announcement.rid)?;
            self.only_section(|section| section.encodings.iter().any(|encoding| encoding.rid == Some(rid)))
        })
    }

    fn only_section(&self, matches: impl Fn(&SectionStreams) -> bool) -> Option<&SectionStreams> {
        let mut found = self.sections.iter().filter(|section| matches(section));
        found.next().filter(|_| found.next().is_none())
    }
}

/// What a stream is called on the wire: the same names in two negotiations mean the same stream.
fn names(sections: &[SectionStreams], stream: StreamRef) -> Option<(Mid, Option<Rid>)> {
    let section = sections.iter().find(|section| section.section == stream.section)?;
    let encoding = section.encodings.get(usize::from(stream.encoding.0))?;
    Some((section.mid, encoding.rid))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    const VP8: PayloadType = PayloadType(96);
    const RTX: PayloadType = PayloadType(97);
    const OPUS: PayloadType = PayloadType(111);

    fn mid(text: &str) -> Option<Mid> {
        Some(Mid::new(text).unwrap())
    }

    fn section(key: u32, rids: &[&str], unique: &[PayloadType]) -> SectionStreams {
        let encodings = if rids.is_empty() {
            vec![EncodingStreams::default()]
        } else {
            rids.iter().map(|rid| EncodingStreams { rid: mid(rid), ..EncodingStreams::default() }).collect()
        };
        let unique_payloads = unique.to_vec();
        SectionStreams {
            section: key,
            mid: mid(&key.to_string()).unwrap(),
            encodings,
            unique_payloads,
            rtx_payloads: vec![RTX],
        }
    }

    /// Section 0: audio. Section 1: simulcast camera. Section 2: a screen with one encoding.
    fn table() -> StreamTable {
        let mut table = StreamTable::default();
        table.configure(vec![section(0, &[], &[OPUS]), section(1, &["q", "h", "f"], &[]), section(2, &[], &[])]);
        table
    }

    fn stream(section: u32, encoding: u8, is_rtx: bool) -> StreamRef {
        StreamRef { section, encoding: EncodingIndex(encoding), is_rtx }
    }

    const SILENT: Announcement = Announcement { mid: None, rid: None, repaired_rid: None, payload_type: VP8 };

    fn learn(table: &mut StreamTable, ssrc: u32, announcement: Announcement) -> Option<StreamRef> {
        table.learn(Instant::now(), Ssrc(ssrc), &announcement)
    }

    #[test]
    fn declared_sources_are_known_at_once() {
        let mut table = StreamTable::default();
        let mut camera = section(1, &[], &[]);
        camera.encodings[0] = EncodingStreams { rid: None, ssrc: Some(Ssrc(10)), rtx_ssrc: Some(Ssrc(11)) };
        let mut copy = section(2, &[], &[]);
        copy.encodings[0].ssrc = Some(Ssrc(10));
        table.configure(vec![camera, copy]);
        assert_eq!(table.lookup(Ssrc(10)), Some(stream(1, 0, false)), "the first that declares it has it");
        assert_eq!(table.lookup(Ssrc(11)), Some(stream(1, 0, true)));
        assert_eq!(table.lookup(Ssrc(12)), None);
        assert_eq!(table.source_of(stream(1, 0, true)), Some(Ssrc(11)));
    }

    #[test]
    fn simulcast_encodings_are_learned_by_mid_and_rid() {
        let mut table = table();
        let announcement = Announcement { mid: mid("1"), rid: mid("f"), ..SILENT };
        assert_eq!(learn(&mut table, 30, announcement), Some(stream(1, 2, false)));
        assert_eq!(table.lookup(Ssrc(30)), Some(stream(1, 2, false)));
        assert_eq!(learn(&mut table, 31, Announcement { rid: mid("x"), ..announcement }), None, "no such rid");
        assert_eq!(learn(&mut table, 31, Announcement { mid: mid("9"), ..announcement }), None, "no such mid");
        assert_eq!(learn(&mut table, 31, Announcement { rid: None, ..announcement }), None, "which of three?");
        assert_eq!(table.sources().count(), 1);
    }

    #[test]
    fn retransmissions_are_learned_by_the_repaired_rid() {
        let mut table = table();
        let announcement = Announcement { mid: mid("1"), repaired_rid: mid("q"), payload_type: RTX, ..SILENT };
        assert_eq!(learn(&mut table, 40, announcement), Some(stream(1, 0, true)));
    }

    #[test]
    fn where_a_section_has_one_encoding_the_mid_is_enough() {
        let mut table = table();
        let announcement = Announcement { mid: mid("2"), ..SILENT };
        assert_eq!(learn(&mut table, 50, announcement), Some(stream(2, 0, false)));
        assert_eq!(learn(&mut table, 51, Announcement { payload_type: RTX, ..announcement }), Some(stream(2, 0, true)));
    }

    #[test]
    fn without_a_mid_a_unique_payload_type_or_rid_tells_the_section() {
        let mut table = table();
        assert_eq!(learn(&mut table, 60, Announcement { payload_type: OPUS, ..SILENT }), Some(stream(0, 0, false)));
        assert_eq!(learn(&mut table, 61, SILENT), None, "two sections send VP8");
        assert_eq!(learn(&mut table, 61, Announcement { rid: mid("h"), ..SILENT }), Some(stream(1, 1, false)));
        table.configure(vec![section(1, &["q", "h"], &[]), section(2, &["q", "h"], &[])]);
        assert_eq!(learn(&mut table, 62, Announcement { rid: mid("q"), ..SILENT }), None, "two sections have that rid");
    }

    #[test]
    fn an_encoder_that_starts_over_with_another_source_takes_its_stream_along() {
        let (mut table, now) = (table(), Instant::now());
        let announcement = Announcement { mid: mid("1"), rid: mid("q"), ..SILENT };
        for ssrc in [Ssrc(70), Ssrc(71)] {
            assert_eq!(table.learn(now, ssrc, &announcement), Some(stream(1, 0, false)));
        }
        assert_eq!((table.lookup(Ssrc(70)), table.lookup(Ssrc(71))), (None, Some(stream(1, 0, false))));
    }

    #[test]
    fn the_last_packets_of_a_replaced_source_do_not_take_the_stream_back() {
        let (mut table, now) = (table(), Instant::now());
        let announcement = Announcement { mid: mid("1"), rid: mid("q"), ..SILENT };
        table.learn(now, Ssrc(70), &announcement);
        table.learn(now, Ssrc(71), &announcement);
        assert_eq!(table.learn(now + Duration::from_secs(1), Ssrc(70), &announcement), None);
        let later = now + Duration::from_secs(3);
        assert!(table.learn(later, Ssrc(70), &announcement).is_some(), "after a while it may come back");
        assert_eq!(table.lookup(Ssrc(71)), None);
    }

    #[test]
    fn a_flood_of_sources_does_not_grow_the_table() {
        let (mut table, now) = (table(), Instant::now());
        let rids = [mid("q"), mid("h"), mid("f"), None];
        for n in 0..65_000u32 {
            let announcement = Announcement {
                mid: [mid("0"), mid("1"), mid("2"), mid("3")][n as usize % 4],
                rid: rids[n as usize / 4 % 4],
                repaired_rid: rids[n as usize / 16 % 4],
                payload_type: [VP8, RTX, OPUS][n as usize % 3],
            };
            table.learn(now, Ssrc(n), &announcement);
        }
        assert!(table.sources().count() <= 2 * 5, "{:?}", table.bindings);
        assert!(table.retired.len() <= StreamTable::MAX_RETIRED);
    }

    #[test]
    fn a_new_negotiation_keeps_what_was_learned_of_sections_that_stay() {
        let mut table = table();
        let camera = Announcement { mid: mid("1"), rid: mid("h"), ..SILENT };
        learn(&mut table, 80, camera);
        learn(&mut table, 81, Announcement { mid: mid("2"), ..SILENT });
        // The screen ends, its key goes to another section, and a new one comes.
        let mut recycled = section(2, &[], &[]);
        recycled.mid = mid("7").unwrap();
        table.configure(vec![
            section(0, &[], &[OPUS]),
            section(1, &["q", "h", "f"], &[]),
            recycled,
            section(3, &[], &[]),
        ]);
        assert_eq!(table.lookup(Ssrc(80)), Some(stream(1, 1, false)));
        assert_eq!(table.lookup(Ssrc(81)), None);
        table.configure(vec![section(1, &["h", "f"], &[])]);
        assert_eq!(table.lookup(Ssrc(80)), None, "its index means another encoding now");
    }
}
