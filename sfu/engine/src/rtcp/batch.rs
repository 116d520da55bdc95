//! RTCP parts gathered into compound packets that fit a datagram.

/// A packet that has grown beyond this is closed. No part but transport-wide feedback has more than 300 bytes.
const FULL_BYTES: usize = 900;

/// Compound packets being filled (reduced-size, RFC 5506).
#[derive(Debug, Default)]
pub struct RtcpBatch {
    full: Vec<Vec<u8>>,
    current: Vec<u8>,
}

impl RtcpBatch {
    /// The packet that the next part is to be appended to.
    pub fn packet(&mut self) -> &mut Vec<u8> {
        if self.current.len() > FULL_BYTES { self.empty_packet() } else { &mut self.current }
    }

    /// An empty packet, for a part that may fill one alone.
    pub fn empty_packet(&mut self) -> &mut Vec<u8> {
        self.full.push(std::mem::take(&mut self.current));
        &mut self.current
    }

    /// The packets, none of them empty.
    pub fn into_packets(self) -> impl Iterator<Item = Vec<u8>> {
        self.full.into_iter().chain([self.current]).filter(|packet| !packet.is_empty())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    #[test]
    fn many_parts_are_spread_over_packets_that_fit_a_datagram() {
        let mut batch = RtcpBatch::default();
        batch.empty_packet().extend([1; 1180]);
        for _ in 0..100 {
            batch.packet().extend([2; 28]);
        }
        let packets: Vec<_> = batch.into_packets().collect();
        assert_eq!(packets.iter().map(Vec::len).sum::<usize>(), 1180 + 2800);
        assert!(packets.iter().all(|packet| !packet.is_empty() && packet.len() <= 1200));
    }

    #[test]
    fn nothing_makes_no_packet() {
        assert_eq!(RtcpBatch::default().into_packets().count(), 0);
    }
}
