//! Packets over a TCP connection: each behind its length in two bytes (RFC 4571, used by ICE-TCP, RFC 6544).
//!
//! Sans-IO: the shard that owns the connection pushes what it read and pops frames, and frames what it writes.

/// Longest frame that is taken before the connection has passed an ICE check, in bytes.
pub const UNAUTHENTICATED_FRAME_LIMIT: usize = 2048;
/// Longest frame that the two length bytes can announce.
pub const FRAME_LIMIT: usize = u16::MAX as usize;

const LENGTH_BYTES: usize = 2;

/// Why a connection has to be closed: without trust in a length there is no next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame is longer than this connection may send, or than a frame can be.
    #[error("a frame of {len} bytes, where {limit} are allowed")]
    TooLong {
        /// Announced or given length, in bytes.
        len: usize,
        /// What is allowed, in bytes.
        limit: usize,
    },
}

/// Cuts a byte stream into frames.
///
/// Holds what was pushed and not popped, so it stays below one read plus one frame when every frame is popped between
/// two pushes.
#[derive(Debug)]
pub struct Deframer {
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer` that were popped.
    popped: usize,
    limit: usize,
}

impl Deframer {
    /// For a new connection: frames up to [`UNAUTHENTICATED_FRAME_LIMIT`].
    pub fn new() -> Deframer {
        Deframer { buffer: Vec::new(), popped: 0, limit: UNAUTHENTICATED_FRAME_LIMIT }
    }

    /// The connection has passed an ICE check: frames up to [`FRAME_LIMIT`].
    pub fn authenticate(&mut self) {
        self.limit = FRAME_LIMIT;
    }

    /// Appends bytes in the order of their arrival.
    pub fn push(&mut self, bytes: &[u8]) {
        // Moving only once half is popped makes the cost per byte constant, however small the reads are.
        if self.popped * 2 >= self.buffer.len() {
            self.buffer.drain(..self.popped);
            self.popped = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, without its length; empty frames (keepalives) are skipped. `None` until more bytes come.
    ///
    /// # Errors
    /// The connection must be closed. The error repeats.
    pub fn pop(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let (start, len) = loop {
            let rest = self.buffer.get(self.popped..).unwrap_or_default();
            let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
            let len = usize::from(u16::from_be_bytes(*length));
            if len > self.limit {
                return Err(FrameError::TooLong { len, limit: self.limit });
            }
            if rest.len() < len {
                return Ok(None);
            }
            let start = self.popped + LENGTH_BYTES;
            self.popped = start + len;
            if len > 0 {
                break (start, len);
            }
        };
        Ok(self.buffer.get(start..start + len))
    }
}

impl Default for Deframer {
    fn default() -> Self {
        Deframer::new()
    }
}

/// Appends `packet` to `out` as one frame.
///
/// # Errors
/// The packet is longer than [`FRAME_LIMIT`]; nothing was appended.
pub fn frame_into(out: &mut Vec<u8>, packet: &[u8]) -> Result<(), FrameError> {
    let len = u16::try_from(packet.len()).map_err(|_| FrameError::TooLong { len: packet.len(), limit: FRAME_LIMIT })?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(packet);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    fn pop_all(deframer: &mut Deframer) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| deframer.pop().unwrap().map(<[u8]>::to_vec)).collect()
    }

    proptest! {
        #[test]
        fn packets_survive_any_cutting_of_the_stream(
            packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
            reads in proptest::collection::vec(1usize..400, 1..20),
        ) {
            let mut stream = Vec::new();
            packets.iter().for_each(|packet| frame_into(&mut stream, packet).unwrap());
            let mut deframer = Deframer::new();
            let mut received = Vec::new();
            let mut rest = stream.as_slice();
            for read in reads.iter().cycle() {
                let (now, later) = rest.split_at((*read).min(rest.len()));
                deframer.push(now);
                received.extend(pop_all(&mut deframer));
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            let expected: Vec<_> = packets.into_iter().filter(|packet| !packet.is_empty()).collect();
            prop_assert_eq!(received, expected);
            prop_assert_eq!(deframer.popped, deframer.buffer.len());
        }
    }

    #[test]
    fn a_stranger_may_not_announce_more_than_a_check_needs() {
        let mut deframer = Deframer::new();
        deframer.push(&[0, 1, 7, 0x08, 0x01]);
        assert_eq!(deframer.pop(), Ok(Some(&[7][..])));
        let error = FrameError::TooLong { len: 2049, limit: UNAUTHENTICATED_FRAME_LIMIT };
        assert_eq!(deframer.pop(), Err(error));
        deframer.push(&[0; 4000]);
        assert_eq!(deframer.pop(), Err(error), "there is no way on");
    }

    #[test]
    fn an_authenticated_connection_may_send_the_longest_frame() {
        let mut deframer = Deframer::new();
        deframer.authenticate();
        let packet = vec![3; FRAME_LIMIT];
        let mut stream = Vec::new();
        frame_into(&mut stream, &packet).unwrap();
        deframer.push(&stream);
        assert_eq!(pop_all(&mut deframer), [packet]);
        frame_into(&mut stream, &vec![0; FRAME_LIMIT + 1]).unwrap_err();
        assert_eq!(stream.len(), FRAME_LIMIT + LENGTH_BYTES);
    }

    #[test]
    fn what_was_popped_does_not_stay_in_memory() {
        let mut deframer = Deframer::new();
        let mut frame = Vec::new();
        frame_into(&mut frame, &[5; 1000]).unwrap();
        for _ in 0..1000 {
            deframer.push(&frame);
            assert_eq!(pop_all(&mut deframer).len(), 1);
        }
        assert!(deframer.buffer.capacity() <= 4 * frame.len());
    }
}
