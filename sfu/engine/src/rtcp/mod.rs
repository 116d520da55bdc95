//! RTCP: compound and reduced-size packets (RFC 3550 section 6, RFC 5506) as values, and the packets that the server
//! writes.
//!
//! The engine calls [`parse`] once for each decrypted SRTCP packet; uplinks and downlinks read the values. The values
//! borrow from the packet and are checked completely before they are handed out, so reading them neither fails nor
//! allocates. Own code rather than `rtc-rtcp`, which allocates a boxed object for every sub-packet, fails a whole
//! compound for one bad part and overflows on a lying length; it serves as the oracle of the tests.

mod batch;
mod ccfb;
mod feedback;
mod ntp;
mod report;
#[cfg(test)]
mod tests;
mod twcc;
pub mod write;

pub use batch::RtcpBatch;
pub use ccfb::{Ccfb, CcfbArrival, CcfbBlock, Ecn};
pub use feedback::{Fir, Nack, Remb};
pub use ntp::{NtpTime, round_trip};
pub use report::{Goodbye, ReceiverReport, ReportBlock, SenderReport};
pub use twcc::TransportFeedback;

use crate::byte_reader::ByteReader;
use crate::units::Ssrc;

/// One RTCP sub-packet.
#[derive(Clone, Copy, Debug)]
pub enum Rtcp<'a> {
    /// SR (RFC 3550 section 6.4.1).
    SenderReport(SenderReport<'a>),
    /// RR (RFC 3550 section 6.4.2).
    ReceiverReport(ReceiverReport<'a>),
    /// BYE (RFC 3550 section 6.6).
    Goodbye(Goodbye<'a>),
    /// Generic NACK (RFC 4585 section 6.2.1).
    Nack(Nack<'a>),
    /// Picture loss indication (RFC 4585 section 6.3.1).
    Pli {
        /// The SSRC of the asking side.
        sender: Ssrc,
        /// The source that should send a key frame.
        media: Ssrc,
    },
    /// Full intra request (RFC 5104 section 4.3.1).
    Fir(Fir<'a>),
    /// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03).
    Remb(Remb<'a>),
    /// Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportFeedback(TransportFeedback<'a>),
    /// Congestion control feedback (RFC 8888).
    Ccfb(Ccfb<'a>),
}

/// Visits every sub-packet that the engine knows, in order. Returns how many were malformed and left out; one malformed
/// sub-packet does not affect the others, unless it lies about its length, which makes the rest of the packet
/// unreadable. Unknown kinds, and extended reports (RFC 3611), which nobody here needs, are skipped without a trace.
pub fn parse<'a>(packet: &'a [u8], mut visit: impl FnMut(Rtcp<'a>)) -> usize {
    let mut malformed = 0;
    let mut statuses = twcc::MAX_STATUSES;
    let mut rest = ByteReader::new(packet);
    while !rest.is_empty() {
        let Some(part) = SubPacket::read(&mut rest) else { return malformed + 1 };
        if part.visit(&mut statuses, &mut visit).is_none() {
            malformed += 1;
        }
    }
    malformed
}

/// Packet types (RFC 3550 section 12.1, RFC 4585 section 6.1).
mod kind {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const DESCRIPTION: u8 = 202;
    pub(super) const GOODBYE: u8 = 203;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
}

/// Feedback formats (FMT) within their packet type.
mod format {
    pub(super) const NACK: u8 = 1;
    pub(super) const CCFB: u8 = 11;
    pub(super) const TWCC: u8 = 15;
    pub(super) const PLI: u8 = 1;
    pub(super) const FIR: u8 = 4;
    pub(super) const APPLICATION: u8 = 15;
}

/// A sub-packet cut out of its compound: the header's fields and the body without padding.
struct SubPacket<'a> {
    /// Report count, source count or feedback format: 5 bits.
    count: u8,
    kind: u8,
    /// `None` where the padding is wrong.
    body: Option<ByteReader<'a>>,
}

impl<'a> SubPacket<'a> {
    /// Cuts the next sub-packet. `None` where that cannot be done, so that nothing after it is readable either.
    fn read(rest: &mut ByteReader<'a>) -> Option<Self> {
        let first = rest.u8()?;
        let kind = rest.u8()?;
        let length = usize::from(rest.u16()?) * 4;
        let body = rest.bytes(length)?;
        if first >> 6 != 2 {
            return None;
        }
        let body = if first & 0x20 != 0 { without_padding(body) } else { Some(body) };
        Some(SubPacket { count: first & 0x1f, kind, body: body.map(ByteReader::new) })
    }

    /// Visits what this sub-packet says; `None` where it is malformed. Reads it, and takes what transport-wide feedback
    /// describes off the packet `statuses` that are left for this datagram.
    fn visit(self, statuses: &mut u16, visit: &mut impl FnMut(Rtcp<'a>)) -> Option<()> {
        let body = self.body?;
        let value = match (self.kind, self.count) {
            (kind::SENDER_REPORT, count) => Rtcp::SenderReport(SenderReport::read(body, count)?),
            (kind::RECEIVER_REPORT, count) => Rtcp::ReceiverReport(ReceiverReport::read(body, count)?),
            (kind::GOODBYE, count) => Rtcp::Goodbye(Goodbye::read(body, count)?),
            (kind::TRANSPORT_FEEDBACK, format::NACK) => Rtcp::Nack(Nack::read(body)?),
            (kind::TRANSPORT_FEEDBACK, format::TWCC) => {
                let feedback = TransportFeedback::read(body, *statuses)?;
                *statuses -= feedback.count;
                Rtcp::TransportFeedback(feedback)
            }
            (kind::TRANSPORT_FEEDBACK, format::CCFB) => Rtcp::Ccfb(Ccfb::read(body)?),
            (kind::PAYLOAD_FEEDBACK, format::PLI) => feedback::read_pli(body)?,
            (kind::PAYLOAD_FEEDBACK, format::FIR) => Rtcp::Fir(Fir::read(body)?),
            (kind::PAYLOAD_FEEDBACK, format::APPLICATION) => match Remb::read(body)? {
                Some(remb) => Rtcp::Remb(remb),
                None => return Some(()),
            },
            _ => return Some(()),
        };
        visit(value);
        Some(())
    }
}

/// The last byte counts the padding, itself included (RFC 3550 section 6.4.1).
fn without_padding(body: &[u8]) -> Option<&[u8]> {
    let padding = usize::from(*body.last()?);
    if padding == 0 {
        return None;
    }
    body.get(..body.len().checked_sub(padding)?)
}
