//! Competing traffic: models of TCP, of browsing, and of a constant stream, on the links of the scenario.
//!
//! Data takes the path; acknowledgements come back after the path's delay without a queue of their own.

mod tcp;

use crate::scenario::{Flow, FlowKind};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tcp::Connection;

/// Bytes of a full packet with IP and TCP or UDP headers.
pub const FULL_PACKET: usize = 1500;

/// Acknowledgements take this long at least.
const LEAST_DELAY: Duration = Duration::from_millis(1);

/// A packet of competing traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which connection of its flow.
    pub connection: usize,
    /// Counts the connection's packets.
    pub number: u64,
    /// Size on the wire.
    pub bytes: usize,
}

/// One entry of the scenario's competing traffic.
pub struct Traffic {
    kind: FlowKind,
    to: Instant,
    rng: ChaCha12Rng,
    connections: Vec<Connection>,
    /// Per connection: when it next begins to fetch.
    begins: Vec<Option<Instant>>,
    /// When the next packet of a constant stream is due.
    next_packet: Option<Instant>,
    outgoing: VecDeque<Segment>,
    /// Acknowledgements on their way back, in order of arrival.
    acks: VecDeque<(Instant, Segment)>,
}

impl Traffic {
    /// Traffic that begins and ends when the scenario says.
    pub fn new(flow: &Flow, start: Instant, duration_s: f64, seed: u64) -> Traffic {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let at = |second: f64| start + Duration::from_secs_f64(second);
        let (from, to) = (at(flow.from_s), at(flow.to_s.unwrap_or(duration_s)));
        let begins: Vec<Option<Instant>> = match &flow.kind {
            FlowKind::Tcp => vec![Some(from)],
            FlowKind::Web { flows, gap_s, .. } => {
                (0..*flows).map(|_| Some(from + Duration::from_secs_f64(rng.random::<f64>() * gap_s))).collect()
            }
            FlowKind::Udp { .. } => Vec::new(),
        };
        Traffic {
            kind: flow.kind.clone(),
            to,
            rng,
            connections: begins.iter().map(|_| Connection::idle()).collect(),
            begins,
            next_packet: matches!(flow.kind, FlowKind::Udp { .. }).then_some(from),
            outgoing: VecDeque::new(),
            acks: VecDeque::new(),
        }
    }

    /// A packet arrived at the other end; its acknowledgement takes `delay` to come back.
    pub fn handle_segment(&mut self, now: Instant, segment: Segment, delay: Duration) {
        if !matches!(self.kind, FlowKind::Udp { .. }) {
            // They do not overtake each other when the delay shrinks.
            let earliest = self.acks.back().map_or(now, |(last, _)| *last);
            self.acks.push_back(((now + delay.max(LEAST_DELAY)).max(earliest), segment));
        }
    }

    /// The next packet to send.
    pub fn poll_segment(&mut self, now: Instant) -> Option<Segment> {
        if let Some(segment) = self.outgoing.pop_front() {
            return Some(segment);
        }
        let sending = now < self.to;
        self.connections.iter_mut().enumerate().filter(|_| sending).find_map(|(connection, tcp)| {
            let (number, bytes) = tcp.poll_packet(now)?;
            Some(Segment { connection, number, bytes })
        })
    }

    /// When [`Traffic::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ack = self.acks.front().map(|(at, _)| *at);
        let timers = self.connections.iter().filter_map(Connection::poll_timeout);
        let begins = self.begins.iter().flatten().copied();
        ack.into_iter().chain(self.next_packet).chain(timers).chain(begins).min()
    }

    /// Takes acknowledgements and timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, segment)) = self.acks.front().copied().filter(|(at, _)| *at <= now) {
            self.acks.pop_front();
            if self.connections[segment.connection].handle_ack(now, segment.number) {
                self.finish(now, segment.connection);
            }
        }
        for index in 0..self.connections.len() {
            if self.begins[index].is_some_and(|at| at <= now) {
                self.begins[index] = None;
                self.connections[index] = Connection::begin(self.amount());
            }
            self.connections[index].handle_timeout(now);
        }
        while let FlowKind::Udp { rate } = self.kind
            && let Some(at) = self.next_packet.filter(|at| *at <= now)
        {
            let gap = Duration::from_secs_f64(FULL_PACKET as f64 * 8.0 / rate.finite().max(1) as f64);
            self.next_packet = Some(at + gap).filter(|next| *next < self.to);
            self.outgoing.push_back(Segment { connection: 0, number: 0, bytes: FULL_PACKET });
        }
    }

    /// A fetch is complete: the next follows after a pause.
    fn finish(&mut self, now: Instant, connection: usize) {
        self.connections[connection] = Connection::idle();
        if let FlowKind::Web { gap_s, .. } = self.kind {
            // Times between requests of one user are about exponential.
            let gap = -(1.0 - self.rng.random::<f64>()).ln() * gap_s;
            self.begins[connection] = Some(now + Duration::from_secs_f64(gap)).filter(|at| *at < self.to);
        }
    }

    /// Packets of the next fetch; `None` without end.
    fn amount(&mut self) -> Option<u64> {
        let FlowKind::Web { size: (least, most), .. } = &self.kind else { return None };
        let bytes = self.rng.random_range(least.0..=most.0.max(least.0));
        Some(bytes.div_ceil(FULL_PACKET as u64).max(1))
    }
}
