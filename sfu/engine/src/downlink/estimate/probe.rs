//! Probing: short clusters of packets sent faster than the estimate, to learn whether the link takes more. A
//! forwarder's media comes in steps, so nearly every increase is found this way.
//!
//! One probe at a time. A probe that gets through is followed at once by one twice as fast; one that meets the
//! bottleneck measures it, and the next comes after a pause, or at once where that is to be confirmed. Clusters are
//! short in time (20 ms), so that a failed one queues little; where the path jitters, and where such prove nothing,
//! because an end stalls for longer than that, they are longer.

use super::aimd::UTILISATION;
use super::feedback::{Acked, OurTime, ProbeId, ReceiverTime};
use crate::snapshot::add;
use crate::units::Bitrate;
use std::time::{Duration, Instant};

const FIRST_FACTOR: f64 = 3.0;
const FACTOR: f64 = 2.0;
/// A rate that close to what is wanted needs no probe.
const WORTHWHILE: f64 = 1.05;
const LENGTH: Duration = Duration::from_millis(20);
/// Where the path jitters a cluster lasts twice as long as delays vary, this at most.
const JITTERING_LENGTH: Duration = Duration::from_millis(60);
/// After so many clusters in a row that proved nothing the length does not double any more.
const MAX_DOUBLINGS: u32 = 3;
/// Finding less than this share of the estimate, which media has filled without queueing, proves nothing.
const PLAUSIBLE: f64 = 0.75;
const PACKETS_MIN: u32 = 5;
/// Share of a cluster that must arrive for it to prove anything.
const DELIVERED: f64 = 0.8;
/// Below this share of the send rate the cluster has met the bottleneck.
const SATURATED: f64 = 0.9;
/// Packets that arrive that much faster than sent were held up and released together: their spacing proves nothing.
const COMPRESSED: f64 = 2.0;
const PAUSE: (Duration, Duration) = (Duration::from_millis(1000), Duration::from_millis(2000));
/// Longest pause after increases that had to be taken back.
const REGRET_PAUSE: Duration = Duration::from_secs(3);
/// An increase by more than this share is one that can be regretted.
const LEAP: f64 = 1.2;
const REGRET_WITHIN: Duration = Duration::from_secs(3);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// A cluster to send: at least so many bytes and packets, at this rate, media included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// To be given back with each packet of the cluster, see [`super::SentPacket::probe`].
    pub id: ProbeId,
    /// Rate at which to send, on the wire.
    pub rate: Bitrate,
    /// Least size of the cluster on the wire.
    pub bytes_min: usize,
    /// Least number of packets; padding packets may be small to reach it.
    pub packets_min: u32,
}

/// What a probe has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    /// What the estimate may now be.
    pub(super) rate: Bitrate,
    /// The bottleneck's own rate, where the cluster has met it.
    pub(super) bottleneck: Option<Bitrate>,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// The link takes more than was known.
    Raised,
    /// It met the bottleneck.
    Limited,
    /// It proved nothing.
    Unproven,
    /// The receiver did not report it in time.
    Unanswered,
}

impl ProbeOutcome {
    /// Every outcome, in the order of the counters.
    pub const ALL: [ProbeOutcome; 4] =
        [ProbeOutcome::Raised, ProbeOutcome::Limited, ProbeOutcome::Unproven, ProbeOutcome::Unanswered];

    /// Value of the `outcome` label in Prometheus.
    pub const fn label(self) -> &'static str {
        match self {
            ProbeOutcome::Raised => "raised",
            ProbeOutcome::Limited => "limited",
            ProbeOutcome::Unproven => "unproven",
            ProbeOutcome::Unanswered => "unanswered",
        }
    }
}

/// Decides when and how fast to probe, and judges the result.
#[derive(Debug)]
pub(super) struct Prober {
    outcomes: [u64; ProbeOutcome::ALL.len()],
    last_id: u32,
    running: Option<Running>,
    next_at: Instant,
    pause: Duration,
    raised: Option<Instant>,
    /// Clusters in a row that proved nothing.
    unproven: u32,
}

#[derive(Debug)]
struct Running {
    probe: Probe,
    expires: Instant,
    sent_packets: u32,
    sent_bytes: usize,
    /// When the last of them left.
    sent: OurTime,
    lost_packets: u32,
    arrived: Option<Arrived>,
}

