//! The rate that the delay allows: up by a share, down to what the bottleneck lets through
//! (after draft-ietf-rmcat-gcc-02 section 5.5).
//!
//! Differences from the draft, all because a forwarder seldom fills the link: a decrease aims at the rate of the busy
//! bottleneck and not at the mean of what was delivered; it is as deep as the queue that must drain; and once the queue
//! is empty the rate returns at once to just below the measured capacity.

use super::delivery::Busy;
use super::probe::Found;
use super::shared::SharedQueue;
use super::trendline::Usage;
use crate::units::Bitrate;
use std::time::{Duration, Instant};

/// Share of the measured capacity that is used in the long run.
pub const UTILISATION: f64 = 0.95;
/// While the queue is only beginning to grow, a decrease leaves a share between these two of what the bottleneck lets
/// through.
const MILD_DROP: (f64, f64) = (0.85, UTILISATION);
/// While a long queue must drain, a decrease leaves at least this share: base layers and audio must go on.
const DEEPEST_DROP: f64 = 0.4;
/// A queue below this counts as drained.
const DRAINED: Duration = Duration::from_millis(25);
/// A queue longer than this that stays for a while is drained even though it does not grow.
pub(super) const LONG_QUEUE: Duration = Duration::from_millis(50);
const STANDING: Duration = Duration::from_millis(300);
/// Draining may take twice the time that follows from queue and rates, and this much more.
const DRAIN_GRACE: Duration = Duration::from_millis(700);
/// Over this time before a drain's deadline the shortest queue is measured: a queue that is never short there is filled
/// by somebody else.
const DRAIN_WATCHED: Duration = Duration::from_millis(500);
/// No increase by time while packets queue longer.
const FULL_QUEUE: Duration = Duration::from_millis(60);
/// With a queue that grows, an overload by this factor is a drop of capacity and not a slow overuse.
const SURGE_OVERLOAD: f64 = 1.0 / 0.75;
/// A link that became slower than the media by more than this factor is filled long before its feedback tells. Then
/// what is on its way counts as queued too.
const COLLAPSE: f64 = 2.0;
/// The most that what is on its way adds to the queue.
const MAX_ON_ITS_WAY: Duration = Duration::from_secs(1);
/// Packets that arrive at this many times the rate of a bottleneck were never held up by it, but by a receiver that did
/// not read.
const REFUTED: f64 = 2.0;
/// A bottleneck whose overload is below this gets less than it lets through, so its queue drains already.
const STILL_LOADED: f64 = 0.95;
/// Media that does not fill the estimate proves a bottleneck only where it arrives slower than it was sent, by this
/// factor.
const LOADED_BY_LITTLE: f64 = 1.1;
/// Two measurements of a capacity that differ by less than this are of the same capacity.
const AGREEMENT: f64 = 0.2;
const RISE_PER_SECOND: f64 = 1.08;
/// The same towards our part of a shared link.
const SHARED_RISE_PER_SECOND: f64 = 1.5;
/// There, a rate that media fills may be at most this many times what arrives.
const SHARED_PROVEN: f64 = 1.25;
/// Media that has just begun to fill our part is given this time, and a round trip, to arrive.
const SHARED_SETTLED: Duration = Duration::from_secs(1);
/// What arrives allows a rate of this many times as much, far from the capacity and near it.
const PROVEN: f64 = 1.5;
const NEAR_PROVEN: f64 = 1.05;
/// Near the capacity the rate rises by a packet per response time, which is steep on a slow link, but by at most this
/// share per second.
const NEAR_RISE_PER_SECOND: f64 = 0.04;
const PACKET_BITS: f64 = 1200.0 * 8.0;
/// A measured capacity says nothing about the link after this.
const CAPACITY_VALID: Duration = Duration::from_secs(30);

