//! A TCP sender with CUBIC (RFC 9438), selective acknowledgement and a retransmission timer (RFC 6298), counted in full
//! packets.

use super::FULL_PACKET;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Packets in flight that the receiver has room for (4 MB, of the order of Linux's largest), and bits per second of the
/// sender's own link.
const RECEIVE_WINDOW: f64 = 4e6 / FULL_PACKET as f64;
const SENDER_RATE: f64 = 1e9;
/// First congestion window (RFC 6928).
const INITIAL_WINDOW: f64 = 10.0;
/// CUBIC's constants.
const C: f64 = 0.4;
const BETA: f64 = 0.7;
/// Later packets that must be acknowledged before one counts as lost.
const REORDERING: u64 = 3;
/// Linux's shortest retransmission timeout, and one for the time before a round trip was measured.
const MIN_RTO: Duration = Duration::from_millis(200);
const FIRST_RTO: Duration = Duration::from_secs(1);

/// One direction of a connection. A lost packet is sent again under a new number: what counts is how much arrives.
#[derive(Debug)]
pub(super) struct Connection {
    /// Packets still to be sent; `None` without end.
    left: Option<u64>,
    active: bool,
    next: u64,
    outstanding: BTreeMap<u64, Instant>,
    window: f64,
    slow_start_above: f64,
    /// Window before the last reduction, and when that was.
    before: f64,
    reduced_at: Option<Instant>,
    /// Losses of packets below this number belong to the last reduction.
    recovery: u64,
    rtt: Option<(Duration, Duration)>,
    min_rtt: Duration,
    rto_at: Option<Instant>,
    backoff: u32,
}

impl Connection {
    /// One that sends nothing.
    pub(super) fn idle() -> Connection {
        Connection {
            left: None,
            active: false,
            next: 0,
            outstanding: BTreeMap::new(),
            window: INITIAL_WINDOW,
            slow_start_above: f64::INFINITY,
            before: 0.0,
            reduced_at: None,
            recovery: 0,
            rtt: None,
            min_rtt: Duration::MAX,
            rto_at: None,
            backoff: 0,
        }
    }

    /// One that sends so many packets, or for ever.
    pub(super) fn begin(packets: Option<u64>) -> Connection {
        Connection { left: packets, active: true, ..Connection::idle() }
    }

    /// The next packet, where the window has room: number and size.
    pub(super) fn poll_packet(&mut self, now: Instant) -> Option<(u64, usize)> {
        let more = self.active && self.left != Some(0);
        let own_link =
            self.rtt.map_or(f64::INFINITY, |(rtt, _)| rtt.as_secs_f64() * SENDER_RATE / 8.0 / FULL_PACKET as f64);
        let window = self.window.min(RECEIVE_WINDOW).min(own_link.max(INITIAL_WINDOW)).floor();
        if !more || self.outstanding.len() as f64 >= window {
            return None;
        }
        self.left = self.left.map(|left| left - 1);
        let number = self.next;
        self.next += 1;
        self.outstanding.insert(number, now);
        if self.rto_at.is_none() {
            self.rto_at = Some(now + self.rto());
        }
        Some((number, FULL_PACKET))
    }

    /// A packet was acknowledged. True once everything has been.
    pub(super) fn handle_ack(&mut self, now: Instant, number: u64) -> bool {
        let Some(sent) = self.outstanding.remove(&number) else { return false };
        self.measure(now.saturating_duration_since(sent));
        self.backoff = 0;
        self.grow(now);
        let lost: Vec<u64> = self.outstanding.range(..number.saturating_sub(REORDERING - 1)).map(|(n, _)| *n).collect();
        for number in lost {
            self.lose(now, number);
        }
        self.rto_at = (!self.outstanding.is_empty()).then(|| now + self.rto());
        self.active && self.left == Some(0) && self.outstanding.is_empty()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.rto_at
    }

    /// Nothing came back for too long: starts over with one packet.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.rto_at.is_none_or(|at| now < at) {
            return;
        }
        let lost = self.outstanding.len() as u64;
        self.outstanding.clear();
        self.left = self.left.map(|left| left + lost);
        self.slow_start_above = (self.window * BETA).max(2.0);
        (self.before, self.window, self.recovery) = (self.window, 1.0, self.next);
        self.reduced_at = None;
        self.backoff = (self.backoff + 1).min(6);
        self.rto_at = None;
    }

    fn lose(&mut self, now: Instant, number: u64) {
        self.outstanding.remove(&number);
        self.left = self.left.map(|left| left + 1);
        if number < self.recovery {
            return;
        }
        self.recovery = self.next;
        // Fast convergence: a window smaller than the last one leaves room to newcomers.
        self.before = if self.window < self.before { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.window = (self.window * BETA).max(2.0);
        self.slow_start_above = self.window;
        self.reduced_at = Some(now);
    }

    fn grow(&mut self, now: Instant) {
        if self.window < self.slow_start_above {
            self.window += 1.0;
            // HyStart: a round trip that grows ends slow start before packets are lost.
            let threshold = (self.min_rtt / 8).clamp(Duration::from_millis(4), Duration::from_millis(16));
            if self.window > 16.0 && self.rtt.is_some_and(|(rtt, _)| rtt > self.min_rtt + threshold) {
                self.slow_start_above = self.window;
            }
            return;
        }
        let since = now.saturating_duration_since(*self.reduced_at.get_or_insert(now)).as_secs_f64();
        let rtt = self.rtt.map_or(0.1, |(rtt, _)| rtt.as_secs_f64());
        let peak = self.before.max(self.window.min(self.before.max(1.0)));
        let k = (peak * (1.0 - BETA) / C).cbrt();
        let cubic = C * (since + rtt - k).powi(3) + peak;
        let reno = peak * BETA + 3.0 * (1.0 - BETA) / (1.0 + BETA) * (since / rtt);
        let target = cubic.max(reno).min(self.window * 1.5);
        self.window += ((target - self.window) / self.window).max(0.01 / self.window);
    }

    fn measure(&mut self, sample: Duration) {
        self.min_rtt = self.min_rtt.min(sample);
        self.rtt = Some(match self.rtt {
            None => (sample, sample / 2),
            Some((rtt, var)) => ((rtt * 7 + sample) / 8, (var * 3 + rtt.abs_diff(sample)) / 4),
        });
    }

    fn rto(&self) -> Duration {
        let base = self.rtt.map_or(FIRST_RTO, |(rtt, var)| (rtt + var * 4).max(MIN_RTO));
        base * 2u32.pow(self.backoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netem::{Link, LinkConfig, QueueLimit, Rate, Schedule};

    /// Share of a link's capacity that one connection takes in a minute.
    fn utilisation(loss: f64) -> f64 {
        let start = Instant::now();
        let config = LinkConfig {
            rate: Rate::constant(2_000_000),
            delay: Schedule::constant(Duration::from_millis(50)),
            queue: QueueLimit::Time(Duration::from_millis(300)),
            loss: netem::Loss::Random(Schedule::constant(loss)),
            ..LinkConfig::default()
        };
        let mut link = Link::new(config, start, 1);
        let mut tcp = Connection::begin(None);
        let mut acks = std::collections::VecDeque::new();
        for ms in 0..60_000 {
            let now = start + Duration::from_millis(ms);
            while let Some(delivered) = link.poll_deliver(now) {
                acks.push_back((now + Duration::from_millis(50), delivered.packet));
            }
            while let Some((_, number)) = acks.front().copied().filter(|(at, _)| *at <= now) {
                acks.pop_front();
                tcp.handle_ack(now, number);
            }
            tcp.handle_timeout(now);
            while let Some((number, bytes)) = tcp.poll_packet(now) {
                link.handle_packet(now, bytes, number);
            }
        }
        link.counters().delivered_bytes as f64 * 8.0 / 60.0 / 2e6
    }

    #[test]
    fn a_long_connection_fills_a_clean_link_and_backs_off_on_a_lossy_one() {
        assert!(utilisation(0.0) > 0.95);
        let lossy = utilisation(0.05);
        assert!((0.1..0.6).contains(&lossy), "{lossy}");
    }
}