/// The packets of a cluster that arrived.
#[derive(Debug)]
struct Arrived {
    packets: u32,
    bytes: usize,
    /// (when, bytes) of the first and last packet sent.
    sent: [(OurTime, usize); 2],
    /// (when, bytes) of the first and last packet to arrive.
    arrival: [(ReceiverTime, usize); 2],
    /// How long the last packet sent has queued.
    queue: Duration,
}

impl Prober {
    pub(super) fn new(now: Instant) -> Self {
        Prober {
            outcomes: Default::default(),
            last_id: 0,
            running: None,
            next_at: now,
            pause: PAUSE.0,
            raised: None,
            unproven: 0,
        }
    }

    /// The next probe, where one is due. `ceiling`: the highest rate of any use; `spread`: by how much delays vary on a
    /// path that jitters.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        estimate: Bitrate,
        ceiling: Bitrate,
        rtt: Duration,
        spread: Option<Duration>,
    ) -> Option<Probe> {
        if self.running.is_some() || now < self.next_at || !is_worthwhile(estimate, ceiling) {
            return None;
        }
        let factor = if self.last_id == 0 { FIRST_FACTOR } else { FACTOR };
        let rate = estimate.scale(factor).min(ceiling);
        self.last_id = self.last_id.wrapping_add(1);
        let exact = spread.map_or(LENGTH, |spread| (2 * spread).clamp(LENGTH, JITTERING_LENGTH));
        let probe = Probe {
            id: ProbeId(self.last_id),
            rate,
            bytes_min: rate.bytes_in(exact * 2u32.pow(self.unproven.min(MAX_DOUBLINGS))) as usize,
            packets_min: PACKETS_MIN,
        };
        let expires = now + ANSWER_WITHIN + 2 * rtt;
        let sent = OurTime(0);
        self.running =
            Some(Running { probe, expires, sent_packets: 0, sent_bytes: 0, sent, lost_packets: 0, arrived: None });
        Some(probe)
    }

    /// Rate of the very first cluster while it is on its way: nothing is known of the link yet.
    pub(super) fn first_rate(&self) -> Option<Bitrate> {
        self.running.as_ref().filter(|running| running.probe.id == ProbeId(1)).map(|running| running.probe.rate)
    }

    /// When [`Self::poll`] or [`Self::handle_timeout`] has something to do; `None` while there is nothing to gain.
    pub(super) fn poll_timeout(&self, estimate: Bitrate, ceiling: Bitrate) -> Option<Instant> {
        match &self.running {
            Some(running) => Some(running.expires),
            None => is_worthwhile(estimate, ceiling).then_some(self.next_at),
        }
    }

    /// A packet of a cluster leaves.
    pub(super) fn on_sent(&mut self, now: OurTime, id: ProbeId, bytes: usize) {
        if let Some(running) = self.running_as(id) {
            running.sent = now;
            running.sent_packets += 1;
            running.sent_bytes += bytes;
        }
    }

    /// A packet of a cluster has arrived after it `queued` for so long.
    pub(super) fn on_acked(&mut self, id: ProbeId, packet: &Acked, queued: Duration) {
        let Some(running) = self.running_as(id) else { return };
        let sent = (packet.sent, packet.bytes);
        let arrival = (packet.arrival, packet.bytes);
        let arrived = running.arrived.get_or_insert(Arrived {
            packets: 0,
            bytes: 0,
            sent: [sent; 2],
            arrival: [arrival; 2],
            queue: queued,
        });
        arrived.packets += 1;
        arrived.bytes += packet.bytes;
        if packet.sent >= arrived.sent[1].0 {
            arrived.queue = queued;
        }
        widen(&mut arrived.sent, sent);
        widen(&mut arrived.arrival, arrival);
    }

    /// A packet of a cluster is reported lost.
    pub(super) fn on_lost(&mut self, id: ProbeId) {
        if let Some(running) = self.running_as(id) {
            running.lost_packets += 1;
        }
    }

    /// Ends a feedback, whose newest packet was sent at `newest`: the result, once all packets of the cluster are
    /// accounted for, or will not be, as the feedback that told of them was lost. Then the next cluster comes at once.
    pub(super) fn end_feedback(&mut self, now: Instant, estimate: Bitrate, newest: Option<OurTime>) -> Option<Found> {
        let running = self.running.take_if(|running| running.is_answered() || running.is_passed(newest))?;
        let found = running.judge();
        if !running.is_answered() && found.is_none() {
            add(&mut self.outcomes, ProbeOutcome::Unanswered as usize, 1);
            self.next_at = now;
            return None;
        }
        let outcome = match found {
            Some(Found { bottleneck: Some(_), .. }) => ProbeOutcome::Limited,
            Some(Found { rate, .. }) if rate > estimate => ProbeOutcome::Raised,
            _ => ProbeOutcome::Unproven,
        };
        add(&mut self.outcomes, outcome as usize, 1);
        let proven = found.is_some_and(|found| match found.bottleneck {
            Some(_) => found.rate >= estimate.scale(PLAUSIBLE),
            None => found.rate > estimate,
        });
        self.unproven = if proven { 0 } else { self.unproven.saturating_add(1) };
        match found {
            Some(Found { rate, bottleneck: None }) if rate > estimate => {
                self.pause = PAUSE.0;
                self.next_at = now;
            }
            _ => self.wait(now),
        }
        if found.is_some_and(|found| found.rate > estimate.scale(LEAP)) {
            self.raised = Some(now);
        }
        found
    }

    /// The estimate was decreased; a probe that led to it teaches patience.
    pub(super) fn on_drop(&mut self, now: Instant) {
        if self.raised.take().is_some_and(|raised| now.saturating_duration_since(raised) < REGRET_WITHIN) {
            self.pause = (self.pause * 2).min(REGRET_PAUSE);
        }
        self.next_at = self.next_at.max(now + self.pause);
    }

    /// A queue has gone, and what filled it may have gone too; or what was found is to be confirmed.
    pub(super) fn ask_soon(&mut self, now: Instant) {
        self.next_at = now;
    }

    /// The link is back after an outage: ask at once.
    pub(super) fn ask_now(&mut self, now: Instant) {
        self.pause = PAUSE.0;
        self.next_at = now;
    }

    /// Gives up a probe that was not answered in time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.running.take_if(|running| now >= running.expires).is_some() {
            add(&mut self.outcomes, ProbeOutcome::Unanswered as usize, 1);
            self.unproven = self.unproven.saturating_add(1);
            self.wait(now);
        }
    }

    /// How probes ended since the last call.
    pub(super) fn take_outcomes(&mut self) -> [u64; ProbeOutcome::ALL.len()] {
        std::mem::take(&mut self.outcomes)
    }

    fn wait(&mut self, now: Instant) {
        self.next_at = now + self.pause;
        self.pause = self.pause.max((self.pause.mul_f64(1.5)).min(PAUSE.1));
    }

    fn running_as(&mut self, id: ProbeId) -> Option<&mut Running> {
        self.running.as_mut().filter(|running| running.probe.id == id)
    }
}

