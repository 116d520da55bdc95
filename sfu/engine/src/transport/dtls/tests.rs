//! Two sessions, or a session and a bare `rtc-dtls` endpoint, over a bad link in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;
use rtc_crypto::{RTCCryptoProvider, default_provider};

use super::*;
use crate::drops::DropReason;
use crate::transport::srtp::{SrtpProfile, SrtpReceiver, SrtpSender};

mod foreign;
mod hostile;

/// One way over the link.
const LATENCY: Duration = Duration::from_millis(10);

fn provider() -> Arc<dyn RTCCryptoProvider> {
    default_provider().unwrap()
}

fn certificate() -> DtlsCertificate {
    DtlsCertificate::generate(&provider()).unwrap()
}

/// A session and all that it has said so far.
struct Side {
    session: DtlsSession,
    keys: Option<SrtpKeys>,
    data: Vec<Vec<u8>>,
    end: Option<DtlsEvent>,
}

impl Side {
    fn new(certificate: &DtlsCertificate, role: DtlsRole, remote: Vec<Fingerprint>) -> Side {
        let session = DtlsSession::new(certificate, role, remote, provider());
        Side { session, keys: None, data: Vec::new(), end: None }
    }

    fn collect_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(self.end.is_none(), "nothing follows the end");
            match event {
                DtlsEvent::Connected(keys) => assert!(self.keys.replace(keys).is_none(), "connected once"),
                DtlsEvent::ApplicationData(data) => self.data.push(data.to_vec()),
                end => self.end = Some(end),
            }
        }
    }
}

/// A client and a server. `fate` says for the n-th datagram after how long it arrives, each time that it does.
struct Pair {
    now: Instant,
    client: Side,
    server: Side,
    /// Arrival, to the server or not, bytes. Kept in the order of arrival.
    wire: VecDeque<(Instant, bool, BytesMut)>,
    sent: usize,
    sizes: Vec<usize>,
}

impl Pair {
    fn new() -> Pair {
        let (client, server) = (certificate(), certificate());
        Pair::with(
            Side::new(&client, DtlsRole::Client, vec![server.fingerprint().clone()]),
            Side::new(&server, DtlsRole::Server, vec![client.fingerprint().clone()]),
        )
    }

    fn with(client: Side, server: Side) -> Pair {
        Pair { now: Instant::now(), client, server, wire: VecDeque::new(), sent: 0, sizes: Vec::new() }
    }

    /// Runs until nothing is due any more.
    fn run(&mut self, mut fate: impl FnMut(usize) -> Vec<Duration>) {
        self.client.session.start(self.now);
        self.server.session.start(self.now);
        loop {
            for to_server in [true, false] {
                let from = if to_server { &mut self.client } else { &mut self.server };
                from.collect_events();
                while let Some(datagram) = from.session.poll_transmit() {
                    for delay in fate(self.sent) {
                        let arrival = self.now + delay;
                        let place = self.wire.partition_point(|(other, ..)| *other <= arrival);
                        self.wire.insert(place, (arrival, to_server, datagram.clone()));
                    }
                    self.sent += 1;
                    self.sizes.push(datagram.len());
                }
            }
            let arrival = self.wire.front().map(|(arrival, ..)| *arrival);
            let timers = [self.client.session.poll_timeout(), self.server.session.poll_timeout()];
            let Some(next) = timers.into_iter().flatten().chain(arrival).min() else { return };
            assert!(next >= self.now, "a timer that is due is handled");
            self.now = next;
            if arrival == Some(next) {
                let (_, to_server, datagram) = self.wire.pop_front().unwrap();
                let to = if to_server { &mut self.server } else { &mut self.client };
                let _ = to.session.handle_datagram(next, &datagram);
            } else {
                self.client.session.handle_timeout(next);
                self.server.session.handle_timeout(next);
            }
        }
    }

    fn run_cleanly(&mut self) {
        self.run(|_| vec![LATENCY]);
    }

    fn assert_connected(&self, context: &str) {
        assert!(self.client.keys.is_some() && self.server.keys.is_some(), "{context}: not connected");
        assert!(self.client.end.is_none() && self.server.end.is_none(), "{context}: ended");
    }

