//! Seals and opens one packet whose index is known: the transforms of RFC 3711 section 4 and RFC 7714 sections 8 and 9.

use rtc_crypto::{AeadAlgorithm, AeadCipher, CryptoError, HmacAlgorithm, Mac, RTCCrypto, StreamCipher};
use rtc_crypto::{StreamCipherAlgorithm, constant_time_eq};

use prefetch::fetch;

use super::keys::{Label, MasterKey};
use super::{RtpFields, SrtpProfile};

/// Bytes of the AES-GCM tag.
pub(super) const GCM_TAG_LEN: usize = 16;
/// Bytes of the HMAC-SHA1-80 tag.
pub(super) const HMAC_TAG_LEN: usize = 10;
/// Bytes of the word that carries the encryption flag and the SRTCP index.
pub(super) const RTCP_INDEX_LEN: usize = 4;
/// Bytes at the start of an RTCP compound that stay in clear: the first header and the sender's SSRC.
const RTCP_CLEAR_LEN: usize = 8;
/// The flag in the index word that says that the packet is encrypted (RFC 3711 section 3.4).
const RTCP_ENCRYPTED: u32 = 1 << 31;

/// The packet is too short, or its tag does not match.
pub(super) struct OpenError;

/// The session keys of one direction, RTP or RTCP.
pub(super) enum SessionCipher {
    /// The salt is the low 96 bits.
    Gcm { aead: Box<dyn AeadCipher>, salt: u128 },
    /// The salt is the high 112 bits.
    Counter { stream: Box<dyn StreamCipher>, mac: Box<dyn Mac>, salt: u128 },
}

impl SessionCipher {
    /// Has the expanded key of AES-GCM fetched into the cache.
    pub(super) fn prefetch(&self) {
        if let SessionCipher::Gcm { aead, .. } = self {
            fetch(&**aead);
        }
    }

    /// The cipher for RTP packets.
    pub(super) fn rtp(profile: SrtpProfile, master: &MasterKey, crypto: &dyn RTCCrypto) -> Result<Self, CryptoError> {
        Self::new(profile, master, crypto, [Label::RtpEncryption, Label::RtpAuthentication, Label::RtpSalt])
    }

    /// The cipher for RTCP packets.
    pub(super) fn rtcp(profile: SrtpProfile, master: &MasterKey, crypto: &dyn RTCCrypto) -> Result<Self, CryptoError> {
        Self::new(profile, master, crypto, [Label::RtcpEncryption, Label::RtcpAuthentication, Label::RtcpSalt])
    }

    fn new(
        profile: SrtpProfile,
        master: &MasterKey,
        crypto: &dyn RTCCrypto,
        [encryption, authentication, salt]: [Label; 3],
    ) -> Result<SessionCipher, CryptoError> {
        let key = master.derive(crypto, encryption, profile.key_len())?;
        let salt = master.derive(crypto, salt, profile.salt_len())?;
        let gcm = |algorithm| {
            let aead = crypto.new_aead(algorithm, key.as_ref())?;
            Ok(SessionCipher::Gcm { aead, salt: u128::from_be_bytes(padded(salt.as_ref())) >> 32 })
        };
        match profile {
            SrtpProfile::AeadAes128Gcm => gcm(AeadAlgorithm::Aes128Gcm),
            SrtpProfile::AeadAes256Gcm => gcm(AeadAlgorithm::Aes256Gcm),
            SrtpProfile::Aes128CmSha1_80 => {
                let stream = crypto.new_stream_cipher(StreamCipherAlgorithm::Aes128Ctr, key.as_ref())?;
                let auth_key = master.derive(crypto, authentication, HmacAlgorithm::Sha1.output_len())?;
                let mac = crypto.new_hmac(HmacAlgorithm::Sha1, auth_key.as_ref())?;
                Ok(SessionCipher::Counter { stream, mac, salt: u128::from_be_bytes(padded(salt.as_ref())) })
            }
        }
    }

