//! User fragment and password of one side of one ICE session (RFC 8445 section 5.3).

use std::fmt;

use rand::RngCore;

/// Random characters after the prefix of a user fragment: 48 bits, so that fragments never meet and cannot be guessed.
const UFRAG_RANDOM_CHARS: usize = 8;
/// Characters of a password: 144 random bits (RFC 8445 asks for 128).
const PWD_CHARS: usize = 24;
/// The 64 `ice-char`s (RFC 8839 section 5.4): six random bits each.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// `a=ice-ufrag` and `a=ice-pwd`. `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// Public: it stands in every check and names the participant to the demultiplexer.
    pub ufrag: String,
    /// Secret: the key of MESSAGE-INTEGRITY.
    pub pwd: String,
}

impl IceCredentials {
    /// Fresh credentials. The user fragment starts with `prefix`, which routes a first check to its shard; the caller
    /// makes it of `ice-char`s only.
    pub fn generate(rng: &mut impl RngCore, prefix: &str) -> IceCredentials {
        let mut ufrag = prefix.to_owned();
        push_random(&mut ufrag, UFRAG_RANDOM_CHARS, rng);
        let mut pwd = String::new();
        push_random(&mut pwd, PWD_CHARS, rng);
        IceCredentials { ufrag, pwd }
    }
}

fn push_random(text: &mut String, count: usize, rng: &mut impl RngCore) {
    for _ in 0..count {
        let index = (rng.next_u32() % 64) as usize;
        text.extend(ICE_CHARS.get(index).map(|&c| char::from(c)));
    }
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha12Rng;

    use super::*;

    #[test]
    fn credentials_are_long_random_ice_chars_behind_the_prefix() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let a = IceCredentials::generate(&mut rng, "s3");
        let b = IceCredentials::generate(&mut rng, "s3");
        assert!(a.ufrag.starts_with("s3") && a.ufrag.len() == 10);
        assert_eq!(a.pwd.len(), 24);
        assert!(a.ufrag != b.ufrag && a.pwd != b.pwd);
        assert!([&a.ufrag, &a.pwd].iter().all(|text| text.bytes().all(|c| ICE_CHARS.contains(&c))));
    }

    #[test]
    fn the_password_never_reaches_a_log() {
        let credentials = IceCredentials { ufrag: "abcd".into(), pwd: "the-secret".into() };
        let text = format!("{credentials:?}");
        assert!(text.contains("abcd") && !text.contains("the-secret"));
    }
}
