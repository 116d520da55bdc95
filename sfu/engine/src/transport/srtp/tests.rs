//! Behaviour of SRTP, with `rtc-srtp` as the oracle for what stands on the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;

use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use rtc_crypto::{RTCCryptoProvider, default_provider};
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::receiver::MAX_SOURCES;
use super::*;
use crate::drops::DropReason;
use crate::transport::dtls::DtlsRole;

fn provider() -> Arc<dyn RTCCryptoProvider> {
    default_provider().unwrap()
}

fn material(profile: SrtpProfile) -> Vec<u8> {
    (0..profile.keying_material_len()).map(|i| (i * 7 + 3) as u8).collect()
}

/// A sender on the server and the client's receiver.
fn pair(profile: SrtpProfile) -> (SrtpSender, SrtpReceiver) {
    let keys = |role| SrtpKeys::from_exporter(profile, &material(profile), role).unwrap();
    let crypto = provider();
    (
        SrtpSender::new(&keys(DtlsRole::Server), crypto.crypto()).unwrap(),
        SrtpReceiver::new(&keys(DtlsRole::Client), crypto.crypto()).unwrap(),
    )
}

/// The oracle's context for what the server sends.
fn oracle(profile: SrtpProfile) -> Context {
    let theirs = match profile {
        SrtpProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        SrtpProfile::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    let material = material(profile);
    let (keys, salts) = material.split_at(2 * profile.key_len());
    let (key, salt) = (&keys[profile.key_len()..], &salts[profile.salt_len()..]);
    Context::new(key, salt, theirs, None, None, provider().crypto()).unwrap()
}

fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 9]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn rtcp(ssrc: u32, words: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, (1 + words) as u8];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend((0..4 * words).map(|i| i as u8));
    packet
}

fn protect_rtp(sender: &mut SrtpSender, packet: &[u8]) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    sender.protect_rtp(&mut buffer, 0).unwrap();
    buffer
}

fn protect_rtcp(sender: &mut SrtpSender, packet: &[u8]) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    sender.protect_rtcp(&mut buffer, 0).unwrap();
    buffer
}

/// Well-formed RTP: contributing sources, no, one-byte or opaque header extension, padding.
fn any_rtp() -> impl Strategy<Value = Vec<u8>> {
    let extension = prop_oneof![
        Just(Vec::new()),
        Just(vec![0xbe, 0xde, 0, 2, 0x10, 0xaa, 0x22, 1, 2, 3, 0x30, 7]),
        prop::collection::vec(any::<u8>(), 4..5).prop_map(|data| [&[0x12, 0x34, 0, 1][..], &data].concat()),
    ];
    (any::<u32>(), any::<u16>(), 0..16_u8, extension, prop::collection::vec(any::<u8>(), 0..1300), any::<bool>())
        .prop_map(|(ssrc, sequence, sources, extension, payload, padding)| {
            let mut packet = rtp(ssrc, sequence, &[]);
            packet[0] |= sources;
            packet.extend((0..4 * sources).map(|i| i ^ 0x5a));
            if !extension.is_empty() {
                packet[0] |= 0x10;
                packet.extend_from_slice(&extension);
            }
            packet.extend_from_slice(&payload);
            if padding {
                packet[0] |= 0x20;
                packet.extend_from_slice(&[0, 0, 0, 4]);
            }
            packet
        })
}

