//! Reports about sources: SR, RR and BYE (RFC 3550 section 6).

use super::NtpTime;
use crate::byte_reader::ByteReader;
use crate::units::{RtpTime, Ssrc};

/// What a sender says about itself, and about what it receives.
#[derive(Clone, Copy, Debug)]
pub struct SenderReport<'a> {
    /// The source.
    pub ssrc: Ssrc,
    /// The sender's wall clock when it sent this.
    pub ntp: NtpTime,
    /// The same moment on the source's RTP clock.
    pub rtp_time: RtpTime,
    /// RTP packets sent so far, wraps.
    pub packets: u32,
    /// Payload bytes sent so far, wraps.
    pub octets: u32,
    blocks: &'a [[u8; ReportBlock::SIZE]],
}

impl<'a> SenderReport<'a> {
    pub(super) fn read(mut body: ByteReader<'a>, count: u8) -> Option<Self> {
        Some(SenderReport {
            ssrc: Ssrc(body.u32()?),
            ntp: NtpTime(body.u64()?),
            rtp_time: RtpTime(body.u32()?),
            packets: body.u32()?,
            octets: body.u32()?,
            blocks: body.records(usize::from(count))?,
        })
    }

    /// Its reception reports.
    pub fn reports(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        self.blocks.iter().filter_map(ReportBlock::read)
    }
}

/// What a receiver says about the sources that it receives.
#[derive(Clone, Copy, Debug)]
pub struct ReceiverReport<'a> {
    /// The SSRC of the reporting side.
    pub ssrc: Ssrc,
    blocks: &'a [[u8; ReportBlock::SIZE]],
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn read(mut body: ByteReader<'a>, count: u8) -> Option<Self> {
        Some(ReceiverReport { ssrc: Ssrc(body.u32()?), blocks: body.records(usize::from(count))? })
    }

    /// Its reception reports.
    pub fn reports(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        self.blocks.iter().filter_map(ReportBlock::read)
    }
}

/// How well one source is received (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source.
    pub ssrc: Ssrc,
    /// Share of packets lost since the report before, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost so far: 24 bits, negative where duplicates outnumber losses.
    pub lost: i32,
    /// Highest sequence number received, with its count of cycles in the upper half.
    pub highest_seq: u32,
    /// Interarrival jitter in ticks of the RTP clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report received; 0 for none.
    pub last_sr: u32,
    /// Time since then in 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    /// Bytes on the wire.
    pub(super) const SIZE: usize = 24;

    fn read(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let mut bytes = ByteReader::new(bytes);
        Some(ReportBlock {
            ssrc: Ssrc(bytes.u32()?),
            fraction_lost: bytes.u8()?,
            // The shift there and back extends the sign of the 24 bits.
            lost: (bytes.u24()? << 8) as i32 >> 8,
            highest_seq: bytes.u32()?,
            jitter: bytes.u32()?,
            last_sr: bytes.u32()?,
            delay_since_last_sr: bytes.u32()?,
        })
    }
}

/// Sources that have ended.
#[derive(Clone, Copy, Debug)]
pub struct Goodbye<'a> {
    sources: &'a [[u8; 4]],
}

impl<'a> Goodbye<'a> {
    pub(super) fn read(mut body: ByteReader<'a>, count: u8) -> Option<Self> {
        Some(Goodbye { sources: body.records(usize::from(count))? })
    }

    /// The sources.
    pub fn sources(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        self.sources.iter().map(|bytes| Ssrc(u32::from_be_bytes(*bytes)))
    }
}
