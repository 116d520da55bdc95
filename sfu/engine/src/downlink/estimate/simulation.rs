//! A bottleneck, a receiver that reports and a sender with a pacer, for the tests of the estimator as a whole.

use super::*;
use crate::downlink::pace::{Class, Paced, Pacer};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use std::collections::VecDeque;

const TICK: Duration = Duration::from_millis(1);
const FRAME_MS: u64 = 33;
const PACKET: usize = 1200;
/// Padding is announced to the pacer before it is written, with room for extensions that most packets go without.
const OVERSTATED: usize = 12;
/// 100 bytes every 20 ms.
const AUDIO: Bitrate = Bitrate::kbps(40);

/// A link and the media that crosses it.
pub(super) struct Scene {
    /// Capacity from a millisecond on.
    pub(super) capacity: Vec<(u64, Bitrate)>,
    /// One-way delay from a millisecond on.
    pub(super) one_way: Vec<(u64, Duration)>,
    pub(super) queue_bytes: usize,
    pub(super) random_loss: f64,
    /// Uniform jitter up to this, without reordering.
    pub(super) jitter: Duration,
    /// The receiving process reads its socket, and notes arrivals, only so often: random pauses within these
    /// milliseconds.
    pub(super) reads_after_ms: std::ops::RangeInclusive<u64>,
    /// The receiver drops unread what comes on the source of retransmissions.
    pub(super) hears_no_repairs: bool,
    pub(super) feedback_every_ms: u64,
    /// Milliseconds in which no feedback gets back.
    pub(super) deaf: std::ops::Range<u64>,
    pub(super) start: Bitrate,
    pub(super) demand: Bitrate,
    /// All media sent at an estimate, on the wire and including audio: the identity is greedy, a ladder is app-limited.
    pub(super) media: fn(Bitrate) -> Bitrate,
    pub(super) seed: u64,
}

/// The state at the end of a millisecond.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) ms: u64,
    pub(super) estimate: Bitrate,
    pub(super) queue: Duration,
    /// Packets dropped by the full queue so far.
    pub(super) dropped: usize,
    pub(super) sent: usize,
}

impl Default for Scene {
    fn default() -> Self {
        Scene {
            capacity: vec![(0, Bitrate::kbps(3000))],
            one_way: vec![(0, Duration::from_millis(40))],
            queue_bytes: 150_000,
            random_loss: 0.0,
            jitter: Duration::ZERO,
            reads_after_ms: 0..=0,
            hears_no_repairs: false,
            feedback_every_ms: 60,
            deaf: 0..0,
            start: Bitrate::kbps(300),
            demand: Bitrate::kbps(10_000),
            media: |estimate| estimate,
            seed: 1,
        }
    }
}

/// The highest sum of an audio track and simulcast layers of 150, 500 and 1700 kb/s that fits.
pub(super) fn ladder(estimate: Bitrate) -> Bitrate {
    let steps = [1740, 540, 190, 40].map(Bitrate::kbps);
    steps.into_iter().find(|step| *step <= estimate).unwrap_or(Bitrate::kbps(40))
}

impl Scene {
    /// Runs for so many seconds; one sample per millisecond.
    pub(super) fn run(&self, seconds: u64) -> Vec<Sample> {
        let mut run = Run::new(self);
        (0..seconds * 1000).map(|ms| run.tick(ms)).collect()
    }
}

impl Paced for () {
    fn stream(&self) -> usize {
        0
    }
}

struct Run<'a> {
    scene: &'a Scene,
    start: Instant,
    rng: ChaCha12Rng,
    estimator: Estimator,
    pacer: Pacer<()>,
    next_seq: u16,
    media_debt: f64,
    /// Waiting at the bottleneck: sequence number and bytes.
    queue: VecDeque<(u16, usize)>,
    /// Bytes that the link may send now.
    link_credit: f64,
    last_arrival_us: i64,
    next_read_ms: u64,
    /// At the receiver's socket.
    unread: Vec<(u16, i64)>,
    /// Arrived at the receiver, not yet reported.
    arrived: VecDeque<(u16, i64)>,
    next_report: u16,
    on_the_way_back: VecDeque<(u64, Vec<PacketReport>)>,
    dropped: usize,
}

impl<'a> Run<'a> {
    fn new(scene: &'a Scene) -> Self {
        let start = Instant::now();
        let config = EstimatorConfig { start: scene.start, min: Bitrate::kbps(30), max: Bitrate::kbps(20_000) };
        let mut estimator = Estimator::new(start, config);
        estimator.set_demand(start, scene.demand);
        Run {
            scene,
            start,
            rng: ChaCha12Rng::seed_from_u64(scene.seed),
            pacer: Pacer::new(start, estimator.pacing_rate()),
            estimator,
            next_seq: 65_000,
            media_debt: 0.0,
            queue: VecDeque::new(),
            link_credit: 0.0,
            last_arrival_us: 0,
            next_read_ms: 0,
            unread: Vec::new(),
            arrived: VecDeque::new(),
            next_report: 65_000,
            on_the_way_back: VecDeque::new(),
            dropped: 0,
        }
    }

    fn tick(&mut self, ms: u64) -> Sample {
        let now = self.start + TICK * ms as u32;
        self.take_feedback(ms, now);
        if self.estimator.poll_timeout().is_some_and(|at| at <= now) {
            self.estimator.handle_timeout(now);
        }
        if let Some(probe) = self.estimator.poll_probe(now) {
            self.pacer.start_probe(now, probe);
        }
        self.produce(ms, now);
        self.send(now);
        let capacity = self.capacity(ms);
        self.transmit(ms, capacity);
        self.read(ms);
        self.report(ms);
        let queued: usize = self.queue.iter().map(|(_, bytes)| bytes).sum();
        Sample {
            ms,
            estimate: self.estimator.estimate(),
            queue: capacity.time_for(queued as u64),
            dropped: self.dropped,
            sent: usize::from(self.next_seq),
        }
    }