    /// Encrypts the RTP packet at `buffer[start..]` and appends the tag. `index` is the 48-bit packet index.
    pub(super) fn seal_rtp(
        &mut self,
        buffer: &mut Vec<u8>,
        start: usize,
        fields: &RtpFields,
        index: u64,
    ) -> Result<(), CryptoError> {
        let packet = buffer.get_mut(start..).unwrap_or_default();
        let (header, payload) = packet.split_at_mut_checked(fields.header_len).ok_or(TOO_SHORT)?;
        match self {
            SessionCipher::Gcm { aead, salt } => {
                let mut tag = [0; GCM_TAG_LEN];
                aead.seal_in_place(&gcm_rtp_nonce(*salt, fields.ssrc, index), header, payload, &mut tag)?;
                buffer.extend_from_slice(&tag);
            }
            SessionCipher::Counter { stream, mac, salt } => {
                stream.apply_keystream(&counter_iv(*salt, fields.ssrc, index), payload)?;
                let tag = hmac_tag(mac.as_mut(), packet, &rollover(index))?;
                buffer.extend_from_slice(&tag);
            }
        }
        Ok(())
    }

    /// Authenticates and decrypts an RTP packet in place. Returns its plain length.
    pub(super) fn open_rtp(&mut self, packet: &mut [u8], fields: &RtpFields, index: u64) -> Result<usize, OpenError> {
        match self {
            SessionCipher::Gcm { aead, salt } => {
                let (packet, tag) = split_tail::<GCM_TAG_LEN>(packet)?;
                let plain_len = packet.len();
                let (header, payload) = packet.split_at_mut_checked(fields.header_len).ok_or(OpenError)?;
                let nonce = gcm_rtp_nonce(*salt, fields.ssrc, index);
                aead.open_in_place(&nonce, header, payload, tag).map_err(|_| OpenError)?;
                Ok(plain_len)
            }
            SessionCipher::Counter { stream, mac, salt } => {
                let (packet, tag) = split_tail::<HMAC_TAG_LEN>(packet)?;
                let plain_len = packet.len();
                // An attacker may let the header reach into the tag: check before the keyed work.
                if plain_len < fields.header_len {
                    return Err(OpenError);
                }
                check_hmac(mac.as_mut(), packet, &rollover(index), tag)?;
                let payload = packet.get_mut(fields.header_len..).ok_or(OpenError)?;
                stream.apply_keystream(&counter_iv(*salt, fields.ssrc, index), payload).map_err(|_| OpenError)?;
                Ok(plain_len)
            }
        }
    }

    /// Encrypts the RTCP compound at `buffer[start..]`, appends tag and index word in the order of the profile.
    pub(super) fn seal_rtcp(
        &mut self,
        buffer: &mut Vec<u8>,
        start: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<(), CryptoError> {
        let word = (index | RTCP_ENCRYPTED).to_be_bytes();
        let packet = buffer.get_mut(start..).unwrap_or_default();
        let (clear, body) = packet.split_first_chunk_mut::<RTCP_CLEAR_LEN>().ok_or(TOO_SHORT)?;
        match self {
            SessionCipher::Gcm { aead, salt } => {
                let mut tag = [0; GCM_TAG_LEN];
                aead.seal_in_place(&gcm_rtcp_nonce(*salt, ssrc, index), &gcm_rtcp_aad(clear, word), body, &mut tag)?;
                buffer.extend_from_slice(&tag);
                buffer.extend_from_slice(&word);
            }
            SessionCipher::Counter { stream, mac, salt } => {
                stream.apply_keystream(&counter_iv(*salt, ssrc, u64::from(index)), body)?;
                let tag = hmac_tag(mac.as_mut(), packet, &word)?;
                buffer.extend_from_slice(&word);
                buffer.extend_from_slice(&tag);
            }
        }
        Ok(())
    }

    /// The SRTCP index that `packet` carries, without authentication. `None` where it is too short, or says that it is
    /// not encrypted: DTLS-SRTP negotiates encryption for all of it.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Option<u32> {
        let before_tag = match self {
            SessionCipher::Gcm { .. } => packet,
            SessionCipher::Counter { .. } => packet.get(..packet.len().checked_sub(HMAC_TAG_LEN)?)?,
        };
        let (_, word) = before_tag.split_last_chunk::<RTCP_INDEX_LEN>()?;
        let word = u32::from_be_bytes(*word);
        (word & RTCP_ENCRYPTED != 0).then_some(word & !RTCP_ENCRYPTED)
    }

