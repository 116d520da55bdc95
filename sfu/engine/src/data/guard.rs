//! What may reach `rtc-sctp`. The peer is authenticated but not trusted, and the crate believes it: it steps through a
//! FORWARD TSN's numbers one by one, opens any stream, keeps fragments without end, and restarts nothing that an INIT
//! finds open.
//!
//! A packet (RFC 9260 section 3) passes whole or not at all; for the sender a refused one is lost. The window of TSNs,
//! and what the crate holds unread, are known from the SACKs that it sends.

use std::collections::VecDeque;

/// Longest packet that is read, in bytes. Stacks of WebRTC send some 1200.
const MAX_PACKET: usize = 2048;
/// Streams that there may be. Browsers number them from 0 or 1 in steps of two.
pub(super) const MAX_STREAMS: u16 = 32;
/// How far beyond the cumulative acknowledgement TSNs may lie.
const TSN_WINDOW: u32 = 2048;
/// Receive window that we announce.
pub(super) const RECEIVE_BUFFER: u32 = 256 * 1024;
/// Unread bytes and chunks at which the association has to end: a peer that keeps to the window that it is told never
/// gets there.
const MAX_HELD_BYTES: usize = 2 * RECEIVE_BUFFER as usize;
const MAX_HELD_CHUNKS: usize = 16 * 1024;
/// Requests to reset streams over an association's life.
const MAX_RESETS: u32 = 64;
/// INITs with a new tag that may replace an association that is not established.
const MAX_INITS: u32 = 8;

/// Chunk types.
mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const INIT: u8 = 1;
    pub(super) const SACK: u8 = 3;
    pub(super) const HEARTBEAT: u8 = 4;
    pub(super) const ABORT: u8 = 6;
    pub(super) const SHUTDOWN: u8 = 7;
    pub(super) const SHUTDOWN_ACK: u8 = 8;
    pub(super) const ERROR: u8 = 9;
    pub(super) const COOKIE_ECHO: u8 = 10;
    pub(super) const SHUTDOWN_COMPLETE: u8 = 14;
    /// RFC 6525.
    pub(super) const RE_CONFIG: u8 = 130;
    /// RFC 3758.
    pub(super) const FORWARD_TSN: u8 = 192;
}

/// Outgoing SSN reset request (RFC 6525 section 4.1).
const RESET_REQUEST: u16 = 13;
/// Re-configuration response (RFC 6525 section 4.4).
const RESET_RESPONSE: u16 = 16;

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Give it to the association.
    Pass,
    /// Begin an association with it.
    Begin,
    /// The INIT that the association began with, again: the answer was lost.
    AnswerAgain,
    /// Drop it.
    Refuse,
    /// Drop it and abort the association.
    Abort,
}

/// The state of one association as far as it is judged by.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Initiate tag and first TSN of the INIT that it began with.
    init: Option<(u32, u32)>,
    inits: u32,
    established: bool,
    resets: u32,
    /// Everything up to this TSN has been acknowledged.
    acknowledged: u32,
    /// Which TSNs after that one have come.
    seen: VecDeque<bool>,
    held_bytes: usize,
    held_chunks: usize,
}

impl Guard {
    /// Judges a packet from the peer.
    pub(super) fn admit(&mut self, packet: &[u8]) -> Verdict {
        if packet.len() > MAX_PACKET {
            return Verdict::Refuse;
        }
        let Some(chunks) = chunks(packet) else { return Verdict::Refuse };
        if let Some((_, body)) = chunks.iter().find(|(kind, _)| *kind == kind::INIT) {
            return if chunks.len() == 1 { self.admit_init(body) } else { Verdict::Refuse };
        }
        if self.init.is_none() || !chunks.iter().all(|(kind, body)| self.allows(*kind, body)) {
            return Verdict::Refuse;
        }
        for (kind, body) in chunks {
            match kind {
                kind::DATA => self.note_data(body),
                kind::RE_CONFIG => self.resets += 1,
                kind::COOKIE_ECHO => self.established = true,
                _ => {}
            }
        }
        if self.held_bytes > MAX_HELD_BYTES || self.held_chunks > MAX_HELD_CHUNKS {
            Verdict::Abort
        } else {
            Verdict::Pass
        }
    }

    /// Looks at a packet that we send: its SACK says how far the association has come.
    pub(super) fn note_sent(&mut self, packet: &[u8]) {
        for (_, body) in chunks(packet).into_iter().flatten().filter(|(kind, _)| *kind == kind::SACK) {
            let (Some(cumulative), Some(window)) = (long(body, 0), long(body, 4)) else { continue };
            while self.acknowledged != cumulative && is_after(cumulative, self.acknowledged) {
                self.acknowledged = self.acknowledged.wrapping_add(1);
                self.seen.pop_front();
            }
            if window > 0 {
                self.held_bytes = RECEIVE_BUFFER.saturating_sub(window) as usize;
                self.held_chunks = self.held_chunks.min(self.held_bytes);
            }
        }
    }

