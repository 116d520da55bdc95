//! From the wire to plain RTP and RTCP.

use rtc_crypto::{CryptoError, RTCCrypto};

use super::cipher::SessionCipher;
use super::keys::SrtpKeys;
use super::replay::{ReplayWindow, estimate_index};
use super::sources::Sources;
use super::{RtpFields, rtcp_ssrc};
use crate::drops::DropReason;

/// Sources remembered for each of RTP and RTCP. A participant has a handful; one that uses more loses the replay window
/// and the rollover counter of the source that it used longest ago.
pub(super) const MAX_SOURCES: usize = 128;

/// 1024 packets, as retransmissions and slow paths need at video rates.
type RtpWindow = ReplayWindow<16>;
/// 128 packets.
type RtcpWindow = ReplayWindow<2>;

/// Unprotects what one participant sends.
pub struct SrtpReceiver {
    rtp: SessionCipher,
    rtcp: SessionCipher,
    rtp_sources: Sources<RtpWindow, MAX_SOURCES>,
    rtcp_sources: Sources<RtcpWindow, MAX_SOURCES>,
}

impl SrtpReceiver {
    /// A receiver for the peer's half of `keys`. Fails where `crypto` lacks an algorithm of the profile.
    pub fn new(keys: &SrtpKeys, crypto: &dyn RTCCrypto) -> Result<SrtpReceiver, CryptoError> {
        Ok(SrtpReceiver {
            rtp: SessionCipher::rtp(keys.profile, &keys.remote, crypto)?,
            rtcp: SessionCipher::rtcp(keys.profile, &keys.remote, crypto)?,
            rtp_sources: Sources::new(),
            rtcp_sources: Sources::new(),
        })
    }

    /// Has what [`Self::unprotect_rtcp`] takes first fetched into the cache.
    pub fn prefetch_rtcp_keys(&self) {
        self.rtcp.prefetch();
    }

    /// Authenticates and decrypts an SRTP packet in place and returns its plain length: the header as it came, the
    /// plain payload directly behind it. After an error the content of `packet` is undefined and no state has changed.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let fields = RtpFields::parse(packet).ok_or(DropReason::RtpMalformed)?;
        let index = match self.rtp_sources.get(fields.ssrc) {
            Some(window) => {
                let index = estimate_index(window.highest(), fields.sequence);
                if !window.is_fresh(index) {
                    return Err(DropReason::SrtpReplay);
                }
                index
            }
            None => u64::from(fields.sequence),
        };
        let len = self.rtp.open_rtp(packet, &fields, index).map_err(|_| DropReason::SrtpAuth)?;
        self.rtp_sources.upsert(fields.ssrc, |window| window.accept(index), || RtpWindow::starting_at(index));
        Ok(len)
    }

    /// As [`Self::unprotect_rtp`], for an SRTCP packet. One that is not encrypted is refused.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let ssrc = rtcp_ssrc(packet).ok_or(DropReason::RtcpMalformed)?;
        let index = self.rtcp.rtcp_index(packet).ok_or(DropReason::SrtpAuth)?;
        let wide = u64::from(index);
        if self.rtcp_sources.get(ssrc).is_some_and(|window| !window.is_fresh(wide)) {
            return Err(DropReason::SrtpReplay);
        }
        let len = self.rtcp.open_rtcp(packet, ssrc, index).map_err(|_| DropReason::SrtpAuth)?;
        self.rtcp_sources.upsert(ssrc, |window| window.accept(wide), || RtcpWindow::starting_at(wide));
        Ok(len)
    }

    /// Sources with state, RTP and RTCP.
    #[cfg(test)]
    pub(super) fn source_counts(&self) -> (usize, usize) {
        (self.rtp_sources.len(), self.rtcp_sources.len())
    }
}
