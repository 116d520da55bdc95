//! What truly happened on a link: the ground truth that measurements are compared with.

use std::time::Duration;

/// Totals since the start of the link.
///
/// `offered + duplicated = delivered + dropped() + in flight` at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that were given to the link.
    pub offered: u64,
    /// Bytes of these.
    pub offered_bytes: u64,
    /// Packets that the link added as duplicates.
    pub duplicated: u64,
    /// Packets that were taken from the link.
    pub delivered: u64,
    /// Bytes of these.
    pub delivered_bytes: u64,
    /// Delivered packets that were marked Congestion Experienced.
    pub ce_marked: u64,
    /// Packets that found the queue full.
    pub dropped_by_queue: u64,
    /// Packets lost by chance or by the policer.
    pub dropped_by_loss: u64,
    /// Packets sent into an outage, or due in one.
    pub dropped_by_outage: u64,
}

impl Counters {
    /// All packets that will never arrive.
    pub fn dropped(&self) -> u64 {
        self.dropped_by_queue + self.dropped_by_loss + self.dropped_by_outage
    }
}

/// Why a packet will never arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    /// The queue was full.
    Queue,
    /// Chance, or the policer.
    Loss,
    /// An outage.
    Outage,
}

/// Something that happened to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// When, since the start of the link.
    pub at: Duration,
    /// The packet: the how-manieth that was offered, from 0. A duplicate has the number of its original.
    pub packet: u64,
    /// Its size in bytes.
    pub bytes: usize,
    /// What.
    pub event: LogEvent,
}

/// What happened to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// It joined the queue.
    Queued {
        /// When it will have left the queue, since the start of the link; [`Duration::MAX`] if never.
        departs: Duration,
        /// Bytes in the queue, with this packet.
        queued_bytes: u64,
        /// It was marked Congestion Experienced.
        ce_marked: bool,
    },
    /// It will never arrive.
    Dropped(DropCause),
    /// It was taken from the link.
    Delivered,
}
