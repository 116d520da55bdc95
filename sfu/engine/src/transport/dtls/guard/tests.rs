#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::super::client_hello::tests::client_hello;
use super::*;
use crate::transport::dtls::wire::{HANDSHAKE_HEADER_LEN, RECORD_HEADER_LEN};

/// A record of any epoch.
fn record(kind: u8, epoch: u16, body: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    wire::write_record(&mut record, kind, 5, &[body]);
    record[3..5].copy_from_slice(&epoch.to_be_bytes());
    record
}

fn fragment(kind: u8, message: u16, total: usize, offset: usize, data: &[u8]) -> Vec<u8> {
    let mut header = wire::handshake_header(kind, message, total);
    header[6..9].copy_from_slice(&(offset as u32).to_be_bytes()[1..]);
    header[9..12].copy_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
    [&header[..], data].concat()
}

fn handshake(kind: u8, message: u16, total: usize, offset: usize, data: &[u8]) -> Vec<u8> {
    record(wire::HANDSHAKE, 0, &fragment(kind, message, total, offset, data))
}

fn good_hello() -> Vec<u8> {
    client_hello(&[0xc02b], Some(&[7]), true)
}

fn whole_hello(message: u16) -> Vec<u8> {
    let hello = good_hello();
    handshake(wire::CLIENT_HELLO, message, hello.len(), 0, &hello)
}

/// A server's guard that has let a ClientHello through.
fn guard_with_engine() -> Guard {
    let mut guard = Guard::new(DtlsRole::Server);
    assert!(!guard.admit(&whole_hello(0)).unwrap().records.is_empty());
    guard
}

fn refused(guard: &mut Guard, datagram: &[u8]) -> bool {
    guard.admit(datagram).is_err()
}

#[test]
fn a_hello_in_pieces_is_passed_on_whole_whatever_the_order() {
    let hello = good_hello();
    for split in 1..hello.len() {
        for swap in [false, true] {
            let mut pieces = [(0, &hello[..split]), (split, &hello[split..])];
            if swap {
                pieces.reverse();
            }
            let mut guard = Guard::new(DtlsRole::Server);
            let [first, second] =
                pieces.map(|(offset, data)| handshake(wire::CLIENT_HELLO, 0, hello.len(), offset, data));
            assert!(guard.admit(&first).unwrap().records.is_empty());
            let admitted = guard.admit(&second).unwrap();
            assert_eq!(admitted.records[RECORD_HEADER_LEN + HANDSHAKE_HEADER_LEN..], hello);
            assert!(guard.selection().is_some());
        }
    }
}

#[test]
fn several_messages_in_one_record_are_told_apart() {
    let mut guard = guard_with_engine();
    let body =
        [fragment(16, 1, 100, 0, &[1; 40]), fragment(16, 1, 100, 40, &[1; 60]), fragment(14, 2, 0, 0, &[])].concat();
    let admitted = guard.admit(&record(wire::HANDSHAKE, 0, &body)).unwrap();
    let mut reader = ByteReader::new(&admitted.records);
    let kinds: Vec<u8> = std::iter::from_fn(|| Record::read(&mut reader)).map(|record| record.body[0]).collect();
    assert_eq!(kinds, [16, 14]);
}

#[test]
fn implausible_fragments_are_refused() {
    let cases = [
        ("longer than any message", handshake(16, 1, MAX_MESSAGE_LEN + 1, 0, &[0; 100])),
        ("claims 16 MiB", handshake(16, 1, 0xff_ffff, 0, &[0; 100])),
        ("reaches over the end", handshake(16, 1, 100, 50, &[0; 51])),
        ("empty, not at the start", handshake(16, 1, 100, 50, &[])),
        ("empty, of a message that is not", handshake(16, 1, 100, 0, &[])),
        ("empty message, not at the start", handshake(16, 1, 0, 1, &[])),
        ("message number out of range", handshake(16, MAX_MESSAGES, 10, 0, &[0; 10])),
        ("certificate longer than its list", handshake(11, 1, 9, 0, &[0, 0, 6, 0, 0, 200, 1, 2, 3])),
        ("list longer than its message", handshake(11, 1, 6, 0, &[0, 1, 0, 0, 0, 0])),
    ];
    for (what, datagram) in cases {
        assert!(refused(&mut guard_with_engine(), &datagram), "{what}");
    }
    assert!(!refused(&mut guard_with_engine(), &handshake(11, 1, 9, 0, &[0, 0, 6, 0, 0, 3, 1, 2, 3])));
}

