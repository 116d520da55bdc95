//! SRTP and SRTCP in place, RFC 3711 with the AES-GCM profiles of RFC 7714, keyed by DTLS (RFC 5764).
//!
//! A transport owns one [`SrtpReceiver`] and one [`SrtpSender`], made from the [`SrtpKeys`] that its DTLS session hands
//! out once the peer is authenticated. Nothing here allocates per packet, copies a payload or keeps state for a source
//! that has not authenticated a packet.
//!
//! `keys` derives session keys, `cipher` seals and opens one packet whose index is known, `replay`, `sources` and
//! `used` hold what is remembered for each SSRC, `receiver` and `sender` put these together.

mod cipher;
mod keys;
mod receiver;
mod replay;
mod sender;
mod sources;
mod used;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use keys::SrtpKeys;
pub use receiver::SrtpReceiver;
pub use sender::{ProtectError, SrtpSender};

/// A protection profile of DTLS-SRTP, those which we negotiate (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SrtpProfile {
    /// AES-128 in Galois/counter mode, 16-byte tag.
    AeadAes128Gcm,
    /// AES-256 in Galois/counter mode, 16-byte tag.
    AeadAes256Gcm,
    /// AES-128 in counter mode with HMAC-SHA1, tag cut to 80 bits. The one that everybody has.
    Aes128CmSha1_80,
}

impl SrtpProfile {
    /// Every profile, the cheapest for the CPU first: the order in which we prefer them.
    pub const PREFERENCE: [SrtpProfile; 3] =
        [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::Aes128CmSha1_80];

    /// The two bytes that name this profile in the `use_srtp` extension.
    pub const fn wire(self) -> u16 {
        match self {
            SrtpProfile::Aes128CmSha1_80 => 0x0001,
            SrtpProfile::AeadAes128Gcm => 0x0007,
            SrtpProfile::AeadAes256Gcm => 0x0008,
        }
    }

    /// Bytes of one master key.
    pub const fn key_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::Aes128CmSha1_80 => 16,
            SrtpProfile::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of one master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => 12,
            SrtpProfile::Aes128CmSha1_80 => 14,
        }
    }

    /// Bytes to ask of the RFC 5705 exporter: a key and a salt for either side.
    pub const fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }
}

/// What an RTP packet says in clear, as far as SRTP needs it.
struct RtpFields {
    ssrc: u32,
    sequence: u16,
    /// Bytes of fixed header, CSRC list and header extension (RFC 3550 section 5.1), which stay in clear.
    header_len: usize,
}

impl RtpFields {
    /// `None` where `packet` is not RTP version 2 or ends inside its header.
    fn parse(packet: &[u8]) -> Option<RtpFields> {
        let (&[first, _, s0, s1, _, _, _, _, r0, r1, r2, r3], _) = packet.split_first_chunk()?;
        if first >> 6 != 2 {
            return None;
        }
        let mut header_len = 12 + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            let (&[_, _, l0, l1], _) = packet.get(header_len..)?.split_first_chunk()?;
            header_len += 4 + 4 * usize::from(u16::from_be_bytes([l0, l1]));
        }
        (header_len <= packet.len()).then_some(RtpFields {
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            sequence: u16::from_be_bytes([s0, s1]),
            header_len,
        })
    }
}

/// Sender SSRC of the first packet of an RTCP compound; `None` where it is not RTCP version 2 or too short to hold one.
fn rtcp_ssrc(packet: &[u8]) -> Option<u32> {
    let (&[first, _, _, _, s0, s1, s2, s3], _) = packet.split_first_chunk()?;
    (first >> 6 == 2).then_some(u32::from_be_bytes([s0, s1, s2, s3]))
}
