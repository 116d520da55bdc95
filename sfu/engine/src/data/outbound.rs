//! What waits for one receiver. Bounded in bytes: a reader that is too slow loses messages, and nobody else notices.

use super::Lane;
use super::frame::{Framed, lost_notice};
use bytes::Bytes;
use std::collections::VecDeque;

/// Bytes that may wait on the reliable lane. Beyond it new messages are dropped, and the receiver is told how many.
const RELIABLE_BYTES: usize = 1024 * 1024;
/// Bytes that may wait on the lossy lane. Beyond it the oldest message is dropped.
const LOSSY_BYTES: usize = 64 * 1024;
/// What a message costs beside its bytes, so that tiny ones are not free.
const OVERHEAD: usize = 128;

/// The queues of both lanes.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    reliable: Queue,
    lossy: Queue,
    /// Reliable messages dropped since the receiver was last told.
    lost: u32,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Framed>,
    bytes: usize,
    /// Frames of the first message that have been taken.
    taken: usize,
}

impl Outbound {
    /// Queues a message; returns how many messages were dropped for it or instead of it.
    pub(super) fn push(&mut self, message: Framed) -> u64 {
        let cost = message.size + OVERHEAD;
        match message.lane {
            Lane::Reliable if self.reliable.bytes + cost > RELIABLE_BYTES => {
                self.lost = self.lost.saturating_add(1);
                1
            }
            Lane::Reliable => {
                self.mark_loss();
                self.reliable.push(message);
                0
            }
            Lane::Lossy => {
                let mut dropped = 0;
                while !self.lossy.messages.is_empty() && self.lossy.bytes + cost > LOSSY_BYTES {
                    self.lossy.pop();
                    dropped += 1;
                }
                self.lossy.push(message);
                dropped
            }
        }
    }

    /// The next frame of a lane.
    pub(super) fn poll_frame(&mut self, lane: Lane) -> Option<Bytes> {
        let queue = match lane {
            Lane::Reliable => {
                if self.reliable.messages.is_empty() {
                    self.mark_loss();
                }
                &mut self.reliable
            }
            Lane::Lossy => &mut self.lossy,
        };
        let message = queue.messages.front()?;
        let frame = message.frames.get(queue.taken).cloned();
        queue.taken += 1;
        if queue.taken >= message.frames.len() {
            queue.pop();
        }
        frame
    }

    /// Bytes that wait, with what they cost beside.
    pub(super) fn bytes(&self) -> usize {
        self.reliable.bytes + self.lossy.bytes
    }

    /// Puts a notice where messages are missing.
    fn mark_loss(&mut self) {
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            let notice = lost_notice(lost);
            let size = notice.len();
            self.reliable.push(Framed { lane: Lane::Reliable, frames: [notice].into(), size, payload: 0 });
        }
    }
}

impl Queue {
    fn push(&mut self, message: Framed) {
        self.bytes += message.size + OVERHEAD;
        self.messages.push_back(message);
    }

    fn pop(&mut self) {
        if let Some(message) = self.messages.pop_front() {
            self.bytes -= message.size + OVERHEAD;
        }
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::super::{DataMessage, Recipients};
    use super::*;

    fn message(lane: Lane, number: u32, size: usize) -> Framed {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(size, 0);
        Framed::new(&DataMessage {
            from: None,
            to: Recipients::Everybody,
            lane,
            is_text: false,
            topic: String::new(),
            payload: payload.into(),
        })
    }

    /// Numbers of the messages in a lane; notices of loss count from a million.
    fn drain(outbound: &mut Outbound, lane: Lane) -> Vec<u32> {
        let mut numbers = Vec::new();
        while let Some(frame) = outbound.poll_frame(lane) {
            let at = if frame[0] == 0x80 { 1 } else { 3 };
            let number = u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
            numbers.push(if at == 1 { 1_000_000 + number } else { number });
        }
        numbers
    }

    #[test]
    fn a_full_reliable_lane_refuses_what_comes_and_tells_where_it_is_missing() {
        let mut outbound = Outbound::default();
        let dropped: u64 = (0..1200).map(|number| outbound.push(message(Lane::Reliable, number, 1000))).sum();
        assert!(dropped > 200 && outbound.bytes() <= RELIABLE_BYTES, "{dropped} dropped, {} held", outbound.bytes());
        let held = 1200 - dropped as u32;
        for number in 0..10 {
            outbound.poll_frame(Lane::Reliable).unwrap();
            assert_eq!(outbound.push(message(Lane::Reliable, 5000 + number, 500)), 0, "there is room again");
        }
        let mut expected: Vec<u32> = (10..held).collect();
        expected.push(1_000_000 + dropped as u32);
        expected.extend(5000..5010);
        assert_eq!(drain(&mut outbound, Lane::Reliable), expected);
        assert_eq!(outbound.bytes(), 0);
    }

    #[test]
    fn loss_is_told_though_nothing_follows() {
        let mut outbound = Outbound::default();
        let dropped: u64 = (0..5).map(|number| outbound.push(message(Lane::Reliable, number, 256 * 1024))).sum();
        let mut last = Bytes::new();
        while let Some(frame) = outbound.poll_frame(Lane::Reliable) {
            last = frame;
        }
        assert_eq!((dropped, last), (2, lost_notice(2)));
    }

    #[test]
    fn a_full_lossy_lane_drops_the_oldest() {
        let mut outbound = Outbound::default();
        let dropped: u64 = (0..100).map(|number| outbound.push(message(Lane::Lossy, number, 1000))).sum();
        assert!(outbound.bytes() <= LOSSY_BYTES);
        assert_eq!(drain(&mut outbound, Lane::Lossy), (dropped as u32..100).collect::<Vec<_>>());
        assert!(dropped > 30);
    }
}
