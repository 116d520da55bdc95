//! The rate that loss allows, telling random loss from congestion.
//!
//! Loss is explained by two numbers: a share that is lost at any rate, and a capacity beyond which everything is lost.
//! The pair that best explains the last seconds is taken (maximum likelihood, the idea of libwebrtc's LossBasedBweV2).
//! Loss that does not change with the rate is thus borne; loss that goes away when less is sent limits the rate.
//!
//! Where the link's end was met lately, by a queue that grew, too much would queue again: what is lost while nothing
//! queues is then hardly its end.
//!
//! Packets that are lost one after the other, while nothing queues, are one accident of the path (a fading radio link)
//! and no more evidence than one packet; those that a full queue drops are evidence each.
//!
//! A network that queues nothing at all is `policer`'s to recognise.

mod likelihood;

use super::feedback::OurTime;
use super::policer::{Policer, Sent};
use crate::units::Bitrate;
use likelihood::Likelihood;
use std::collections::VecDeque;
use std::time::Duration;

const OBSERVATION: Duration = Duration::from_millis(250);
const OBSERVATION_PACKETS: u32 = 10;
/// Observations kept, the oldest weighing least.
const OBSERVATIONS: usize = 24;
const AGEING: f64 = 0.95;
/// Observations older than this are dropped. Where little is sent, each spans more than a quarter of a second, and what
/// is old says nothing about the link as it is now.
const MAX_AGE: Duration = Duration::from_secs(8);
/// After this time without loss, earlier losses limit nothing: a new probe tells more.
const CLEAN: Duration = Duration::from_secs(2);
/// Likelihood (in nats) that a capacity must explain over random loss alone before it is believed in.
const CAPACITY_EVIDENCE: f64 = 5.0;
/// The same on a link that is known to queue, for what is lost while nothing does.
const UNQUEUED_EVIDENCE: f64 = 20.0;
/// Random loss is seldom higher. Beyond this share, each percent needs evidence too.
const USUAL_LOSS: f64 = 0.10;
/// Stray loss beyond this share, in bursts shorter than this mean, is loss of many single packets.
const SINGLY: (f32, f64) = (0.07, 2.0);
/// After this many observations stray loss is taken for the path's own. Loss while a link is first filled, or just
/// after that, is caused by the filling.
const STRAY_AFTER: usize = 8;
/// Less loss than this is repaired without anybody noticing.
const NEGLIGIBLE: f64 = 0.005;

/// The controller.
#[derive(Debug, Default)]
pub(super) struct LossControl {
    current: Observation,
    current_span: Option<(OurTime, OurTime)>,
    /// The last packet was lost.
    in_burst: bool,
    /// When a packet was sent last that was lost.
    lost_at: OurTime,
    past: VecDeque<Observation>,
    /// What these count in [`Self::loss`]; `None` where they have changed since.
    past_weight: Option<Weight>,
    limit: Option<Bitrate>,
    policer: Policer,
    /// The last packet of the last observation.
    ended: Option<OurTime>,
    loss: f32,
    stray: f32,
}

/// Packets sent in about a quarter of a second and what became of them.
#[derive(Clone, Copy, Debug, Default)]
struct Observation {
    packets: u32,
    lost: u32,
    /// Of these, how many while nothing queued.
    stray: u32,
    /// Independent losses: a burst of stray ones counts once.
    events: u32,
    bytes: u64,
    /// Of these, in packets that were reported lost.
    lost_bytes: u64,
    /// In bits per second.
    sent_rate: f64,
    /// When the last of them was sent.
    at: OurTime,
}

/// Packets of several observations, the older ones counting less.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    lost: f64,
    stray: f64,
    packets: f64,
}

/// One explanation of what was observed.
#[derive(Clone, Copy, Debug)]
struct Model {
    /// `None`: no limit was met.
    capacity: Option<f64>,
    score: f64,
}

impl LossControl {
    /// The rate beyond which packets are lost to congestion; `None` while there is no sign of it.
    pub(super) fn limit(&self) -> Option<Bitrate> {
        self.limit
    }