#[test]
fn fragments_that_disagree_about_their_message_are_dropped_and_a_repeat_heals() {
    let mut guard = guard_with_engine();
    assert!(!refused(&mut guard, &handshake(16, 1, 200, 0, &[9; 100])));
    assert!(refused(&mut guard, &handshake(16, 1, 199, 100, &[9; 99])));
    assert!(guard.admit(&handshake(16, 1, 200, 100, &[1; 100])).unwrap().records.is_empty());
    assert!(!guard.admit(&handshake(16, 1, 200, 0, &[1; 100])).unwrap().records.is_empty());
}

#[test]
fn a_message_is_passed_on_once_and_then_is_a_repeat() {
    let mut guard = guard_with_engine();
    let admitted = guard.admit(&whole_hello(0)).unwrap();
    assert!(admitted.repeated && admitted.records.is_empty());
    let fresh = guard.admit(&[whole_hello(0), whole_hello(1)].concat()).unwrap();
    assert!(!fresh.repeated && !fresh.records.is_empty(), "something new is no repeat");
}

#[test]
fn a_hello_that_we_cannot_serve_leaves_the_place_to_one_that_we_can() {
    let mut guard = Guard::new(DtlsRole::Server);
    let null = client_hello(&[0], Some(&[7]), true);
    assert!(refused(&mut guard, &handshake(wire::CLIENT_HELLO, 0, null.len(), 0, &null)));
    assert_eq!(guard.refused_hello(), Some("no common cipher suite"));
    assert!(!refused(&mut guard, &whole_hello(0)));
    assert_eq!(guard.refused_hello(), None);
}

#[test]
fn the_hello_with_the_cookie_must_not_ask_for_less_than_the_first() {
    let mut guard = guard_with_engine();
    let downgraded = client_hello(&[0xc02b], Some(&[1]), true);
    assert!(refused(&mut guard, &handshake(wire::CLIENT_HELLO, 1, downgraded.len(), 0, &downgraded)));
    assert!(!refused(&mut guard, &whole_hello(1)));
}

#[test]
fn nothing_but_a_hello_comes_first() {
    for (kind, epoch, body) in [
        (20, 0, &[1][..]),
        (21, 0, &[2, 40]),
        (22, 1, &[0; 48]),
        (23, 1, &[0; 48]),
        (23, 0, &[0; 48]),
        (21, 1, &[0; 24]),
    ] {
        assert!(refused(&mut Guard::new(DtlsRole::Server), &record(kind, epoch, body)), "{kind} {epoch}");
    }
    assert!(refused(&mut Guard::new(DtlsRole::Server), &handshake(16, 1, 10, 0, &[0; 10])));
}

#[test]
fn records_are_filtered_by_kind_and_epoch() {
    let admitted = |kind, epoch, body: &[u8]| !refused(&mut guard_with_engine(), &record(kind, epoch, body));
    assert!(admitted(20, 0, &[1]) && !admitted(20, 0, &[2]) && !admitted(20, 0, &[1, 1]) && !admitted(20, 1, &[1]));
    assert!(admitted(22, 1, &[0; 48]) && !admitted(22, 1, &[0; 1000]) && !admitted(22, 2, &[0; 48]));
    assert!(admitted(23, 1, &[0; 1000]) && !admitted(23, 0, &[0; 48]) && !admitted(23, 2, &[0; 48]));
    assert!(!admitted(24, 0, &[1]) && !admitted(26, 1, &[1]) && !admitted(0, 0, &[]));
    let mut old = record(22, 1, &[0; 48]);
    old[1..3].copy_from_slice(&[3, 3]);
    assert!(refused(&mut guard_with_engine(), &old), "TLS");
}