    /// Authenticates and decrypts an RTCP compound in place. Returns its plain length.
    pub(super) fn open_rtcp(&mut self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<usize, OpenError> {
        match self {
            SessionCipher::Gcm { aead, salt } => {
                let (packet, word) = split_tail::<RTCP_INDEX_LEN>(packet)?;
                let (packet, tag) = split_tail::<GCM_TAG_LEN>(packet)?;
                let plain_len = packet.len();
                let (clear, body) = packet.split_first_chunk_mut::<RTCP_CLEAR_LEN>().ok_or(OpenError)?;
                let aad = gcm_rtcp_aad(clear, *word);
                aead.open_in_place(&gcm_rtcp_nonce(*salt, ssrc, index), &aad, body, tag).map_err(|_| OpenError)?;
                Ok(plain_len)
            }
            SessionCipher::Counter { stream, mac, salt } => {
                let (packet, tag) = split_tail::<HMAC_TAG_LEN>(packet)?;
                let (packet, word) = split_tail::<RTCP_INDEX_LEN>(packet)?;
                let plain_len = packet.len();
                check_hmac(mac.as_mut(), packet, word, tag)?;
                let body = packet.get_mut(RTCP_CLEAR_LEN..).ok_or(OpenError)?;
                stream.apply_keystream(&counter_iv(*salt, ssrc, u64::from(index)), body).map_err(|_| OpenError)?;
                Ok(plain_len)
            }
        }
    }
}

/// The caller has parsed the header, so this is never seen.
const TOO_SHORT: CryptoError = CryptoError::OutputTooSmall { required: 0, actual: 0 };

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    array
}

fn split_tail<const N: usize>(packet: &mut [u8]) -> Result<(&mut [u8], &[u8; N]), OpenError> {
    let (front, tail) = packet.split_last_chunk_mut::<N>().ok_or(OpenError)?;
    Ok((front, tail))
}

/// The rollover counter: the upper 32 of the index's 48 bits.
fn rollover(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// RFC 7714 section 8.1: two zero bytes, SSRC, rollover counter, sequence number, with the salt over it.
fn gcm_rtp_nonce(salt: u128, ssrc: u32, index: u64) -> [u8; 12] {
    low_bytes(salt ^ (u128::from(ssrc) << 48) ^ u128::from(index & 0xffff_ffff_ffff))
}

/// RFC 7714 section 9.1: two zero bytes, SSRC, two zero bytes, the 31-bit index, with the salt over it.
fn gcm_rtcp_nonce(salt: u128, ssrc: u32, index: u32) -> [u8; 12] {
    low_bytes(salt ^ (u128::from(ssrc) << 48) ^ u128::from(index))
}

/// The low 96 bits. Written as the two words that the cipher reads: what a processor has just written byte by byte it
/// cannot read as a word until all that was written before is through.
fn low_bytes(value: u128) -> [u8; 12] {
    let mut bytes = [0; 12];
    let (high, low) = bytes.split_at_mut(8);
    high.copy_from_slice(&((value >> 32) as u64).to_be_bytes());
    low.copy_from_slice(&(value as u32).to_be_bytes());
    bytes
}

/// RFC 7714 section 9.2: the clear part of the packet and the index word.
fn gcm_rtcp_aad(clear: &[u8; RTCP_CLEAR_LEN], word: [u8; RTCP_INDEX_LEN]) -> [u8; RTCP_CLEAR_LEN + RTCP_INDEX_LEN] {
    let mut aad = [0; RTCP_CLEAR_LEN + RTCP_INDEX_LEN];
    aad.iter_mut().zip(clear.iter().chain(&word)).for_each(|(to, from)| *to = *from);
    aad
}

/// RFC 3711 section 4.1.1: `(salt << 16) ^ (ssrc << 64) ^ (index << 16)`.
fn counter_iv(salt: u128, ssrc: u32, index: u64) -> [u8; 16] {
    (salt ^ (u128::from(ssrc) << 64) ^ (u128::from(index & 0xffff_ffff_ffff) << 16)).to_be_bytes()
}

fn hmac_tag(mac: &mut dyn Mac, packet: &[u8], suffix: &[u8; 4]) -> Result<[u8; HMAC_TAG_LEN], CryptoError> {
    let mut full = [0; 20];
    mac.sign(&[packet, suffix], &mut full)?;
    Ok(padded(&full))
}

fn check_hmac(mac: &mut dyn Mac, packet: &[u8], suffix: &[u8; 4], tag: &[u8; HMAC_TAG_LEN]) -> Result<(), OpenError> {
    let expected = hmac_tag(mac, packet, suffix).map_err(|_| OpenError)?;
    if constant_time_eq(&expected, tag) { Ok(()) } else { Err(OpenError) }
}
