//! The keys that sign access tokens. Each is for one algorithm, which its own form decides: a token that claims another
//! one is refused before anything is computed, so a public key is never taken for a shared secret.

use super::claims::Claims;
use super::crypto;
use super::error::{TokenError, quoted};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::Deserialize;
use std::fmt;

/// The keys of a server, or the one of a tool that mints tokens.
#[derive(Default)]
pub struct Keys(Vec<Key>);

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    verifying: DecodingKey,
    /// Absent where only the public half is known.
    signing: Option<EncodingKey>,
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// RFC 7518 section 3.2 asks for as many bits as the hash has.
    #[error("the secret has {0} bytes, and HS256 needs 32 or more; `sluice key` makes one")]
    ShortSecret(usize),
    /// There can be only one key of an id.
    #[error("there are two keys {0:?}")]
    Twice(String),
    /// The file is no JWK Set.
    #[error("no JWK Set (RFC 7517): {0}")]
    NotAKeySet(String),
    /// None of its keys can be used.
    #[error("no usable key in it; HS256 (oct), EdDSA (OKP, Ed25519), ES256 (EC, P-256) and RS256 (RSA) are supported")]
    NoUsableKey,
    /// There is no key to sign with.
    #[error("{}", match .0 { Some(id) => format!("there is no key {id:?} with a secret to sign with"), None => "there is no key with a secret to sign with".to_owned() })]
    CannotSign(Option<String>),
}

/// The DER of an Ed25519 private key up to its seed (RFC 8410 section 7).
const ED25519_PKCS8: &[u8] = &[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// Bytes in an Ed25519 seed, and in a new shared secret.
const SEED: usize = 32;

impl Keys {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a shared secret, for HS256.
    pub fn add_secret(&mut self, id: &str, secret: &str) -> Result<(), KeyError> {
        if secret.len() < SEED {
            return Err(KeyError::ShortSecret(secret.len()));
        }
        self.add(Key {
            id: Some(id.to_owned()),
            algorithm: Algorithm::HS256,
            verifying: DecodingKey::from_secret(secret.as_bytes()),
            signing: Some(EncodingKey::from_secret(secret.as_bytes())),
        })
    }

    /// Adds the signature keys of a JWK Set (RFC 7517). Keys for encryption or for unknown algorithms are left out, as
    /// section 5 there asks.
    pub fn add_jwks(&mut self, json: &str) -> Result<(), KeyError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_str(json).map_err(|error| KeyError::NotAKeySet(error.to_string()))?;
        let usable: Vec<Key> = set.keys.iter().filter_map(read_jwk).collect();
        if usable.is_empty() {
            return Err(KeyError::NoUsableKey);
        }
        usable.into_iter().try_for_each(|key| self.add(key))
    }

    fn add(&mut self, key: Key) -> Result<(), KeyError> {
        match &key.id {
            Some(id) if self.find(id).is_some() => Err(KeyError::Twice(id.clone())),
            _ => {
                self.0.push(key);
                Ok(())
            }
        }
    }

    fn find(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.id.as_deref() == Some(id))
    }

    /// The claims of a token with a good signature.
    pub(super) fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let (algorithm, id) = read_header(token)?;
        let keys: Vec<&Key> = match &id {
            Some(id) => {
                let key = self.find(id).ok_or_else(|| TokenError::UnknownKey { key: quoted(id) })?;
                if key.algorithm != algorithm {
                    let (expected, found) = (name(key.algorithm), name(algorithm));
                    return Err(TokenError::WrongAlgorithm { key: quoted(id), expected, found });
                }
                vec![key]
            }
            None => self.0.iter().filter(|key| key.algorithm == algorithm).collect(),
        };
        if keys.is_empty() {
            return Err(TokenError::NoKey { algorithm: name(algorithm) });
        }
        keys.iter()
            .find_map(|key| key.verify(token).transpose())
            .unwrap_or(Err(TokenError::BadSignature { key: id.as_deref().map(quoted) }))
    }

    /// Signs claims with the key `id`, or with the first one that can.
    pub fn sign(&self, id: Option<&str>, claims: &Claims) -> Result<String, KeyError> {
        crypto::install();
        let cannot = || KeyError::CannotSign(id.map(str::to_owned));
        let mut able = self.0.iter().filter_map(|key| Some((key, key.signing.as_ref()?)));
        let (key, signing) = able.find(|(key, _)| id.is_none() || key.id.as_deref() == id).ok_or_else(cannot)?;
        let mut header = Header::new(key.algorithm);
        header.kid.clone_from(&key.id);
        jsonwebtoken::encode(&header, claims, signing).map_err(|_| cannot())
    }

    /// A new shared secret, in hexadecimal.
    pub fn new_secret() -> String {
        rand::random::<[u8; SEED]>().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A new Ed25519 key pair as two JWK Sets: the whole, which signs, and the public half, which is all that a server
    /// needs.
    pub fn new_ed25519(id: &str) -> (serde_json::Value, serde_json::Value) {
        let seed = rand::random::<[u8; SEED]>();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are a seed");
        let x = BASE64URL.encode(pair.public_key());
        let half = serde_json::json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": id, "x": x});
        let mut whole = half.clone();
        whole["d"] = BASE64URL.encode(seed).into();
        (serde_json::json!({"keys": [whole]}), serde_json::json!({"keys": [half]}))
    }
}