    /// A message was read.
    pub(super) fn note_read(&mut self, bytes: usize, chunks: usize) {
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
        self.held_chunks = self.held_chunks.saturating_sub(chunks);
    }

    /// RFC 9260 section 5.2: an INIT may come again, and one with another tag means that the peer began anew.
    fn admit_init(&mut self, body: &[u8]) -> Verdict {
        let (Some(tag), Some(tsn)) = (long(body, 0).filter(|tag| *tag != 0), long(body, 12)) else {
            return Verdict::Refuse;
        };
        if self.init == Some((tag, tsn)) {
            return if self.established { Verdict::Refuse } else { Verdict::AnswerAgain };
        }
        if self.established || self.inits >= MAX_INITS {
            return Verdict::Refuse;
        }
        *self = Guard {
            init: Some((tag, tsn)),
            inits: self.inits + 1,
            acknowledged: tsn.wrapping_sub(1),
            ..Guard::default()
        };
        Verdict::Begin
    }

    fn allows(&self, kind: u8, body: &[u8]) -> bool {
        match kind {
            kind::DATA => {
                let stream = short(body, 4);
                // An empty one breaks the protocol (section 3.3.1).
                body.len() > 12 && stream.is_some_and(|id| id < MAX_STREAMS) && self.in_window(long(body, 0))
            }
            kind::FORWARD_TSN => body.len() >= 4 && self.in_window(long(body, 0)),
            kind::SACK => is_orderly_sack(body),
            kind::RE_CONFIG => self.resets < MAX_RESETS && self.allows_reset(body),
            kind::HEARTBEAT
            | kind::ABORT
            | kind::SHUTDOWN
            | kind::SHUTDOWN_ACK
            | kind::ERROR
            | kind::COOKIE_ECHO
            | kind::SHUTDOWN_COMPLETE => true,
            _ => false,
        }
    }

    /// One parameter, or a response and a request (RFC 6525 section 3.1).
    fn allows_reset(&self, body: &[u8]) -> bool {
        let mut rest = body;
        while !rest.is_empty() {
            let (Some(kind), Some(length)) = (short(rest, 0), short(rest, 2)) else { return false };
            let allowed = match kind {
                RESET_REQUEST => length >= 16 && self.in_window(long(rest, 12)),
                RESET_RESPONSE => length >= 12,
                _ => false,
            };
            if !allowed || rest.len() < usize::from(length) {
                return false;
            }
            rest = rest.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
        }
        true
    }

    /// Whether a TSN has been acknowledged or may come.
    fn in_window(&self, tsn: Option<u32>) -> bool {
        tsn.is_some_and(|tsn| {
            let ahead = tsn.wrapping_sub(self.acknowledged);
            ahead <= TSN_WINDOW || !is_after(tsn, self.acknowledged)
        })
    }

    fn note_data(&mut self, body: &[u8]) {
        let Some(tsn) = long(body, 0).filter(|tsn| is_after(*tsn, self.acknowledged)) else { return };
        let place = tsn.wrapping_sub(self.acknowledged) as usize - 1;
        if self.seen.len() <= place {
            self.seen.resize(place + 1, false);
        }
        if let Some(seen) = self.seen.get_mut(place)
            && !std::mem::replace(seen, true)
        {
            self.held_bytes += body.len() - 12;
            self.held_chunks += 1;
        }
    }
}

/// Gap blocks in ascending order, apart from each other: so going through them costs no more than what is in flight.
fn is_orderly_sack(body: &[u8]) -> bool {
    let (Some(gaps), Some(duplicates)) = (short(body, 8), short(body, 10)) else { return false };
    let gaps_end = 12 + 4 * usize::from(gaps);
    if body.len() < gaps_end + 4 * usize::from(duplicates) {
        return false;
    }
    let mut last = 0;
    (12..gaps_end).step_by(4).all(|at| match (short(body, at), short(body, at + 2)) {
        (Some(start), Some(end)) => start > std::mem::replace(&mut last, end) && end >= start,
        _ => false,
    })
}

/// Type and value of every chunk; `None` where the packet does not hold together.
fn chunks(packet: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut rest = packet.get(12..)?;
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let length = usize::from(short(rest, 2)?);
        chunks.push((*rest.first()?, rest.get(4..length)?));
        // The last chunk's padding may be missing.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    (!chunks.is_empty()).then_some(chunks)
}

/// Serial number arithmetic (RFC 1982).
fn is_after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