#[test]
fn clear_alerts_count_until_the_handshake_is_done() {
    let alert = |body: &[u8]| guard_with_engine().admit(&record(21, 0, body)).map(|admitted| admitted.alert);
    assert_eq!(alert(&[2, 40]), Ok(Some(ClearAlert::Fatal(40))));
    assert_eq!(alert(&[1, 0]), Ok(Some(ClearAlert::CloseNotify)));
    assert!(alert(&[1, 100]).is_err(), "a warning would be echoed for ever");
    assert!(alert(&[2]).is_err() && alert(&[2, 40, 0]).is_err());

    let mut guard = guard_with_engine();
    guard.establish();
    for body in [[2, 40], [1, 0]] {
        assert!(refused(&mut guard, &record(21, 0, &body)));
    }
}

#[test]
fn after_the_handshake_no_handshake_record_reaches_the_engine() {
    let mut guard = guard_with_engine();
    guard.establish();
    for datagram in [whole_hello(7), handshake(16, 3, 500, 0, &[0; 100]), record(22, 1, &[0; 48])] {
        let admitted = guard.admit(&datagram).unwrap();
        assert!(admitted.records.is_empty() && admitted.repeated);
    }
    assert!(refused(&mut guard, &record(20, 0, &[1])));
    assert!(!guard.admit(&record(23, 1, &[0; 100])).unwrap().records.is_empty());
}

#[test]
fn what_one_peer_can_make_us_hold_is_bounded() {
    let mut guard = guard_with_engine();
    let passed: usize = (0..100_000)
        .filter_map(|_| guard.admit(&record(23, 1, &[0; 1200])).ok())
        .map(|admitted| admitted.records.len())
        .sum();
    assert!(passed <= MAX_HANDSHAKE_BYTES);

    let mut guard = guard_with_engine();
    let passed = (0..1000).filter(|_| guard.admit(&record(22, 1, &[0; 40])).is_ok()).count();
    assert_eq!(passed, MAX_FINISHED_RECORDS);

    let mut guard = guard_with_engine();
    for message in 1..MAX_MESSAGES {
        let _ = guard.admit(&handshake(16, message, MAX_MESSAGE_LEN, 0, &[0; 64]));
    }
    let held: usize = guard.assembly.partial.iter().map(|partial| partial.body.len()).sum();
    assert!(held <= MAX_HANDSHAKE_BYTES && held > 0);
}

#[test]
fn sixty_thousand_fragments_of_one_byte_come_to_nothing() {
    let mut guard = guard_with_engine();
    let mut passed = 0;
    for offset in 0..60_000_usize {
        let datagram = handshake(16, 1, 16_000, offset % 16_000, &[0]);
        passed += guard.admit(&datagram).map_or(0, |admitted| admitted.records.len());
    }
    // Packed closely they do not get further: the number of fragments is limited as well.
    let mut guard = guard_with_engine();
    for start in (0..16_000).step_by(90) {
        let body: Vec<u8> = (start..start + 90).flat_map(|offset| fragment(16, 1, 16_000, offset, &[0])).collect();
        passed += guard.admit(&record(22, 0, &body)).map_or(0, |admitted| admitted.records.len());
    }
    assert_eq!(passed, 0);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..20)) {
        let mut guard = guard_with_engine();
        for datagram in datagrams {
            let _ = guard.admit(&datagram);
            let _ = guard.admit(&record(22, 0, &datagram));
        }
    }

    /// Whatever the cuts, overlaps and order: the message comes out as it went in.
    #[test]
    fn fragments_add_up(
        body in prop::collection::vec(any::<u8>(), 1..2000),
        cuts in prop::collection::vec((0..2000_usize, 1..700_usize), 0..40),
    ) {
        let mut guard = guard_with_engine();
        let total = body.len();
        let mut pieces: Vec<_> = cuts.into_iter().map(|(at, len)| (at % total, (at % total + len).min(total))).collect();
        pieces.extend((0..total).step_by(600).map(|at| (at, (at + 600).min(total))));
        let mut output = Vec::new();
        for (from, to) in pieces {
            output.extend(guard.admit(&handshake(16, 1, total, from, &body[from..to])).unwrap().records);
        }
        prop_assert_eq!(&output[RECORD_HEADER_LEN + HANDSHAKE_HEADER_LEN..], &body[..]);
    }
}
