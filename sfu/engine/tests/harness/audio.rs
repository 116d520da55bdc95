//! A microphone, and what hears it.

use super::rtp::{self, Extensions, Head};
use super::sdp::{OPUS, RED};
use rtc::rtp::Packet;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub const PACKET_INTERVAL: Duration = Duration::from_millis(20);
const TICKS: u32 = 960;
const PAYLOAD: usize = 80;

/// A microphone on one section.
pub struct Microphone {
    pub number: u32,
    pub mid: String,
    pub ssrc: u32,
    /// Level in -dBov: 0 is loudest, 127 silence.
    pub level: u8,
    pub muted: bool,
    /// Every packet repeats the one before (RFC 2198).
    pub redundant: bool,
    before: Vec<u8>,
    pub acknowledged: bool,
    pub sent: u32,
    /// When the first packet was sent.
    pub started: Option<Instant>,
    next: Instant,
    seq: u16,
    timestamp: u32,
}

impl Microphone {
    pub fn new(now: Instant, seed: u32, mid: &str) -> Microphone {
        Microphone {
            number: seed,
            mid: mid.into(),
            ssrc: seed.wrapping_mul(0x85EB_CA6B) | 1,
            level: 30,
            muted: false,
            redundant: false,
            before: Vec::new(),
            acknowledged: false,
            sent: 0,
            started: None,
            next: now,
            seq: 65_450,
            timestamp: seed.rotate_left(20),
        }
    }

    pub fn poll_timeout(&self) -> Instant {
        self.next
    }

    pub fn handle_timeout(&mut self, now: Instant, transport_seq: &mut u16, out: &mut Vec<Vec<u8>>) {
        if self.started.is_none() {
            self.started = Some(now);
            self.next = now;
        }
        while self.next <= now {
            self.next += PACKET_INTERVAL;
            self.timestamp = self.timestamp.wrapping_add(TICKS);
            if self.muted {
                continue;
            }
            self.sent += 1;
            let mut payload = self.number.to_be_bytes().to_vec();
            payload.extend(self.sent.to_be_bytes());
            payload.resize(PAYLOAD, self.sent as u8);
            let alone = std::mem::replace(&mut self.before, payload.clone());
            let payload_type = if self.redundant { RED } else { OPUS };
            if self.redundant {
                let offset_and_length = (TICKS << 10 | alone.len() as u32).to_be_bytes();
                let older = [0x80 | OPUS, offset_and_length[1], offset_and_length[2], offset_and_length[3]];
                let headers = if alone.is_empty() { &[][..] } else { &older };
                payload = [headers, &[OPUS], &alone, &payload].concat();
            }
            let head = Head { payload_type, ssrc: self.ssrc, seq: self.seq, timestamp: self.timestamp, marker: false };
            let mid = (!self.acknowledged).then_some(self.mid.as_str());
            let extensions = Extensions { audio_level: Some(self.level), mid, ..Extensions::default() };
            out.push(rtp::write(&head, &extensions, *transport_seq, &payload));
            *transport_seq = transport_seq.wrapping_add(1);
            self.seq = self.seq.wrapping_add(1);
        }
    }

    /// Source, timestamp now, packets, octets.
    pub fn source(&self, now: Instant) -> Option<(u32, u32, u32, u32)> {
        let since = now.saturating_duration_since(self.next - PACKET_INTERVAL);
        let ticks = (since.as_micros() * 48 / 1000) as u32;
        let timestamp = self.timestamp.wrapping_add(ticks);
        (self.sent > 0).then_some((self.ssrc, timestamp, self.sent, self.sent * PAYLOAD as u32))
    }
}

/// Microphone and packet number of a payload.
fn read(payload: &[u8]) -> (u32, u32) {
    let u32_at = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
    let (microphone, number) = (u32_at(0), u32_at(4));
    assert!(
        payload.len() == PAYLOAD && payload[8..].iter().all(|byte| *byte == number as u8),
        "the payload was damaged"
    );
    (microphone, number)
}

/// What arrived on an audio slot.
#[derive(Default)]
pub struct AudioReceiver {
    /// Microphone, the microphone's packet number, timestamp: by unwrapped sequence number.
    heard: BTreeMap<u64, (u32, u32, u32)>,
    highest: Option<u64>,
    /// Microphone and packet number, by timestamp, of what later packets repeated.
    repeated: BTreeMap<u32, (u32, u32)>,
    /// Sequence numbers of packets that repeated others.
    redundant: BTreeSet<u64>,
}

