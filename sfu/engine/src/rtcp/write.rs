//! Writes RTCP sub-packets. Every function appends one whole sub-packet to `out`, so that calls in a row make a
//! compound.
//!
//! [`RtcpBatch`](super::RtcpBatch) gathers sub-packets into packets that fit a datagram. Feedback may go alone there
//! (reduced-size RTCP, RFC 5506), without the report and the CNAME with which a compound packet starts (RFC 3550
//! section 6.1).

use super::{NtpTime, ReportBlock, feedback, format, kind, twcc};
use crate::units::{Bitrate, ExtSeq, RtpTime, SeqNo, Ssrc};

/// Report blocks that one report can hold: its count has 5 bits.
pub const MAX_REPORT_BLOCKS: usize = 31;
/// Pairs in one NACK, which keeps it at 1 KiB.
pub const MAX_NACK_PAIRS: usize = 256;

/// What a sender report says about its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// The source.
    pub ssrc: Ssrc,
    /// Our wall clock now.
    pub ntp: NtpTime,
    /// The same moment on the source's RTP clock.
    pub rtp_time: RtpTime,
    /// RTP packets sent so far.
    pub packets: u32,
    /// Payload bytes sent so far.
    pub octets: u32,
}

/// SR. Of `blocks`, the first [`MAX_REPORT_BLOCKS`] are written.
pub fn sender_report(out: &mut Vec<u8>, info: &SenderInfo, blocks: &[ReportBlock]) {
    let blocks = blocks.get(..MAX_REPORT_BLOCKS).unwrap_or(blocks);
    packet(out, kind::SENDER_REPORT, blocks.len() as u8, |out| {
        put_u32(out, info.ssrc.0);
        out.extend_from_slice(&info.ntp.0.to_be_bytes());
        put_u32(out, info.rtp_time.0);
        put_u32(out, info.packets);
        put_u32(out, info.octets);
        put_blocks(out, blocks);
    });
}

/// RR. Of `blocks`, the first [`MAX_REPORT_BLOCKS`] are written.
pub fn receiver_report(out: &mut Vec<u8>, sender: Ssrc, blocks: &[ReportBlock]) {
    let blocks = blocks.get(..MAX_REPORT_BLOCKS).unwrap_or(blocks);
    packet(out, kind::RECEIVER_REPORT, blocks.len() as u8, |out| {
        put_u32(out, sender.0);
        put_blocks(out, blocks);
    });
}

/// SDES with a CNAME (RFC 3550 section 6.5.1), of which at most 255 bytes are written.
pub fn description(out: &mut Vec<u8>, ssrc: Ssrc, cname: &str) {
    const CNAME: u8 = 1;
    let cname = cname.as_bytes();
    let cname = cname.get(..255).unwrap_or(cname);
    packet(out, kind::DESCRIPTION, 1, |out| {
        put_u32(out, ssrc.0);
        out.extend_from_slice(&[CNAME, cname.len() as u8]);
        out.extend_from_slice(cname);
        // The items end with one to four zero bytes, up to the next word.
        let end = 4 - (2 + cname.len()) % 4;
        out.extend(std::iter::repeat_n(0, end));
    });
}

/// BYE.
pub fn goodbye(out: &mut Vec<u8>, sources: &[Ssrc]) {
    for sources in sources.chunks(MAX_REPORT_BLOCKS) {
        packet(out, kind::GOODBYE, sources.len() as u8, |out| put_ssrcs(out, sources));
    }
}

/// One NACK for the first of `missing`, which ascends; returns the rest, which did not fit into [`MAX_NACK_PAIRS`]
/// pairs.
pub fn nack<'a>(out: &mut Vec<u8>, sender: Ssrc, media: Ssrc, missing: &'a [ExtSeq]) -> &'a [ExtSeq] {
    let mut rest = missing;
    packet(out, kind::TRANSPORT_FEEDBACK, format::NACK, |out| {
        put_u32(out, sender.0);
        put_u32(out, media.0);
        for _ in 0..MAX_NACK_PAIRS {
            let Some((first, following)) = rest.split_first() else { break };
            let in_mask = following.iter().take_while(|seq| seq.0.saturating_sub(first.0) <= 16);
            let (mut mask, mut covered) = (0u16, 0);
            for seq in in_mask {
                // A number named twice has distance 0, which `checked_sub` keeps out of the mask.
                mask |= seq.0.saturating_sub(first.0).checked_sub(1).map_or(0, |bit| 1 << bit);
                covered += 1;
            }
            out.extend_from_slice(&first.wire().0.to_be_bytes());
            out.extend_from_slice(&mask.to_be_bytes());
            rest = following.get(covered..).unwrap_or_default();
        }
    });
    rest
}

