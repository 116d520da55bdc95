//! Packets of one size leave in one system call (UDP_SEGMENT), and encoders split a frame into packets that differ by a
//! byte or two: RTP padding (RFC 3550 section 5.1) makes them equal. A run of 8 costs a third of the kernel's work of 8
//! single packets, for which a few bytes are a good price; many are not.

use crate::rtp::packet::{append_padding, is_padded};

/// The longest run that is looked ahead for: as many packets as a frame of 1 MB/s usually has.
const LOOK_AHEAD: usize = 16;

/// The run that the next packet may join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Length of the run's packets as plain RTP; `None` where the next packet begins it.
    pub plain: Option<usize>,
    /// Whether packets of one size are worth anything here.
    pub joins: bool,
}

impl Run {
    /// Pads the packet `out[start..]` so that it joins the run, or, where it is longer and so begins the next one, so
    /// that what waits behind it can join. `queued` is the packet's size as the pacer knows it, `waiting` are the sizes
    /// behind it. Returns the bytes added.
    pub(super) fn pad(
        self,
        out: &mut Vec<u8>,
        start: usize,
        queued: usize,
        waiting: impl Iterator<Item = usize>,
    ) -> usize {
        let length = out.len().saturating_sub(start);
        if !self.joins || is_padded(out, start) {
            return 0;
        }
        let worth = worth_padding(length);
        let missing = match self.plain {
            Some(plain) if length <= plain => plain - length,
            // What the pacer knows is off by the header's exact size, which is the same for all packets of a slot.
            _ => {
                let alike = waiting.take(LOOK_AHEAD).take_while(|size| size.abs_diff(queued) <= worth);
                alike.max().unwrap_or(queued).saturating_sub(queued)
            }
        };
        let padding = if missing <= worth { u8::try_from(missing).unwrap_or(0) } else { 0 };
        append_padding(out, start, padding);
        usize::from(padding)
    }
}

/// How many bytes of padding a packet of this length may take.
fn worth_padding(length: usize) -> usize {
    4 + length / 32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;
    use crate::rtp::packet::RtpPacket;

    /// Sizes that packets of these lengths leave with, gathered into runs as the engine does.
    fn runs(lengths: &[usize]) -> Vec<Vec<usize>> {
        let mut runs: Vec<Vec<usize>> = Vec::new();
        let mut run = Run { plain: None, joins: true };
        for (at, length) in lengths.iter().enumerate() {
            let mut packet = vec![0x80; *length];
            let waiting = lengths[at + 1..].iter().map(|length| length + 50);
            let added = run.pad(&mut packet, 0, length + 50, waiting);
            assert_eq!(packet.len(), length + added);
            let parsed = RtpPacket::parse(&packet).unwrap();
            assert_eq!(parsed.padding(), added);
            match run.plain {
                Some(plain) if packet.len() <= plain => runs.last_mut().unwrap().push(packet.len()),
                _ => runs.push(vec![packet.len()]),
            }
            // A shorter packet ends its run.
            let ends = run.plain.is_some_and(|plain| packet.len() < plain);
            run.plain = if ends { None } else { Some(packet.len()) };
        }
        runs
    }

    #[test]
    fn a_frame_whose_packets_differ_by_a_byte_is_one_run() {
        assert_eq!(runs(&[1100, 1101, 1100, 1101, 1101]), [vec![1101; 5]]);
        assert_eq!(runs(&[1101, 1101, 1100, 1100]), [vec![1101; 4]]);
    }

    #[test]
    fn a_short_end_is_not_padded() {
        assert_eq!(runs(&[1100, 1102, 600]), [vec![1102, 1102, 600]]);
    }

    #[test]
    fn what_differs_by_much_is_left_alone() {
        assert_eq!(runs(&[100, 1100, 1101]), [vec![100], vec![1101, 1101]]);
        assert_eq!(runs(&[700, 1100]), [vec![700], vec![1100]]);
    }

    #[test]
    fn neither_padded_packets_nor_those_for_tcp_are_padded() {
        let mut packet = vec![0x80; 1000];
        let nowhere = Run { plain: Some(1001), joins: false };
        assert_eq!(nowhere.pad(&mut packet, 0, 1000, std::iter::empty()), 0);
        append_padding(&mut packet, 0, 4);
        let run = Run { plain: Some(1005), joins: true };
        assert_eq!(run.pad(&mut packet, 0, 1004, std::iter::empty()), 0);
    }
}
