//! Our last flight of handshake messages, kept to be sent again (RFC 6347 section 4.2.4).
//!
//! `rtc-dtls` has timers of its own, but stops them when any handshake record arrives, also one that brings it no
//! further; they are not used. A flight is repeated when its timer runs out, or at once when the peer repeats its own.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::wire::{self, RECORD_HEADER_LEN, Record};
use crate::byte_reader::ByteReader;

/// Time to the first repetition; doubles with each. RFC 6347 section 4.2.4.1 allows less than its one second for media.
const FIRST_REPEAT: Duration = Duration::from_millis(250);
/// Longest time between repetitions.
const LONGEST_REPEAT: Duration = Duration::from_secs(2);
/// A flight is not sent again sooner than this, so that a peer's flight of several datagrams is answered once.
const SHORTEST_REPEAT: Duration = Duration::from_millis(20);
/// One flight is sent at most this often, however many requests for it come.
const MAX_REPEATS: u32 = 32;

/// What we sent last, and when to send it again.
#[derive(Default)]
pub(super) struct Flight {
    datagrams: Vec<BytesMut>,
    sent_at: Option<Instant>,
    repeat_at: Option<Instant>,
    interval: Duration,
    repeats: u32,
    /// Next record number of epoch 0. Numbers are given here, since a repeated record needs a new one.
    next_record: u64,
}

impl Flight {
    /// Sends a new flight, which takes the place of the last one. It is repeated by the clock where `timed`; a
    /// HelloVerifyRequest is not (RFC 6347 section 4.2.4), nor is a flight that ends the handshake.
    pub(super) fn launch(
        &mut self,
        now: Instant,
        datagrams: Vec<BytesMut>,
        timed: bool,
        output: &mut VecDeque<BytesMut>,
    ) {
        let is_cookie = datagrams.first().is_some_and(|datagram| is_hello_verify_request(datagram));
        self.datagrams = datagrams;
        self.interval = FIRST_REPEAT;
        self.repeats = 0;
        self.repeat_at = (timed && !is_cookie).then(|| now + FIRST_REPEAT);
        self.send(now, output);
    }

    /// The peer repeats its flight: it waits for ours.
    pub(super) fn repeat(&mut self, now: Instant, output: &mut VecDeque<BytesMut>) {
        let too_soon = self.sent_at.is_some_and(|sent_at| now < sent_at + SHORTEST_REPEAT);
        if !too_soon && self.repeats < MAX_REPEATS {
            self.repeats += 1;
            self.send(now, output);
        }
    }

    /// Sends the flight again if its time has come.
    pub(super) fn handle_timeout(&mut self, now: Instant, output: &mut VecDeque<BytesMut>) {
        if self.repeat_at.is_none_or(|at| now < at) {
            return;
        }
        self.interval = (self.interval * 2).min(LONGEST_REPEAT);
        self.repeat_at = (self.repeats < MAX_REPEATS).then(|| now + self.interval);
        self.repeat(now, output);
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.repeat_at
    }

    /// Stops the clock. The flight stays, to be repeated on demand.
    pub(super) fn stop_timer(&mut self) {
        self.repeat_at = None;
    }

    /// Forgets the flight: the peer has it.
    pub(super) fn forget(&mut self) {
        self.datagrams.clear();
        self.stop_timer();
    }

    /// Sends a datagram that is not part of a flight.
    pub(super) fn pass(&mut self, mut datagram: BytesMut, output: &mut VecDeque<BytesMut>) {
        number_records(&mut datagram, &mut self.next_record);
        output.push_back(datagram);
    }

    fn send(&mut self, now: Instant, output: &mut VecDeque<BytesMut>) {
        self.sent_at = Some(now);
        for datagram in &mut self.datagrams {
            number_records(datagram, &mut self.next_record);
            output.push_back(datagram.clone());
        }
    }
}

/// Gives fresh numbers to the records of epoch 0. Those of epoch 1 keep theirs, which their encryption covers.
fn number_records(datagram: &mut BytesMut, next: &mut u64) {
    let mut start = 0;
    while let Some(record) = datagram.get(start..).and_then(|rest| Record::read(&mut ByteReader::new(rest))) {
        let (epoch, len) = (record.epoch, record.raw.len());
        if epoch == 0
            && let Some(number) = datagram.get_mut(start + 3..start + 11)
        {
            // The upper 16 of the 64 bits are the epoch.
            number.copy_from_slice(&next.to_be_bytes());
            *next += 1;
        }
        start += len;
    }
}

fn is_hello_verify_request(datagram: &[u8]) -> bool {
    datagram.first() == Some(&wire::HANDSHAKE) && datagram.get(RECORD_HEADER_LEN) == Some(&wire::HELLO_VERIFY_REQUEST)
}
