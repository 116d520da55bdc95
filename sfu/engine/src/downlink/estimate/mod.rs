//! How much one receiver's network carries: an estimator of GoogCC's class (draft-ietf-rmcat-gcc-02) for a forwarder.
//!
//! One [`Estimator`] per receiver. The transport tells it of every packet sent and of every feedback; the allocator
//! reads [`Estimator::estimate`], the pacer [`Estimator::pacing_rate`] and the probes of [`Estimator::poll_probe`].
//!
//! A feedback (`feedback`) passes, packet by packet (`batch`), `history` (was the packet sent, is the report new),
//! `delay` with `jitter` and `route` (can the report be true, how long did the packet queue), `delivery` (how fast do
//! packets arrive), `standing` (how long was the queue over time, to be compared with other receivers'), `groups` and
//! `trendline` (does the queue grow), `loss` with `policer` (is loss random, congestion or a policer), `probe`,
//! `friendly` (what would TCP get), `repairs` (where can padding go) and `rtt`. Then `aimd` decides, with `shared`
//! (does somebody else fill the queue) and `alr` (does media fill the estimate). `outage` watches for feedback that
//! does not come; without any, `reports` or `remb_probing` make the estimate of receiver reports and REMB. Feedback
//! that cannot be true is counted and otherwise ignored, so that it never raises the estimate.

mod aimd;
mod alr;
mod batch;
mod config;
mod delay;
mod delivery;
mod feedback;
mod friendly;
mod groups;
mod history;
mod jitter;
mod loss;
mod outage;
mod policer;
mod probe;
mod remb_probing;
mod repairs;
mod reports;
mod route;
mod rtt;
mod shared;
#[cfg(test)]
mod simulation;
mod standing;
#[cfg(test)]
mod tests;
mod trendline;

pub use aimd::UTILISATION;
pub use config::EstimatorConfig;
pub use feedback::{Feedback, MAX_REPORTS, PacketReport, ProbeId, ReceiverTime, RepairSource, SentPacket};
pub use probe::{Probe, ProbeOutcome};

use crate::units::Bitrate;
use aimd::{RateControl, Signals};
use alr::SendMeter;
use batch::Batch;
use delay::OneWayDelay;
use delivery::Delivery;
use feedback::OurTime;
use friendly::FriendlyRate;
use groups::ArrivalGroups;
use history::SentHistory;
use loss::LossControl;
use outage::Outage;
use probe::{Found, Prober};
use remb_probing::RembProbing;
use repairs::Repairs;
use reports::Reports;
use rtt::RoundTrip;
use standing::StandingQueue;
use std::time::{Duration, Instant};
use trendline::{Trendline, Usage};

/// Probes and increases go this far beyond the demand, so that what is wanted fits even with the allocator's slack. The
/// demand that [`Estimator::set_demand`] is given already contains the headroom of `layers.rs` (1.5 times what all
/// layers cost): the two multiply, so the link is explored up to about 1.7 times what all layers cost.
const PROBE_HEADROOM: f64 = 1.15;
/// Receiver reports take over when there was no transport feedback for this time.
const REPORTS_TAKE_OVER: Duration = Duration::from_secs(5);
/// When nothing was sent for this time there are no timers and no probes.
const IDLE: Duration = Duration::from_secs(1);
/// A queue longer than this is a surge where it has grown by more than [`SURGE_GROWTH`] since the last feedback.
const SURGE_QUEUE: Duration = Duration::from_millis(40);
const SURGE_GROWTH: Duration = Duration::from_millis(10);
/// A bottleneck that was measured by its queue within this time is known to queue packets before it drops them.
const QUEUES: Duration = Duration::from_secs(30);
/// No probe is sent into a queue longer than this.
const PROBE_QUEUE: Duration = Duration::from_millis(60);
/// After an outage that lost media the estimate begins with this share of the former one.
const RESUME_SHARE: f64 = 0.5;
/// The pacing rate as a multiple of the estimate, near a known capacity and elsewhere. Near the capacity, of which the
/// estimate is 95 %, nothing is sent faster than the capacity, so that key frames queue here and not in the network.
const PACING: (f64, f64) = (1.05, 2.5);
/// How much of the pacing rate leaves at once, near a known capacity and elsewhere. Where there is room, a whole key
/// frame leaves in one system call and none of it waits for a timer; browsers do the same.
const BURSTS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(40));