impl AudioReceiver {
    pub fn handle_packet(&mut self, packet: &Packet) -> u64 {
        let seq = rtp::unwrap(self.highest, packet.header.sequence_number);
        self.highest = self.highest.max(Some(seq));
        if !packet.payload.is_empty() {
            let mut payload = &packet.payload[..];
            if packet.header.payload_type == RED {
                let mut older = Vec::new();
                while let [first, a, b, c, rest @ ..] = payload
                    && first & 0x80 != 0
                {
                    assert_eq!(first & 0x7F, OPUS);
                    let both = u32::from_be_bytes([0, *a, *b, *c]);
                    older.push((both >> 10, (both & 0x3FF) as usize));
                    payload = rest;
                }
                assert!(!older.is_empty(), "without any older block it would come as it is");
                assert_eq!(payload[0], OPUS);
                payload = &payload[1..];
                for (offset, length) in older {
                    let (block, rest) = payload.split_at(length);
                    let repeated = self.repeated.insert(packet.header.timestamp.wrapping_sub(offset), read(block));
                    assert!(repeated.is_none_or(|before| before == read(block)), "two sounds at one time");
                    self.redundant.insert(seq);
                    payload = rest;
                }
            } else {
                assert_eq!(packet.header.payload_type, OPUS);
            }
            let (microphone, number) = read(payload);
            let heard = (microphone, number, packet.header.timestamp);
            let before = self.heard.insert(seq, heard);
            assert!(before.is_none_or(|before| before == heard), "two packets under one number");
        }
        seq
    }

    /// Packets that repeated others.
    pub fn redundant(&self) -> usize {
        self.redundant.len()
    }

    /// Packets of which only a repetition was heard.
    pub fn recovered(&self) -> usize {
        let heard: BTreeSet<u32> = self.heard.values().map(|(.., timestamp)| *timestamp).collect();
        self.repeated.keys().filter(|timestamp| !heard.contains(timestamp)).count()
    }

    /// Packets of a microphone that were heard.
    pub fn heard(&self, microphone: u32) -> usize {
        self.heard.values().filter(|(m, ..)| *m == microphone).count()
    }

    /// A microphone's newest packet that was heard, with its timestamp.
    pub fn newest(&self, microphone: u32) -> Option<(u32, u32)> {
        self.heard.values().rev().find(|(m, ..)| *m == microphone).map(|(_, number, timestamp)| (*number, *timestamp))
    }

    /// All packets that were heard.
    pub fn count(&self) -> usize {
        self.heard.len()
    }

    /// Panics unless numbers and timestamps run as those of one undisturbed source.
    pub fn check(&self) {
        let pairs = self.heard.iter().zip(self.heard.iter().skip(1));
        for ((seq, before), (next_seq, after)) in pairs {
            let step = after.2.wrapping_sub(before.2) as i32;
            assert!(step > 0, "timestamps run forward: {before:?} {after:?}");
            if before.0 == after.0 && after.1 == before.1 + 1 {
                assert_eq!(*next_seq, seq + 1, "packets in a row have numbers in a row");
                assert_eq!(step, TICKS as i32);
            }
        }
        let mut before = None;
        for (seq, (microphone, ..)) in &self.heard {
            let begins = before.replace(*microphone) != Some(*microphone);
            assert!(!begins || !self.redundant.contains(seq), "{seq} repeats what was not sent here");
        }
        // A repetition is of what was sent then, or would have been.
        for (microphone, number, timestamp) in self.heard.values() {
            if let Some(repeated) = self.repeated.get(timestamp) {
                assert_eq!(repeated, &(*microphone, *number), "another sound is repeated than was sent");
            }
        }
        for (timestamp, (microphone, number)) in &self.repeated {
            let first = self.heard.values().find(|(_, _, at)| (timestamp.wrapping_sub(*at) as i32) < 0).unwrap();
            let (next, back) = ((first.0, first.1, first.2.wrapping_sub(*timestamp)), first.1 - number);
            assert_eq!(next, (*microphone, number + back, back * TICKS), "it is one before the packet that repeats it");
            assert!((1..=2).contains(&back), "{back} back");
        }
    }
}