    /// Share of packets lost over the last seconds, 0 to 1, the latest weighing most.
    pub(super) fn loss(&self) -> f32 {
        self.loss
    }

    /// The same of what was lost while nothing queued.
    pub(super) fn stray_loss(&self) -> f32 {
        self.stray
    }

    /// Whether the network is known to drop what is beyond a rate, and to queue nothing.
    pub(super) fn is_policed(&self) -> bool {
        self.policer.is_met()
    }

    /// Whether it may be such a network: what is sent at once gets lost there.
    pub(super) fn drops_bursts(&self) -> bool {
        self.policer.is_met() || self.policer.suspected().is_some()
    }

    /// Whether many packets are lost, hardly one the cause of the next.
    pub(super) fn loses_singly(&self) -> bool {
        self.tells_stray() && self.stray > SINGLY.0 && self.burst_length() < SINGLY.1
    }

    /// Whether enough was observed to take [`Self::stray_loss`] for the path's, and not for what a policer drops.
    pub(super) fn tells_stray(&self) -> bool {
        self.past.len() >= STRAY_AFTER && !self.is_policed()
    }

    /// All that a feedback reports has been taken: brings [`Self::loss`] and [`Self::stray_loss`] up to date.
    pub(super) fn weigh(&mut self) {
        let past = self.past_weight.get_or_insert_with(|| {
            weighted(self.past.iter().rev()).fold(Weight::default(), |sum, (weight, o)| sum.plus(weight * AGEING, o))
        });
        let Weight { lost, stray, packets } = past.plus(1.0, &self.current);
        let share = |counted: f64| if packets > 0.0 { (counted / packets) as f32 } else { 0.0 };
        (self.loss, self.stray) = (share(lost), share(stray));
    }

    /// A packet sent at `sent` was reported for the first time. `queueing`: packets wait long at the bottleneck.
    pub(super) fn observe(&mut self, sent: OurTime, bytes: usize, lost: bool, queueing: bool) {
        self.current.packets += 1;
        self.current.bytes += bytes as u64;
        let follows = std::mem::replace(&mut self.in_burst, lost) && !queueing;
        if lost {
            self.current.lost += 1;
            self.current.stray += u32::from(!queueing);
            self.current.events += u32::from(!follows);
            self.current.lost_bytes += bytes as u64;
            self.lost_at = self.lost_at.max(sent);
        }
        let (first, last) = self.current_span.get_or_insert((sent, sent));
        (*first, *last) = ((*first).min(sent), (*last).max(sent));
    }

    /// A packet that was reported lost has arrived after all.
    pub(super) fn recover(&mut self) {
        let observations = std::iter::once(&mut self.current).chain(self.past.iter_mut().rev());
        if let Some(observation) = observations.into_iter().find(|o| o.lost > 0) {
            self.past_weight = None;
            observation.lost_bytes -= observation.lost_bytes / u64::from(observation.lost);
            observation.lost -= 1;
            observation.stray = observation.stray.min(observation.lost);
            observation.events = observation.events.min(observation.lost);
        }
    }

    /// Ends a feedback. `queues`: the link's end was met lately, by a queue that grew.
    pub(super) fn end_feedback(&mut self, queues: bool) {
        let Some((first, last)) = self.current_span else { return };
        let span = last.saturating_since(first);
        let is_complete = span >= OBSERVATION && self.current.packets >= OBSERVATION_PACKETS;
        if is_complete {
            let sent_rate = Bitrate::of(self.current.bytes, span).as_bps() as f64;
            let observed = Observation { sent_rate, at: last, ..std::mem::take(&mut self.current) };
            self.current_span = None;
            self.past.push_back(observed);
            self.watch_policer(&observed, first, queues);
        }
        let known = self.past.len();
        // A policer's limit does not come from what was lost lately.
        if self.limit.is_some() && !self.is_policed() && last.saturating_since(self.lost_at) > CLEAN {
            self.past.clear();
        }
        while self.past.len() > OBSERVATIONS || self.past.front().is_some_and(|o| last.saturating_since(o.at) > MAX_AGE)
        {
            self.past.pop_front();
        }
        if is_complete || self.past.len() < known {
            self.past_weight = None;
            let explained = self.explain(queues);
            let suspected = self.policer.suspected().filter(|_| explained.is_some());
            self.limit = [explained, suspected, self.policer.rate(last)].into_iter().flatten().min();
        }
    }

