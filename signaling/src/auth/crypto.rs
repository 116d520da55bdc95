//! *ring* as the cryptography of `jsonwebtoken`, which brings two others: one wants a C++ tool chain, the other an RSA
//! with an open advisory. Which algorithm a key is for is decided in [`super::keys`], never by a token.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::hmac;
use ring::signature::{self, Ed25519KeyPair, RsaPublicKeyComponents, UnparsedPublicKey};

/// Makes `jsonwebtoken` use *ring*. Calling it again does nothing.
pub(super) fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: signer,
        verifier_factory: verifier,
        // For making JWKs from keys, which Sluice does not ask of it.
        key_utils: KeyUtils::new_unimplemented(),
    };
    // An error means that it is installed already; nobody else in this process installs one.
    let _ = PROVIDER.install_default();
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    let key = match algorithm {
        Algorithm::HS256 => SigningKey::Hmac(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())),
        Algorithm::EdDSA => SigningKey::Ed25519(Box::new(
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.as_bytes()).map_err(|_| ErrorKind::InvalidEddsaKey)?,
        )),
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    Ok(Box::new(key))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let bytes = || key.try_get_as_bytes().map(<[u8]>::to_vec);
    let key = match (algorithm, key.kind()) {
        (Algorithm::HS256, _) => VerifyingKey::Hmac(hmac::Key::new(hmac::HMAC_SHA256, &bytes()?)),
        (Algorithm::EdDSA, _) => {
            VerifyingKey::Public(*algorithm, UnparsedPublicKey::new(&signature::ED25519, bytes()?))
        }
        (Algorithm::ES256, _) => {
            VerifyingKey::Public(*algorithm, UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, bytes()?))
        }
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            VerifyingKey::Rsa(RsaPublicKeyComponents { n: n.clone(), e: e.clone() })
        }
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    Ok(Box::new(key))
}

enum SigningKey {
    Hmac(hmac::Key),
    Ed25519(Box<Ed25519KeyPair>),
}

enum VerifyingKey {
    Hmac(hmac::Key),
    Public(Algorithm, UnparsedPublicKey<Vec<u8>>),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

impl Signer<Vec<u8>> for SigningKey {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, SignatureError> {
        Ok(match self {
            SigningKey::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
            SigningKey::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        })
    }
}

impl JwtSigner for SigningKey {
    fn algorithm(&self) -> Algorithm {
        match self {
            SigningKey::Hmac(_) => Algorithm::HS256,
            SigningKey::Ed25519(_) => Algorithm::EdDSA,
        }
    }
}

impl Verifier<Vec<u8>> for VerifyingKey {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), SignatureError> {
        match self {
            VerifyingKey::Hmac(key) => hmac::verify(key, message, signature),
            VerifyingKey::Public(_, key) => key.verify(message, signature),
            VerifyingKey::Rsa(key) => key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature),
        }
        .map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for VerifyingKey {
    fn algorithm(&self) -> Algorithm {
        match self {
            VerifyingKey::Hmac(_) => Algorithm::HS256,
            VerifyingKey::Public(algorithm, _) => *algorithm,
            VerifyingKey::Rsa(_) => Algorithm::RS256,
        }
    }
}
