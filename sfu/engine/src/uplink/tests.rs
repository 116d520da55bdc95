//! The parts of an uplink together, in virtual time: a publisher, a path that loses and reorders both ways,
//! retransmissions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::nack::NackGenerator;
use super::reception::{Reception, SeqCheck};
use super::rtx::{Retransmission, unwrap};
use crate::rtcp::{Rtcp, parse, write};
use crate::units::{RtpTime, SeqNo, Ssrc};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What travels on the path.
enum Datagram {
    Media(SeqNo),
    Retransmission(Vec<u8>),
    Feedback(Vec<u8>),
}

struct Path {
    rng: ChaCha12Rng,
    loss: f64,
    one_way_us: u64,
    jitter_us: u64,
    /// By arrival; the counter keeps simultaneous ones apart.
    in_flight: BTreeMap<(u64, u64), Datagram>,
    sent: u64,
}

impl Path {
    fn send(&mut self, at_us: u64, datagram: Datagram) {
        self.sent += 1;
        if self.rng.random_bool(1.0 - self.loss) {
            let arrival = at_us + self.one_way_us + self.rng.random_range(0..=self.jitter_us);
            self.in_flight.insert((arrival, self.sent), datagram);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    missing: u64,
    lost_first: u64,
    asked: u64,
    given_up: u64,
}

/// Sends `PACKETS` packets in frames of 5 at 30 frames per second, and repairs what is lost.
fn run(seed: u64, loss: f64, one_way_ms: u64, jitter_ms: u64) -> Outcome {
    const PACKETS: u16 = 3000;
    let path = |seed| Path {
        rng: ChaCha12Rng::seed_from_u64(seed),
        loss,
        one_way_us: one_way_ms * 1000,
        jitter_us: jitter_ms * 1000,
        in_flight: BTreeMap::new(),
        sent: 0,
    };
    let (mut up, mut down) = (path(seed), path(seed + 1000));
    let rtt = Duration::from_millis(2 * one_way_ms + jitter_ms);
    let (mut reception, mut nack) = (Reception::new(Ssrc(1)), NackGenerator::default());
    let (mut next, mut asked) = (0u16, 0u64);
    let (mut seen, start) = (std::collections::BTreeSet::new(), Instant::now());
    for at_us in (0..u64::from(PACKETS / 5) * 33_000 + 3_000_000).step_by(500) {
        let now = start + Duration::from_micros(at_us);
        if at_us % 33_000 == 0 {
            for seq in next..PACKETS.min(next + 5) {
                up.send(at_us, Datagram::Media(SeqNo(seq)));
            }
            next = PACKETS.min(next + 5);
        }
        while let Some(arrived) = up.in_flight.first_entry().filter(|first| first.key().0 <= at_us) {
            match arrived.remove() {
                Datagram::Media(seq) => {
                    let timestamp = RtpTime(u32::from(seq.0) / 5 * 2970);
                    match reception.on_packet(now, seq, timestamp, 90_000) {
                        SeqCheck::New(seq) => {
                            seen.insert(seq);
                            let _ = nack.on_received(now, seq);
                        }
                        other => assert_eq!(other, SeqCheck::Duplicate),
                    }
                }
                Datagram::Retransmission(payload) => {
                    let Retransmission::Original { seq, .. } = unwrap(&payload) else { panic!("no original") };
                    if let SeqCheck::New(seq) = reception.on_recovered(seq) {
                        seen.insert(seq);
                        nack.on_recovered(seq);
                    }
                }
                Datagram::Feedback(_) => panic!("feedback goes down"),
            }
        }
        let mut wanted = Vec::new();
        let _ = nack.poll_nacks(now, rtt, &mut wanted);
        asked += wanted.len() as u64;
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let mut packet = Vec::new();
            rest = write::nack(&mut packet, Ssrc(9), Ssrc(1), rest);
            down.send(at_us, Datagram::Feedback(packet));
        }
        while let Some(arrived) = down.in_flight.first_entry().filter(|first| first.key().0 <= at_us) {
            let Datagram::Feedback(packet) = arrived.remove() else { panic!("media goes up") };
            parse(&packet, |value| {
                let Rtcp::Nack(nack) = value else { panic!("{value:?}") };
                for seq in nack.seqs() {
                    up.send(at_us, Datagram::Retransmission([&seq.0.to_be_bytes()[..], b"payload"].concat()));
                }
            });
        }
    }
    Outcome {
        missing: u64::from(PACKETS) - seen.len() as u64,
        lost_first: reception.lost(),
        asked,
        given_up: nack.given_up(),
    }
}

#[test]
fn two_percent_loss_both_ways_is_repaired_completely() {
    for seed in 0..5 {
        let outcome = run(seed, 0.02, 25, 2);
        assert!(outcome.lost_first > 30, "{outcome:?}");
        assert_eq!((outcome.missing, outcome.given_up), (0, 0), "{outcome:?}");
        assert!(outcome.asked <= outcome.lost_first * 115 / 100 + 3, "{outcome:?}");
    }
}

#[test]
fn ten_percent_loss_both_ways_is_repaired_almost_completely() {
    for seed in 0..5 {
        let outcome = run(seed, 0.1, 40, 5);
        assert!(outcome.missing <= 3, "{outcome:?}");
        assert!(outcome.asked <= outcome.lost_first * 3 / 2, "{outcome:?}");
    }
}

#[test]
fn reordering_without_loss_costs_few_requests() {
    for seed in 0..5 {
        let outcome = run(seed, 0.0, 40, 15);
        assert_eq!((outcome.missing, outcome.lost_first), (0, 0));
        assert!(outcome.asked <= 40, "{outcome:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(7, 0.05, 30, 5), run(7, 0.05, 30, 5));
}
