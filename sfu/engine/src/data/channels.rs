//! One participant's data channels: its association, what it may send, and what waits for it.

use super::Lane;
use super::association::{Association, Inbound};
use super::frame::{Assembler, Framed, Incoming, Malformed, read_lossy};
use super::outbound::Outbound;
use crate::bucket::Bucket;
use crate::drops::DropReason;
use crate::units::Bitrate;
use bytes::Bytes;
use std::time::Instant;

/// What a frame costs its sender beside its bytes, so that tiny ones are not free.
const FRAME_COST: usize = 64;
/// Unacknowledged bytes of a lane at which nothing more is given to SCTP. What waits in the queue can still be dropped,
/// and short messages of the other lane do not wait behind it.
const RELIABLE_AHEAD: usize = 64 * 1024;
const LOSSY_AHEAD: usize = 16 * 1024;

/// One participant's data channels.
pub struct DataChannels {
    rate: Bitrate,
    may_send: bool,
    /// The present peer connection has a section for them.
    negotiated: bool,
    association: Association,
    assembler: Assembler,
    bucket: Bucket,
    outbound: Outbound,
    counts: DataCounts,
}

/// What happened since the counts were taken last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataCounts {
    /// Frames that the format does not allow.
    pub malformed: u64,
    /// Messages of a participant that may not send.
    pub not_allowed: u64,
    /// Lossy messages above the sender's rate.
    pub over_rate: u64,
    /// Messages that did not fit into the receiver's queue.
    pub overflows: u64,
    /// Messages and payload bytes queued for the receiver.
    pub sent: u64,
    /// Payload bytes of those.
    pub sent_bytes: u64,
}

impl DataChannels {
    /// For a participant that may send `rate` on average, if it may send at all.
    pub fn new(now: Instant, rate: Bitrate, may_send: bool) -> Self {
        DataChannels {
            rate,
            may_send,
            negotiated: false,
            association: Association::default(),
            assembler: Assembler::default(),
            bucket: Bucket::new(now, rate),
            outbound: Outbound::default(),
            counts: DataCounts::default(),
        }
    }

    /// The participant made a new peer connection: whatever was under way is gone. What it has sent still counts.
    pub fn start_over(&mut self, now: Instant) {
        let fresh = DataChannels::new(now, self.rate, self.may_send);
        let bucket = std::mem::replace(&mut self.bucket, fresh.bucket);
        *self = DataChannels { bucket, counts: self.counts, ..fresh };
    }

    /// An offer had a section for data channels, or has none any more.
    pub fn negotiate(&mut self, accepted: bool) {
        self.negotiated = accepted;
    }

    /// Takes an SCTP packet out of DTLS.
    pub fn handle_packet(&mut self, now: Instant, packet: Bytes) -> Result<(), DropReason> {
        if !self.negotiated {
            return Err(DropReason::SctpRefused);
        }
        self.association.handle_packet(now, packet)
    }

    /// The next message that the participant sent. While it is above its rate, its reliable lane is not read: SCTP's
    /// window then holds it back.
    pub fn poll_message(&mut self, now: Instant) -> Option<(Lane, Incoming)> {
        loop {
            let is_open = self.bucket.is_open(now);
            let (lane, frame) = match self.association.read(now, is_open)? {
                Inbound::Frame(lane, frame) => (lane, frame),
                Inbound::Foreign => {
                    self.counts.malformed += 1;
                    continue;
                }
            };
            if lane == Lane::Lossy && !is_open {
                self.counts.over_rate += 1;
                continue;
            }
            self.bucket.take(frame.len() + FRAME_COST);
            let message = match lane {
                Lane::Reliable => self.assembler.push(&frame),
                Lane::Lossy => read_lossy(&frame).map(Some),
            };
            match message {
                Err(Malformed) => self.counts.malformed += 1,
                Ok(None) => {}
                Ok(Some(_)) if !self.may_send => self.counts.not_allowed += 1,
                Ok(Some(message)) => return Some((lane, message)),
            }
        }
    }

    /// Queues a message for the participant. One whose lane is not open gets nothing: it is not connected, or does not
    /// want data.
    pub fn send(&mut self, message: &Framed) {
        if self.association.is_open(message.lane) {
            self.counts.sent += 1;
            self.counts.sent_bytes += message.payload as u64;
            self.counts.overflows += self.outbound.push(message.clone());
        }
    }

    /// The next SCTP packet for DTLS.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Bytes> {
        self.fill(now, Lane::Lossy, LOSSY_AHEAD);
        self.fill(now, Lane::Reliable, RELIABLE_AHEAD);
        self.association.poll_packet(now)
    }

    /// When [`DataChannels::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.association.poll_timeout(), self.bucket.opens_at()].into_iter().flatten().min()
    }

    /// SCTP's timers. Messages may be read again afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.association.handle_timeout(now);
    }

    /// Bytes that wait for the participant.
    pub fn queued_bytes(&self) -> usize {
        self.outbound.bytes()
    }

    /// What happened since the last call.
    pub fn take_counts(&mut self) -> DataCounts {
        std::mem::take(&mut self.counts)
    }

    fn fill(&mut self, now: Instant, lane: Lane, ahead: usize) {
        while self.association.is_open(lane) && self.association.buffered(lane) < ahead {
            let Some(frame) = self.outbound.poll_frame(lane) else { return };
            if !self.association.write(now, lane, &frame) {
                return;
            }
        }
    }
}