    /// `first`: when the first packet of what was observed was sent.
    fn watch_policer(&mut self, observed: &Observation, first: OurTime, queues: bool) {
        let since = self.ended.replace(observed.at).filter(|ended| first.saturating_since(*ended) < OBSERVATION);
        if queues || 2 * observed.stray < observed.lost {
            return self.policer.forget();
        }
        let rate = Bitrate::of(observed.bytes, observed.at.saturating_since(since.unwrap_or(first))).as_bps() as f64;
        let bytes = observed.bytes as f64;
        let loss = observed.lost_bytes as f64 / bytes.max(1.0);
        let limited = self.limit.is_some();
        self.policer.observe(&Sent { at: observed.at, rate, bytes, loss, limited });
    }

    /// Forgets everything but a policer: after an outage or a change of the link the past explains nothing.
    pub(super) fn reset(&mut self) {
        let policer = std::mem::take(&mut self.policer);
        let limit = self.limit.filter(|_| policer.is_met());
        *self = LossControl { limit, policer, ..LossControl::default() };
    }

    /// The capacity in the best explanation.
    fn explain(&self, queues: bool) -> Option<Bitrate> {
        let sum = |counted: fn(&Observation) -> u32| self.past.iter().map(counted).sum::<u32>();
        let (lost, stray, packets) = (sum(|o| o.lost), sum(|o| o.stray), sum(|o| o.packets));
        if f64::from(lost) <= NEGLIGIBLE * f64::from(packets) {
            return None;
        }
        let highest = self.past.iter().map(|o| o.sent_rate).fold(0.0, f64::max);
        // A capacity can only be one of the rates that got through, or the highest one less the loss that is usual.
        let delivered = self.past.iter().filter(|o| o.lost > 0).map(Observation::delivered_rate);
        let lowest = delivered.clone().fold(f64::INFINITY, f64::min);
        let most = delivered.clone().fold(0.0, f64::max);
        let mean = delivered.clone().sum::<f64>() / delivered.count().max(1) as f64;
        let candidates =
            [lowest, (lowest + mean) / 2.0, mean, most, (mean + highest) / 2.0, highest * (1.0 - USUAL_LOSS)];
        let evidence = if queues && 2 * stray > lost { UNQUEUED_EVIDENCE } else { CAPACITY_EVIDENCE };
        let limited = candidates.into_iter().filter(|c| c.is_finite()).map(|c| self.fit(Some(c), evidence));
        let best = limited.fold(self.fit(None, 0.0), better);
        best.capacity.map(|bps| Bitrate::bps(bps as u64))
    }

    /// How many packets one loss event has cost on average. By this factor their number overstates the evidence.
    fn burst_length(&self) -> f64 {
        let (lost, events) = self.past.iter().fold((0.0, 0.0), |(l, e), o| (l + o.lost(), e + f64::from(o.events)));
        if events > 0.0 { lost / events } else { 1.0 }
    }

    /// A capacity with the random loss that fits best. The `penalty` for this model is taken off its score.
    fn fit(&self, capacity: Option<f64>, penalty: f64) -> Model {
        let likelihood = Likelihood::new(capacity, self.burst_length(), weighted(self.past.iter().rev()));
        Model { capacity, score: likelihood.highest() - penalty }
    }
}

impl Weight {
    fn plus(self, weight: f64, observation: &Observation) -> Weight {
        Weight {
            lost: self.lost + weight * observation.lost(),
            stray: self.stray + weight * f64::from(observation.stray),
            packets: self.packets + weight * observation.packets(),
        }
    }
}

impl Observation {
    fn lost(&self) -> f64 {
        f64::from(self.lost)
    }

    fn packets(&self) -> f64 {
        f64::from(self.packets)
    }

    fn delivered_rate(&self) -> f64 {
        self.sent_rate * (1.0 - self.lost() / self.packets().max(1.0))
    }
}

