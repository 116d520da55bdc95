//! The RTP header that all packets of one source share, made once: per packet its numbers are put in, and the block is
//! copied whole.
//!
//! Owned by a [`Slot`](crate::downlink::slot::Slot), which makes it anew where its extensions change.
//! [`write_header`](crate::rtp::packet::write_header) writes the general case.

use crate::rtp::extension::{AbsSendTime, write_transport_cc};
use crate::rtp::packet::{EXTENSION_BIT, FIXED_HEADER, ONE_BYTE_MAX_ID, ONE_BYTE_MAX_LEN, ONE_BYTE_PROFILE, RtpHeader};
use crate::sdp::{ExtensionKind, ExtensionMap};

/// Longest header, with all that a packet can be passed on with.
const CAPACITY: usize = 256;
/// Extension block: where its length stands, and its first element.
const WORDS_AT: usize = FIXED_HEADER + 2;
const BLOCK_AT: usize = FIXED_HEADER + 4;

/// What differs from packet to packet in the elements that the server writes itself.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Transport-wide sequence number.
    pub transport_seq: u16,
    /// When it is sent, on the engine's time line in microseconds.
    pub sent_us: i64,
}

/// A header with the server's own elements: transport-wide sequence number, send time, MID.
#[derive(Clone, Debug)]
pub struct HeaderTemplate {
    bytes: [u8; CAPACITY],
    /// Where the elements end, before the block is filled up to whole words.
    len: usize,
    /// Where the numbers stand in `bytes`.
    transport_seq_at: Option<usize>,
    sent_at: Option<usize>,
}

impl HeaderTemplate {
    /// For the ids of a section; `mid` where packets have to tell theirs. `None` where the elements need the two-byte
    /// form.
    pub fn new(ids: &ExtensionMap, mid: Option<&[u8]>) -> Option<HeaderTemplate> {
        let mut template =
            HeaderTemplate { bytes: [0; CAPACITY], len: BLOCK_AT, transport_seq_at: None, sent_at: None };
        template.bytes.get_mut(FIXED_HEADER..WORDS_AT)?.copy_from_slice(&ONE_BYTE_PROFILE.to_be_bytes());
        template.transport_seq_at = template.add(ids, ExtensionKind::TransportCc, &[0; 2])?;
        template.sent_at = template.add(ids, ExtensionKind::AbsSendTime, &[0; 3])?;
        if let Some(mid) = mid {
            template.add(ids, ExtensionKind::Mid, mid)?;
        }
        Some(template)
    }

    /// Adds an element of the server's own, where the kind was negotiated, and returns where its bytes stand; `None`
    /// where it does not fit.
    fn add(&mut self, ids: &ExtensionMap, kind: ExtensionKind, data: &[u8]) -> Option<Option<usize>> {
        let Some(id) = ids.id(kind) else { return Some(None) };
        let at = self.len + 1;
        self.len = self.put(self.len, id, data)?;
        Some(Some(at))
    }

    /// Writes an element of the one-byte form (RFC 8285 section 4.2) at `end`, and returns where it ends; `None` where
    /// it does not fit.
    #[inline]
    fn put(&mut self, end: usize, id: u8, data: &[u8]) -> Option<usize> {
        let fits = id <= ONE_BYTE_MAX_ID && (1..=ONE_BYTE_MAX_LEN).contains(&data.len());
        let [first, rest @ ..] = self.bytes.get_mut(end..).filter(|_| fits)? else { return None };
        rest.get_mut(..data.len())?.copy_from_slice(data);
        *first = (id << 4) | (data.len() - 1) as u8;
        Some(end + 1 + data.len())
    }

    /// Appends the header of a packet with `others` (id, bytes) behind the own elements. False, and nothing is
    /// appended, where one of them does not fit the one-byte form.
    #[inline]
    pub fn write<'a>(
        &mut self,
        out: &mut Vec<u8>,
        header: &RtpHeader,
        stamp: Stamp,
        others: impl Iterator<Item = (u8, &'a [u8])>,
    ) -> bool {
        if let Some(fixed) = self.bytes.first_chunk_mut() {
            *fixed = header.to_bytes();
        }
        if let Some(place) = self.transport_seq_at.and_then(|at| self.bytes.get_mut(at..at + 2)) {
            place.copy_from_slice(&write_transport_cc(stamp.transport_seq));
        }
        if let Some(place) = self.sent_at.and_then(|at| self.bytes.get_mut(at..at + 3)) {
            place.copy_from_slice(&AbsSendTime::at(stamp.sent_us).write());
        }
        let mut end = self.len;
        for (id, data) in others {
            let Some(next) = self.put(end, id, data) else { return false };
            end = next;
        }
        self.append(out, end).is_some()
    }

