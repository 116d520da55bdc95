//! The signature: HMAC-SHA256 (RFC 2104) over time and body, so that a receiver knows the sender and can refuse what is
//! old.

use ring::hmac;
use std::fmt::Write;

/// The header that carries the signature.
pub(super) const HEADER: &str = "sluice-signature";

/// `t=<seconds since 1970>,v1=<hex of HMAC-SHA256(secret, "<seconds>.<body>")>`
pub(super) fn signature(secret: &str, seconds: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
    context.update(format!("{seconds}.").as_bytes());
    context.update(body);
    let mut header = format!("t={seconds},v1=");
    for byte in context.sign().as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(header, "{byte:02x}");
    }
    header
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_signature_is_what_openssl_says() {
        // printf '1700000000.{"event":"room_started"}' | openssl dgst -sha256 -hmac secret
        let signature = super::signature("secret", 1_700_000_000, br#"{"event":"room_started"}"#);
        assert_eq!(signature, "t=1700000000,v1=88c1d1dd236dafcc1fe8bf9fe8b168d626928df9080852310178951b3ddb39c6");
    }
}
