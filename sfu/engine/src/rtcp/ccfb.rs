//! Congestion control feedback (RFC 8888): per source, which packets arrived, when, and with which ECN mark.

use crate::byte_reader::ByteReader;
use crate::units::{SeqNo, Ssrc};
use std::time::Duration;

/// One feedback packet.
#[derive(Clone, Copy, Debug)]
pub struct Ccfb<'a> {
    /// The SSRC of the reporting side.
    pub sender: Ssrc,
    /// When it was made, on the reporter's clock: middle 32 bits of an NTP time, in 1/65536 s.
    pub timestamp: u32,
    blocks: ByteReader<'a>,
}

impl<'a> Ccfb<'a> {
    pub(super) fn read(mut body: ByteReader<'a>) -> Option<Self> {
        let sender = Ssrc(body.u32()?);
        let blocks = ByteReader::new(body.bytes(body.rest().len().checked_sub(4)?)?);
        let mut rest = blocks;
        while !rest.is_empty() {
            CcfbBlock::read(&mut rest)?;
        }
        Some(Ccfb { sender, timestamp: body.u32()?, blocks })
    }

    /// One block for each source.
    pub fn blocks(&self) -> impl Iterator<Item = CcfbBlock<'a>> + use<'a> {
        let mut rest = self.blocks;
        std::iter::from_fn(move || CcfbBlock::read(&mut rest))
    }
}

/// The packets of one source, in order.
#[derive(Clone, Copy, Debug)]
pub struct CcfbBlock<'a> {
    /// The source.
    pub media: Ssrc,
    /// Sequence number of the first packet.
    pub first: SeqNo,
    metrics: &'a [[u8; 2]],
}

impl<'a> CcfbBlock<'a> {
    fn read(rest: &mut ByteReader<'a>) -> Option<Self> {
        let (media, first, count) = (Ssrc(rest.u32()?), SeqNo(rest.u16()?), usize::from(rest.u16()?));
        let metrics = rest.records(count)?;
        // An odd number of metrics is followed by two bytes that align the next block.
        rest.bytes(2 * (count % 2))?;
        Some(CcfbBlock { media, first, metrics })
    }

    /// For each packet its number and, where it arrived, how.
    pub fn packets(&self) -> impl Iterator<Item = (SeqNo, Option<CcfbArrival>)> + use<'a> {
        let mut next = self.first.0;
        self.metrics.iter().map(move |metric| {
            let seq = SeqNo(next);
            next = next.wrapping_add(1);
            (seq, CcfbArrival::read(u16::from_be_bytes(*metric)))
        })
    }
}

/// How a packet arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CcfbArrival {
    /// Its ECN mark.
    pub ecn: Ecn,
    /// How long before the feedback's timestamp it came; `None` where that is unknown or did not fit the field.
    pub before: Option<Duration>,
}

impl CcfbArrival {
    fn read(metric: u16) -> Option<Self> {
        const RECEIVED: u16 = 0x8000;
        /// This value means "more than that", the one above "unknown".
        const OVERFLOW: u16 = 0x1ffe;
        if metric & RECEIVED == 0 {
            return None;
        }
        let offset = metric & 0x1fff;
        let before = (offset < OVERFLOW).then(|| Duration::from_micros(u64::from(offset) * 1_000_000 / 1024));
        let ecn = match metric >> 13 & 3 {
            0 => Ecn::NotCapable,
            1 => Ecn::Capable1,
            2 => Ecn::Capable0,
            _ => Ecn::CongestionExperienced,
        };
        Some(CcfbArrival { ecn, before })
    }
}

/// The ECN field of an IP header (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// 00.
    NotCapable,
    /// 01, ECT(1): L4S.
    Capable1,
    /// 10, ECT(0).
    Capable0,
    /// 11, CE.
    CongestionExperienced,
}