    fn produce(&mut self, ms: u64, now: Instant) {
        if ms.is_multiple_of(FRAME_MS) {
            let rate = (self.scene.media)(self.estimator.estimate()).minus(AUDIO);
            self.media_debt += rate.bytes_in(TICK * FRAME_MS as u32) as f64 * self.rng.random_range(0.7..1.3);
            let mut frame = self.media_debt as usize;
            self.media_debt -= frame as f64;
            while frame > 0 {
                let bytes = frame.min(PACKET);
                frame -= bytes;
                let _ = self.pacer.enqueue(now, Class::Video, bytes, ());
            }
        }
        if ms.is_multiple_of(20) {
            let _ = self.pacer.enqueue(now, Class::Audio, 100, ());
        }
    }

    fn send(&mut self, now: Instant) {
        self.pacer.set_rate(now, self.estimator.pacing_rate(), self.estimator.pacing_burst());
        loop {
            if let Some(bytes) = self.pacer.padding_needed(now) {
                let _ = self.pacer.enqueue(now, Class::Padding, bytes, ());
            }
            let Some(released) = self.pacer.poll(now) else { return };
            let overstated = if released.class == Class::Padding { OVERSTATED } else { 0 };
            let (seq, bytes) = (self.next_seq, released.bytes.saturating_sub(overstated).max(1));
            self.next_seq = seq.wrapping_add(1);
            self.pacer.on_written(bytes);
            let source = RepairSource::of(0);
            let repair = released.class == Class::Padding && self.estimator.hears_repairs(source);
            let repair = repair.then_some(source);
            self.estimator.on_sent(now, SentPacket { transport_seq: seq, bytes, probe: released.probe, repair });
            if repair.is_some() && self.scene.hears_no_repairs {
                continue;
            }
            let queued: usize = self.queue.iter().map(|(_, bytes)| bytes).sum();
            if queued + bytes > self.scene.queue_bytes {
                self.dropped += 1;
            } else {
                self.queue.push_back((seq, bytes));
            }
        }
    }

    fn transmit(&mut self, ms: u64, capacity: Bitrate) {
        self.link_credit += capacity.bytes_in(TICK) as f64;
        while let Some((seq, bytes)) = self.queue.front().copied() {
            if self.link_credit < bytes as f64 {
                break;
            }
            self.link_credit -= bytes as f64;
            self.queue.pop_front();
            if self.rng.random_bool(self.scene.random_loss) {
                continue;
            }
            let unused_us = (self.link_credit * 8e6 / capacity.as_bps() as f64) as i64;
            let jitter_us = self.rng.random_range(0..=self.scene.jitter.as_micros() as i64);
            let arrival = (ms as i64 + 1) * 1000 - unused_us + self.one_way(ms).as_micros() as i64 + jitter_us;
            self.last_arrival_us = self.last_arrival_us.max(arrival);
            self.unread.push((seq, self.last_arrival_us));
        }
        if self.queue.is_empty() {
            self.link_credit = 0.0;
        }
    }

    /// A process that sleeps sees all that came meanwhile at once.
    fn read(&mut self, ms: u64) {
        if self.scene.reads_after_ms.end() == &0 {
            return self.arrived.extend(self.unread.drain(..));
        }
        if ms >= self.next_read_ms {
            self.next_read_ms = ms + self.rng.random_range(self.scene.reads_after_ms.clone());
            let now = ms as i64 * 1000;
            let waiting = self.unread.partition_point(|(_, at)| *at <= now);
            self.arrived.extend(self.unread.drain(..waiting).map(|(seq, _)| (seq, now)));
        }
    }

    /// The receiver's clock is an hour off.
    fn report(&mut self, ms: u64) {
        if !ms.is_multiple_of(self.scene.feedback_every_ms) {
            return;
        }
        let mut reports = Vec::new();
        while let Some((seq, arrival)) = self.arrived.front().copied().filter(|(_, at)| *at <= ms as i64 * 1000) {
            self.arrived.pop_front();
            while self.next_report != seq {
                reports.push(PacketReport { transport_seq: self.next_report, arrival: None });
                self.next_report = self.next_report.wrapping_add(1);
            }
            let arrival = Some(ReceiverTime((arrival + 3_600_000_000) / 250 * 250));
            reports.push(PacketReport { transport_seq: seq, arrival });
            self.next_report = seq.wrapping_add(1);
        }
        if !reports.is_empty() && !self.scene.deaf.contains(&ms) {
            self.on_the_way_back.push_back((ms + self.one_way(ms).as_millis() as u64, reports));
        }
    }

    fn take_feedback(&mut self, ms: u64, now: Instant) {
        while let Some((_, reports)) = self.on_the_way_back.pop_front_if(|(at, _)| *at <= ms) {
            self.estimator.on_feedback(now, &Feedback { reports: &reports });
        }
    }

    fn capacity(&self, ms: u64) -> Bitrate {
        at(&self.scene.capacity, ms)
    }

    fn one_way(&self, ms: u64) -> Duration {
        at(&self.scene.one_way, ms)
    }
}

/// What a schedule says at this time.
fn at<T: Copy + Default>(schedule: &[(u64, T)], ms: u64) -> T {
    schedule.iter().rev().find(|(from, _)| *from <= ms).map_or(T::default(), |(_, value)| *value)
}