fn any_profile() -> impl Strategy<Value = SrtpProfile> {
    prop::sample::select(SrtpProfile::PREFERENCE.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn rtp_on_the_wire_is_the_oracles_both_ways(profile in any_profile(), plain in any_rtp(), start in 0..40_usize) {
        let (mut sender, mut receiver) = pair(profile);
        let theirs = oracle(profile).encrypt_rtp(&plain).unwrap();
        let mut buffer = vec![0x77; start];
        buffer.extend_from_slice(&plain);
        sender.protect_rtp(&mut buffer, start).unwrap();
        prop_assert_eq!(&buffer[start..], &theirs[..]);
        prop_assert_eq!(&buffer[..start], &vec![0x77; start][..]);

        let len = receiver.unprotect_rtp(&mut buffer[start..]).unwrap();
        prop_assert_eq!(&buffer[start..start + len], &plain[..]);
        prop_assert_eq!(&oracle(profile).decrypt_rtp(&theirs).unwrap()[..], &plain[..]);
    }

    #[test]
    fn rtcp_on_the_wire_is_the_oracles_both_ways(profile in any_profile(), ssrc: u32, words in 0..100_usize) {
        let (mut sender, mut receiver) = pair(profile);
        let plain = rtcp(ssrc, words);
        let mut context = oracle(profile);
        for _ in 0..3 {
            let theirs = context.encrypt_rtcp(&plain).unwrap();
            let mut ours = protect_rtcp(&mut sender, &plain);
            prop_assert_eq!(&ours[..], &theirs[..]);
            let len = receiver.unprotect_rtcp(&mut ours).unwrap();
            prop_assert_eq!(&ours[..len], &plain[..]);
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(profile in any_profile(), mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut sender, mut receiver) = pair(profile);
        prop_assert!(receiver.unprotect_rtp(&mut bytes.clone()).is_err());
        prop_assert!(receiver.unprotect_rtcp(&mut bytes.clone()).is_err());
        prop_assert_eq!(receiver.source_counts(), (0, 0));
        let _ = sender.protect_rtp(&mut bytes.clone(), 0);
        let _ = sender.protect_rtcp(&mut bytes, 0);
    }
}

#[test]
fn packets_of_any_length_up_to_60_are_refused_without_a_panic() {
    for profile in SrtpProfile::PREFERENCE {
        let (mut sender, mut receiver) = pair(profile);
        for len in 0..60 {
            for first in [0x80, 0x8f, 0x90, 0x9f, 0xb0, 0x00, 0xff] {
                let mut packet = vec![0xff; len];
                packet.iter_mut().take(1).for_each(|byte| *byte = first);
                assert!(receiver.unprotect_rtp(&mut packet.clone()).is_err());
                assert!(receiver.unprotect_rtcp(&mut packet.clone()).is_err());
                let _ = sender.protect_rtp(&mut packet.clone(), 0);
                let _ = sender.protect_rtcp(&mut packet, 0);
            }
        }
        let protected = protect_rtp(&mut pair(profile).0, &rtp(1, 1, &[5; 20]));
        for len in 0..protected.len() {
            assert!(receiver.unprotect_rtp(&mut protected[..len].to_vec()).is_err());
        }
        assert_eq!(receiver.source_counts(), (0, 0));
    }
}

#[test]
fn a_changed_bit_anywhere_is_refused_and_leaves_no_trace() {
    for profile in SrtpProfile::PREFERENCE {
        let (mut sender, mut receiver) = pair(profile);
        let rtp = protect_rtp(&mut sender, &rtp(0x1122_3344, 9, &[1; 30]));
        let rtcp = protect_rtcp(&mut sender, &rtcp(0x1122_3344, 5));
        for bit in 0..8 * rtp.len() {
            let mut forged = rtp.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(receiver.unprotect_rtp(&mut forged).is_err(), "RTP bit {bit}");
        }
        for bit in 0..8 * rtcp.len() {
            let mut forged = rtcp.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(receiver.unprotect_rtcp(&mut forged).is_err(), "RTCP bit {bit}");
        }
        assert_eq!(receiver.source_counts(), (0, 0));
        assert!(receiver.unprotect_rtp(&mut rtp.clone()).is_ok());
        assert!(receiver.unprotect_rtcp(&mut rtcp.clone()).is_ok());
    }
}

#[test]
fn a_packet_is_taken_once() {
    for profile in SrtpProfile::PREFERENCE {
        let (mut sender, mut receiver) = pair(profile);
        let packets: Vec<_> = (0..3000).map(|seq| protect_rtp(&mut sender, &rtp(1, seq, b"x"))).collect();
        for packet in &packets[..2000] {
            assert!(receiver.unprotect_rtp(&mut packet.clone()).is_ok());
        }
        for packet in &packets[..2000] {
            assert_eq!(receiver.unprotect_rtp(&mut packet.clone()), Err(DropReason::SrtpReplay));
        }
        assert!(receiver.unprotect_rtp(&mut packets[2999].clone()).is_ok());
        assert!(receiver.unprotect_rtp(&mut packets[2000].clone()).is_ok(), "999 behind is inside the window");

        let reports: Vec<_> = (0..200).map(|_| protect_rtcp(&mut sender, &rtcp(1, 3))).collect();
        assert!(receiver.unprotect_rtcp(&mut reports[199].clone()).is_ok());
        assert!(receiver.unprotect_rtcp(&mut reports[199 - 127].clone()).is_ok());
        assert_eq!(receiver.unprotect_rtcp(&mut reports[199 - 127].clone()), Err(DropReason::SrtpReplay));
        assert_eq!(receiver.unprotect_rtcp(&mut reports[199 - 128].clone()), Err(DropReason::SrtpReplay), "too old");
    }
}

#[test]
fn a_packet_older_than_the_window_is_refused_even_if_never_seen() {
    let (mut sender, mut receiver) = pair(SrtpProfile::AeadAes128Gcm);
    let packets: Vec<_> = (0..1100).map(|seq| protect_rtp(&mut sender, &rtp(1, seq, b"x"))).collect();
    assert!(receiver.unprotect_rtp(&mut packets[1099].clone()).is_ok());
    assert_eq!(receiver.unprotect_rtp(&mut packets[1099 - 1024].clone()), Err(DropReason::SrtpReplay));
    assert!(receiver.unprotect_rtp(&mut packets[1099 - 1023].clone()).is_ok());
}

#[test]
fn the_rollover_survives_loss_and_reordering_across_many_wraps() {
    for profile in SrtpProfile::PREFERENCE {
        let mut rng = ChaCha12Rng::seed_from_u64(7);
        let (mut sender, mut receiver) = pair(profile);
        let mut delayed = Vec::new();
        // Steps of up to 300 cross the wrap several times, with the crossing itself often lost.
        let mut sequence = 20_000_u16;
        for _ in 0..3000 {
            sequence = sequence.wrapping_add(rng.random_range(1..300));
            let plain = rtp(77, sequence, &sequence.to_be_bytes());
            let packet = protect_rtp(&mut sender, &plain);
            match rng.random_range(0..10) {
                0 | 1 => continue,
                2 => delayed.push((packet, plain)),
                _ => assert_eq!(receiver.unprotect_rtp(&mut packet.clone()), Ok(plain.len())),
            }
            if delayed.len() == 3 {
                delayed.shuffle(&mut rng);
                for (mut late, plain) in delayed.drain(..) {
                    // Some are older than the window by now; none may fail authentication.
                    match receiver.unprotect_rtp(&mut late) {
                        Ok(len) => assert_eq!(late[..len], plain),
                        Err(reason) => assert_eq!(reason, DropReason::SrtpReplay),
                    }
                }
            }
        }
    }
}

#[test]
fn a_late_packet_from_before_the_wrap_still_decrypts() {
    let (mut sender, mut receiver) = pair(SrtpProfile::Aes128CmSha1_80);
    let packets: Vec<_> =
        (0..20_u16).map(|i| protect_rtp(&mut sender, &rtp(5, 65_526_u16.wrapping_add(i), b"late"))).collect();
    for i in [0, 12, 9, 3, 19, 10] {
        assert!(receiver.unprotect_rtp(&mut packets[i].clone()).is_ok(), "packet {i}");
    }
}

#[test]
fn forged_sources_leave_no_state() {
    let (mut sender, mut receiver) = pair(SrtpProfile::AeadAes128Gcm);
    let genuine = protect_rtp(&mut sender, &rtp(1, 1, b"first"));
    assert!(receiver.unprotect_rtp(&mut genuine.clone()).is_ok());
    for ssrc in 0..65_536 {
        assert_eq!(receiver.unprotect_rtp(&mut rtp(ssrc, 2, &[0; 40])), Err(DropReason::SrtpAuth));
        let mut forged = rtcp(ssrc, 8);
        forged.extend_from_slice(&[0x80, 0, 0, 1]);
        assert_eq!(receiver.unprotect_rtcp(&mut forged), Err(DropReason::SrtpAuth));
    }
    assert_eq!(receiver.source_counts(), (1, 0));
    assert_eq!(receiver.unprotect_rtp(&mut genuine.clone()), Err(DropReason::SrtpReplay));
}

#[test]
fn authenticated_sources_are_bounded_and_the_one_in_use_stays() {
    let mut receiver = pair(SrtpProfile::AeadAes128Gcm).1;
    let mut sender = pair(SrtpProfile::AeadAes128Gcm).0;
    // The sender is replaced now and then, as it keeps no more than it may either.
    let mut used = 0;
    for ssrc in 1..=65_536_u32 {
        if ssrc % 1000 == 0 {
            sender = pair(SrtpProfile::AeadAes128Gcm).0;
        }
        assert!(receiver.unprotect_rtp(&mut protect_rtp(&mut sender, &rtp(ssrc, 1, b"x"))).is_ok());
        if ssrc % 50 == 0 {
            used += 1;
            assert!(receiver.unprotect_rtp(&mut protect_rtp(&mut sender, &rtp(0, used, b"x"))).is_ok());
        }
    }
    assert_eq!(receiver.source_counts().0, MAX_SOURCES);
    // Sent 500 uses ago, and since then 25,000 other sources have come.
    let mut fresh = pair(SrtpProfile::AeadAes128Gcm).0;
    let replayed = receiver.unprotect_rtp(&mut protect_rtp(&mut fresh, &rtp(0, used - 500, b"x")));
    assert_eq!(replayed, Err(DropReason::SrtpReplay), "the window of the source in use was kept");
}

#[test]
fn the_sender_never_uses_a_nonce_twice() {
    let (mut sender, _) = pair(SrtpProfile::AeadAes128Gcm);
    let mut try_send = |ssrc, sequence| {
        let mut buffer = vec![9, 9];
        buffer.extend_from_slice(&rtp(ssrc, sequence, b"payload"));
        let result = sender.protect_rtp(&mut buffer, 2);
        if result.is_err() {
            assert_eq!(buffer, [9, 9], "nothing is left that could be sent in clear");
        }
        result
    };
    assert_eq!(try_send(1, 65_534), Ok(()));
    assert_eq!(try_send(1, 65_534), Err(ProtectError::IndexReused));
    assert_eq!(try_send(1, 3), Ok(()));
    assert_eq!(try_send(1, 65_535), Ok(()), "a late packet has a number of its own");
    assert_eq!(try_send(1, 65_535), Err(ProtectError::IndexReused));
    assert_eq!(try_send(1, 1500), Ok(()));
    assert_eq!(try_send(1, 4), Err(ProtectError::IndexReused), "too old to tell");
    assert_eq!(try_send(2, 65_535), Ok(()), "each source counts for itself");
    assert_eq!(try_send(1, 1499), Ok(()));
}

#[test]
fn a_used_up_key_is_refused() {
    let (mut sender, _) = pair(SrtpProfile::AeadAes128Gcm);
    sender.set_last_indexes(1, (1 << 48) - 2, (1 << 31) - 2);
    assert_eq!(sender.protect_rtp(&mut rtp(1, 65_535, b"last"), 0), Ok(()));
    assert_eq!(sender.protect_rtp(&mut rtp(1, 0, b"one more"), 0), Err(ProtectError::KeyExhausted));
    assert_eq!(sender.protect_rtcp(&mut rtcp(1, 2), 0), Ok(()));
    assert_eq!(sender.protect_rtcp(&mut rtcp(1, 2), 0), Err(ProtectError::KeyExhausted));
}

#[test]
fn the_sender_refuses_more_sources_than_it_can_remember() {
    let (mut sender, _) = pair(SrtpProfile::AeadAes128Gcm);
    for ssrc in 0..used::MAX_SOURCES as u32 {
        assert_eq!(sender.protect_rtp(&mut rtp(ssrc, 1, b"x"), 0), Ok(()));
    }
    assert_eq!(sender.protect_rtp(&mut rtp(u32::MAX, 1, b"x"), 0), Err(ProtectError::TooManySources));
    assert_eq!(sender.protect_rtp(&mut rtp(0, 2, b"x"), 0), Ok(()));
}

#[test]
fn rtcp_that_is_not_encrypted_is_refused() {
    let (mut sender, mut receiver) = pair(SrtpProfile::Aes128CmSha1_80);
    let mut packet = protect_rtcp(&mut sender, &rtcp(1, 2));
    let word = packet.len() - 14;
    packet[word] &= 0x7f;
    assert_eq!(receiver.unprotect_rtcp(&mut packet), Err(DropReason::SrtpAuth));
}