/// Bandwidth estimator towards one receiver.
#[derive(Debug)]
pub struct Estimator {
    config: EstimatorConfig,
    /// The zero of [`OurTime`].
    began: Instant,
    demand: Bitrate,
    history: SentHistory,
    meter: SendMeter,
    delay: OneWayDelay,
    delivery: Delivery,
    groups: ArrivalGroups,
    trendline: Trendline,
    loss: LossControl,
    friendly: FriendlyRate,
    prober: Prober,
    repairs: Repairs,
    outage: Outage,
    /// The client has offered transport feedback.
    expects_feedback: bool,
    probes_allowed: bool,
    reports: Reports,
    remb_probing: RembProbing,
    control: RateControl,
    rtt: RoundTrip,
    standing: StandingQueue,
    /// Since [`Self::take_other_path`].
    has_other_path: bool,
    /// Queueing of the newest packets of the last feedback.
    queue: Duration,
    last_feedback: Option<Instant>,
    now: Instant,
    /// When a packet was sent last, on both time lines: packets leave in bursts of one moment.
    sent: (Instant, OurTime),
}

impl Estimator {
    /// An estimator for a receiver that becomes reachable `now`.
    pub fn new(now: Instant, config: EstimatorConfig) -> Self {
        Estimator {
            config,
            began: now,
            demand: Bitrate::ZERO,
            history: SentHistory::default(),
            meter: SendMeter::new(now),
            delay: OneWayDelay::new(OurTime(0)),
            delivery: Delivery::default(),
            groups: ArrivalGroups::default(),
            trendline: Trendline::new(),
            loss: LossControl::default(),
            friendly: FriendlyRate::default(),
            prober: Prober::new(now),
            repairs: Repairs::default(),
            outage: Outage::default(),
            expects_feedback: true,
            probes_allowed: true,
            remb_probing: RembProbing::default(),
            reports: Reports::default(),
            control: RateControl::new(config.start, config.min, config.max),
            rtt: RoundTrip::default(),
            standing: StandingQueue::default(),
            has_other_path: false,
            queue: Duration::ZERO,
            last_feedback: None,
            now,
            sent: (now, OurTime(0)),
        }
    }

    /// Has fetched what [`Self::on_sent`] takes and is not in here.
    pub fn prefetch_behind(&self) {
        self.history.prefetch_newest();
    }

    /// The same for [`Self::on_feedback`].
    pub fn prefetch_for_feedback(&self) {
        self.history.prefetch_oldest();
        self.delivery.prefetch_newest();
        self.trendline.prefetch();
    }

    /// A packet with a transport-wide sequence number leaves.
    pub fn on_sent(&mut self, now: Instant, packet: SentPacket) {
        self.now = now;
        if self.sent.0 != now {
            self.sent = (now, self.time(now));
        }
        self.history.insert(self.sent.1, &packet);
        self.meter.add(now, packet.bytes);
        self.outage.on_sent(now);
        if let Some(id) = packet.probe {
            self.prober.on_sent(self.sent.1, id, packet.bytes);
        }
    }

    /// Transport-wide feedback or RFC 8888 has arrived.
    pub fn on_feedback(&mut self, now: Instant, feedback: &Feedback<'_>) {
        self.now = now;
        self.take_feedback(now, feedback);
        self.loss.weigh();
    }

    fn take_feedback(&mut self, now: Instant, feedback: &Feedback<'_>) {
        let mut batch = Batch::default();
        let time = self.time(now);
        for report in feedback.reports.iter().take(MAX_REPORTS) {
            self.take_report(time, report, &mut batch);
        }
        self.history.end_feedback();
        if self.delay.end_feedback(time, batch.received, batch.impossible) {
            self.forget_path();
        }
        if batch.received == 0 {
            return; // nothing new arrived: for the outage watch this is silence
        }
        self.last_feedback = Some(now);
        self.take_rtt(now, &batch);
        let queue = batch.tail.into_iter().flatten().min().unwrap_or_default();
        let grown = queue > self.queue + SURGE_GROWTH;
        self.queue = queue;
        match self.outage.on_feedback(now) {
            Some(before) => self.resume(now, before, &batch),
            None => self.decide(now, grown, batch.newest_sent),
        }
    }