fn weighted<'a>(newest_first: impl Iterator<Item = &'a Observation>) -> impl Iterator<Item = (f64, &'a Observation)> {
    newest_first.scan(1.0, |weight, observation| {
        let now = *weight;
        *weight *= AGEING;
        Some((now, observation))
    })
}

fn better(a: Model, b: Model) -> Model {
    if b.score > a.score { b } else { a }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha12Rng;

    /// Sends at the rate that the controller allows for so many seconds, a feedback every 100 ms, over a link that
    /// drops what is beyond `capacity` and, besides, `random` of all; whether it is known to queue is told. Returns the
    /// rate at the end.
    fn rate_after(seconds: u32, start: f64, (capacity, queues): (f64, bool), random: f64, seed: u64) -> f64 {
        let (mut control, mut rng) = (LossControl::default(), ChaCha12Rng::seed_from_u64(seed));
        let (mut rate, mut now) = (start, OurTime(0));
        for _ in 0..10 * seconds {
            let packets = (rate * 0.1 / 8000.0) as u32;
            for _ in 0..packets {
                now.0 += 100_000 / i64::from(packets);
                let beyond = (1.0 - capacity / rate).max(0.0);
                control.observe(now, 1000, rng.random_bool(random) || rng.random_bool(beyond), false);
            }
            control.end_feedback(queues);
            if let Some(limit) = control.limit() {
                rate = rate.min(limit.as_bps() as f64);
            }
        }
        rate
    }

    #[test]
    fn random_loss_is_borne() {
        for seed in 0..10 {
            assert_eq!(rate_after(20, 3e6, (1e9, false), 0.01, seed), 3e6);
            assert!(rate_after(20, 3e6, (1e9, false), 0.05, seed) > 2.9e6);
            assert!(rate_after(20, 3e6, (1e9, false), 0.10, seed) > 2.3e6);
            assert!(rate_after(20, 3e6, (1e9, false), 0.20, seed) > 1.2e6, "even a fifth");
        }
    }

    #[test]
    fn loss_of_what_is_beyond_a_capacity_limits_the_rate_to_it() {
        for seed in 0..10 {
            for over in [1.25, 1.6, 3.0] {
                let rate = rate_after(8, over * 1e6, (1e6, false), 0.0, seed);
                assert!((0.8e6..1.12e6).contains(&rate), "{rate} at {over} with seed {seed}");
            }
        }
    }

    #[test]
    fn on_a_link_that_queues_a_fifth_is_borne_and_much_loss_of_what_is_beyond_a_capacity_is_not() {
        for seed in 0..10 {
            assert_eq!(rate_after(60, 3e6, (1e9, true), 0.20, seed), 3e6);
            assert!(rate_after(60, 3e6, (1e9, false), 0.20, seed) < 2.7e6, "else it passes for congestion");
            assert!(rate_after(8, 3e6, (1e6, true), 0.0, seed) < 1.3e6);
        }
    }

    #[test]
    fn what_was_lost_counts_less_the_older_it_is_and_not_once_it_has_arrived() {
        let mut control = LossControl::default();
        let mut now = OurTime(0);
        // Twenty packets in each quarter of a second, of which so many are lost.
        let mut send = |control: &mut LossControl, lost: u32| {
            for packet in 0..20 {
                control.observe(now, 1000, packet < lost, false);
                now.0 += 13_200;
            }
            control.end_feedback(false);
            control.weigh();
        };
        let newest_first = |lost: [f64; 3]| {
            let weights = [0.95, 0.95_f64.powi(2), 0.95_f64.powi(3)];
            let of = |counts: [f64; 3]| weights.iter().zip(counts).map(|(weight, count)| weight * count).sum::<f64>();
            (of(lost) / of([20.0; 3])) as f32
        };
        for lost in [10, 0, 1] {
            send(&mut control, lost);
        }
        let expected = newest_first([1.0, 0.0, 10.0]);
        assert!((control.loss() - expected).abs() < 1e-6, "{} {expected}", control.loss());
        assert_eq!(control.loss(), control.stray_loss());
        for (newest, oldest) in [(0.0, 10.0), (0.0, 9.0)] {
            control.recover();
            control.weigh();
            let expected = newest_first([newest, 0.0, oldest]);
            assert!((control.loss() - expected).abs() < 1e-6, "{} {expected}", control.loss());
        }
        // Packets that have not made an observation yet weigh most.
        control.observe(now, 1000, true, false);
        control.weigh();
        let expected = (0.95_f64.powi(3) * 9.0 + 1.0) / (20.0 * (0.95 + 0.95_f64.powi(2) + 0.95_f64.powi(3)) + 1.0);
        assert!((control.loss() - expected as f32).abs() < 1e-6, "{} {expected}", control.loss());
    }

    /// Nearly all is lost for 0.4 s, then one packet of `of`, sent so many milliseconds apart. When the limit is
    /// forgotten, in milliseconds.
    fn limited_for(apart_ms: i64, of: i64) -> Option<i64> {
        let mut control = LossControl::default();
        for i in 0..200 {
            control.observe(OurTime(2000 * i), 1000, i % 10 > 0, false);
            control.end_feedback(false);
        }
        assert!(control.limit().is_some());
        (1..20_000 / apart_ms).map(|i| apart_ms * i).find(|ms| {
            control.observe(OurTime(400_000 + 1000 * ms), 100, ms / apart_ms % of == 0, false);
            control.end_feedback(false);
            control.limit().is_none()
        })
    }

    #[test]
    fn a_limit_is_forgotten_when_nothing_is_lost_any_more_and_by_time_where_little_is_sent() {
        assert!((2000..2100).contains(&limited_for(10, i64::MAX).unwrap()));
        assert!((2000..2300).contains(&limited_for(200, i64::MAX).unwrap()));
        assert!((8000..10_500).contains(&limited_for(200, 8).unwrap()), "{:?}", limited_for(200, 8));
    }

    #[test]
    fn packets_that_arrive_late_are_not_lost() {
        let mut control = LossControl::default();
        for i in 0..100 {
            control.observe(OurTime(10_000 * i), 1000, true, false);
            control.end_feedback(false);
            control.recover();
            control.weigh();
        }
        assert_eq!((control.limit(), control.loss()), (None, 0.0));
    }

    /// Sends 1.8 Mb/s, at every fifth second 2.5 Mb/s; a burst of 30 packets is lost in each of these seconds. Returns
    /// whether that is taken for the end of the link.
    fn bursts_limit(queueing: bool) -> bool {
        let (mut now, mut control, mut limited) = (OurTime(0), LossControl::default(), false);
        for second in 0..30 {
            let packets = if second % 5 == 4 { 312 } else { 225 };
            for i in 0..packets {
                now.0 += 1_000_000 / packets;
                control.observe(now, 1000, second % 5 == 4 && (100..130).contains(&i), queueing);
                control.end_feedback(false);
            }
            limited |= control.limit().is_some();
        }
        limited
    }

    #[test]
    fn a_burst_is_one_accident_unless_a_full_queue_drops_it() {
        assert!(!bursts_limit(false));
        assert!(bursts_limit(true));
    }

    #[test]
    fn what_is_lost_while_nothing_queues_is_told_apart() {
        let mut control = LossControl::default();
        for i in 0..10 {
            control.observe(OurTime(0), 1000, i < 3, i > 0);
        }
        control.weigh();
        assert_eq!((control.loss(), control.stray_loss()), (0.3, 0.1));
    }

    #[test]
    fn single_losses_are_told_from_bursts() {
        for (burst, every, singly) in [(1, 10, true), (1, 30, false), (8, 80, false)] {
            let mut control = LossControl::default();
            for i in 0..2000 {
                control.observe(OurTime(4000 * i), 1000, i % every < burst, false);
                control.end_feedback(false);
            }
            control.weigh();
            assert_eq!(control.loses_singly(), singly, "{burst} of {every}");
            control.reset();
            (0..20).for_each(|i| control.observe(OurTime(4000 * i), 1000, i % 2 == 0, false));
            control.weigh();
            assert!(!control.loses_singly(), "too early to tell");
        }
    }
}