    fn connected() -> Pair {
        let mut pair = Pair::new();
        pair.run_cleanly();
        pair.assert_connected("clean link");
        pair
    }

    /// Data passes in either direction.
    fn assert_alive(&mut self) {
        let before = (self.client.data.len(), self.server.data.len());
        self.client.session.send(self.now, b"to the server");
        self.server.session.send(self.now, b"to the client");
        self.run_cleanly();
        assert_eq!((self.client.data.len(), self.server.data.len()), (before.0 + 1, before.1 + 1));
        assert_eq!(self.client.data.last().unwrap(), b"to the client");
        assert_eq!(self.server.data.last().unwrap(), b"to the server");
    }
}

fn assert_srtp_passes(sender: &SrtpKeys, receiver: &SrtpKeys) {
    let crypto = provider();
    let mut packet = vec![0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4];
    let plain = packet.clone();
    SrtpSender::new(sender, crypto.crypto()).unwrap().protect_rtp(&mut packet, 0).unwrap();
    let len = SrtpReceiver::new(receiver, crypto.crypto()).unwrap().unprotect_rtp(&mut packet).unwrap();
    assert_eq!(packet[..len], plain);
}

#[test]
fn both_sides_get_the_keys_of_one_another() {
    let pair = Pair::connected();
    let (client, server) = (pair.client.keys.unwrap(), pair.server.keys.unwrap());
    assert_eq!((client.profile(), server.profile()), (SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes128Gcm));
    assert_srtp_passes(&client, &server);
    assert_srtp_passes(&server, &client);
    assert_eq!(pair.client.session.poll_timeout(), None);
    assert_eq!(pair.server.session.poll_timeout(), None);
}

#[test]
fn application_data_passes_both_ways_and_a_close_is_heard() {
    let mut pair = Pair::connected();
    pair.assert_alive();
    pair.client.session.send(pair.now, &[7; 1 << 14]);
    pair.client.session.send(pair.now, &[7; (1 << 14) + 1]);
    pair.run_cleanly();
    assert_eq!(pair.server.data.last().unwrap().len(), 1 << 14);
    assert_eq!(pair.server.data.len(), 2, "what is too long for a record is not sent");

    pair.server.session.close(pair.now);
    pair.run_cleanly();
    assert!(matches!(pair.client.end, Some(DtlsEvent::Closed)));
    assert!(pair.server.end.is_none());
    pair.client.session.send(pair.now, b"too late");
    assert_eq!(pair.client.session.poll_transmit(), None);
    let late = pair.client.session.handle_datagram(pair.now, &[22; 40]);
    assert_eq!(late, Err(DropReason::DtlsRefused), "a closed session does not start again");
}

#[test]
fn any_one_lost_datagram_is_made_up_for() {
    let total = Pair::connected().sent;
    for lost in 0..total {
        let mut pair = Pair::new();
        let start = pair.now;
        pair.run(|n| if n == lost { vec![] } else { vec![LATENCY] });
        let context = format!("datagram {lost} of {total} lost");
        pair.assert_connected(&context);
        assert!(pair.now - start < Duration::from_secs(1), "{context}: {:?}", pair.now - start);
        pair.assert_alive();
    }
}

#[test]
fn any_two_lost_datagrams_are_made_up_for() {
    let total = Pair::connected().sent;
    for first in 0..total {
        for second in first + 1..total + 3 {
            let mut pair = Pair::new();
            pair.run(|n| if n == first || n == second { vec![] } else { vec![LATENCY] });
            pair.assert_connected(&format!("datagrams {first} and {second} lost"));
        }
    }
}

#[test]
fn a_link_that_loses_doubles_and_reorders_is_survived() {
    for seed in 0..60 {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let mut pair = Pair::new();
        pair.run(|_| {
            let copies = [0, 0, 1, 1, 1, 1, 1, 1, 2, 2][rng.random_range(0..10)];
            (0..copies).map(|_| Duration::from_millis(rng.random_range(5..80))).collect()
        });
        pair.assert_connected(&format!("seed {seed}"));
        pair.assert_alive();
    }
}

