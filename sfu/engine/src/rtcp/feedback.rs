//! Feedback about single packets and pictures: NACK, PLI, FIR (RFC 4585, RFC 5104) and REMB.

use super::Rtcp;
use crate::byte_reader::ByteReader;
use crate::units::{Bitrate, SeqNo, Ssrc};

/// Packets of one source that did not arrive.
#[derive(Clone, Copy, Debug)]
pub struct Nack<'a> {
    /// The SSRC of the asking side.
    pub sender: Ssrc,
    /// The source that is asked to send again.
    pub media: Ssrc,
    pairs: &'a [[u8; 4]],
}

impl<'a> Nack<'a> {
    pub(super) fn read(mut body: ByteReader<'a>) -> Option<Self> {
        let (sender, media) = (Ssrc(body.u32()?), Ssrc(body.u32()?));
        let pairs = body.rest().as_chunks().0;
        (!pairs.is_empty()).then_some(Nack { sender, media, pairs })
    }

    /// The missing sequence numbers: each pair names a packet and, by a bit mask, any of the 16 that follow it.
    pub fn seqs(&self) -> impl Iterator<Item = SeqNo> + use<'a> {
        self.pairs.iter().flat_map(|&[a, b, c, d]| {
            let (first, mask) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let following = (0..16).filter(move |bit| mask >> bit & 1 == 1).map(move |bit| first.wrapping_add(bit + 1));
            std::iter::once(first).chain(following).map(SeqNo)
        })
    }
}

/// Reads a PLI, which has no more than the two sources.
pub(super) fn read_pli<'a>(mut body: ByteReader<'a>) -> Option<Rtcp<'a>> {
    Some(Rtcp::Pli { sender: Ssrc(body.u32()?), media: Ssrc(body.u32()?) })
}

/// Sources that should send a key frame.
#[derive(Clone, Copy, Debug)]
pub struct Fir<'a> {
    /// The SSRC of the asking side.
    pub sender: Ssrc,
    entries: &'a [[u8; 8]],
}

impl<'a> Fir<'a> {
    pub(super) fn read(mut body: ByteReader<'a>) -> Option<Self> {
        // The second source is unused (RFC 5104 section 4.3.1.2).
        let (sender, _) = (Ssrc(body.u32()?), body.u32()?);
        let entries = body.rest().as_chunks().0;
        (!entries.is_empty()).then_some(Fir { sender, entries })
    }

    /// Source and command number; a number seen before is the same command sent again.
    pub fn entries(&self) -> impl Iterator<Item = (Ssrc, u8)> + use<'a> {
        self.entries.iter().map(|&[a, b, c, d, number, ..]| (Ssrc(u32::from_be_bytes([a, b, c, d])), number))
    }
}

/// The total rate that a receiver believes it can take.
#[derive(Clone, Copy, Debug)]
pub struct Remb<'a> {
    /// The rate.
    pub bitrate: Bitrate,
    ssrcs: &'a [[u8; 4]],
}

impl<'a> Remb<'a> {
    /// `Some(None)` for application feedback of another kind.
    pub(super) fn read(mut body: ByteReader<'a>) -> Option<Option<Self>> {
        let _sources = body.u64()?;
        if body.bytes(4) != Some(REMB_NAME) {
            return Some(None);
        }
        let count = usize::from(body.u8()?);
        let scaled = body.u24()?;
        let (exponent, mantissa) = (scaled >> 18, u64::from(scaled & 0x3_ffff));
        if mantissa.leading_zeros() < exponent {
            return None;
        }
        Some(Some(Remb { bitrate: Bitrate::bps(mantissa << exponent), ssrcs: body.records(count)? }))
    }

    /// The sources it covers.
    pub fn ssrcs(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        self.ssrcs.iter().map(|bytes| Ssrc(u32::from_be_bytes(*bytes)))
    }
}

/// Unique identifier of REMB among application layer feedback.
pub(super) const REMB_NAME: &[u8] = b"REMB";
