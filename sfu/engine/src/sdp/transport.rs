//! The client's transport as an offer describes it: ICE credentials (RFC 8839), certificate fingerprints (RFC 8122) and
//! DTLS role (RFC 8842). Bundled sections share one; that of the offerer-tagged section counts (RFC 9143 section 7.2).

use super::NegotiationError;
use super::offer::{Attributes, Offer};

/// Most fingerprints of one offer that are kept: one for each hash function, with room to roll certificates.
const MAX_FINGERPRINTS: usize = 8;

/// Hash functions that count, with the length of their output in bytes.
const HASHES: [(&str, usize); 3] = [("sha-256", 32), ("sha-384", 48), ("sha-512", 64)];

/// The client's transport as its offer describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteTransport {
    /// ICE user name fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// Fingerprints of which one must match the client's certificate: `sha-256 AA:BB:..`, hash name in lower and digits
    /// in upper case, never empty.
    pub fingerprints: Vec<String>,
    /// The DTLS role that the client offers.
    pub setup: Setup,
    /// Whether the client is ICE-lite too, so that nobody would start connectivity checks.
    pub ice_lite: bool,
}

/// A DTLS role (RFC 8842): `Active` is the DTLS client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Either; only in offers.
    ActPass,
    /// Starts the handshake.
    Active,
    /// Waits for the handshake.
    Passive,
}

/// Looks at an offer before it is answered, so that the caller can tell an ICE restart or a new peer connection by its
/// credentials and choose its own.
///
/// [`NegotiationError::NothingOffered`] also means that an offer stopped every section; an existing
/// [`Negotiation`](super::Negotiation) answers that with the credentials it has.
pub fn peek_transport(offer: &str) -> Result<RemoteTransport, NegotiationError> {
    RemoteTransport::of(&Offer::parse(offer)?)
}

impl RemoteTransport {
    /// The transport that `offer` describes.
    pub(super) fn of(offer: &Offer) -> Result<RemoteTransport, NegotiationError> {
        let levels = levels(offer)?;
        let (ufrag, pwd) =
            levels.iter().find_map(|level| credentials(level)).ok_or(NegotiationError::MissingIceCredentials)?;
        let setup = match levels.iter().find_map(|level| level.value("setup")) {
            None | Some("actpass") => Setup::ActPass,
            Some("active") => Setup::Active,
            Some("passive") => Setup::Passive,
            Some(other) => return Err(NegotiationError::UnsupportedSetup { setup: other.to_owned() }),
        };
        Ok(RemoteTransport {
            ufrag: ufrag.to_owned(),
            pwd: pwd.to_owned(),
            fingerprints: fingerprints(&levels)?,
            setup,
            ice_lite: offer.attributes.has("ice-lite"),
        })
    }
}

/// Where transport attributes may stand, first choice first: the tagged section, the session, and, for clients that
/// write them only once and elsewhere, the other bundled sections.
fn levels(offer: &Offer) -> Result<Vec<&Attributes>, NegotiationError> {
    let mut sections = offer.bundle.iter().filter_map(|index| offer.sections.get(*index));
    let tagged = sections.next().or_else(|| offer.live().next()).ok_or(NegotiationError::NothingOffered)?;
    let mut levels = vec![&tagged.attributes, &offer.attributes];
    levels.extend(sections.map(|section| &section.attributes));
    Ok(levels)
}

fn credentials(level: &Attributes) -> Option<(&str, &str)> {
    let (ufrag, pwd) = (level.value("ice-ufrag")?, level.value("ice-pwd")?);
    let ice_chars = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let usable =
        (4..=256).contains(&ufrag.len()) && (22..=256).contains(&pwd.len()) && ice_chars(ufrag) && ice_chars(pwd);
    usable.then_some((ufrag, pwd))
}

fn fingerprints(levels: &[&Attributes]) -> Result<Vec<String>, NegotiationError> {
    let level = levels.iter().find(|level| level.has("fingerprint")).ok_or(NegotiationError::MissingFingerprint)?;
    let found: Vec<String> = level.values("fingerprint").filter_map(fingerprint).take(MAX_FINGERPRINTS).collect();
    if found.is_empty() { Err(NegotiationError::UnsupportedFingerprint) } else { Ok(found) }
}

/// `sha-256 AA:BB:..` in one spelling; `None` for other hash functions and malformed digits.
fn fingerprint(value: &str) -> Option<String> {
    let (hash, digits) = value.trim().split_once(' ')?;
    let (hash, length) = HASHES.into_iter().find(|(name, _)| hash.eq_ignore_ascii_case(name))?;
    let bytes = || digits.trim().split(':');
    let hex = |byte: &str| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
    (bytes().count() == length && bytes().all(hex)).then(|| format!("{hash} {}", digits.trim().to_ascii_uppercase()))
}