impl Running {
    fn is_sent(&self) -> bool {
        self.sent_packets >= self.probe.packets_min && self.sent_bytes >= self.probe.bytes_min
    }

    fn is_answered(&self) -> bool {
        self.is_sent() && self.arrived.as_ref().map_or(0, |a| a.packets) + self.lost_packets >= self.sent_packets
    }

    /// Whether a packet that was sent after the cluster is reported.
    fn is_passed(&self, newest: Option<OurTime>) -> bool {
        self.is_sent() && newest.is_some_and(|newest| newest > self.sent)
    }

    /// `None`: the cluster proves nothing.
    fn judge(&self) -> Option<Found> {
        let arrived = self.arrived.as_ref()?;
        if f64::from(arrived.packets) < DELIVERED * f64::from(self.sent_packets) {
            return None;
        }
        let [(first_sent, _), (last_sent, last_bytes)] = arrived.sent;
        let [(first_arrival, first_bytes), (last_arrival, _)] = arrived.arrival;
        let sent_s = last_sent.us_since(first_sent) as f64 / 1e6;
        let arrival_s = last_arrival.ms_since(first_arrival) / 1e3;
        if sent_s <= 0.0 {
            return None;
        }
        let sent_bits = 8.0 * arrived.bytes.saturating_sub(last_bytes) as f64;
        let received_bits = 8.0 * arrived.bytes.saturating_sub(first_bytes) as f64;
        let send_rate = sent_bits / sent_s;
        let compressed = received_bits > COMPRESSED * send_rate * arrival_s;
        // What was through when the last packet's turn came. Packets held up together still were through by then, and
        // packets of unequal size do not disturb it; jitter does, from which the spacing of the arrivals suffers
        // otherwise.
        let by_queue = sent_bits / (sent_s + arrived.queue.as_secs_f64());
        let receive_rate = if compressed { by_queue } else { by_queue.max(received_bits / arrival_s) };
        let saturated = receive_rate < SATURATED * send_rate && !compressed;
        let through = receive_rate.min(send_rate);
        let rate = Bitrate::bps(through.min(self.probe.rate.as_bps() as f64) as u64);
        Some(if saturated {
            Found { rate: rate.scale(UTILISATION), bottleneck: Some(rate) }
        } else {
            Found { rate, bottleneck: None }
        })
    }
}

