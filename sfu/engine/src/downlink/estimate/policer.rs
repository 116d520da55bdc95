//! Tells a policer: a network that drops what is beyond a rate and queues nothing (a token bucket, RFC 2697).
//!
//! Its bucket lets a probe through whole, and the media for a second, so that every probe promises much more than there
//! is. What gives it away is what happens after: for a while much is lost, what still arrives comes at one rate,
//! nothing queues, and as soon as no more than that is sent nothing is lost. (Flach et al., "An Internet-Wide Analysis
//! of Traffic Policing", SIGCOMM 2016; the long-term bandwidth of TCP BBR is for the same.) That rate is then believed
//! for a while, longer each time that it is met again, and more is tried by little and little.

use super::aimd::UTILISATION;
use super::feedback::OurTime;
use crate::units::Bitrate;
use std::time::Duration;

/// Losing this share is a sign of a policer, losing no more than that of none.
const MUCH: f64 = 0.10;
const NOTHING: f64 = 0.02;
/// So many observations one after the other tell its rate; the first is left out, as the bucket was not empty all the
/// time.
const RUN: u32 = 3;
/// So many in which no more than its rate was sent, because of what was lost, and nothing was lost any more, prove it.
const PROOF: u32 = 4;
/// By so much may be sent more then: rates of a quarter of a second vary.
const EXACT: f64 = 0.05;
/// Rates sent that vary by this factor tell it from loss at random.
const VARIED: f64 = 1.3;
/// What is sent beyond its rate without loss, and is more than buckets hold, refutes it.
const BUCKET: f64 = 250_000.0;
/// Rates that differ by no more than this are the same.
const SAME: f64 = 0.15;
/// How long it is believed at first and at most.
const TRUST: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(240));
/// After that, more by so much each second.
const RISE_PER_SECOND: f64 = 1.1;
/// Beyond so many times its rate it is forgotten.
const FORGOTTEN: f64 = 4.0;

/// The watch.
#[derive(Debug, Default)]
pub(super) struct Policer {
    run: Run,
    suspect: Option<Suspect>,
    found: Option<Found>,
}

/// What was sent in about a quarter of a second while nothing queued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) at: OurTime,
    /// Bits per second since what was observed before.
    pub(super) rate: f64,
    /// Bytes in all.
    pub(super) bytes: f64,
    /// Share of these bytes, 0 to 1: where a token is left, it is small packets that get through.
    pub(super) loss: f64,
    /// Loss limited the rate.
    pub(super) limited: bool,
}

/// Observations with much loss, one after the other.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    observations: u32,
    /// Of all but the first: what arrived, in bytes, and the seconds that it was sent in.
    delivered: (f64, f64),
    /// Of these the lowest and the highest rates that were sent, and that arrived.
    spread: Option<[(f64, f64); 2]>,
}

/// A rate that was met, and is not proven.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    rate: f64,
    /// So many observations speak for it.
    clean: u32,
    beyond: Beyond,
    /// It is hardly loss at random.
    is_told: bool,
}

/// A rate that is believed.
#[derive(Clone, Copy, Debug)]
struct Found {
    rate: f64,
    since: OurTime,
    trust: Duration,
    beyond: Beyond,
}

/// Bytes sent beyond a rate since something was lost.
#[derive(Clone, Copy, Debug, Default)]
struct Beyond(f64);

impl Policer {
    /// What may be sent: its rate, less what is left free, and more where it was not met for long.
    pub(super) fn rate(&self, now: OurTime) -> Option<Bitrate> {
        self.found.map(|found| usable(found.rate * found.rise(now)))
    }

    /// What may be sent if there is one: to be tried where something drops what is beyond a rate.
    pub(super) fn suspected(&self) -> Option<Bitrate> {
        let is_told = |suspect: &Suspect| suspect.is_told && !(1..=RUN).contains(&self.run.observations);
        self.suspect.filter(is_told).map(|suspect| usable(suspect.rate))
    }

    /// Whether there is one.
    pub(super) fn is_met(&self) -> bool {
        self.found.is_some()
    }

    /// What is lost has another reason.
    pub(super) fn forget(&mut self) {
        *self = Policer::default();
    }

    /// The next observation.
    pub(super) fn observe(&mut self, sent: &Sent) {
        if sent.loss >= MUCH {
            self.meet(sent);
        } else {
            self.run = Run::default();
            self.pass(sent);
        }
        if self.found.is_some_and(|found| found.rise(sent.at) > FORGOTTEN) {
            self.found = None;
        }
    }

