//! A reader over bytes in network order, with which the engine takes apart what comes from outside: RTP payload
//! descriptors, RTCP, DTLS and data frames.

/// What is left to read. A read that would pass the end takes nothing and returns `None`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteReader<'a>(&'a [u8]);

impl<'a> ByteReader<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        ByteReader(bytes)
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The bytes that have not been read.
    #[inline]
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    #[inline]
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A 24-bit number.
    #[inline]
    pub(crate) fn u24(&mut self) -> Option<u32> {
        let [a, b, c] = self.array()?;
        Some(u32::from_be_bytes([0, a, b, c]))
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next `count` records of `N` bytes.
    #[inline]
    pub(crate) fn records<const N: usize>(&mut self, count: usize) -> Option<&'a [[u8; N]]> {
        Some(self.bytes(count.checked_mul(N)?)?.as_chunks().0)
    }

    /// The bytes behind a length of one byte.
    pub(crate) fn vec8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.bytes(usize::from(len))
    }

    /// The bytes behind a length of two bytes.
    pub(crate) fn vec16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.bytes(usize::from(len))
    }

    /// The bytes behind a length of three bytes.
    pub(crate) fn vec24(&mut self) -> Option<&'a [u8]> {
        let len = self.u24()?;
        self.bytes(usize::try_from(len).ok()?)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_network_order_until_the_end() {
        let mut reader = ByteReader::new(&[1, 0, 2, 0, 0, 3, 0, 0, 0, 4, 5]);
        assert_eq!((reader.u8(), reader.u16(), reader.u24(), reader.u32()), (Some(1), Some(2), Some(3), Some(4)));
        assert_eq!((reader.u16(), reader.u8(), reader.u8()), (None, Some(5), None), "what is cut off is not taken");
        assert!(reader.is_empty());
    }

    #[test]
    fn bytes_behind_their_length_are_read_only_where_all_of_them_are_there() {
        let mut reader = ByteReader::new(&[1, 7, 0, 1, 8, 0, 0, 1, 9]);
        let vectors = (reader.vec8(), reader.vec16(), reader.vec24());
        assert_eq!(vectors, (Some(&[7][..]), Some(&[8][..]), Some(&[9][..])));
        assert_eq!(ByteReader::new(&[2, 7]).vec8(), None);
        assert_eq!(ByteReader::new(&[1, 2, 3, 4]).records::<2>(2), Some(&[[1, 2], [3, 4]][..]));
        assert_eq!(ByteReader::new(&[1, 2, 3]).records::<2>(usize::MAX), None);
    }
}