/// PLI.
pub fn pli(out: &mut Vec<u8>, sender: Ssrc, media: Ssrc) {
    packet(out, kind::PAYLOAD_FEEDBACK, format::PLI, |out| {
        put_u32(out, sender.0);
        put_u32(out, media.0);
    });
}

/// FIR for one source; `number` changes with every new request (RFC 5104 section 4.3.1.2).
pub fn fir(out: &mut Vec<u8>, sender: Ssrc, media: Ssrc, number: u8) {
    packet(out, kind::PAYLOAD_FEEDBACK, format::FIR, |out| {
        put_u32(out, sender.0);
        put_u32(out, 0);
        put_u32(out, media.0);
        out.extend_from_slice(&[number, 0, 0, 0]);
    });
}

/// REMB. The rate is rounded down to 18 significant bits.
pub fn remb(out: &mut Vec<u8>, sender: Ssrc, bitrate: Bitrate, ssrcs: &[Ssrc]) {
    let ssrcs = ssrcs.get(..255).unwrap_or(ssrcs);
    let exponent = (64 - bitrate.as_bps().leading_zeros()).saturating_sub(18);
    let mantissa = (bitrate.as_bps() >> exponent) as u32;
    packet(out, kind::PAYLOAD_FEEDBACK, format::APPLICATION, |out| {
        put_u32(out, sender.0);
        put_u32(out, 0);
        out.extend_from_slice(feedback::REMB_NAME);
        put_u32(out, (ssrcs.len() as u32) << 24 | exponent << 18 | mantissa);
        put_ssrcs(out, ssrcs);
    });
}

/// What a transport-wide feedback packet says besides the packets' fates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedbackHeader {
    /// We.
    pub sender: Ssrc,
    /// Any one of the sources covered.
    pub media: Ssrc,
    /// Sequence number of the first packet.
    pub base: SeqNo,
    /// Our clock, which the first delta counts from, in ticks of 64 ms; 24 bits are written.
    pub reference: u32,
    /// Counts feedback packets; wraps.
    pub number: u8,
}

/// Transport-wide feedback. `statuses` has for each packet, from `base` on, the time since the packet received before
/// it (the first: since the reference time) in ticks of 250 us, or `None` where it did not arrive.
pub fn transport_feedback(out: &mut Vec<u8>, header: &FeedbackHeader, statuses: &[Option<i16>]) {
    packet(out, kind::TRANSPORT_FEEDBACK, format::TWCC, |out| {
        put_u32(out, header.sender.0);
        put_u32(out, header.media.0);
        out.extend_from_slice(&header.base.0.to_be_bytes());
        out.extend_from_slice(&(statuses.len() as u16).to_be_bytes());
        put_u32(out, header.reference << 8 | u32::from(header.number));
        twcc::write_statuses(out, statuses);
    });
}

/// Header, body, padding to a whole word, and then the length in the header.
fn packet(out: &mut Vec<u8>, kind: u8, count: u8, body: impl FnOnce(&mut Vec<u8>)) {
    const VERSION: u8 = 2 << 6;
    const PADDING: u8 = 1 << 5;
    let start = out.len();
    out.extend_from_slice(&[VERSION | count & 0x1f, kind, 0, 0]);
    body(out);
    let padding = (out.len() - start).wrapping_neg() % 4;
    for left in (1..=padding).rev() {
        out.push(if left == 1 { padding as u8 } else { 0 });
    }
    let words = (out.len() - start) / 4 - 1;
    let [high, low] = (words as u16).to_be_bytes();
    if let Some([first, _, length_high, length_low]) = out.get_mut(start..).and_then(|bytes| bytes.first_chunk_mut()) {
        *first |= if padding > 0 { PADDING } else { 0 };
        (*length_high, *length_low) = (high, low);
    }
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_ssrcs(out: &mut Vec<u8>, ssrcs: &[Ssrc]) {
    for ssrc in ssrcs {
        put_u32(out, ssrc.0);
    }
}

fn put_blocks(out: &mut Vec<u8>, blocks: &[ReportBlock]) {
    const LOST_RANGE: std::ops::RangeInclusive<i32> = -0x80_0000..=0x7f_ffff;
    for block in blocks {
        put_u32(out, block.ssrc.0);
        let lost = block.lost.clamp(*LOST_RANGE.start(), *LOST_RANGE.end()) as u32 & 0xff_ffff;
        put_u32(out, u32::from(block.fraction_lost) << 24 | lost);
        put_u32(out, block.highest_seq);
        put_u32(out, block.jitter);
        put_u32(out, block.last_sr);
        put_u32(out, block.delay_since_last_sr);
    }
}