    /// Much is lost.
    fn meet(&mut self, sent: &Sent) {
        let delivered = sent.rate * (1.0 - sent.loss);
        if let Some(found) = self.found.as_mut().filter(|found| same(found.rate, delivered)) {
            found.confirm(sent.at);
        }
        self.run.add(sent, delivered);
        if let Run { observations: RUN.., delivered: (bytes, seconds), .. } = self.run {
            let is_told = self.run.is_told() || self.suspect.is_some_and(|suspect| suspect.is_told);
            let rate = bytes * 8.0 / seconds;
            self.suspect = Some(Suspect { rate, clean: 0, beyond: Beyond::default(), is_told });
        }
    }

    /// Little is lost, or nothing.
    fn pass(&mut self, sent: &Sent) {
        self.found.take_if(|found| found.beyond.refutes(found.rate, sent));
        self.suspect.take_if(|suspect| {
            let goes_on = sent.loss > NOTHING && sent.rate < suspect.rate * (1.0 - SAME);
            let fits = sent.rate <= suspect.rate * (1.0 + EXACT);
            suspect.clean += u32::from(sent.limited && fits && sent.loss <= NOTHING);
            goes_on || suspect.beyond.refutes(suspect.rate, sent)
        });
        if let Some(Suspect { rate, .. }) = self.suspect.take_if(|suspect| suspect.clean >= PROOF) {
            let known = self.found.filter(|found| same(found.rate, rate));
            let trust = known.map_or(TRUST.0, |found| found.trust);
            self.found = Some(Found { rate, since: sent.at, trust, beyond: Beyond::default() });
        }
    }
}

impl Beyond {
    /// Something was sent and little of it lost: whether that was more than a bucket holds.
    fn refutes(&mut self, rate: f64, sent: &Sent) -> bool {
        self.0 = (self.0 + sent.bytes * (1.0 - rate / sent.rate.max(1.0))).max(0.0);
        self.0 > BUCKET
    }
}

impl Run {
    fn add(&mut self, sent: &Sent, delivered: f64) {
        if self.observations > 0 {
            self.delivered.0 += sent.bytes * (1.0 - sent.loss);
            self.delivered.1 += sent.bytes * 8.0 / sent.rate.max(1.0);
            let rates = [sent.rate, delivered];
            let spread = self.spread.get_or_insert(rates.map(|rate| (rate, rate)));
            for ((low, high), rate) in spread.iter_mut().zip(rates) {
                (*low, *high) = (low.min(rate), high.max(rate));
            }
        }
        self.observations += 1;
    }

    /// Whether as much arrived whatever was sent: of what is lost at random it is the share that stays.
    fn is_told(&self) -> bool {
        let [sent, arrived] = self.spread.unwrap_or_default().map(|(low, high)| high / low.max(1.0));
        sent > VARIED && arrived * arrived < sent
    }
}

impl Found {
    /// Met again, and believed for twice as long where it was about to be forgotten.
    fn confirm(&mut self, at: OurTime) {
        if self.rise(at) > 1.0 {
            self.trust = (self.trust * 2).min(TRUST.1);
        }
        self.since = at;
        self.beyond = Beyond::default();
    }

    fn rise(&self, now: OurTime) -> f64 {
        let late = now.saturating_since(self.since).saturating_sub(self.trust);
        RISE_PER_SECOND.powf(late.as_secs_f64())
    }
}

/// What may be sent where so much gets through: the pace is a little higher.
fn usable(rate: f64) -> Bitrate {
    Bitrate::bps((rate * UTILISATION) as u64)
}

