//! From plain RTP and RTCP to the wire.

use rtc_crypto::{CryptoError, RTCCrypto};

use super::cipher::{GCM_TAG_LEN, RTCP_INDEX_LEN, SessionCipher};
use super::keys::SrtpKeys;
use super::used::UsedIndexes;
use super::{RtpFields, rtcp_ssrc};
use crate::units::Ssrc;

/// The packet index has 48 bits (RFC 3711 section 3.3.1).
const MAX_RTP_INDEX: u64 = (1 << 48) - 1;
/// The SRTCP index has 31 bits (RFC 3711 section 3.4).
const MAX_RTCP_INDEX: u32 = (1 << 31) - 1;

/// Why a packet was not protected. It is then no longer in the buffer, so that it cannot be sent in clear by mistake.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProtectError {
    /// Not RTP or RTCP of version 2, or shorter than its own header.
    #[error("not a whole RTP or RTCP packet")]
    Malformed,
    /// The sequence number was used for this SSRC before, or is too old to tell: its nonce may have been used.
    #[error("sequence number used before or too old, its nonce may have been used")]
    IndexReused,
    /// All indexes of this SSRC are used up (RFC 3711 section 9.2).
    #[error("all packet indexes of the key are used up")]
    KeyExhausted,
    /// More synchronisation sources than one sender keeps.
    #[error("too many synchronisation sources")]
    TooManySources,
    /// The provider refused.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// Protects what is sent to one participant.
pub struct SrtpSender {
    rtp: SessionCipher,
    rtcp: SessionCipher,
    rtp_indexes: UsedIndexes,
    /// One count for all SSRCs: it grows for each of them, and one number says when the key is used up.
    rtcp_index: u32,
}

impl SrtpSender {
    /// Bytes by which protection makes a packet longer at most, in any profile, RTP or RTCP.
    pub const MAX_OVERHEAD: usize = GCM_TAG_LEN + RTCP_INDEX_LEN;

    /// A sender for our half of `keys`. Fails where `crypto` lacks an algorithm of the profile.
    pub fn new(keys: &SrtpKeys, crypto: &dyn RTCCrypto) -> Result<SrtpSender, CryptoError> {
        Ok(SrtpSender {
            rtp: SessionCipher::rtp(keys.profile, &keys.local, crypto)?,
            rtcp: SessionCipher::rtcp(keys.profile, &keys.local, crypto)?,
            rtp_indexes: UsedIndexes::new(),
            rtcp_index: 0,
        })
    }

    /// Has what [`Self::protect_rtp`] takes first fetched into the cache.
    pub fn prefetch_keys(&self) {
        self.rtp.prefetch();
    }

    /// Has what is known of an SSRC fetched into the cache.
    pub fn prefetch_indexes(&self, ssrc: Ssrc) {
        self.rtp_indexes.prefetch(ssrc.0);
    }

    /// Encrypts the plain RTP packet `buffer[start..]` in place and appends the tag. The sequence number must not have
    /// been used for its SSRC, nor be more than a thousand behind its newest. On an error the packet is cut off, so
    /// that `buffer` ends at `start`.
    pub fn protect_rtp(&mut self, buffer: &mut Vec<u8>, start: usize) -> Result<(), ProtectError> {
        self.try_protect_rtp(buffer, start).inspect_err(|_| buffer.truncate(start))
    }

    fn try_protect_rtp(&mut self, buffer: &mut Vec<u8>, start: usize) -> Result<(), ProtectError> {
        let fields = RtpFields::parse(buffer.get(start..).unwrap_or_default()).ok_or(ProtectError::Malformed)?;
        let index = self.take_rtp_index(fields.ssrc, fields.sequence)?;
        Ok(self.rtp.seal_rtp(buffer, start, &fields, index)?)
    }

    /// As [`Self::protect_rtp`], for a plain RTCP compound.
    pub fn protect_rtcp(&mut self, buffer: &mut Vec<u8>, start: usize) -> Result<(), ProtectError> {
        self.try_protect_rtcp(buffer, start).inspect_err(|_| buffer.truncate(start))
    }

    fn try_protect_rtcp(&mut self, buffer: &mut Vec<u8>, start: usize) -> Result<(), ProtectError> {
        let ssrc = rtcp_ssrc(buffer.get(start..).unwrap_or_default()).ok_or(ProtectError::Malformed)?;
        if self.rtcp_index == MAX_RTCP_INDEX {
            return Err(ProtectError::KeyExhausted);
        }
        self.rtcp_index += 1;
        Ok(self.rtcp.seal_rtcp(buffer, start, ssrc, self.rtcp_index)?)
    }

    /// Takes the index that `sequence` stands for, if it was not used before. It counts as used from here on, even
    /// where sealing fails. A forwarded packet may come late, under a number that was kept for it.
    fn take_rtp_index(&mut self, ssrc: u32, sequence: u16) -> Result<u64, ProtectError> {
        if let Some(used) = self.rtp_indexes.get_mut(ssrc) {
            let step = i64::from(sequence.wrapping_sub(used.highest() as u16) as i16);
            let index = used.highest().checked_add_signed(step).ok_or(ProtectError::IndexReused)?;
            if index > MAX_RTP_INDEX {
                return Err(ProtectError::KeyExhausted);
            }
            if !used.is_fresh(index) {
                return Err(ProtectError::IndexReused);
            }
            used.accept(index);
            return Ok(index);
        }
        self.rtp_indexes.begin(ssrc, u64::from(sequence)).ok_or(ProtectError::TooManySources)?;
        Ok(u64::from(sequence))
    }

    /// Sets what the next packets will be numbered after.
    #[cfg(test)]
    pub(super) fn set_last_indexes(&mut self, ssrc: u32, rtp: u64, rtcp: u32) {
        let _ = self.rtp_indexes.begin(ssrc, rtp);
        self.rtcp_index = rtcp;
    }
}