impl Key {
    /// The claims; none where the signature does not fit this key.
    fn verify(&self, token: &str) -> Result<Option<Claims>, TokenError> {
        crypto::install();
        let mut validation = Validation::new(self.algorithm);
        // Times and audience are checked by `Claims::grants`, against a clock that is given.
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        use jsonwebtoken::errors::ErrorKind;
        match jsonwebtoken::decode(token, &self.verifying, &validation) {
            Ok(token) => Ok(Some(token.claims)),
            Err(error) => match error.kind() {
                ErrorKind::InvalidSignature => Ok(None),
                // The signature was good, so whoever issued it wrote these claims.
                ErrorKind::Json(why) => Err(TokenError::BadGrants { why: why.to_string() }),
                _ => Err(TokenError::Malformed { why: quoted(&error.to_string()) }),
            },
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| (key.id.as_deref(), name(key.algorithm)))).finish()
    }
}

/// `alg` and `kid` of a token that nobody has verified yet.
fn read_header(token: &str) -> Result<(Algorithm, Option<String>), TokenError> {
    #[derive(Deserialize)]
    struct Head {
        alg: String,
        kid: Option<String>,
    }
    let malformed = |why: &str| TokenError::Malformed { why: why.to_owned() };
    let mut parts = token.split('.');
    let (Some(head), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(malformed("it does not have three parts"));
    };
    let head = BASE64URL.decode(head).map_err(|_| malformed("its header is not in base64url"))?;
    let head: Head = serde_json::from_slice(&head).map_err(|_| malformed("its header is no JSON object with `alg`"))?;
    let algorithm = match head.alg.as_str() {
        "HS256" => Algorithm::HS256,
        "EdDSA" => Algorithm::EdDSA,
        "ES256" => Algorithm::ES256,
        "RS256" => Algorithm::RS256,
        other => return Err(TokenError::UnsupportedAlgorithm { algorithm: quoted(other) }),
    };
    Ok((algorithm, head.kid))
}

fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HS256 => "HS256",
        Algorithm::EdDSA => "EdDSA",
        Algorithm::ES256 => "ES256",
        Algorithm::RS256 => "RS256",
        _ => "an unsupported algorithm",
    }
}

/// A key of a JWK Set; none where it is not for signatures, or not of a supported algorithm.
fn read_jwk(value: &serde_json::Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
        return None;
    }
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => (Algorithm::HS256, KeyAlgorithm::HS256),
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        _ => return None,
    };
    if jwk.common.key_algorithm.is_some_and(|said| said != named) {
        return None;
    }
    let private = |member: &str| BASE64URL.decode(value.get(member)?.as_str()?).ok();
    let signing = match algorithm {
        Algorithm::HS256 => {
            let secret = private("k").filter(|secret| secret.len() >= SEED)?;
            Some(EncodingKey::from_secret(&secret))
        }
        Algorithm::EdDSA => {
            let seed = private("d").filter(|seed| seed.len() == SEED);
            seed.map(|seed| EncodingKey::from_ed_der(&[ED25519_PKCS8, &seed].concat()))
        }
        _ => None,
    };
    Some(Key { id: jwk.common.key_id.clone(), algorithm, verifying: DecodingKey::from_jwk(&jwk).ok()?, signing })
}