fn same(a: f64, b: f64) -> bool {
    (a / b.max(1.0) - 1.0).abs() <= SAME
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A bucket of tokens, observed four times a second.
    struct Bucket {
        policer: Policer,
        /// Bits per second and bytes.
        rate: f64,
        size: f64,
        tokens: f64,
        now: OurTime,
    }

    impl Bucket {
        fn new(rate: f64, size: f64) -> Self {
            Bucket { policer: Policer::default(), rate, size, tokens: size, now: OurTime(0) }
        }

        /// Sends by `rate`, or by no more than what the policer is known to pass, for so many seconds. Returns the mean
        /// loss.
        fn send(&mut self, rate: f64, seconds: u32) -> f64 {
            let mut lost = 0.0;
            for _ in 0..4 * seconds {
                self.now = self.now.plus(Duration::from_millis(250));
                let rate = self.known().map_or(rate, |known| known.min(rate));
                let bytes = rate / 32.0;
                self.tokens = (self.tokens + self.rate / 32.0).min(self.size + self.rate / 32.0);
                let passed = bytes.min(self.tokens);
                self.tokens -= passed;
                let loss = 1.0 - passed / bytes;
                lost += loss / f64::from(4 * seconds);
                self.policer.observe(&Sent { at: self.now, rate, bytes, loss, limited: true });
            }
            lost
        }

        fn known(&self) -> Option<f64> {
            self.policer.rate(self.now).map(|rate| rate.as_bps() as f64)
        }
    }

    #[test]
    fn its_rate_is_known_once_what_fits_gets_through() {
        for (rate, size) in [(0.5e6, 16e3), (1e6, 40e3), (4e6, 100e3)] {
            let mut bucket = Bucket::new(rate, size);
            assert!(bucket.send(2.0 * rate, 3) > 0.2);
            assert_eq!(bucket.known(), None, "not proven: loss may go on");
            assert_eq!(bucket.send(0.9 * rate, 1), 0.0);
            let known = bucket.known().unwrap();
            assert!((0.93..0.97).contains(&(known / rate)), "{known}");
            assert_eq!(bucket.send(2.0 * rate, 25), 0.0, "held back");
        }
    }

    #[test]
    fn it_is_tried_again_and_each_time_believed_for_longer() {
        let mut bucket = Bucket::new(1e6, 40e3);
        bucket.send(2e6, 3);
        bucket.send(0.9e6, 1);
        let losses: Vec<f64> = (0..8).map(|_| bucket.send(2e6, 60)).collect();
        let (early, late) = losses.split_at(4);
        let met = |minutes: &[f64]| minutes.iter().filter(|loss| **loss > 0.0).count();
        assert_eq!((met(early), met(late)), (3, 1), "{losses:?}");
        assert!(losses.iter().all(|loss| *loss < 0.03), "{losses:?}");
    }

    #[test]
    fn it_is_forgotten_where_much_more_gets_through_and_where_it_was_not_met_for_long() {
        for (rate, seconds) in [(3e6, 33), (0.9e6, 43)] {
            let mut bucket = Bucket::new(1e6, 40e3);
            bucket.send(2e6, 3);
            bucket.send(0.9e6, 1);
            bucket.rate = 10e6;
            bucket.send(rate, seconds);
            assert!(bucket.known().is_some(), "{rate}");
            bucket.send(rate, 4);
            assert_eq!(bucket.known(), None, "{rate}");
        }
    }

    #[test]
    fn it_is_suspected_where_as_much_arrives_whatever_is_sent() {
        for random in [false, true] {
            let mut policer = Policer::default();
            for (tick, rate) in [3e6, 3e6, 2.5e6, 2e6, 1.6e6].into_iter().enumerate() {
                let loss = if random { 0.3 } else { 1.0 - 1e6 / rate };
                let at = OurTime(250_000 * tick as i64);
                policer.observe(&Sent { at, rate, bytes: rate / 32.0, loss, limited: true });
                assert_eq!(policer.suspected().is_some(), !random && tick >= 3, "{random} {tick}");
            }
        }
    }

    /// Whether a policer is ever recognised in so many observations of a rate, in Mb/s, and loss, which limits the rate
    /// or not.
    fn recognised(limited: bool, observations: &[(usize, f64, f64)]) -> bool {
        let (mut policer, mut at, mut met) = (Policer::default(), OurTime(0), false);
        for (count, mbps, loss) in observations {
            for _ in 0..*count {
                at = at.plus(Duration::from_millis(250));
                policer.observe(&Sent { at, rate: mbps * 1e6, bytes: mbps * 31_250.0, loss: *loss, limited });
                met |= policer.is_met();
            }
        }
        met
    }

    #[test]
    fn it_takes_a_while_of_loss_that_ends_with_what_is_beyond_its_rate() {
        assert!(recognised(true, &[(3, 2.0, 0.3), (4, 1.4, 0.0)]));
        assert!(
            !recognised(false, &[(3, 2.0, 0.3), (40, 1.4, 0.0)]),
            "a burst while less happened to be sent afterwards"
        );
        assert!(!recognised(true, &[(3, 2.0, 0.2), (40, 1.8, 0.0)]), "what is a little less");
        assert!(!recognised(true, &[(2, 2.0, 0.3), (40, 1.4, 0.0)]), "a short burst");
        assert!(!recognised(true, &[(4, 2.0, 0.3), (40, 2.0, 0.0), (9, 1.4, 0.0)]), "a burst that ended by itself");
        assert!(
            !recognised(true, &[(4, 2.0, 0.2), (1, 1.2, 0.05), (40, 1.6, 0.0)]),
            "less was sent, and lost all the same"
        );
        assert!(!recognised(true, &[(4, 2.0, 0.2), (40, 1.0, 0.2)]), "loss at random");
    }
}
