//! The link: takes packets in, hands them out when they have arrived.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

use crate::bottleneck::Bottleneck;
use crate::jitter::JitterState;
use crate::loss::{LossState, happens};
use crate::queue::Queue;
use crate::stall::{Outages, release};
use crate::{Counters, DropCause, LinkConfig, LogEntry, LogEvent, NEVER, Pauses, Reorder, Schedule, micros};

/// One direction of one path. `T` is whatever stands for a packet.
pub struct Link<T> {
    start: Instant,
    outages: Outages,
    loss: LossState,
    duplicate: f64,
    duplicate_rng: ChaCha12Rng,
    queue: Queue,
    bottleneck: Bottleneck,
    ecn_above: Option<u64>,
    delay: Schedule<Duration>,
    jitter: JitterState,
    jitter_reorders: bool,
    reorder: Reorder,
    reorder_rng: ChaCha12Rng,
    pauses: Option<Pauses>,
    /// Arrival of the last packet that keeps the order.
    last_arrival: u64,
    in_flight: BinaryHeap<Reverse<InFlight<T>>>,
    /// Packets that ever took off: breaks ties between arrivals.
    taken_off: u64,
    counters: Counters,
    log: Option<Vec<LogEntry>>,
}

/// A packet at the end of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered<T> {
    /// What was given to [`Link::handle_packet`].
    pub packet: T,
    /// Marked Congestion Experienced.
    pub ce_marked: bool,
}

struct InFlight<T> {
    arrives: u64,
    order: u64,
    number: u64,
    bytes: usize,
    delivered: Delivered<T>,
}

impl<T: Clone> Link<T> {
    /// A link whose schedules begin at `start`. Everything that is left to chance follows from `seed`.
    pub fn new(config: LinkConfig, start: Instant, seed: u64) -> Link<T> {
        // A random stream for each feature: turning one on does not change what another does.
        let random = |stream| {
            let mut rng = ChaCha12Rng::seed_from_u64(seed);
            rng.set_stream(stream);
            rng
        };
        Link {
            start,
            outages: Outages::new(&config.outages),
            loss: LossState::new(config.loss, random(1)),
            duplicate: config.duplicate,
            duplicate_rng: random(2),
            queue: Queue::new(config.queue),
            bottleneck: Bottleneck::new(config.rate),
            ecn_above: config.ecn_above.map(micros),
            delay: config.delay,
            jitter: JitterState::new(config.jitter.model, random(3)),
            jitter_reorders: config.jitter.reorder,
            reorder: config.reorder,
            reorder_rng: random(4),
            pauses: config.pauses,
            last_arrival: 0,
            in_flight: BinaryHeap::new(),
            taken_off: 0,
            counters: Counters::default(),
            log: config.log.then(Vec::new),
        }
    }

    /// A packet of `bytes` on the wire is sent at `now`, which never goes back.
    pub fn handle_packet(&mut self, now: Instant, bytes: usize, packet: T) {
        let now = self.micros(now);
        let number = self.counters.offered;
        self.counters.offered += 1;
        self.counters.offered_bytes += bytes as u64;
        if self.outages.contain(now) {
            return self.drop_packet(now, number, bytes, DropCause::Outage);
        }
        if self.loss.takes(now, bytes) {
            return self.drop_packet(now, number, bytes, DropCause::Loss);
        }
        if happens(&mut self.duplicate_rng, self.duplicate) {
            self.counters.duplicated += 1;
            self.enqueue(now, number, bytes, packet.clone());
        }
        self.enqueue(now, number, bytes, packet);
    }

    /// The next packet that has arrived by `now`.
    pub fn poll_deliver(&mut self, now: Instant) -> Option<Delivered<T>> {
        let now = self.micros(now);
        let Reverse(first) = self.in_flight.peek()?;
        if first.arrives > now || first.arrives == NEVER {
            return None;
        }
        let Reverse(InFlight { number, bytes, delivered, .. }) = self.in_flight.pop()?;
        self.counters.delivered += 1;
        self.counters.delivered_bytes += bytes as u64;
        self.counters.ce_marked += u64::from(delivered.ce_marked);
        self.record(now, number, bytes, LogEvent::Delivered);
        Some(delivered)
    }

