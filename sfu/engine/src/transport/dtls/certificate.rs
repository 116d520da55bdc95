//! The self-signed certificate that this process shows to every participant (RFC 8827 section 5.6).

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, SerialNumber};
use rtc_crypto::{CryptoError, PublicKey, RTCCryptoProvider, SignatureScheme, SigningKey};

use super::fingerprint::{Fingerprint, HashKind};

/// The signature scheme that every browser knows.
const SCHEME: SignatureScheme = SignatureScheme::EcdsaP256Sha256;
/// Bytes of half of all P-256 signatures in DER.
const SIGNATURE_LEN: usize = 71;
/// After this many signatures of another length the last is used. Not seen to happen: the odds are 2^-64.
const MAX_SIGNATURES: usize = 64;

/// A key and its certificate. Cheap to clone, one serves any number of sessions.
#[derive(Clone)]
pub struct DtlsCertificate {
    pub(super) der: Arc<[u8]>,
    pub(super) key: Arc<dyn SigningKey>,
    fingerprint: Arc<Fingerprint>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The provider has no P-256 or no randomness.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The certificate could not be encoded.
    #[error("certificate: {0}")]
    Encoding(#[from] rcgen::Error),
}

impl DtlsCertificate {
    /// Generates a P-256 key and a self-signed certificate that says nothing about this server. Takes under a
    /// millisecond.
    pub fn generate(provider: &Arc<dyn RTCCryptoProvider>) -> Result<DtlsCertificate, CertificateError> {
        let key = Arc::new(EvenSigner(provider.crypto().generate_signing_key(SCHEME)?));
        let mut serial = [0; 16];
        provider.random().fill(&mut serial)?;
        // Positive and without a leading zero, so that it always encodes to 16 bytes.
        serial[0] = serial[0] & 0x3f | 0x40;

        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "WebRTC");
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let der: Arc<[u8]> = params.self_signed(&*key)?.der().as_ref().into();
        let fingerprint = Arc::new(Fingerprint::of(HashKind::Sha256, &der));
        Ok(DtlsCertificate { der, key, fingerprint })
    }

    /// Its SHA-256 fingerprint, for the SDP.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

/// Draws ECDSA signatures until one has the most usual length. Their length varies by chance and with it the size of
/// handshake datagrams, which would make a simulated run differ from another with the same seed.
struct EvenSigner(Arc<dyn SigningKey>);

impl SigningKey for EvenSigner {
    fn supports(&self, scheme: SignatureScheme) -> bool {
        self.0.supports(scheme)
    }

    fn public_key(&self) -> PublicKey<'_> {
        self.0.public_key()
    }

    fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut signature = self.0.sign(scheme, message)?;
        for _ in 1..MAX_SIGNATURES {
            if signature.len() == SIGNATURE_LEN {
                break;
            }
            signature = self.0.sign(scheme, message)?;
        }
        Ok(signature)
    }
}

impl rcgen::PublicKeyData for EvenSigner {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().bytes
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for EvenSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        SigningKey::sign(self, SCHEME, message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn certificates_differ_but_have_one_length() {
        let provider = rtc_crypto::default_provider().unwrap();
        let certificates: Vec<_> = (0..30).map(|_| DtlsCertificate::generate(&provider).unwrap()).collect();
        let first = certificates.first().unwrap();
        assert!(certificates.iter().all(|other| other.der.len() == first.der.len()));
        assert!(certificates.iter().skip(1).all(|other| other.fingerprint() != first.fingerprint()));
        assert!(first.fingerprint().matches(&first.der));
    }
}
