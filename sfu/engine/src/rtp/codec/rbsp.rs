//! Bits of the parameter sets of H.264 and H.265 (ITU-T H.264 sections 7.3.1 and 9.1).

/// Reads bits, most significant first, passing over emulation prevention bytes (00 00 03).
pub(super) struct Bits<'a> {
    bytes: std::slice::Iter<'a, u8>,
    current: u8,
    left: u8,
    zeros: u8,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Bits { bytes: bytes.iter(), current: 0, left: 0, zeros: 0 }
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        if self.left == 0 {
            let mut byte = *self.bytes.next()?;
            if self.zeros >= 2 && byte == 3 {
                self.zeros = 0;
                byte = *self.bytes.next()?;
            }
            self.zeros = if byte == 0 { self.zeros.saturating_add(1) } else { 0 };
            (self.current, self.left) = (byte, 8);
        }
        self.left -= 1;
        Some((self.current >> self.left) & 1 == 1)
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