/// What the controller decides on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signals {
    pub(super) usage: Usage,
    /// The queue has grown between the last two feedbacks and is long.
    pub(super) surge: bool,
    /// How long the newest packets queued.
    pub(super) queue: Duration,
    pub(super) busy: Option<Busy>,
    pub(super) delivered: Option<Bitrate>,
    /// Arrival rate since the last decrease.
    pub(super) since_decrease: Option<Bitrate>,
    pub(super) rtt: Duration,
    /// How long ago the newest packet was sent that is known to have arrived.
    pub(super) since_sent: Duration,
    /// Rate of all that was sent over the last half second.
    pub(super) sent: Bitrate,
    /// The media does not fill the estimate, so that its arrival proves nothing about a higher rate.
    pub(super) app_limited: bool,
    /// No increase by time beyond this.
    pub(super) ceiling: Bitrate,
}

/// The controller.
#[derive(Debug)]
pub(super) struct RateControl {
    rate: Bitrate,
    min: Bitrate,
    max: Bitrate,
    capacity: Option<(Bitrate, Instant)>,
    /// A probe has promised more than the known capacity.
    promised: bool,
    updated: Option<Instant>,
    draining: Option<Draining>,
    /// Since when media fills our part of a shared link.
    filled: Option<Instant>,
    /// Since when there has been a long queue.
    standing: Option<Instant>,
    shared: SharedQueue,
}

/// Our own queue drains.
#[derive(Clone, Copy, Debug)]
struct Draining {
    /// By this time it should have.
    deadline: Instant,
    /// Rate and capacity from before, for the case that there was no such bottleneck.
    before: (Bitrate, Option<(Bitrate, Instant)>),
    /// What may be sent meanwhile.
    pace: Bitrate,
    /// The shortest that the queue has been towards the deadline.
    least_queue: Option<Duration>,
    /// Of a link that has collapsed, when it has passed all that was sent before that was noticed.
    passed: Option<Instant>,
}

/// In which state the bottleneck is, as one feedback tells.
#[derive(Clone, Copy, Debug)]
enum BottleneckState {
    /// Somebody else fills its queue; our part of the link is this rate.
    Shared { part: Bitrate },
    /// It is overloaded by us.
    Congested {
        /// How fast it lets packets through while it is busy, and by how much it is overloaded.
        busy: Busy,
        /// Its capacity has dropped suddenly.
        surge: bool,
    },
    /// Our own queue drains.
    Draining(Draining),
    /// It has room.
    Free,
}

impl Signals {
    /// Whether the link has become much slower than the media. Somebody who comes to share it takes less at a time.
    fn has_collapsed(&self, busy: &Busy) -> bool {
        self.surge && self.sent >= busy.rate.scale(COLLAPSE)
    }

    /// The queue that the newest acknowledged packet has not seen: what was sent since then, beyond so many times what
    /// the bottleneck lets through, as the time that it takes there.
    fn on_its_way(&self, busy: &Busy, beyond: f64) -> Duration {
        let excess = self.sent.as_bps() as f64 / busy.rate.as_bps().max(1) as f64 - beyond;
        self.since_sent.mul_f64(excess.clamp(0.0, 10.0)).min(MAX_ON_ITS_WAY)
    }
}

impl RateControl {
    pub(super) fn new(start: Bitrate, min: Bitrate, max: Bitrate) -> Self {
        let max = max.max(min);
        let rate = start.clamp(min, max);
        RateControl {
            rate,
            min,
            max,
            capacity: None,
            promised: false,
            updated: None,
            draining: None,
            filled: None,
            standing: None,
            shared: SharedQueue::default(),
        }
    }

    /// The present rate.
    pub(super) fn rate(&self) -> Bitrate {
        self.rate
    }