    /// Media takes another way from now on: what was measured on the one before is void. The rate stays until the first
    /// feedback of the new one, and a probe asks at once what that takes.
    pub fn on_path_change(&mut self, now: Instant) {
        self.now = now;
        self.history = SentHistory::default();
        self.delay = OneWayDelay::new(self.time(now));
        self.loss = LossControl::default();
        self.friendly = FriendlyRate::default();
        self.rtt = RoundTrip::default();
        self.standing = StandingQueue::default();
        self.has_other_path = true;
        self.queue = Duration::ZERO;
        self.forget_path();
        self.control.forget_link();
        self.prober.ask_now(now);
    }

    /// Whether the client has offered transport feedback. Where not, the estimate is what the client does not object
    /// to.
    pub fn expect_transport_feedback(&mut self, expected: bool) {
        self.expects_feedback = expected;
    }

    /// Whether there may be probes at all.
    pub fn allow_probes(&mut self, allowed: bool) {
        self.probes_allowed = allowed;
    }

    /// A receiver report block: share lost since the last one (0 to 1) and round trip. Decides only where there is no
    /// transport feedback.
    pub fn on_loss_report(&mut self, now: Instant, fraction_lost: f32, rtt: Duration) {
        self.now = now;
        if self.has_transport_feedback(now) {
            return;
        }
        self.rtt.add(now, rtt);
        if self.is_tried_out() {
            let sent = self.meter.rate(now);
            let objected = self.remb_probing.on_loss(now, self.reports.note_loss(fraction_lost), sent);
            return self.fall(objected);
        }
        let rate = self.reports.on_loss(now, fraction_lost, self.control.rate());
        let ceiling = self.ceiling().max(self.control.rate());
        self.control.set(rate.min(ceiling));
    }

    /// The receiver asks to be sent no more than `rate`. Where transport feedback was offered and does not come this is
    /// the estimate.
    pub fn on_remb(&mut self, now: Instant, rate: Bitrate) {
        self.now = now;
        if self.is_tried_out() {
            let sent = self.meter.rate(now);
            let objected = self.remb_probing.on_remb(now, rate, sent);
            return self.fall(objected);
        }
        self.reports.on_remb(now, rate);
        if !self.has_transport_feedback(now) {
            self.control.set(rate);
        }
    }

    /// What all subscriptions together could use, audio and repair included. Nothing probes beyond it.
    pub fn set_demand(&mut self, now: Instant, wanted: Bitrate) {
        self.now = now;
        self.demand = wanted;
    }

    /// What may be sent in all, on the wire.
    pub fn estimate(&self) -> Bitrate {
        let remb = self.reports.remb(self.now).unwrap_or(self.config.max);
        self.control.rate().min(remb).max(self.config.min)
    }

    /// Whether the link's end was met within the last `time`.
    pub fn has_met_bottleneck(&self, now: Instant, time: Duration) -> bool {
        self.control.has_met_bottleneck(now, time)
    }

    /// Whether the network is known to drop what is beyond a rate, and to queue nothing.
    pub fn is_policed(&self) -> bool {
        self.loss.is_policed()
    }

