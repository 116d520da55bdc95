//! What an attacker on the participant's address can send, and what it must not achieve.

use super::*;
use crate::transport::dtls::client_hello::tests::client_hello;

fn record(kind: u8, epoch: u16, body: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    wire::write_record(&mut record, kind, 1 << 30, &[body]);
    record[3..5].copy_from_slice(&epoch.to_be_bytes());
    record
}

#[test]
fn garbage_after_the_handshake_ends_nothing() {
    let mut rng = ChaCha12Rng::seed_from_u64(3);
    let mut pair = Pair::connected();
    let mut garbage = vec![
        record(wire::APPLICATION_DATA, 0, b"epoch 0"),
        record(wire::ALERT, 0, &[2, 40]),
        record(wire::ALERT, 0, &[1, 0]),
        record(wire::CHANGE_CIPHER_SPEC, 0, &[1]),
        record(wire::CHANGE_CIPHER_SPEC, 1, &[1]),
        record(wire::HANDSHAKE, 0, &[0; 12]),
        record(99, 1, &[0; 40]),
        record(wire::APPLICATION_DATA, 2, &[0; 40]),
        vec![wire::APPLICATION_DATA],
        vec![],
    ];
    for kind in [wire::ALERT, wire::HANDSHAKE, wire::APPLICATION_DATA] {
        for len in 0..60 {
            let mut body = vec![0; len];
            rng.fill_bytes(&mut body);
            garbage.push(record(kind, 1, &body));
        }
    }
    for datagram in garbage {
        for side in [&mut pair.client, &mut pair.server] {
            let _ = side.session.handle_datagram(pair.now, &datagram);
            side.collect_events();
            assert!(side.end.is_none() && side.data.is_empty(), "{datagram:?}");
        }
    }
    pair.assert_alive();
}

#[test]
fn a_replayed_or_changed_record_is_not_delivered() {
    let mut pair = Pair::connected();
    pair.client.session.send(pair.now, b"once");
    let datagram = pair.client.session.poll_transmit().unwrap();
    for bit in 0..8 * datagram.len() {
        let mut changed = datagram.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let _ = pair.server.session.handle_datagram(pair.now, &changed);
    }
    pair.server.collect_events();
    assert!(pair.server.data.is_empty() && pair.server.end.is_none());
    for _ in 0..3 {
        pair.server.session.handle_datagram(pair.now, &datagram).unwrap();
    }
    pair.server.collect_events();
    assert_eq!(pair.server.data, [b"once"]);
}

#[test]
fn forged_hellos_before_the_true_one_do_not_stop_the_handshake() {
    for forgeries in [1, 50] {
        let mut pair = Pair::new();
        for hello in [
            client_hello(&[0x0000], Some(&[7]), true),
            client_hello(&[0xc02b], Some(&[7]), false),
            client_hello(&[0xc02b], None, true),
            vec![0xff; 60],
        ] {
            for _ in 0..forgeries {
                let header = wire::handshake_header(wire::CLIENT_HELLO, 0, hello.len());
                let datagram = record(wire::HANDSHAKE, 0, &[&header[..], &hello].concat());
                assert_eq!(pair.server.session.handle_datagram(pair.now, &datagram), Err(DropReason::DtlsRefused));
                assert_eq!(pair.server.session.poll_transmit(), None);
            }
        }
        pair.run_cleanly();
        pair.assert_connected("after forged hellos");
    }
}

/// The published `rtc-dtls` overflows a 2 MiB stack on these.
#[test]
fn fragments_cannot_overflow_the_stack() {
    let attack = || {
        let mut pair = Pair::new();
        pair.client.session.start(pair.now);
        let hello = pair.client.session.poll_transmit().unwrap();
        pair.server.session.handle_datagram(pair.now, &hello).unwrap();
        for offset in 0..60_000_u32 {
            let mut header = wire::handshake_header(16, 1, 16_000);
            header[6..9].copy_from_slice(&offset.to_be_bytes()[1..]);
            header[9..12].copy_from_slice(&[0, 0, 1]);
            let datagram = record(wire::HANDSHAKE, 0, &[&header[..], &[0]].concat());
            let _ = pair.server.session.handle_datagram(pair.now, &datagram);
        }
        // The worst that passes the guard: encrypted handshake records, as many and as long as it lets through.
        let mut pair = Pair::new();
        pair.client.session.start(pair.now);
        let hello = pair.client.session.poll_transmit().unwrap();
        pair.server.session.handle_datagram(pair.now, &hello).unwrap();
        for _ in 0..1000 {
            let _ = pair.server.session.handle_datagram(pair.now, &record(wire::HANDSHAKE, 1, &[0; 128]));
        }
    };
    std::thread::Builder::new().stack_size(256 * 1024).spawn(attack).unwrap().join().unwrap();
}

/// Flips bytes of genuine handshakes: nothing panics, and whoever connects is the one who was announced.
#[test]
fn mutated_handshakes_are_survived() {
    let mut rng = ChaCha12Rng::seed_from_u64(11);
    for round in 0..400 {
        let mut pair = Pair::new();
        let target = rng.random_range(0..10);
        let flips = rng.random_range(1..6);
        pair.client.session.start(pair.now);
        for step in 0..24 {
            let to_server = step % 2 == 0;
            let (from, to) =
                if to_server { (&mut pair.client, &mut pair.server) } else { (&mut pair.server, &mut pair.client) };
            while let Some(mut datagram) = from.session.poll_transmit() {
                if pair.sent == target {
                    for _ in 0..flips {
                        let at = rng.random_range(0..datagram.len());
                        datagram[at] = rng.random();
                    }
                }
                pair.sent += 1;
                let _ = to.session.handle_datagram(pair.now, &datagram);
            }
            from.collect_events();
            to.collect_events();
        }
        for side in [&pair.client, &pair.server] {
            assert!(side.data.is_empty(), "round {round}");
        }
        if let (Some(client), Some(server)) = (&pair.client.keys, &pair.server.keys) {
            assert_srtp_passes(client, server);
        }
    }
}

#[test]
fn repeats_are_answered_a_bounded_number_of_times() {
    let mut pair = Pair::new();
    pair.client.session.start(pair.now);
    let hello = pair.client.session.poll_transmit().unwrap();
    let (mut answers, mut now) = (0, pair.now);
    for _ in 0..5000 {
        now += Duration::from_millis(1);
        let _ = pair.server.session.handle_datagram(now, &hello);
        while pair.server.session.poll_transmit().is_some() {
            answers += 1;
        }
    }
    assert!((2..=33).contains(&answers), "{answers} answers to 5000 hellos");
}
