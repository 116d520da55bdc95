//! Panics over one of two participants, wherever the engine works for her.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::command::Permissions;
use crate::ids::{ParticipantId, RequestId, RoomId};
use crate::net::{Protocol, Tuple};
use crate::sdp::CodecRules;
use crate::transport::dtls::DtlsCertificate;
use crate::{Command, EngineConfig, WallClock};
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use std::time::Duration;

const ADA: ParticipantId = ParticipantId(1);
const GRACE: ParticipantId = ParticipantId(2);
const OFFER: &str = include_str!("../../sdp/fixtures/chromium-156-simulcast-publish.sdp");

impl Engine {
    /// Panics once, over the participant that a test chose.
    pub(super) fn fail_on_purpose(&mut self, key: ParticipantKey) {
        if self.faulty.is_some() && self.faulty == self.participants.get(key).map(|p| p.id) {
            self.faulty = None;
            panic!("asked for by a test");
        }
    }
}

/// An engine with Ada and Grace in one room, who both publish.
fn engine(now: Instant) -> Engine {
    let provider = rtc_crypto::default_provider().unwrap();
    let certificate = DtlsCertificate::generate(&provider).unwrap();
    let clock = WallClock { at: now, unix: Duration::from_secs(1) };
    let mut engine =
        Engine::new(EngineConfig::new(Vec::new(), "s", clock), certificate, provider, ChaCha12Rng::seed_from_u64(7));
    for participant in [ADA, GRACE] {
        let permissions = Permissions::default();
        engine.handle_command(now, Command::Join { room: RoomId(1), participant, permissions, others: Vec::new() });
        assert!(offers(&mut engine, now, participant).iter().any(is_published), "{participant:?}");
    }
    engine
}

fn offers(engine: &mut Engine, now: Instant, participant: ParticipantId) -> Vec<Event> {
    let (request, sdp, published) = (RequestId(1), OFFER.to_owned(), Vec::new());
    engine.handle_command(now, Command::Offer { participant, request, sdp, published, codecs: CodecRules::default() });
    drain(engine, now)
}

fn drain(engine: &mut Engine, now: Instant) -> Vec<Event> {
    let mut buffer = Vec::new();
    while engine.poll_transmit(now, &mut buffer).is_some() {
        buffer.clear();
    }
    assert!(buffer.is_empty());
    std::iter::from_fn(|| engine.poll_event()).collect()
}

fn is_published(event: &Event) -> bool {
    matches!(event, Event::TrackPublished(_))
}

fn is_failure(event: &Event, of: ParticipantId) -> bool {
    matches!(event, Event::Disconnected { participant, reason: DisconnectReason::InternalError } if *participant == of)
}

/// Ada's tracks have ended and she is told; Grace goes on; then Ada offers again and publishes again.
fn check(mut engine: Engine, now: Instant, step: impl FnOnce(&mut Engine)) {
    engine.faulty = Some(ADA);
    step(&mut engine);
    let events = drain(&mut engine, now);
    assert!(events.iter().any(|event| is_failure(event, ADA)), "{events:?}");
    assert!(!events.iter().any(|event| is_failure(event, GRACE)), "{events:?}");
    let ended: Vec<_> = events
        .iter()
        .filter_map(|event| if let Event::TrackEnded { track, .. } = event { Some(track.participant) } else { None })
        .collect();
    assert!(!ended.is_empty() && ended.iter().all(|who| *who == ADA), "{events:?}");
    let snapshot = engine.snapshot();
    assert_eq!((snapshot.rooms, snapshot.participants), (1, 2));
    assert_eq!(snapshot.counters.disconnected(DisconnectReason::InternalError), 1);

    let again = offers(&mut engine, now, ADA);
    assert!(again.iter().any(is_published), "{again:?}");
    let grace = offers(&mut engine, now, GRACE);
    assert!(grace.iter().any(|event| matches!(event, Event::Answer { result: Ok(_), .. })), "{grace:?}");
}

#[test]
fn a_panic_over_a_command() {
    let now = Instant::now();
    let (request, sdp, published) = (RequestId(1), OFFER.to_owned(), Vec::new());
    check(engine(now), now, |engine| {
        engine.handle_command(
            now,
            Command::Offer { participant: ADA, request, sdp, published, codecs: CodecRules::default() },
        );
    });
}

#[test]
fn a_panic_over_a_datagram() {
    let now = Instant::now();
    let mut engine = engine(now);
    let key = engine.key(ADA).unwrap();
    let here = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let tuple = Tuple { protocol: Protocol::Udp, local: here, remote: here };
    engine.demux.insert_tuple(tuple, key);
    // The first byte of DTLS (RFC 7983).
    check(engine, now, |engine| engine.handle_datagram(now, now, tuple, &mut [20; 32]));
}

#[test]
fn a_panic_while_sending() {
    let now = Instant::now();
    let mut engine = engine(now);
    let (ada, grace) = (engine.key(ADA).unwrap(), engine.key(GRACE).unwrap());
    engine.touch(ada);
    engine.touch(grace);
    check(engine, now, |_| {
        // Who was touched is served as the check drains the engine.
    });
}

#[test]
fn a_panic_that_is_nobodys_goes_on() {
    let now = Instant::now();
    let mut engine = engine(now);
    let outcome = catch_unwind(AssertUnwindSafe(|| engine.isolate(now, |_| panic!("asked for by a test"))));
    assert!(outcome.is_err());
}
