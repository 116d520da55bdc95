//! How many bytes a packet takes on the link to a receiver. Budgets, meters and the pacer all count in these bytes:
//!
//! ```text
//! IPv4 header 20, UDP header 8 | RTP header 12, header extensions 4 + 8 | payload and padding | SRTP tag 16
//!          BEYOND_RTP          |              RTP_HEADER                |                     | BEYOND_RTP
//! ```
//!
//! A size that is needed before the packet is written is an estimate: the written header differs by the MID, which is
//! sent until the client knows it, and by the two octets of a retransmission's original sequence number (RFC 4588).

use crate::uplink::store::StoredPacket;

/// Bytes of a packet that are not part of its RTP packet: IPv4 header, UDP header, SRTP authentication tag.
pub const BEYOND_RTP: usize = 20 + 8 + 16;
/// The RTP header (12), the header of its extensions (4), and the two extensions that the server writes (transport-wide
/// sequence number, 3, and absolute send time, 4, padded to 8).
const RTP_HEADER: usize = 12 + 4 + 8;
/// All that a packet costs beyond its payload.
pub const HEADERS: usize = RTP_HEADER + BEYOND_RTP;

/// Padding octets of a packet that carries no media and only fills a sequence number, which would otherwise look lost.
pub const FILLER_PADDING: u8 = 4;
/// A packet that only fills a sequence number.
pub const FILLER: usize = RTP_HEADER + FILLER_PADDING as usize + BEYOND_RTP;

/// Padding octets of a packet of plain padding: the most that the one length octet of RFC 3550 section 5.1 can name.
pub const PLAIN_PADDING_OCTETS: u8 = u8::MAX;
/// A packet of plain padding.
pub const PLAIN_PADDING: usize = RTP_HEADER + PLAIN_PADDING_OCTETS as usize + BEYOND_RTP;

/// A stored packet, or the filler that is sent where there is none.
pub fn of(packet: Option<&StoredPacket>) -> usize {
    packet.map_or(FILLER, |packet| rtp_bytes(packet) + BEYOND_RTP)
}

/// A stored packet without [`BEYOND_RTP`].
pub fn rtp_bytes(packet: &StoredPacket) -> usize {
    RTP_HEADER + packet.extensions().len() + packet.whole_payload().len()
}