/// A peer's replay window drops a record number that it has seen (RFC 6347 section 4.1.2.6).
#[test]
fn a_repeated_flight_has_new_record_numbers() {
    let mut pair = Pair::new();
    pair.client.session.start(pair.now);
    let mut numbers = Vec::new();
    for _ in 0..5 {
        while let Some(hello) = pair.client.session.poll_transmit() {
            numbers.push(hello[3..11].to_vec());
        }
        let due = pair.client.session.poll_timeout().unwrap();
        pair.client.session.handle_timeout(due);
    }
    let distinct: std::collections::HashSet<_> = numbers.iter().collect();
    assert_eq!((numbers.len(), distinct.len()), (5, 5));
}

#[test]
fn a_handshake_has_the_same_sizes_every_time() {
    let sizes = Pair::connected().sizes;
    for _ in 0..10 {
        assert_eq!(Pair::connected().sizes, sizes);
    }
}

#[test]
fn a_peer_that_never_answers_is_given_up() {
    let mut pair = Pair::new();
    let start = pair.now;
    pair.run(|_| vec![]);
    assert!(matches!(pair.client.end, Some(DtlsEvent::Failed(DtlsFailure::Timeout))));
    assert_eq!(pair.now - start, HANDSHAKE_TIMEOUT);
    assert!((5..20).contains(&pair.sent), "{} hellos", pair.sent);

    // The server hears the client, but nothing that it says arrives.
    let mut pair = Pair::new();
    pair.client.session.start(pair.now);
    let hello = pair.client.session.poll_transmit().unwrap();
    pair.server.session.handle_datagram(pair.now, &hello).unwrap();
    assert_eq!(pair.server.session.poll_timeout(), Some(pair.now + HANDSHAKE_TIMEOUT));
    pair.server.session.handle_timeout(pair.now + HANDSHAKE_TIMEOUT);
    pair.server.collect_events();
    assert!(matches!(pair.server.end, Some(DtlsEvent::Failed(DtlsFailure::Timeout))));
}

#[test]
fn a_certificate_that_the_sdp_did_not_announce_gets_no_keys() {
    let stranger = certificate();
    for mismatch_at_server in [true, false] {
        let (client, server) = (certificate(), certificate());
        let expected =
            |own: &DtlsCertificate, wrong| if wrong { stranger.fingerprint() } else { own.fingerprint() }.clone();
        let mut pair = Pair::with(
            Side::new(&client, DtlsRole::Client, vec![expected(&server, !mismatch_at_server)]),
            Side::new(&server, DtlsRole::Server, vec![expected(&client, mismatch_at_server)]),
        );
        let start = pair.now;
        pair.run_cleanly();
        let (deceived, other) =
            if mismatch_at_server { (&pair.server, &pair.client) } else { (&pair.client, &pair.server) };
        assert!(matches!(deceived.end, Some(DtlsEvent::Failed(DtlsFailure::BadCertificate))), "{:?}", deceived.end);
        assert!(deceived.keys.is_none() && other.keys.is_none());
        assert!(matches!(other.end, Some(DtlsEvent::Failed(DtlsFailure::Alert(42)))), "{:?}", other.end);
        assert!(pair.now - start < Duration::from_secs(1));
    }
}

#[test]
fn no_announced_fingerprint_means_no_keys() {
    let (client, server) = (certificate(), certificate());
    let mut pair = Pair::with(
        Side::new(&client, DtlsRole::Client, vec![server.fingerprint().clone()]),
        Side::new(&server, DtlsRole::Server, vec![]),
    );
    pair.run_cleanly();
    assert!(matches!(pair.server.end, Some(DtlsEvent::Failed(DtlsFailure::BadCertificate))));
}

#[test]
fn one_of_several_fingerprints_is_enough() {
    let (client, server) = (certificate(), certificate());
    let fingerprints = vec![
        certificate().fingerprint().clone(),
        Fingerprint::of(HashKind::Sha512, &client.der),
        certificate().fingerprint().clone(),
    ];
    let mut pair = Pair::with(
        Side::new(&client, DtlsRole::Client, vec![Fingerprint::of(HashKind::Sha384, &server.der)]),
        Side::new(&server, DtlsRole::Server, fingerprints),
    );
    pair.run_cleanly();
    pair.assert_connected("second of three");
}