    /// A queue of our own making is still draining.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Somebody else fills the bottleneck's queue.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.is_shared()
    }

    /// While a queue drains, what may be sent.
    pub(super) fn draining_pace(&self) -> Option<Bitrate> {
        self.draining.map(|draining| draining.pace)
    }

    /// While the queue of a link that has collapsed drains, when it has passed all that was sent before that was
    /// noticed.
    pub(super) fn queue_passed(&self) -> Option<Instant> {
        self.draining.and_then(|draining| draining.passed)
    }

    /// Whether the rate is close to a capacity measured not long ago.
    pub(super) fn is_near_capacity(&self, now: Instant) -> bool {
        self.known_capacity(now).is_some_and(|capacity| self.rate >= capacity.scale(0.8))
    }

    /// Whether the bottleneck was measured within the last `time`.
    pub(super) fn has_met_bottleneck(&self, now: Instant, time: Duration) -> bool {
        self.capacity.is_some_and(|(_, at)| now.saturating_duration_since(at) <= time)
    }

    /// Sets the rate from outside, by a probe or by feedback of another kind.
    pub(super) fn set(&mut self, rate: Bitrate) {
        self.rate = rate.clamp(self.min, self.max);
    }

    /// The link is another one; the rate stays.
    pub(super) fn forget_link(&mut self) {
        *self = RateControl::new(self.rate, self.min, self.max);
    }

    /// The result of a probe. One that agrees with the known capacity makes that more exact, in both directions, so
    /// that noise does not ratchet the rate up; one that meets a bottleneck about where the rate is makes it known. One
    /// that promises more than the known capacity must be repeated to be believed: then true.
    pub(super) fn take_probe(&mut self, now: Instant, found: &Found) -> bool {
        if let Some(capacity) = self.known_capacity(now) {
            if found.rate > capacity.scale(1.0 + AGREEMENT) && !std::mem::replace(&mut self.promised, true) {
                return true;
            }
            if let Some(bottleneck) = found.bottleneck.filter(|b| agree(*b, capacity)) {
                let refined = capacity.scale(0.75).plus(bottleneck.scale(0.25));
                self.capacity = Some((refined, now));
                self.promised = false;
                self.set(refined.scale(UTILISATION));
                return false;
            }
        }
        self.promised = false;
        let corrects = self.known_capacity(now).is_none() && found.bottleneck.is_some_and(|b| agree(b, self.rate));
        if found.rate > self.rate || corrects {
            self.capacity = found.bottleneck.map(|bottleneck| (bottleneck, now));
            self.set(found.rate);
        }
        false
    }

    /// Takes one feedback. Returns whether the rate was decreased.
    pub(super) fn update(&mut self, now: Instant, signals: &Signals) -> bool {
        let elapsed = self.updated.replace(now).map_or(Duration::ZERO, |then| now.saturating_duration_since(then));
        let elapsed = elapsed.min(Duration::from_secs(1));
        match self.bottleneck_state(now, signals) {
            BottleneckState::Shared { part } => self.approach_part(now, elapsed, signals, part),
            BottleneckState::Congested { busy, surge } => return self.give_way(now, signals, &busy, surge),
            BottleneckState::Draining(draining) => self.drain(now, signals, draining),
            BottleneckState::Free => self.use_free_link(now, elapsed, signals),
        }
        false
    }

    /// In which state the bottleneck is.
    fn bottleneck_state(&mut self, now: Instant, signals: &Signals) -> BottleneckState {
        if let Some(part) = self.shared.part(now, signals.queue, DRAINED) {
            return BottleneckState::Shared { part };
        }
        let surge = signals.surge && signals.busy.is_some_and(|busy| busy.overload >= SURGE_OVERLOAD);
        let congested = surge || signals.usage == Usage::Over || self.is_standing(now, signals.queue);
        let little = signals.app_limited && self.draining.is_none();
        let loaded = if little { LOADED_BY_LITTLE } else { STILL_LOADED };
        match (signals.busy.filter(|busy| congested && busy.overload >= loaded), self.draining) {
            (Some(busy), _) => BottleneckState::Congested { busy, surge },
            (None, Some(draining)) => BottleneckState::Draining(draining),
            (None, None) => BottleneckState::Free,
        }
    }

    /// Up to our part of a link whose queue somebody else fills. Such a part grows with what we send; a rate that is
    /// sent in full and does not arrive has met a slow link and not a neighbour.
    fn approach_part(&mut self, now: Instant, elapsed: Duration, signals: &Signals, part: Bitrate) {
        let raised = self.rate.scale(SHARED_RISE_PER_SECOND.powf(elapsed.as_secs_f64()));
        self.filled = if signals.app_limited { None } else { Some(self.filled.unwrap_or(now)) };
        let settle = SHARED_SETTLED + signals.rtt;
        let settled = self.filled.is_some_and(|since| now.saturating_duration_since(since) >= settle);
        let delivered = signals.delivered.filter(|_| settled);
        let proven = delivered.map_or(self.max, |rate| rate.scale(SHARED_PROVEN));
        self.rate = self.rate.max(raised.min(part)).min(proven).clamp(self.min, self.max);
    }

    /// The link is overloaded: down, by how far the queue and what is on its way to it tell. Returns whether the rate
    /// was decreased.
    fn give_way(&mut self, now: Instant, signals: &Signals, busy: &Busy, surge: bool) -> bool {
        let bottleneck = self.bottleneck(busy, surge, signals.app_limited);
        let on_its_way = if surge { signals.on_its_way(busy, COLLAPSE) } else { Duration::ZERO };
        let passed = signals.has_collapsed(busy).then(|| now + signals.queue + signals.on_its_way(busy, 1.0));
        self.decrease(now, bottleneck, signals.queue + on_its_way, surge, passed)
    }

    /// Nothing is wrong with the link: up, where media fills the estimate and its queue is short.
    fn use_free_link(&mut self, now: Instant, elapsed: Duration, signals: &Signals) {
        if signals.queue <= DRAINED {
            self.shared.on_alone(now, self.rate);
        }
        if signals.usage == Usage::Normal && !signals.app_limited && signals.queue <= FULL_QUEUE {
            self.increase(now, elapsed, signals);
        }
    }

    /// What the busy bottleneck lets through of ours. Where others share it, that is a part that grows with what we
    /// send: media that sends little gets little, which says nothing about the estimate but by how much the link is
    /// overloaded.
    fn bottleneck(&self, busy: &Busy, surge: bool, app_limited: bool) -> Bitrate {
        let factor = if surge { 1.0 / busy.overload } else { MILD_DROP.0 };
        let overloaded = if app_limited { self.rate.scale(factor) } else { Bitrate::ZERO };
        busy.rate.max(overloaded)
    }

    /// Down to what the bottleneck lets through. The queue drains by a slower pace; where it is long, media must shrink
    /// for that too.
    fn decrease(
        &mut self,
        now: Instant,
        bottleneck: Bitrate,
        queue: Duration,
        surge: bool,
        passed: Option<Instant>,
    ) -> bool {
        let share = 1.0 - queue.as_secs_f64();
        let share = if surge { share.clamp(DEEPEST_DROP, UTILISATION) } else { share.clamp(MILD_DROP.0, MILD_DROP.1) };
        let pace = bottleneck.scale(share).max(self.min);
        let target = if surge { pace } else { bottleneck.scale(UTILISATION).max(self.min) };
        if pace >= self.rate {
            return false;
        }
        let before = self.draining.map_or((self.rate, self.capacity), |draining| draining.before);
        let lowered = target < self.rate;
        self.rate = self.rate.min(target);
        self.capacity = Some((bottleneck, now));
        // Only a link that became slower needs longer: somebody who takes what we leave would put it off for ever.
        let started = self.draining.filter(|_| !surge).map(|draining| (draining.deadline, draining.least_queue));
        let deadline = now + 2 * queue.div_f64(1.0 - share) + DRAIN_GRACE;
        let (deadline, least_queue) = started.unwrap_or((deadline, None));
        self.draining = Some(Draining { deadline, before, pace, least_queue, passed });
        self.watch_drain(now, queue);
        lowered
    }

    /// Whether a long queue has stood for a while that sending less would shorten.
    fn is_standing(&mut self, now: Instant, queue: Duration) -> bool {
        if queue < LONG_QUEUE {
            self.standing = None;
            return false;
        }
        let since = *self.standing.get_or_insert(now);
        self.draining.is_none() && now.saturating_duration_since(since) >= STANDING
    }

    fn drain(&mut self, now: Instant, signals: &Signals, draining: Draining) {
        if signals.queue > DRAINED {
            return self.watch_drain(now, signals.queue);
        }
        self.draining = None;
        if self.is_refuted(signals) {
            self.rate = self.rate.max(draining.before.0);
            self.capacity = draining.before.1;
        } else {
            self.return_to_capacity(now);
        }
    }

    /// Ends a drain that has not come to its end in time; a queue that was never short until then is not ours.
    fn watch_drain(&mut self, now: Instant, queue: Duration) {
        let Some(draining) = self.draining.as_mut() else { return };
        if now + DRAIN_WATCHED >= draining.deadline {
            draining.least_queue = Some(draining.least_queue.map_or(queue, |least| least.min(queue)));
        }
        if now >= draining.deadline {
            self.shared.on_not_drained(draining.least_queue.unwrap_or(queue), draining.pace);
            self.draining = None;
            self.standing = None;
        }
    }

    /// Whether the bottleneck that the rate was lowered for let through far more than it can: a queue of the network
    /// empties at the network's rate, what waits in front of a stalled process arrives at once.
    fn is_refuted(&self, signals: &Signals) -> bool {
        let claimed = self.capacity.map(|(capacity, _)| capacity.scale(REFUTED));
        signals.since_decrease.zip(claimed).is_some_and(|(arrived, claimed)| arrived > claimed)
    }

    fn return_to_capacity(&mut self, now: Instant) {
        if let Some(capacity) = self.known_capacity(now) {
            self.rate = self.rate.max(capacity.scale(UTILISATION)).clamp(self.min, self.max);
        }
    }

    /// Near the capacity by a packet per response time but at most 4 % per second, else by 8 % per second; never beyond
    /// half again what arrives.
    fn increase(&mut self, now: Instant, elapsed: Duration, signals: &Signals) {
        let near = self.known_capacity(now).is_some_and(|capacity| {
            self.rate >= capacity.scale(0.9) && signals.delivered.is_none_or(|rate| rate <= capacity.scale(1.1))
        });
        let seconds = elapsed.as_secs_f64();
        let raised = if near {
            let response = signals.rtt.as_secs_f64() + 0.1;
            let packets = Bitrate::bps((seconds * PACKET_BITS / response) as u64);
            self.rate.plus(packets.min(self.rate.scale(seconds * NEAR_RISE_PER_SECOND)))
        } else {
            self.rate.scale(RISE_PER_SECOND.powf(seconds)).plus(Bitrate::bps((seconds * 1000.0) as u64))
        };
        // Near the capacity only what is filled rises; what lies beyond is for probes to find.
        let beyond = if near { NEAR_PROVEN } else { PROVEN };
        let proven = match signals.delivered {
            Some(rate) => rate.scale(beyond).plus(Bitrate::kbps(10)),
            None => self.rate,
        };
        self.rate = raised.min(proven).min(signals.ceiling).max(self.rate).clamp(self.min, self.max);
    }

    fn known_capacity(&self, now: Instant) -> Option<Bitrate> {
        let (capacity, at) = self.capacity?;
        (now.saturating_duration_since(at) <= CAPACITY_VALID).then_some(capacity)
    }
}

