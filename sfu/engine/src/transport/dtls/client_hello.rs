//! Looks into a ClientHello (RFC 5246 section 7.4.1.2) to choose, by our preference, what `rtc-dtls` would choose by
//! the client's, and to refuse what it would misread or accept too easily.

use super::wire::VERSIONS;
use crate::byte_reader::ByteReader;
use crate::transport::srtp::SrtpProfile;

const EXTENSION_USE_SRTP: u16 = 14;
const EXTENSION_EXTENDED_MASTER_SECRET: u16 = 23;

/// Cipher suites, those with which a server whose key is ECDSA can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suite {
    /// Preferred although AES may be faster: its nonce is the record number, where `rtc-dtls` draws AES-GCM's at
    /// random.
    ChaCha20Poly1305,
    Aes128Gcm,
}

impl Suite {
    const PREFERENCE: [(Suite, u16); 2] = [(Suite::ChaCha20Poly1305, 0xcca9), (Suite::Aes128Gcm, 0xc02b)];
}

/// What we answer a ClientHello with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) profile: SrtpProfile,
    pub(super) suite: Suite,
}

impl Selection {
    /// Chooses from the body of a ClientHello. The error says in a few words why it is not acceptable.
    pub(super) fn for_client_hello(body: &[u8]) -> Result<Selection, &'static str> {
        let hello = ClientHello::parse(body).ok_or("malformed ClientHello")?;
        if !hello.version_is_1_2 {
            return Err("the client has no DTLS 1.2");
        }
        // rtc-dtls would read its bytes as the cookie. No browser sends one.
        if hello.has_session_id {
            return Err("the client wants to resume a session");
        }
        if !hello.extended_master_secret {
            return Err("the client has no extended master secret");
        }
        let suite = Suite::PREFERENCE.iter().find(|(_, code)| contains(hello.suites, *code));
        let (suite, _) = suite.ok_or("no common cipher suite")?;
        let profiles = hello.srtp_profiles.ok_or("the client has no SRTP")?;
        let profile = SrtpProfile::PREFERENCE.into_iter().find(|profile| contains(profiles, profile.wire()));
        let profile = profile.ok_or("no common SRTP profile")?;
        Ok(Selection { profile, suite: *suite })
    }
}

struct ClientHello<'a> {
    version_is_1_2: bool,
    has_session_id: bool,
    suites: &'a [u8],
    srtp_profiles: Option<&'a [u8]>,
    extended_master_secret: bool,
}

impl<'a> ClientHello<'a> {
    /// `None` where a length does not fit, something follows the extensions, or `use_srtp` comes twice.
    fn parse(body: &'a [u8]) -> Option<ClientHello<'a>> {
        let mut reader = ByteReader::new(body);
        let version = reader.u16()?;
        let _random = reader.bytes(32)?;
        let session_id = reader.vec8()?;
        let _cookie = reader.vec8()?;
        let suites = reader.vec16()?;
        let _compression_methods = reader.vec8()?;
        let mut hello = ClientHello {
            version_is_1_2: version == VERSIONS[1],
            has_session_id: !session_id.is_empty(),
            suites,
            srtp_profiles: None,
            extended_master_secret: false,
        };
        let mut extensions = ByteReader::new(reader.vec16()?);
        while !extensions.is_empty() {
            let (kind, mut data) = (extensions.u16()?, ByteReader::new(extensions.vec16()?));
            match kind {
                EXTENSION_USE_SRTP if hello.srtp_profiles.is_none() => {
                    hello.srtp_profiles = Some(data.vec16()?);
                    let _master_key_identifier = data.vec8()?;
                }
                EXTENSION_USE_SRTP => return None,
                EXTENSION_EXTENDED_MASTER_SECRET => hello.extended_master_secret = true,
                _ => {}
            }
        }
        reader.is_empty().then_some(hello)
    }
}

/// True where `code` is among the two-byte values of `list`.
fn contains(list: &[u8], code: u16) -> bool {
    list.as_chunks().0.iter().any(|value| u16::from_be_bytes(*value) == code)
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    /// The body of a ClientHello.
    pub(in super::super) fn client_hello(suites: &[u16], profiles: Option<&[u16]>, extended: bool) -> Vec<u8> {
        let list = |values: &[u16]| -> Vec<u8> {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
            [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()
        };
        let mut extensions = vec![0, 10, 0, 4, 0, 2, 0, 29];
        if let Some(profiles) = profiles {
            let data = [list(profiles), vec![0]].concat();
            extensions.extend_from_slice(&[0, 14, 0, data.len() as u8]);
            extensions.extend_from_slice(&data);
        }
        if extended {
            extensions.extend_from_slice(&[0, 23, 0, 0]);
        }
        let mut body = vec![0xfe, 0xfd];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&list(suites));
        body.extend_from_slice(&[1, 0]);
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.extend_from_slice(&extensions);
        body
    }

    fn profile_for(profiles: &[u16]) -> Result<SrtpProfile, &'static str> {
        Selection::for_client_hello(&client_hello(&[0xc02b], Some(profiles), true)).map(|selection| selection.profile)
    }

    #[test]
    fn gcm_is_chosen_wherever_the_client_lists_it() {
        assert_eq!(profile_for(&[1, 2, 8, 7]), Ok(SrtpProfile::AeadAes128Gcm));
        assert_eq!(profile_for(&[1, 8]), Ok(SrtpProfile::AeadAes256Gcm));
        assert_eq!(profile_for(&[2, 1]), Ok(SrtpProfile::Aes128CmSha1_80));
        assert_eq!(profile_for(&[2, 5]), Err("no common SRTP profile"));
        assert_eq!(profile_for(&[]), Err("no common SRTP profile"));
    }

    #[test]
    fn what_we_need_must_be_there() {
        let choose = |suites: &[u16], profiles, extended| {
            Selection::for_client_hello(&client_hello(suites, profiles, extended)).map(|selection| selection.suite)
        };
        assert_eq!(choose(&[0x1301, 0xc02b, 0xcca9], Some(&[7]), true), Ok(Suite::ChaCha20Poly1305));
        assert_eq!(choose(&[0xc02b], Some(&[7]), true), Ok(Suite::Aes128Gcm));
        assert!(choose(&[0x0000], Some(&[7]), true).is_err(), "TLS_NULL");
        assert!(choose(&[0xc02b], None, true).is_err());
        assert!(choose(&[0xc02b], Some(&[7]), false).is_err());
        let mut resuming = client_hello(&[0xc02b], Some(&[7]), true);
        resuming.splice(34..35, [1, 9]);
        assert!(Selection::for_client_hello(&resuming).is_err());
        let mut old = client_hello(&[0xc02b], Some(&[7]), true);
        old[1] = 0xff;
        assert!(Selection::for_client_hello(&old).is_err());
    }

    #[test]
    fn a_truncated_or_extended_hello_is_refused() {
        let hello = client_hello(&[0xc02b], Some(&[7]), true);
        assert!(Selection::for_client_hello(&hello).is_ok());
        for len in 0..hello.len() {
            assert_eq!(Selection::for_client_hello(&hello[..len]), Err("malformed ClientHello"));
        }
        assert_eq!(Selection::for_client_hello(&[&hello[..], &[0]].concat()), Err("malformed ClientHello"));
    }
}
