//! Certificate fingerprints as the SDP carries them: `a=fingerprint:sha-256 AA:BB:..` (RFC 8122 section 5).

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

/// Hash functions that we take. SHA-1 and older are refused (RFC 8122 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    /// `sha-256`, what everybody sends.
    Sha256,
    /// `sha-384`
    Sha384,
    /// `sha-512`
    Sha512,
}

impl HashKind {
    const ALL: [HashKind; 3] = [HashKind::Sha256, HashKind::Sha384, HashKind::Sha512];

    /// The token in the SDP.
    pub const fn token(self) -> &'static str {
        match self {
            HashKind::Sha256 => "sha-256",
            HashKind::Sha384 => "sha-384",
            HashKind::Sha512 => "sha-512",
        }
    }

    /// Bytes of its output.
    pub const fn output_len(self) -> usize {
        match self {
            HashKind::Sha256 => 32,
            HashKind::Sha384 => 48,
            HashKind::Sha512 => 64,
        }
    }

    fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            HashKind::Sha256 => Sha256::digest(data).to_vec(),
            HashKind::Sha384 => Sha384::digest(data).to_vec(),
            HashKind::Sha512 => Sha512::digest(data).to_vec(),
        }
    }
}

/// The hash of a certificate. `Display` and `FromStr` are the value of the SDP's attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    algorithm: HashKind,
    bytes: Vec<u8>,
}

impl Fingerprint {
    /// The fingerprint of a DER certificate.
    pub fn of(algorithm: HashKind, certificate: &[u8]) -> Fingerprint {
        Fingerprint { algorithm, bytes: algorithm.digest(certificate) }
    }

    /// The hash function.
    pub fn algorithm(&self) -> HashKind {
        self.algorithm
    }

    /// The hash, of the function's length.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// True where the DER `certificate` has this fingerprint. The time taken does not depend on where they differ.
    pub fn matches(&self, certificate: &[u8]) -> bool {
        self.algorithm.digest(certificate).ct_eq(&self.bytes).into()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm.token())?;
        for (position, byte) in self.bytes.iter().enumerate() {
            write!(f, "{}{byte:02X}", if position == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

/// Why a fingerprint was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// SHA-1, MD5 or unknown.
    #[error("hash function not accepted, use sha-256")]
    Algorithm,
    /// Not the function's number of colon-separated hexadecimal bytes.
    #[error("malformed fingerprint")]
    Malformed,
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Fingerprint, FingerprintError> {
        let (token, value) = text.trim().split_once(' ').ok_or(FingerprintError::Malformed)?;
        let algorithm = HashKind::ALL
            .into_iter()
            .find(|kind| kind.token().eq_ignore_ascii_case(token))
            .ok_or(FingerprintError::Algorithm)?;
        let bytes: Option<Vec<u8>> = value.trim().split(':').map(hex_byte).collect();
        let bytes = bytes.filter(|bytes| bytes.len() == algorithm.output_len()).ok_or(FingerprintError::Malformed)?;
        Ok(Fingerprint { algorithm, bytes })
    }
}

fn hex_byte(text: &str) -> Option<u8> {
    // `from_str_radix` alone would also take a sign.
    let two_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    two_digits.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_hash_survives_the_sdp_in_either_case() {
        for kind in HashKind::ALL {
            let fingerprint = Fingerprint::of(kind, b"certificate");
            let text = fingerprint.to_string();
            assert_eq!(text.parse(), Ok(fingerprint.clone()));
            assert_eq!(text.to_lowercase().parse(), Ok(fingerprint.clone()));
            assert_eq!(text.to_uppercase().parse(), Ok(fingerprint.clone()));
            assert!(fingerprint.matches(b"certificate") && !fingerprint.matches(b"another"));
        }
        assert!(Fingerprint::of(HashKind::Sha256, b"").to_string().starts_with("sha-256 E3:B0:C4:42:"));
    }

    #[test]
    fn weak_hashes_and_malformed_values_are_refused() {
        let good = Fingerprint::of(HashKind::Sha256, b"x").to_string();
        let sha1 = format!("sha-1 {}", &good[8..8 + 59]);
        assert_eq!(sha1.parse::<Fingerprint>(), Err(FingerprintError::Algorithm));
        assert_eq!("md5 00".parse::<Fingerprint>(), Err(FingerprintError::Algorithm));
        let cases = ["", "sha-256", "sha-256 ", "sha-256 zz", &good[..good.len() - 3], &format!("{good}:00")];
        for text in cases {
            assert!(text.parse::<Fingerprint>().is_err(), "{text:?}");
        }
        let signed = format!("sha-256 +1{}", ":00".repeat(31));
        assert_eq!(signed.parse::<Fingerprint>(), Err(FingerprintError::Malformed));
        assert_eq!(good.replace(':', "-").parse::<Fingerprint>(), Err(FingerprintError::Malformed));
    }
}