fn agree(measured: Bitrate, known: Bitrate) -> bool {
    measured >= known.scale(1.0 - AGREEMENT) && measured <= known.scale(1.0 + AGREEMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Signals {
        Signals {
            usage: Usage::Normal,
            surge: false,
            queue: Duration::ZERO,
            busy: None,
            delivered: Some(Bitrate::kbps(1000)),
            since_decrease: None,
            rtt: Duration::from_millis(100),
            since_sent: Duration::ZERO,
            sent: Bitrate::kbps(1000),
            app_limited: false,
            ceiling: Bitrate::kbps(100_000),
        }
    }

    fn control() -> RateControl {
        RateControl::new(Bitrate::kbps(1000), Bitrate::kbps(30), Bitrate::kbps(10_000))
    }

    /// Runs `signals` every 100 ms for so many seconds.
    fn run(control: &mut RateControl, start: Instant, seconds: u32, signals: &Signals) {
        for tick in 0..=10 * seconds {
            control.update(start + Duration::from_millis(100) * tick, signals);
        }
    }

    #[test]
    fn media_that_does_not_fill_the_estimate_does_not_raise_it() {
        let mut control = control();
        run(&mut control, Instant::now(), 10, &Signals { app_limited: true, ..quiet() });
        assert_eq!(control.rate(), Bitrate::kbps(1000));
    }

    #[test]
    fn the_rate_rises_to_half_again_what_arrives_and_no_further() {
        let mut control = control();
        run(&mut control, Instant::now(), 2, &quiet());
        assert!((1150..1200).contains(&(control.rate().as_bps() / 1000)), "{}", control.rate());
        run(&mut control, Instant::now(), 60, &quiet());
        assert_eq!(control.rate(), Bitrate::kbps(1510));
    }

    #[test]
    fn a_long_queue_is_drained_below_the_bottleneck_and_then_the_link_is_used_again() {
        let (now, mut control) = (Instant::now(), control());
        let busy = Some(Busy { rate: Bitrate::kbps(400), overload: 2.5 });
        assert!(control.update(now, &Signals { surge: true, queue: Duration::from_millis(300), busy, ..quiet() }));
        assert_eq!(control.rate(), Bitrate::kbps(280));
        run(&mut control, now, 2, &Signals { queue: Duration::from_millis(100), app_limited: true, ..quiet() });
        assert_eq!(control.rate(), Bitrate::kbps(280), "still draining");
        control.update(now, &Signals { app_limited: true, ..quiet() });
        assert_eq!(control.rate(), Bitrate::kbps(380));
    }

    #[test]
    fn what_is_on_its_way_to_a_link_that_collapsed_is_drained_too() {
        // 1 Mb/s sent: half of it left is a drop, a fifth a collapse that 150 ms times (5 - 2) more have gone into.
        for (left, queue_ms, rate) in [(500, 100, 450), (200, 100, 90)] {
            let mut control = control();
            let busy = Some(Busy { rate: Bitrate::kbps(left), overload: 2.5 });
            let (queue, since_sent) = (Duration::from_millis(queue_ms), Duration::from_millis(150));
            control.update(Instant::now(), &Signals { surge: true, queue, busy, since_sent, ..quiet() });
            assert_eq!((control.rate().as_bps() + 500) / 1000, rate);
        }
    }

    #[test]
    fn the_queue_has_passed_when_what_was_seen_of_it_and_what_was_sent_since_has() {
        let (now, mut control) = (Instant::now(), control());
        assert_eq!(control.queue_passed(), None);
        let busy = Some(Busy { rate: Bitrate::kbps(400), overload: 2.5 });
        let (queue, since_sent) = (Duration::from_millis(100), Duration::from_millis(200));
        control.update(now, &Signals { surge: true, queue, busy, since_sent, ..quiet() });
        // 1 Mb/s takes 2.5 s a second there: 1.5 times 200 ms more than have passed.
        assert_eq!(control.queue_passed(), Some(now + Duration::from_millis(400)));
        let (mut control, busy) = (self::control(), Some(Busy { rate: Bitrate::kbps(600), overload: 2.5 }));
        control.update(now, &Signals { surge: true, queue, busy, since_sent, ..quiet() });
        assert!(control.is_draining() && control.queue_passed().is_none(), "that is no collapse");
    }

    #[test]
    fn a_queue_that_empties_faster_than_its_bottleneck_was_none() {
        for (since_decrease, rate) in [(300, 380), (2000, 1000)] {
            let (now, mut control) = (Instant::now(), control());
            let busy = Some(Busy { rate: Bitrate::kbps(400), overload: 2.5 });
            control.update(now, &Signals { surge: true, queue: Duration::from_millis(300), busy, ..quiet() });
            let since_decrease = Some(Bitrate::kbps(since_decrease));
            control.update(now + Duration::from_millis(100), &Signals { app_limited: true, since_decrease, ..quiet() });
            assert_eq!(control.rate(), Bitrate::kbps(rate));
        }
    }

    #[test]
    fn media_that_does_not_fill_the_estimate_and_arrives_as_sent_proves_no_bottleneck() {
        for (overload, lowered) in [(0.97, false), (1.2, true)] {
            let mut control = control();
            let busy = Some(Busy { rate: Bitrate::kbps(220), overload });
            let queue = Duration::from_millis(6);
            let signals = Signals { usage: Usage::Over, queue, busy, app_limited: true, ..quiet() };
            assert_eq!(control.update(Instant::now(), &signals), lowered);
            assert!(control.rate() >= Bitrate::kbps(800), "by a step at most: {}", control.rate());
        }
    }

    #[test]
    fn beside_somebody_who_fills_the_queue_a_part_of_the_link_is_kept() {
        let (start, mut control) = (Instant::now(), control());
        control.update(start, &quiet());
        let busy = Some(Busy { rate: Bitrate::kbps(300), overload: 1.1 });
        let full = Signals { usage: Usage::Over, queue: Duration::from_millis(200), busy, ..quiet() };
        run(&mut control, start, 3, &full);
        assert!(control.rate() < Bitrate::kbps(400), "gives way at first: {}", control.rate());
        run(&mut control, start + Duration::from_secs(3), 10, &full);
        assert_eq!(control.rate(), Bitrate::kbps(500));
    }

    #[test]
    fn a_probe_beyond_the_known_capacity_is_believed_when_it_is_repeated() {
        let (now, mut control) = (Instant::now(), control());
        assert!(!control.has_met_bottleneck(now, Duration::MAX));
        control.take_probe(now, &Found { rate: Bitrate::kbps(1900), bottleneck: Some(Bitrate::kbps(2000)) });
        assert_eq!(control.rate(), Bitrate::kbps(1900));
        let second = Duration::from_secs(1);
        assert!(
            control.has_met_bottleneck(now + second, second) && !control.has_met_bottleneck(now + 2 * second, second)
        );
        assert!(!control.take_probe(now, &Found { rate: Bitrate::kbps(2090), bottleneck: Some(Bitrate::kbps(2200)) }));
        assert_eq!(control.rate(), Bitrate::bps(1_947_500), "about the same link, measured again");
        let higher = Found { rate: Bitrate::kbps(4000), bottleneck: None };
        assert!(control.take_probe(now, &higher), "it must be repeated");
        assert_eq!(control.rate(), Bitrate::bps(1_947_500));
        assert!(!control.take_probe(now, &higher));
        assert_eq!(control.rate(), Bitrate::kbps(4000));
    }

    #[test]
    fn overuse_without_a_busy_bottleneck_is_noise() {
        let mut control = control();
        assert!(!control.update(Instant::now(), &Signals { usage: Usage::Over, app_limited: true, ..quiet() }));
        assert_eq!(control.rate(), Bitrate::kbps(1000));
    }
}
