//! Bits of the parameter sets of H.264 and H.265 (ITU-T H.264 sections 7.3.1 and 9.1).
//!
//! Own code rather than a crate: crates parse whole parameter sets, of which the engine needs the picture size and
//! little else.

use crate::rtp::bits::BitReader;

/// Reads bits, most significant first, passing over emulation prevention bytes (00 00 03).
pub(super) struct RbspReader<'a> {
    bytes: &'a [u8],
    bits: BitReader<'a>,
}

impl<'a> RbspReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        RbspReader { bytes, bits: BitReader::new(bytes) }
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let at = self.bits.position();
        if at.is_multiple_of(8) && self.is_emulation_prevention(at / 8) {
            self.bits.read(8)?;
        }
        self.bits.flag()
    }

    fn is_emulation_prevention(&self, at: usize) -> bool {
        let start = at.checked_sub(2);
        start.and_then(|start| self.bytes.get(start..=at)).is_some_and(|bytes| bytes == [0, 0, 3])
    }

    pub(super) fn read(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0u32, |value, _| Some((value << 1) | u32::from(self.flag()?)))
    }

    pub(super) fn skip(&mut self, count: u32) -> Option<()> {
        self.read(count).map(drop)
    }

    /// ue(v). Codes of more than 31 zeros do not occur.
    pub(super) fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let low = self.read(zeros)?;
        Some(((1u64 << zeros) - 1 + u64::from(low)) as u32)
    }

    /// se(v).
    pub(super) fn signed_golomb(&mut self) -> Option<i32> {
        let code = i64::from(self.golomb()?);
        let value = if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) };
        // Scaling deltas lie in -128..=127.
        i32::try_from(value).ok().filter(|v| v.abs() <= 128)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulation_prevention_bytes_are_no_content() {
        let content = |bytes: &[u8]| {
            let mut reader = RbspReader::new(bytes);
            std::iter::from_fn(|| reader.read(8)).collect::<Vec<_>>()
        };
        assert_eq!(content(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 3]), [0, 0, 1, 0, 0, 0, 0, 3]);
        assert_eq!(content(&[0, 0, 0, 3, 3, 3]), [0, 0, 0, 3, 3]);
        assert_eq!(content(&[0, 3, 0, 0, 3]), [0, 3, 0, 0]);
    }
}
