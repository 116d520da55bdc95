//! What a receiver reports about the packets it was sent, free of any wire format, so that transport-wide feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01) and RFC 8888 feed the same estimator.

use std::num::NonZeroU8;
use std::time::Duration;

/// A time on our clock in microseconds since the estimator began. Feedback is full of differences of times, which cost
/// a few instructions each on plain numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OurTime(pub(super) i64);

impl OurTime {
    /// `self - earlier` in microseconds.
    pub(super) fn us_since(self, earlier: OurTime) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `self - earlier`, where it is later.
    pub(super) fn saturating_since(self, earlier: OurTime) -> Duration {
        Duration::from_micros(u64::try_from(self.us_since(earlier)).unwrap_or(0))
    }

    /// So much later.
    pub(super) fn plus(self, time: Duration) -> OurTime {
        OurTime(self.0.saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// A time on the receiver's clock in microseconds. Its zero is unknown: only differences mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReceiverTime(pub i64);

impl ReceiverTime {
    /// `self - earlier` in milliseconds.
    pub(super) fn ms_since(self, earlier: ReceiverTime) -> f64 {
        self.us_since(earlier) as f64 / 1e3
    }

    /// `self - earlier` in microseconds.
    pub(super) fn us_since(self, earlier: ReceiverTime) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The fate of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketReport {
    /// Transport-wide sequence number of the packet.
    pub transport_seq: u16,
    /// When it arrived; `None` where the receiver has not got it (yet).
    pub arrival: Option<ReceiverTime>,
}

/// One feedback message: reports in the order of their sequence numbers.
#[derive(Clone, Copy, Debug)]
pub struct Feedback<'a> {
    /// At most [`MAX_REPORTS`] of them are looked at.
    pub reports: &'a [PacketReport],
}

/// A message may claim 65,535 packets in a few bytes; more than this is never outstanding.
pub const MAX_REPORTS: usize = super::history::MAX_PACKETS;

/// Names a probe cluster, so that its packets are recognised in the feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProbeId(pub u32);

/// A packet as it leaves for the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentPacket {
    /// The transport-wide sequence number written into it; consecutive from packet to packet.
    pub transport_seq: u16,
    /// Size on the wire, including UDP and IP headers.
    pub bytes: usize,
    /// The probe that it was part of.
    pub probe: Option<ProbeId>,
    /// It is padding or something sent again, on this source.
    pub repair: Option<RepairSource>,
}

/// Names a source of retransmissions: each slot has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairSource(NonZeroU8);

impl RepairSource {
    /// That of a slot. Those of the 255th and all that follow are taken for one.
    pub fn of(slot: usize) -> RepairSource {
        let index = u8::try_from(slot).unwrap_or(u8::MAX);
        RepairSource(NonZeroU8::MIN.saturating_add(index))
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0.get() - 1)
    }
}

/// A sent packet that the receiver has plausibly acknowledged for the first time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acked {
    pub(super) sent: OurTime,
    pub(super) arrival: ReceiverTime,
    pub(super) bytes: usize,
}
