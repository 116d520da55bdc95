//! Master keys from the DTLS exporter and the session keys derived from them (RFC 5764 section 4.2, RFC 3711 section
//! 4.3).

use std::fmt;

use rtc_crypto::{CryptoError, RTCCrypto, SecretVec, StreamCipherAlgorithm};

use super::SrtpProfile;
use crate::transport::dtls::DtlsRole;

/// The master keys of one association, for either direction. Wiped on drop, never printed.
#[derive(Clone)]
pub struct SrtpKeys {
    pub(super) profile: SrtpProfile,
    pub(super) local: MasterKey,
    pub(super) remote: MasterKey,
}

impl SrtpKeys {
    /// Splits the exporter's `material` as RFC 5764 section 4.2 lays it out: both keys, then both salts, the client's
    /// first. `role` is our own. `None` where the length is not [`SrtpProfile::keying_material_len`].
    pub fn from_exporter(profile: SrtpProfile, material: &[u8], role: DtlsRole) -> Option<SrtpKeys> {
        if material.len() != profile.keying_material_len() {
            return None;
        }
        let (keys, salts) = material.split_at_checked(2 * profile.key_len())?;
        let (client_key, server_key) = keys.split_at_checked(profile.key_len())?;
        let (client_salt, server_salt) = salts.split_at_checked(profile.salt_len())?;
        let client = MasterKey::new(client_key, client_salt);
        let server = MasterKey::new(server_key, server_salt);
        let (local, remote) = match role {
            DtlsRole::Client => (client, server),
            DtlsRole::Server => (server, client),
        };
        Some(SrtpKeys { profile, local, remote })
    }

    /// The profile that these keys are for.
    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }
}

impl fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpKeys").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// What a session key is for: the label of RFC 3711 section 4.3.1 and 4.3.2.
#[derive(Clone, Copy)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// One direction's master key and salt.
#[derive(Clone)]
pub(super) struct MasterKey {
    key: SecretVec,
    salt: SecretVec,
}

impl MasterKey {
    pub(super) fn new(key: &[u8], salt: &[u8]) -> MasterKey {
        MasterKey { key: SecretVec::new(key.to_vec()), salt: SecretVec::new(salt.to_vec()) }
    }

    /// Derives `len` bytes with the AES counter mode function of RFC 3711 section 4.3.3 (AES-256: RFC 6188 section 3),
    /// at key derivation rate zero. A 12-byte salt is taken with two zero bytes behind it (RFC 7714 section 11).
    pub(super) fn derive(&self, crypto: &dyn RTCCrypto, label: Label, len: usize) -> Result<SecretVec, CryptoError> {
        let algorithm = match self.key.len() {
            32 => StreamCipherAlgorithm::Aes256Ctr,
            _ => StreamCipherAlgorithm::Aes128Ctr,
        };
        let mut iv = [0; 16];
        iv.iter_mut().zip(self.salt.as_ref()).for_each(|(iv, salt)| *iv = *salt);
        iv[7] ^= label as u8;
        let mut output = SecretVec::new(vec![0; len]);
        crypto.new_stream_cipher(algorithm, self.key.as_ref())?.apply_keystream(&iv, output.as_mut())?;
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_key() {
        let material: Vec<u8> = (0..56).map(|_| 0xab).collect();
        let keys = SrtpKeys::from_exporter(SrtpProfile::AeadAes128Gcm, &material, DtlsRole::Server);
        let text = format!("{keys:?}").to_lowercase();
        assert!(text.contains("aeadaes128gcm"));
        assert!(!text.contains("171") && !text.contains("ab,") && !text.contains("abab"));
    }

    #[test]
    fn material_of_a_wrong_length_gives_no_keys() {
        for profile in SrtpProfile::PREFERENCE {
            for len in [0, profile.keying_material_len() - 1, profile.keying_material_len() + 1] {
                assert!(SrtpKeys::from_exporter(profile, &vec![1; len], DtlsRole::Client).is_none());
            }
        }
    }
}
