//! A packet's way out: participants that have something to send are taken from the queue in rounds (`round`). Each of
//! them sends runs of datagrams to one address.

use super::Engine;
use super::keys::ParticipantKey;
use crate::downlink::pace::Class;
use crate::downlink::run::Run;
use crate::net::{Protocol, Transmit, Tuple};
use crate::progress::JoinPhase;
use crate::snapshot::add;
use std::cmp::Ordering;
use std::time::Instant;

/// Datagrams in one run: the kernel's limit for UDP_SEGMENT is 64 (UDP_MAX_SEGMENTS) and 64 KiB together.
const MAX_RUN: usize = 48;
/// Bytes in one run, below the 65 507 that one UDP send can take.
const MAX_RUN_BYTES: usize = 60_000;

impl Engine {
    /// Appends the next run of datagrams to `buffer`; `None` when nothing is left to send now.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        self.recover(now);
        self.rebind_rooms(now);
        if let Some((tuple, datagram)) = self.farewells.pop_front() {
            return Some(whole(tuple, &datagram, buffer));
        }
        let begin = buffer.len();
        loop {
            let Some(key) = self.round.next() else {
                if self.next_round(now) || self.fan_out_next(now) {
                    continue;
                }
                break;
            };
            match self.isolate(None, |engine| engine.transmit_for(now, key, buffer)) {
                Some(None) => self.sent_for(key),
                Some(transmit) => return transmit,
                None => {
                    buffer.truncate(begin);
                    self.sent_for(key);
                    self.recover(now);
                }
            }
        }
        self.serve_mirrors(now);
        // A participant that is created again after work on the mirrors above has nothing to send yet.
        self.recover(now);
        None
    }

    /// The next run for a participant; `None` where nothing is left to send now.
    fn transmit_for(&mut self, now: Instant, key: ParticipantKey, buffer: &mut Vec<u8>) -> Option<Transmit> {
        self.work_for(key);
        self.transmit_control(key, buffer).or_else(|| self.transmit_media(now, key, buffer))
    }

    /// STUN, DTLS and RTCP go one by one: they are few.
    fn transmit_control(&mut self, key: ParticipantKey, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let (tuple, datagram) = self.participants.get_mut(key)?.transport.as_mut()?.poll_control()?;
        Some(whole(tuple, &datagram, buffer))
    }

    /// A run of RTP packets of one size, the last of which may be shorter.
    fn transmit_media(&mut self, now: Instant, key: ParticipantKey, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let participant = self.participants.get_mut(key)?;
        let transport = participant.transport.as_mut().filter(|t| t.is_ready())?;
        let tuple = transport.selected()?;
        let sent_us = self.config.wall_clock.micros(now);
        let begin = buffer.len();
        let mut run = OpenRun::new(tuple.protocol);
        if !participant.carried.bytes.is_empty() {
            run.push(participant.carried.plain, participant.carried.bytes.len());
            buffer.append(&mut participant.carried.bytes);
        }
        for _ in 0..MAX_RUN {
            let start = buffer.len();
            if start - begin > MAX_RUN_BYTES {
                break;
            }
            let Some(written) = participant.downlink.poll_packet(now, sent_us, run.hint, &self.tracks, buffer) else {
                break;
            };
            let plain = buffer.len() - start;
            if !transport.protect_rtp(buffer, start) {
                buffer.truncate(start);
                continue;
            }
            let length = buffer.len() - start;
            self.counters.run_padding_bytes += written.run_padding as u64;
            match written.class {
                Class::Retransmission => self.counters.retransmissions.sent += 1,
                Class::Padding => self.counters.probe_packets += 1,
                Class::Audio | Class::Video => {
                    add(&mut self.counters.rtp_packets_out, written.kind as usize, 1);
                    add(&mut self.counters.rtp_bytes_out, written.kind as usize, length as u64);
                    self.counters.distributions.note_sent(&written);
                    let progress = &mut participant.progress;
                    self.counters.distributions.note_phase(now, progress, JoinPhase::FirstMedia);
                }
            }
            match run.push(plain, length) {
                Pushed::Joined => {}
                Pushed::Ended => break,
                Pushed::TooLong => {
                    participant.carried.bytes.extend_from_slice(buffer.get(start..).unwrap_or_default());
                    participant.carried.plain = plain;
                    buffer.truncate(start);
                    break;
                }
            }
        }
        let segment_size = run.segment_size;
        (segment_size > 0).then_some(Transmit { tuple, len: buffer.len() - begin, segment_size })
    }
}

/// A run of RTP packets that is being written.
struct OpenRun {
    /// Length of its first packet as it is sent; 0 before there is one.
    segment_size: usize,
    /// What the downlink has to know to write a packet that can join.
    hint: Run,
}

/// What a packet means for the run that it was written for.
enum Pushed {
    /// It begins the run, or is as long as the others: more can follow.
    Joined,
    /// It is shorter than the others, so it is the last one.
    Ended,
    /// It is longer than the others, so it does not belong to the run but begins the next one.
    TooLong,
}

impl OpenRun {
    fn new(protocol: Protocol) -> OpenRun {
        // Only UDP gains by packets of one size: on TCP each packet is a frame.
        OpenRun { segment_size: 0, hint: Run { plain: None, joins: protocol == Protocol::Udp } }
    }

    /// Adds a packet: `plain` is its length before encryption, `length` after it.
    #[inline]
    fn push(&mut self, plain: usize, length: usize) -> Pushed {
        if self.segment_size == 0 {
            self.segment_size = length;
            self.hint.plain = self.hint.joins.then_some(plain);
            return Pushed::Joined;
        }
        match length.cmp(&self.segment_size) {
            Ordering::Less => Pushed::Ended,
            Ordering::Equal => Pushed::Joined,
            Ordering::Greater => Pushed::TooLong,
        }
    }
}

fn whole(tuple: Tuple, datagram: &[u8], buffer: &mut Vec<u8>) -> Transmit {
    buffer.extend_from_slice(datagram);
    Transmit { tuple, len: datagram.len(), segment_size: datagram.len() }
}