    /// Smoothed round trip including the receiver's wait before it reports; `None` before the first feedback.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt.smoothed()
    }

    /// How long the answer to something that is asked for takes now: the path's round trip and the queue, without the
    /// receiver's wait before it reports. `None` before the first feedback.
    pub fn answer_time(&self) -> Option<Duration> {
        self.rtt.shortest().map(|path| path + self.queue)
    }

    /// Share of packets lost lately, 0 to 1.
    pub fn loss(&self) -> f32 {
        if self.has_transport_feedback(self.now) { self.loss.loss() } else { self.reports.loss() }
    }

    /// The same of what was lost while nothing queued: as much would get lost if less were sent. 0 while that is not
    /// told yet.
    pub fn stray_loss(&self) -> f32 {
        if self.loss.tells_stray() { self.loss.stray_loss() } else { 0.0 }
    }

    /// How many copies to send of what is sent again: two where the path loses so many packets, one by one, that the
    /// first often is lost too.
    pub fn repair_copies(&self) -> u32 {
        if self.loss.loses_singly() { 2 } else { 1 }
    }

    /// Whether the receiver takes in what is sent again there; padding that it does not would be lost.
    pub fn hears_repairs(&self, source: RepairSource) -> bool {
        !self.repairs.are_unheard(source)
    }

    /// While the queue of a link that has collapsed drains, when it has passed all that was sent before that was
    /// noticed.
    pub fn queue_passed(&self) -> Option<Instant> {
        self.control.queue_passed()
    }

    /// Rate for the pacer.
    pub fn pacing_rate(&self) -> Bitrate {
        let pace = self.estimate().scale(if self.has_room() { PACING.1 } else { PACING.0 });
        self.control.draining_pace().map_or(pace, |draining| draining.min(pace))
    }

    /// How much of it the pacer may send at once: little where that would queue in the network.
    pub fn pacing_burst(&self) -> Duration {
        let at_once = self.has_room() && self.last_feedback.is_some() && self.queue < PROBE_QUEUE;
        if at_once { BURSTS.1 } else { BURSTS.0 }
    }

    /// Whether the network's queue has been long enough lately for [`Self::queue_correlation`] to tell something.
    pub fn has_queued(&self) -> bool {
        self.standing.has_stood()
    }

    /// Whether the path has become another one since the last call: what was taken for its queue before tells nothing.
    pub fn take_other_path(&mut self) -> bool {
        std::mem::take(&mut self.has_other_path)
    }

    /// How well the queues that two receivers meet correlate over time, 0 to 1: the share of their changes that both
    /// have in common. `None` where too little has changed to tell.
    pub fn queue_correlation(&self, other: &Estimator) -> Option<f64> {
        let later = other.began.saturating_duration_since(self.began).as_micros() as i64;
        let earlier = self.began.saturating_duration_since(other.began).as_micros() as i64;
        self.standing.queue_correlation(&other.standing, later - earlier)
    }

    /// How probes ended since the last call, in the order of [`ProbeOutcome::ALL`].
    pub fn take_probe_outcomes(&mut self) -> [u64; ProbeOutcome::ALL.len()] {
        self.prober.take_outcomes()
    }

    /// The next probe cluster to send, where one is due. To be asked after feedback and timeouts, while media flows.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        self.now = now;
        if self.is_tried_out() {
            return self.remb_probing.poll_probe(self.control.rate());
        }
        if !self.may_probe(now) {
            return None;
        }
        self.prober.poll(now, self.estimate(), self.ceiling(), self.rtt.or_guess(), self.delay.spread())
    }

    /// To be called at the time of [`Self::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.prober.handle_timeout(now);
        if self.is_tried_out() {
            let raised = self.remb_probing.raise(now, self.control.rate(), self.ceiling());
            return self.control.set(raised);
        }
        let rtt = self.rtt.or_guess();
        // A receiver that never sent transport feedback (REMB, or reports alone) cannot lose it.
        if self.last_feedback.is_none() || !self.meter.sent_within(now, self.outage.patience(rtt)) {
            self.outage.on_idle();
        } else if let Some(rate) = self.outage.handle_timeout(now, rtt, self.control.rate()) {
            self.control.set(rate);
        }
    }

    /// When something is due next; `None` while nothing is being sent.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.meter.sent_within(self.now, IDLE) {
            return None;
        }
        if self.is_tried_out() {
            return (self.control.rate() < self.ceiling()).then(|| self.remb_probing.poll_timeout(self.now));
        }
        let probe = self.prober.poll_timeout(self.estimate(), self.ceiling()).filter(|_| self.may_probe(self.now));
        let outage = self.outage.poll_timeout(self.rtt.or_guess());
        probe.into_iter().chain(outage).min()
    }

    /// An ordinary feedback: the delay sets the rate, then loss limits it.
    fn decide(&mut self, now: Instant, grown: bool, newest_sent: Option<OurTime>) {
        let found = self.prober.end_feedback(now, self.estimate(), newest_sent);
        if self.control.is_shared() {
            self.delay.hold_base(self.time(now));
        } else {
            self.delay.release_base();
        }
        let signals = self.signals(now, grown, newest_sent);
        let lowered_by_delay = self.apply_control(now, &signals, found);
        let lowered_by_loss = self.apply_loss_limit(now);
        if lowered_by_delay || lowered_by_loss {
            self.prober.on_drop(now);
        }
    }

    /// What the rate control decides on.
    fn signals(&mut self, now: Instant, grown: bool, newest_sent: Option<OurTime>) -> Signals {
        let threshold = self.delay.queue_threshold();
        let surge = grown && self.queue > SURGE_QUEUE.max(threshold * 2);
        // In a surge only what came after it began tells the new capacity.
        let sudden = surge.then(|| self.delivery.busy(threshold.max(SURGE_QUEUE / 2))).flatten();
        Signals {
            usage: self.trendline.usage(),
            surge,
            queue: self.queue,
            busy: sudden
                .or_else(|| self.delivery.busy(threshold))
                .map(|busy| busy.beside(self.loss.stray_loss()).losing(self.loss.loss() - self.stray_loss())),
            delivered: self.delivery.rate(),
            since_decrease: self.delivery.since_mark(),
            rtt: self.rtt.or_guess(),
            since_sent: newest_sent.map_or(Duration::ZERO, |sent| self.time(now).saturating_since(sent)),
            sent: self.meter.rate(now),
            app_limited: self.meter.is_app_limited(now, self.control.rate()),
            ceiling: self.ceiling(),
        }
    }

    /// Runs the rate control, and takes the result of a probe where the rate was not decreased. Returns whether it was.
    fn apply_control(&mut self, now: Instant, signals: &Signals, found: Option<Found>) -> bool {
        let was_draining = self.control.is_draining();
        let lowered = self.control.update(now, signals);
        if was_draining && !self.control.is_draining() {
            self.prober.ask_soon(now);
        }
        if lowered {
            self.loss.reset(); // what was lost is explained by the full queue
            self.delivery.mark();
        } else if let Some(found) = found.filter(|_| !self.control.is_draining()) {
            let is_to_be_repeated = self.control.take_probe(now, &found);
            if is_to_be_repeated {
                self.prober.ask_soon(now);
            }
        }
        lowered
    }

    /// Lowers the rate to what loss allows; beside somebody who fills the queue, not below what TCP would get. Returns
    /// whether it was lowered.
    fn apply_loss_limit(&mut self, now: Instant) -> bool {
        self.loss.end_feedback(self.control.has_met_bottleneck(now, QUEUES));
        let Some(mut limit) = self.loss.limit() else { return false };
        if self.control.is_shared() {
            limit = self.friendly.rate(self.rtt.or_guess()).map_or(limit, |friendly| limit.max(friendly));
        }
        let is_lower = limit < self.control.rate();
        if is_lower {
            self.control.set(limit);
        }
        is_lower
    }

    /// The first feedback after an outage: where the media got through all the while, nothing has changed; else begin
    /// with half and ask at once how much more the link takes.
    fn resume(&mut self, now: Instant, before: Bitrate, batch: &Batch) {
        self.loss.reset();
        self.forget_path();
        if self.queue > PROBE_QUEUE {
            return; // the link is back, but slower: what was lowered stays low
        }
        let got_through = batch.received >= 9 * batch.lost;
        let share = if got_through { 1.0 } else { RESUME_SHARE };
        self.control.set(before.scale(share).max(self.control.rate()));
        self.prober.ask_now(now);
    }

    /// The network path or the receiver's clock is another one: what was measured on it is void.
    fn forget_path(&mut self) {
        self.trendline.reset();
        self.groups.reset();
        self.delivery.reset();
    }

    fn may_probe(&self, now: Instant) -> bool {
        let queueing = self.queue > PROBE_QUEUE || self.control.is_draining() || self.trendline.usage() == Usage::Over;
        !queueing && self.probes_allowed && self.meter.sent_within(now, IDLE) && self.reports.remb(now).is_none()
    }

    /// Nothing is known of the link that more than the estimate would fill or overflow.
    fn has_room(&self) -> bool {
        !self.control.is_near_capacity(self.now) && !self.loss.drops_bursts()
    }

    fn has_transport_feedback(&self, now: Instant) -> bool {
        self.last_feedback.is_some_and(|last| now.saturating_duration_since(last) < REPORTS_TAKE_OVER)
    }

    /// There is nothing to tell what the network carries but what the receiver objects to.
    fn is_tried_out(&self) -> bool {
        !self.expects_feedback && self.last_feedback.is_none()
    }

    /// Takes an objection.
    fn fall(&mut self, objected: Option<Bitrate>) {
        let rate = self.control.rate();
        self.control.set(objected.map_or(rate, |objected| objected.min(rate)));
    }

    /// The highest rate that is of any use.
    fn ceiling(&self) -> Bitrate {
        let useful = self.demand.scale(PROBE_HEADROOM).min(self.config.max);
        self.loss.limit().map_or(useful, |limit| useful.min(limit))
    }

    fn time(&self, now: Instant) -> OurTime {
        OurTime(0).plus(now.saturating_duration_since(self.began))
    }
}
