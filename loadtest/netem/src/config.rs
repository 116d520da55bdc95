//! What a link is like. Every part has a default that does nothing: the default link is perfect.

use std::ops::Range;
use std::time::Duration;

use crate::{Schedule, Trace};

/// One direction of one path.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// How fast packets leave the queue.
    pub rate: Rate,
    /// One-way delay behind the queue.
    pub delay: Schedule<Duration>,
    /// Delay on top of `delay`, drawn for each packet.
    pub jitter: Jitter,
    /// When the queue is full.
    pub queue: QueueLimit,
    /// What is lost before the queue.
    pub loss: Loss,
    /// Probability of a packet being sent twice.
    pub duplicate: f64,
    /// Packets that are overtaken by later ones.
    pub reorder: Reorder,
    /// Marks Congestion Experienced on packets that find a longer queueing delay than this (RFC 3168). It is for the
    /// receiver to heed a mark only on packets that were sent ECN-capable.
    pub ecn_above: Option<Duration>,
    /// Times in which nothing passes: what is sent then, or would arrive then, is lost.
    pub outages: Vec<Range<Duration>>,
    /// Times in which deliveries stall, to come in one burst afterwards.
    pub pauses: Option<Pauses>,
    /// Keep a [`crate::LogEntry`] for everything that happens; grows without bound.
    pub log: bool,
}

/// How fast packets leave the queue.
#[derive(Clone, Debug)]
pub enum Rate {
    /// Bits per second; `None` is unlimited. At 0 the queue stands still.
    Schedule(Schedule<Option<u64>>),
    /// A recorded link.
    Trace(Trace),
}

/// When a packet finds the queue full. An empty queue takes every packet, however small the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueLimit {
    /// Never.
    Unlimited,
    /// Bytes, with the packet in service and the new one.
    Bytes(u64),
    /// Time that the queue takes to drain at the rate of the moment. For a trace: until the last queued byte departs.
    Time(Duration),
}

/// What is lost by chance or by rule. Probabilities run from 0 to 1.
#[derive(Clone, Debug)]
pub enum Loss {
    /// Each packet independently.
    Random(Schedule<f64>),
    /// Runs of lost packets (Gilbert-Elliott with nothing lost in the good state and everything in the bad one).
    GilbertElliott {
        /// Share of packets lost in the long run, below 1.
        mean: f64,
        /// Mean length of a run of losses in packets, at least 1.
        burst: f64,
    },
    /// A token bucket without a queue: what exceeds it is lost.
    Policer {
        /// Bits per second.
        rate: u64,
        /// Bytes that may pass at once; the bucket starts full.
        bucket: u64,
    },
}

/// Delay that differs from packet to packet. It only ever adds.
#[derive(Clone, Debug)]
pub struct Jitter {
    /// How it is drawn.
    pub model: JitterModel,
    /// Whether a packet with less jitter overtakes one with more. If not, it waits and arrives right behind it.
    pub reorder: bool,
}

/// How jitter is drawn.
#[derive(Clone, Debug)]
pub enum JitterModel {
    /// No jitter.
    None,
    /// Magnitude of a normal distribution with this standard deviation, at most three times that.
    Normal {
        /// Standard deviation.
        sd: Duration,
    },
    /// Anything up to a maximum, equally likely.
    Uniform {
        /// Longest.
        max: Duration,
    },
    /// These, one after the other, from the start again after the last.
    Trace(Vec<Duration>),
}

/// Packets that stay behind.
#[derive(Clone, Copy, Debug)]
pub struct Reorder {
    /// Probability for each packet.
    pub probability: f64,
    /// How long it stays behind, while later ones pass.
    pub by: Duration,
}

/// Regular stalls of delivery, as of a radio that looks for other networks.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// From one beginning to the next; the first is at this time.
    pub every: Duration,
    /// How long each is; less than `every`.
    pub length: Duration,
}

impl Default for LinkConfig {
    fn default() -> LinkConfig {
        LinkConfig {
            rate: Rate::Schedule(Schedule::constant(None)),
            delay: Schedule::constant(Duration::ZERO),
            jitter: Jitter { model: JitterModel::None, reorder: false },
            queue: QueueLimit::Unlimited,
            loss: Loss::Random(Schedule::constant(0.0)),
            duplicate: 0.0,
            reorder: Reorder { probability: 0.0, by: Duration::ZERO },
            ecn_above: None,
            outages: Vec::new(),
            pauses: None,
            log: false,
        }
    }
}

impl Rate {
    /// The same bits per second at all times.
    pub fn constant(bits_per_second: u64) -> Rate {
        Rate::Schedule(Schedule::constant(Some(bits_per_second)))
    }
}
