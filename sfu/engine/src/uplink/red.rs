//! Redundant audio of a publisher (RFC 2198): the newest block is taken, the repetitions of older ones before it are left out.

use crate::units::PayloadType;

/// The last block of a payload: what it is encoded with, and its bytes. `None` where the headers do not fit the payload.
///
/// Each header of an older block is four bytes: a set bit, payload type (7 bits), timestamp offset (14), length (10). That of the last is
/// one byte: a clear bit and the payload type.
pub fn newest(payload: &[u8]) -> Option<(PayloadType, &[u8])> {
    let (mut rest, mut older) = (payload, 0);
    loop {
        match rest {
            [first, blocks @ ..] if first & 0x80 == 0 => {
                return blocks.get(older..).map(|block| (PayloadType(*first), block));
            }
            [_, _, high, low, tail @ ..] => {
                older += usize::from(u16::from_be_bytes([*high & 0x03, *low]));
                rest = tail;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_block_is_the_newest() {
        assert_eq!(newest(&[111, 7, 8]), Some((PayloadType(111), &[7, 8][..])));
        let twice = [0x80 | 111, 0x0F, 0x00, 2, 0x80 | 111, 0x07, 0x80, 1, 111, 1, 2, 3, 7, 8];
        assert_eq!(newest(&twice), Some((PayloadType(111), &[7, 8][..])));
    }

    #[test]
    fn headers_that_promise_more_than_there_is_are_refused() {
        for payload in [&[][..], &[0x80 | 111, 0, 0], &[0x80 | 111, 0, 0, 1], &[0x80 | 111, 0, 0, 3, 111, 1, 2]] {
            assert_eq!(newest(payload), None, "{payload:?}");
        }
        assert_eq!(newest(&[0x80 | 111, 0, 0, 2, 111, 1, 2]), Some((PayloadType(111), &[][..])));
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some((_, block)) = newest(&payload) {
                prop_assert!(payload.ends_with(block));
            }
        }
    }
}
