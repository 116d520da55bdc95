//! Redundant audio (RFC 2198): a payload that repeats older packets in front of its own.
//!
//! The uplink takes payloads apart; a slot puts them together again for receivers that take redundancy, under their
//! payload types.

use crate::units::PayloadType;

/// Bytes of an older block's header; that of the newest has one.
const HEADER: usize = 4;

/// A payload taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redundant<'a> {
    /// What the newest block is encoded with.
    pub payload_type: PayloadType,
    /// The newest block.
    pub newest: &'a [u8],
    headers: &'a [u8],
    blocks: &'a [u8],
}

/// An older packet, repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// What it is encoded with.
    pub payload_type: PayloadType,
    /// By how many clock ticks it is older than the newest; 14 bits.
    pub offset: u16,
    /// Its payload, of 1023 bytes at most.
    pub bytes: &'a [u8],
}

impl<'a> Redundant<'a> {
    /// `None` where the headers do not fit the payload.
    ///
    /// Each header of an older block is four bytes: a set bit, payload type (7 bits), timestamp offset (14), length
    /// (10). That of the newest is one byte: a clear bit and the payload type.
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let (mut rest, mut older, mut count) = (payload, 0, 0);
        loop {
            match rest {
                [first, blocks @ ..] if first & 0x80 == 0 => {
                    let (blocks, newest) = blocks.split_at_checked(older)?;
                    let headers = payload.get(..count * HEADER)?;
                    return Some(Redundant { payload_type: PayloadType(*first), newest, headers, blocks });
                }
                [_, _, high, low, tail @ ..] => {
                    older += usize::from(u16::from_be_bytes([*high & 0x03, *low]));
                    count += 1;
                    rest = tail;
                }
                _ => return None,
            }
        }
    }

    /// The older packets, oldest first as they stand.
    pub fn older(&self) -> impl Iterator<Item = Block<'a>> + Clone + use<'a> {
        let (headers, mut blocks) = (self.headers.as_chunks::<HEADER>().0, self.blocks);
        headers.iter().map_while(move |[first, a, b, c]| {
            let both = u32::from_be_bytes([0, *a, *b, *c]);
            let (bytes, rest) = blocks.split_at_checked((both & 0x3FF) as usize)?;
            blocks = rest;
            Some(Block { payload_type: PayloadType(first & 0x7F), offset: (both >> 10) as u16, bytes })
        })
    }
}

/// Appends a payload of these older blocks and the newest one, all of one payload type.
pub fn write<'a>(
    older: impl Iterator<Item = Block<'a>> + Clone,
    payload_type: PayloadType,
    newest: &[u8],
    out: &mut Vec<u8>,
) {
    for block in older.clone() {
        let [_, a, b, c] =
            ((u32::from(block.offset) & 0x3FFF) << 10 | (block.bytes.len() as u32 & 0x3FF)).to_be_bytes();
        out.extend([0x80 | payload_type.0, a, b, c]);
    }
    out.push(payload_type.0 & 0x7F);
    for block in older {
        out.extend_from_slice(block.bytes);
    }
    out.extend_from_slice(newest);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const OPUS: PayloadType = PayloadType(111);

    #[test]
    fn the_last_block_is_the_newest() {
        let alone = Redundant::parse(&[111, 7, 8]).unwrap();
        assert_eq!((alone.payload_type, alone.newest, alone.older().count()), (OPUS, &[7, 8][..], 0));
        let twice = [0x80 | 111, 0x0F, 0x00, 2, 0x80 | 111, 0x07, 0x80, 1, 111, 1, 2, 3, 7, 8];
        let twice = Redundant::parse(&twice).unwrap();
        assert_eq!((twice.payload_type, twice.newest), (OPUS, &[7, 8][..]));
        let older: Vec<_> = twice.older().map(|block| (block.payload_type, block.offset, block.bytes)).collect();
        assert_eq!(older, [(OPUS, 960, &[1, 2][..]), (OPUS, 480, &[3][..])]);
    }

    #[test]
    fn headers_that_promise_more_than_there_is_are_refused() {
        for payload in [&[][..], &[0x80 | 111, 0, 0], &[0x80 | 111, 0, 0, 1], &[0x80 | 111, 0, 0, 3, 111, 1, 2]] {
            assert_eq!(Redundant::parse(payload), None, "{payload:?}");
        }
        let empty = [0x80 | 111, 0, 0, 2, 111, 1, 2];
        assert!(Redundant::parse(&empty).unwrap().newest.is_empty());
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(of) = Redundant::parse(&payload) {
                prop_assert!(payload.ends_with(of.newest));
                let older: usize = of.older().map(|block| HEADER + block.bytes.len()).sum();
                prop_assert_eq!(older + 1 + of.newest.len(), payload.len());
            }
        }

        #[test]
        fn what_is_written_is_read_again(
            older in prop::collection::vec((0u16..1 << 14, prop::collection::vec(any::<u8>(), 0..40)), 0..4),
            newest in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let blocks = older.iter().map(|(offset, bytes)| Block { payload_type: OPUS, offset: *offset, bytes });
            let mut out = vec![];
            write(blocks.clone(), OPUS, &newest, &mut out);
            let read = Redundant::parse(&out).unwrap();
            prop_assert!(read.older().eq(blocks));
            prop_assert_eq!((read.payload_type, read.newest), (OPUS, &newest[..]));
        }
    }
}
