//! Published test vectors: RFC 3711 appendix B.3, RFC 6188 section 7.2, RFC 7714 sections 16 and 17.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use rtc_crypto::{AeadAlgorithm, default_provider};

use super::cipher::SessionCipher;
use super::keys::{Label, MasterKey};
use super::{RtpFields, rtcp_ssrc};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn derived(master: &MasterKey, label: Label, len: usize) -> Vec<u8> {
    master.derive(default_provider().unwrap().crypto(), label, len).unwrap().into_bytes()
}

#[test]
fn session_keys_for_aes_128_are_those_of_rfc_3711_b3() {
    let master = MasterKey::new(&hex("e1f97a0d3e018be0d64fa32c06de4139"), &hex("0ec675ad498afeebb6960b3aabe6"));
    assert_eq!(derived(&master, Label::RtpEncryption, 16), hex("c61e7a93744f39ee10734afe3ff7a087"));
    assert_eq!(derived(&master, Label::RtpSalt, 14), hex("30cbbc08863d8c85d49db34a9ae1"));
    assert_eq!(derived(&master, Label::RtpAuthentication, 20), hex("cebe321f6ff7716b6fd4ab49af256a156d38baa4"));
}

#[test]
fn session_keys_for_aes_256_are_those_of_rfc_6188_7_2() {
    let master = MasterKey::new(
        &hex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6"),
        &hex("3b04803de51ee7c96423ab5b78d2"),
    );
    assert_eq!(
        derived(&master, Label::RtpEncryption, 32),
        hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4")
    );
    assert_eq!(derived(&master, Label::RtpSalt, 14), hex("fa31791685ca444a9e07c6c64e93"));
}

/// RFC 7714 gives session keys, not master keys.
fn gcm(key: &str) -> SessionCipher {
    let key = hex(key);
    let algorithm = if key.len() == 16 { AeadAlgorithm::Aes128Gcm } else { AeadAlgorithm::Aes256Gcm };
    let aead = default_provider().unwrap().crypto().new_aead(algorithm, &key).unwrap();
    SessionCipher::Gcm { aead, salt: u128::from_be_bytes(*b"\0\0\0\0Quid pro quo") }
}

const KEY_128: &str = "000102030405060708090a0b0c0d0e0f";
const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[test]
fn rtp_under_gcm_is_that_of_rfc_7714_16() {
    let plain = hex("8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070
        61727465 73207472 6573");
    let cases = [
        (
            KEY_128,
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b
            36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        ),
        (
            KEY_256,
            "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f
            1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
        ),
    ];
    for (key, protected) in cases {
        let fields = RtpFields::parse(&plain).unwrap();
        let mut packet = plain.clone();
        gcm(key).seal_rtp(&mut packet, 0, &fields, 0xf17b).unwrap();
        assert_eq!(packet, hex(protected));
        let len = gcm(key).open_rtp(&mut packet, &fields, 0xf17b).ok().unwrap();
        assert_eq!(packet[..len], plain);
    }
}

#[test]
fn rtcp_under_gcm_is_that_of_rfc_7714_17() {
    let plain = hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef
        deadbeef deadbeef deadbeef");
    let cases = [
        (
            KEY_128,
            "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46
            86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
        ),
        (
            KEY_256,
            "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be 8415f658
            c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
        ),
    ];
    for (key, protected) in cases {
        let ssrc = rtcp_ssrc(&plain).unwrap();
        let mut packet = plain.clone();
        gcm(key).seal_rtcp(&mut packet, 0, ssrc, 0x5d4).unwrap();
        assert_eq!(packet, hex(protected));
        assert_eq!(gcm(key).rtcp_index(&packet), Some(0x5d4));
        let len = gcm(key).open_rtcp(&mut packet, ssrc, 0x5d4).ok().unwrap();
        assert_eq!(packet[..len], plain);
    }
}