    /// When [`Link::poll_deliver`] has something next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let Reverse(first) = self.in_flight.peek()?;
        (first.arrives != NEVER).then(|| self.start + Duration::from_micros(first.arrives))
    }

    /// Bytes in the queue, with the whole packet in service.
    pub fn queued_bytes(&self, now: Instant) -> u64 {
        self.queue.bytes(self.micros(now))
    }

    /// How long a packet that is sent now waits for its service. [`Duration::MAX`] if for ever.
    pub fn queue_delay(&self, now: Instant) -> Duration {
        to_duration(self.queue.delay(self.micros(now)))
    }

    /// Packets in the queue and on the way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// What happened so far, counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What happened so far, one by one, where the configuration asks for a log.
    pub fn log(&self) -> &[LogEntry] {
        self.log.as_deref().unwrap_or_default()
    }

    fn enqueue(&mut self, now: u64, number: u64, bytes: usize, packet: T) {
        if !self.queue.has_room(now, bytes, self.bottleneck.rate(now)) {
            return self.drop_packet(now, number, bytes, DropCause::Queue);
        }
        let ce_marked = self.ecn_above.is_some_and(|limit| self.queue.delay(now) > limit);
        let departs = self.bottleneck.serve(now, bytes);
        self.queue.join(now, bytes, departs);
        let queued_bytes = self.queue.bytes(now);
        self.record(now, number, bytes, LogEvent::Queued { departs: to_duration(departs), queued_bytes, ce_marked });

        let arrives = self.travel(departs);
        if self.outages.contain(arrives) {
            return self.drop_packet(now, number, bytes, DropCause::Outage);
        }
        let delivered = Delivered { packet, ce_marked };
        self.in_flight.push(Reverse(InFlight { arrives, order: self.taken_off, number, bytes, delivered }));
        self.taken_off += 1;
    }

    /// When a packet arrives that leaves the queue at `departs`.
    fn travel(&mut self, departs: u64) -> u64 {
        if departs == NEVER {
            return NEVER;
        }
        let mut arrives = departs + micros(self.delay.at(departs)) + self.jitter.draw();
        if happens(&mut self.reorder_rng, self.reorder.probability) {
            arrives += micros(self.reorder.by);
        } else if !self.jitter_reorders {
            arrives = arrives.max(self.last_arrival);
            self.last_arrival = arrives;
        }
        release(self.pauses, arrives)
    }

    fn drop_packet(&mut self, now: u64, number: u64, bytes: usize, cause: DropCause) {
        match cause {
            DropCause::Queue => self.counters.dropped_by_queue += 1,
            DropCause::Loss => self.counters.dropped_by_loss += 1,
            DropCause::Outage => self.counters.dropped_by_outage += 1,
        }
        self.record(now, number, bytes, LogEvent::Dropped(cause));
    }

    fn record(&mut self, at: u64, packet: u64, bytes: usize, event: LogEvent) {
        if let Some(log) = &mut self.log {
            log.push(LogEntry { at: Duration::from_micros(at), packet, bytes, event });
        }
    }

    fn micros(&self, now: Instant) -> u64 {
        micros(now.saturating_duration_since(self.start))
    }
}

fn to_duration(time: u64) -> Duration {
    if time >= NEVER / 2 { Duration::MAX } else { Duration::from_micros(time) }
}

impl<T> InFlight<T> {
    fn key(&self) -> (u64, u64) {
        (self.arrives, self.order)
    }
}

impl<T> PartialEq for InFlight<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for InFlight<T> {}

impl<T> PartialOrd for InFlight<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for InFlight<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}
