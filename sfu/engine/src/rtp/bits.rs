//! Bits, most significant first: a reader that ends at the end of its bytes, and a writer. For descriptors and codec
//! headers.

/// Reads bits. A read that passes the end of the bytes returns `None`.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    /// Starts at the first bit of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, at: 0 }
    }

    /// Bits read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// One bit.
    pub fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// `count` bits as a number; at most 32.
    pub fn read(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0u32, |value, _| Some((value << 1) | u32::from(self.flag()?)))
    }

    /// As [`BitReader::read`], for at most 8 bits.
    pub fn byte(&mut self, count: u32) -> Option<u8> {
        self.read(count.min(8)).map(|value| value as u8)
    }

    /// A number below `limit` in the non-symmetric code ns(n) of AV1 (section 4.10.7). `limit` must not be 0.
    pub fn non_symmetric(&mut self, limit: u32) -> Option<u32> {
        let width = 32 - limit.leading_zeros();
        let short = (1u64 << width) - u64::from(limit);
        let value = u64::from(self.read(width.checked_sub(1)?)?);
        if value < short {
            return Some(value as u32);
        }
        Some(((value << 1) - short + u64::from(self.flag()?)) as u32)
    }
}

/// Writes bits; the last byte is filled up with zeros.
#[derive(Clone, Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    len: usize,
}

impl BitWriter {
    /// Writes into `memory`, whose content is forgotten.
    pub fn reusing(mut memory: Vec<u8>) -> Self {
        memory.clear();
        BitWriter { bytes: memory, len: 0 }
    }

    /// The bytes written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Appends one bit.
    pub fn flag(&mut self, bit: bool) {
        if self.len.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (7 - self.len % 8);
        }
        self.len += 1;
    }

    /// Appends the `count` low bits of `value`.
    pub fn write(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            self.flag(value >> bit & 1 == 1);
        }
    }

    /// Appends `value` in the code that [`BitReader::non_symmetric`] reads.
    pub fn non_symmetric(&mut self, value: u32, limit: u32) {
        let width = 32 - limit.leading_zeros();
        let short = ((1u64 << width) - u64::from(limit)) as u32;
        match value < short {
            true => self.write(value, width.saturating_sub(1)),
            false => self.write(value + short, width),
        }
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_end_of_the_bytes_is_the_end() {
        let mut bits = BitReader::new(&[0b1010_0000]);
        assert_eq!((bits.read(3), bits.position()), (Some(0b101), 3));
        assert_eq!(bits.read(6), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(fields in proptest::collection::vec((any::<u32>(), 1u32..=32), 0..20)) {
            let mut writer = BitWriter::default();
            for (value, count) in &fields {
                writer.write(*value, *count);
            }
            let mut reader = BitReader::new(writer.bytes());
            for (value, count) in &fields {
                prop_assert_eq!(reader.read(*count).unwrap(), (u64::from(*value) & ((1u64 << count) - 1)) as u32);
            }
        }

        #[test]
        fn non_symmetric_numbers_are_read_as_written(limit in 1u32..100, value in 0u32..100) {
            let value = value % limit;
            let mut writer = BitWriter::default();
            writer.non_symmetric(value, limit);
            prop_assert_eq!(BitReader::new(writer.bytes()).non_symmetric(limit).unwrap_or(0), value);
        }
    }
}