    /// Appends the header with elements up to `end`: the block is filled up to whole words, and tells its length in
    /// these.
    fn append(&mut self, out: &mut Vec<u8>, end: usize) -> Option<()> {
        if end == BLOCK_AT {
            out.extend_from_slice(self.bytes.get(..FIXED_HEADER)?);
            return Some(());
        }
        let whole = end.next_multiple_of(4);
        self.bytes.get_mut(end..whole)?.fill(0);
        let words = ((whole - BLOCK_AT) / 4) as u16;
        self.bytes.get_mut(WORDS_AT..BLOCK_AT)?.copy_from_slice(&words.to_be_bytes());
        *self.bytes.first_mut()? |= EXTENSION_BIT;
        out.extend_from_slice(self.bytes.get(..whole)?);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::rtp::packet::{RtpPacket, write_header};
    use crate::units::{PayloadType, RtpTime, SeqNo, Ssrc};
    use proptest::prelude::*;

    const STAMP: Stamp = Stamp { transport_seq: 0xABCD, sent_us: 64_500_000 };

    fn header(seq: u16) -> RtpHeader {
        RtpHeader {
            marker: seq.is_multiple_of(2),
            payload_type: PayloadType(96),
            seq: SeqNo(seq),
            timestamp: RtpTime(seq.into()),
            ssrc: Ssrc(0x0102_0304),
        }
    }

    #[test]
    fn elements_beyond_the_one_byte_form_make_no_template() {
        assert!(HeaderTemplate::new(&ExtensionMap::of(&[(ExtensionKind::TransportCc, 20)]), None).is_none());
        assert!(HeaderTemplate::new(&ExtensionMap::of(&[(ExtensionKind::Mid, 4)]), Some(&[b'm'; 17])).is_none());
    }

    #[test]
    fn what_does_not_fit_is_told_and_appends_nothing() {
        let mut template = HeaderTemplate::new(&ExtensionMap::of(&[(ExtensionKind::TransportCc, 3)]), None).unwrap();
        for (id, data) in [(15, &[1][..]), (4, &[]), (4, &[1; 17])] {
            let mut out = vec![9];
            assert!(!template.write(&mut out, &header(1), STAMP, [(id, data)].into_iter()));
            assert_eq!(out, [9]);
        }
        let many: Vec<_> = (0..20).map(|_| (4, &[1; 16][..])).collect();
        assert!(!template.write(&mut Vec::new(), &header(1), STAMP, many.into_iter()), "more than it has room for");
    }

    proptest! {
        #[test]
        fn headers_are_those_of_the_general_writer(
            own in proptest::sample::subsequence(
                vec![(ExtensionKind::TransportCc, 3), (ExtensionKind::AbsSendTime, 14), (ExtensionKind::Mid, 1)], 0..=3),
            others in proptest::collection::vec((1u8..14, proptest::collection::vec(any::<u8>(), 1..16)), 0..5),
            with_mid in any::<bool>(),
        ) {
            let ids = ExtensionMap::of(&own);
            let mid = with_mid.then_some(&b"mid"[..]);
            let mut template = HeaderTemplate::new(&ids, mid).unwrap();
            // What a longer header has left behind must not show in the next one.
            for count in [others.len(), 0, others.len()] {
                let others = others.iter().take(count).map(|(id, data)| (*id, data.as_slice()));
                let mut out = vec![7; 5];
                prop_assert!(template.write(&mut out, &header(count as u16), STAMP, others.clone()));
                let (seq, sent) = (write_transport_cc(STAMP.transport_seq), AbsSendTime::at(STAMP.sent_us).write());
                let first = [(ExtensionKind::TransportCc, Some(&seq[..])), (ExtensionKind::AbsSendTime, Some(&sent[..])), (ExtensionKind::Mid, mid)];
                let first = first.into_iter().filter_map(|(kind, data)| Some((ids.id(kind)?, data?)));
                let mut expected = vec![7; 5];
                write_header(&mut expected, &header(count as u16), first.chain(others), false);
                prop_assert_eq!(&out, &expected);
                prop_assert!(RtpPacket::parse(&out[5..]).is_some());
            }
        }
    }
}
