//! A panic costs the participant that was being worked for its media connection, and nobody else anything.
//!
//! The engine does not panic by itself (lints deny it), but the crates under it might, on what a stranger sent. What such a participant left
//! behind is thrown away: it is taken out with its tracks, put in anew as after its join, and told to offer again. A panic that belongs to
//! nobody, or one while cleaning up, goes on upwards and ends the shard.

use super::Engine;
use super::keys::ParticipantKey;
use crate::event::{DisconnectReason, Event};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

impl Engine {
    /// From here on until the step ends, or the next call, the work is for this participant.
    #[inline]
    pub(super) fn work_for(&mut self, key: ParticipantKey) {
        self.at_work = Some(key);
        #[cfg(test)]
        assert!(
            self.faulty != self.participants.get(key).map(|p| p.id) || self.faulty.is_none(),
            "asked for by a test"
        );
    }

    /// Does a step of work. `None` where it panicked: whoever it was for starts over.
    #[inline]
    pub(super) fn isolate<T>(&mut self, now: Instant, step: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.at_work = None;
        // What the step left half done is its participant's, which is thrown away, or counters and queues, of which each change is whole.
        match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(done) => Some(done),
            Err(panic) => {
                let Some(key) = self.at_work.take() else { resume_unwind(panic) };
                self.renew(now, key);
                None
            }
        }
    }

    #[cold]
    fn renew(&mut self, now: Instant, key: ParticipantKey) {
        let Some(failed) = self.participants.get(key) else { return };
        let (id, permissions, room) = (failed.id, failed.permissions, failed.room);
        let Some(room) = self.rooms.get(room).map(|room| room.id) else { return };
        // The new one first, or the room might end in between.
        self.participant_keys.remove(&id);
        self.join(now, room, id, permissions);
        let fresh = self.key(id);
        self.leave(now, key);
        self.participant_keys.extend(fresh.map(|fresh| (id, fresh)));
        self.counters.count_disconnect(DisconnectReason::InternalError);
        self.events.push_back(Event::Disconnected { participant: id, reason: DisconnectReason::InternalError });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Permissions;
    use crate::ids::{ParticipantId, RequestId, RoomId};
    use crate::net::{Protocol, Tuple};
    use crate::transport::dtls::DtlsCertificate;
    use crate::{Command, EngineConfig, WallClock};
    use rand::SeedableRng;
    use rand_chacha::ChaCha12Rng;
    use std::time::Duration;

    const ADA: ParticipantId = ParticipantId(1);
    const GRACE: ParticipantId = ParticipantId(2);
    const OFFER: &str = include_str!("../sdp/fixtures/chromium-156-simulcast-publish.sdp");

    /// An engine with Ada and Grace in one room, who both publish.
    fn engine(now: Instant) -> Engine {
        let provider = rtc_crypto::default_provider().unwrap();
        let certificate = DtlsCertificate::generate(&provider).unwrap();
        let clock = WallClock { at: now, unix: Duration::from_secs(1) };
        let mut engine = Engine::new(
            EngineConfig::new(Vec::new(), "s", clock),
            certificate,
            provider,
            ChaCha12Rng::seed_from_u64(7),
        );
        for participant in [ADA, GRACE] {
            let permissions = Permissions::default();
            engine.handle_command(now, Command::Join { room: RoomId(1), participant, permissions, others: Vec::new() });
            assert!(offers(&mut engine, now, participant).iter().any(is_published), "{participant:?}");
        }
        engine
    }

    fn offers(engine: &mut Engine, now: Instant, participant: ParticipantId) -> Vec<Event> {
        let (request, sdp, published) = (RequestId(1), OFFER.to_owned(), Vec::new());
        engine.handle_command(now, Command::Offer { participant, request, sdp, published });
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
        engine.faulty = None;
        let events = drain(&mut engine, now);
        assert!(events.iter().any(|event| is_failure(event, ADA)), "{events:?}");
        assert!(!events.iter().any(|event| is_failure(event, GRACE)), "{events:?}");
        let ended: Vec<_> = events
            .iter()
            .filter_map(
                |event| if let Event::TrackEnded { track, .. } = event { Some(track.participant) } else { None },
            )
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
        check(engine(now), now, |engine| {
            offers(engine, now, ADA);
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
            // Who was touched is served as the check drains the engine, with the fault in place.
        });
    }

    #[test]
    fn a_panic_that_is_nobodys_goes_on() {
        let now = Instant::now();
        let mut engine = engine(now);
        let outcome = catch_unwind(AssertUnwindSafe(|| engine.isolate(now, |_| panic!("asked for by a test"))));
        assert!(outcome.is_err());
    }
}