fn is_worthwhile(estimate: Bitrate, ceiling: Bitrate) -> bool {
    ceiling >= estimate.scale(WORTHWHILE)
}

fn widen<T: PartialOrd + Copy>(ends: &mut [(T, usize); 2], new: (T, usize)) {
    if new.0 < ends[0].0 {
        ends[0] = new;
    }
    if new.0 >= ends[1].0 {
        ends[1] = new;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RTT: Duration = Duration::from_millis(50);
    const ESTIMATE: Bitrate = Bitrate::kbps(1000);
    const CEILING: Bitrate = Bitrate::kbps(10_000);

    /// Sends one cluster and has it arrive with this spacing, the last packet after having `queued`; `lost` of its
    /// packets do not.
    fn result(
        prober: &mut Prober,
        now: Instant,
        arrive_every_us: i64,
        lost: u32,
        queued: Duration,
    ) -> (Probe, Option<Found>) {
        let probe = prober.poll(now, ESTIMATE, CEILING, RTT, None).unwrap();
        let packets = 10.max(probe.bytes_min.div_ceil(1000)) as u32;
        for i in 0..packets {
            let sent = OurTime(0).plus(probe.rate.time_for(1000) * i);
            prober.on_sent(sent, probe.id, 1000);
            match i < lost {
                true => prober.on_lost(probe.id),
                false => {
                    let arrival = ReceiverTime(i64::from(i) * arrive_every_us);
                    prober.on_acked(probe.id, &Acked { sent, arrival, bytes: 1000 }, queued);
                }
            }
        }
        (probe, prober.end_feedback(now, ESTIMATE, None))
    }

    #[test]
    fn a_probe_that_gets_through_raises_and_is_followed_at_once_by_another() {
        let now = Instant::now();
        let mut prober = Prober::new(now);
        let (probe, found) = result(&mut prober, now, 2_600, 0, Duration::ZERO);
        assert_eq!(probe.rate, Bitrate::kbps(3000));
        let found = found.unwrap();
        assert!(found.bottleneck.is_none() && found.rate > Bitrate::kbps(2950) && found.rate <= probe.rate);
        assert_eq!(prober.poll(now, found.rate, CEILING, RTT, None).unwrap().rate, found.rate.scale(2.0));
    }

    #[test]
    fn a_probe_that_meets_the_bottleneck_measures_it_and_the_next_one_waits() {
        let now = Instant::now();
        let mut prober = Prober::new(now);
        let found = result(&mut prober, now, 4_000, 0, Duration::from_millis(12)).1.unwrap();
        assert!((1_995..=2_005).contains(&(found.bottleneck.unwrap().as_bps() / 1000)), "{found:?}");
        assert_eq!(found.rate, found.bottleneck.unwrap().scale(UTILISATION));
        assert_eq!(prober.poll(now, found.rate, CEILING, RTT, None), None);
        assert!(prober.poll(now + PAUSE.1, found.rate, CEILING, RTT, None).is_some());
    }

    #[test]
    fn a_spread_without_a_queue_is_no_bottleneck() {
        let now = Instant::now();
        let found = result(&mut Prober::new(now), now, 4_000, 0, Duration::ZERO).1.unwrap();
        assert_eq!((found.rate.as_bps() / 100_000, found.bottleneck), (30, None));
    }

    #[test]
    fn loss_and_silence_prove_nothing() {
        let now = Instant::now();
        let mut prober = Prober::new(now);
        assert_eq!(result(&mut prober, now, 2_600, 3, Duration::ZERO).1, None, "loss");
        let later = now + Duration::from_secs(20);
        let silent = prober.poll(later, ESTIMATE, CEILING, RTT, None).unwrap();
        prober.handle_timeout(later + Duration::from_secs(2));
        assert!(prober.poll(later + Duration::from_secs(5), ESTIMATE, CEILING, RTT, None).unwrap().id != silent.id);
    }

    /// Sends a cluster of ten packets at the rate that gets through. Of these the first so many are reported, then one
    /// that was sent after them.
    fn after_lost_feedback(reported: u32) -> (Prober, Option<Found>, Instant) {
        let now = Instant::now();
        let mut prober = Prober::new(now);
        let probe = prober.poll(now, ESTIMATE, CEILING, RTT, None).unwrap();
        let sent = |i: u32| OurTime(0).plus(probe.rate.time_for(1000) * i);
        for i in 0..10 {
            prober.on_sent(sent(i), probe.id, 1000);
        }
        for i in 0..reported {
            let acked = Acked { sent: sent(i), arrival: ReceiverTime(i64::from(i) * 2_600), bytes: 1000 };
            prober.on_acked(probe.id, &acked, Duration::ZERO);
        }
        let early = prober.end_feedback(now, ESTIMATE, Some(sent(9)));
        assert_eq!((early, prober.running.is_some()), (None, true), "nothing that was sent later is reported yet");
        let found = prober.end_feedback(now, ESTIMATE, Some(sent(10)));
        (prober, found, now)
    }

    #[test]
    fn a_cluster_whose_report_was_lost_is_judged_by_the_rest_or_sent_again_at_once() {
        let (_, found, _) = after_lost_feedback(8);
        assert!(found.unwrap().rate > Bitrate::kbps(2900), "{found:?}");
        let (mut prober, found, now) = after_lost_feedback(7);
        assert_eq!((found, prober.take_outcomes()), (None, [0, 0, 0, 1]));
        let again = prober.poll(now, ESTIMATE, CEILING, RTT, None).unwrap();
        assert_eq!(again.rate.time_for(again.bytes_min as u64), LENGTH, "it is no longer than the first");
    }

    #[test]
    fn packets_held_up_together_prove_what_got_through_in_time() {
        for (queued_ms, kbps) in [(0, 2950..=3000), (24, 1400..=1500)] {
            let now = Instant::now();
            let queued = Duration::from_millis(queued_ms);
            let found = result(&mut Prober::new(now), now, 1, 0, queued).1.unwrap();
            assert!(kbps.contains(&(found.rate.as_bps() / 1000)), "{found:?}");
            assert_eq!(found.bottleneck, None);
        }
    }

    #[test]
    fn clusters_that_prove_nothing_become_longer_until_one_does() {
        let mut now = Instant::now();
        let mut prober = Prober::new(now);
        let mut lengths = Vec::new();
        for queued_ms in [500, 500, 500, 500, 500, 0, 500] {
            let (probe, _) = result(&mut prober, now, 1, 0, Duration::from_millis(queued_ms));
            lengths.push(probe.rate.time_for(probe.bytes_min as u64).as_millis());
            now += PAUSE.1;
        }
        assert_eq!(lengths, [20, 40, 80, 160, 160, 160, 20]);
    }

    #[test]
    fn there_is_no_probing_beyond_what_is_wanted() {
        let now = Instant::now();
        let mut prober = Prober::new(now);
        assert_eq!(prober.poll(now, ESTIMATE, ESTIMATE, RTT, None), None);
        assert_eq!(prober.poll_timeout(ESTIMATE, ESTIMATE), None);
        assert_eq!(prober.poll(now, ESTIMATE, Bitrate::kbps(1300), RTT, None).unwrap().rate, Bitrate::kbps(1300));
    }

    #[test]
    fn increases_taken_back_make_probes_rarer() {
        let now = Instant::now();
        let mut prober = Prober::new(now);
        result(&mut prober, now, 2_600, 0, Duration::ZERO);
        prober.on_drop(now + Duration::from_secs(1));
        assert!(prober.poll_timeout(ESTIMATE, CEILING).unwrap() >= now + Duration::from_secs(3));
    }
}
