//! Follows a run from the main thread: waits for joins, shows progress, notes a point of every second, and makes
//! figures of the measured time.

use super::figures::{Figures, Unit};
use super::fleet::{Fleet, JOIN_TIMEOUT};
use super::processes::{CpuTime, ProcessTree};
use super::totals::Totals;
use serde::{Deserialize, Serialize};
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two points of the plots.
const POINT_INTERVAL: Duration = Duration::from_secs(1);
/// Width of the progress bar.
const BAR: usize = 30;

/// One second of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Since the start.
    pub(crate) second: f64,
    pub(crate) joined: u64,
    /// Packets and bits per second, received and sent.
    pub(crate) packets_in: f64,
    pub(crate) rate_in: f64,
    pub(crate) rate_out: f64,
    pub(crate) loss: f64,
    /// In seconds.
    pub(crate) latency_p50: Option<f64>,
    pub(crate) latency_p99: Option<f64>,
    /// Of one core.
    pub(crate) server_cpu: Option<f64>,
    pub(crate) own_cpu: f64,
}

/// Everything known at one moment.
#[derive(Clone)]
struct Moment {
    at: Instant,
    totals: Totals,
    server: Option<CpuTime>,
    own: CpuTime,
}

/// See the module.
pub(crate) struct Monitor {
    fleet: Arc<Fleet>,
    server: Option<ProcessTree>,
    own: ProcessTree,
    participants: usize,
    quiet: bool,
    start: Instant,
    rss_before: u64,
    drops_before: (u64, u64),
    last: Moment,
    points: Vec<Point>,
}

impl Monitor {
    /// Begins before the first join.
    pub(crate) fn new(fleet: Arc<Fleet>, server: Option<ProcessTree>, participants: usize, quiet: bool) -> Monitor {
        let own = ProcessTree::own();
        let last = Moment {
            at: Instant::now(),
            totals: fleet.totals(),
            server: server.as_ref().map(ProcessTree::cpu),
            own: own.cpu(),
        };
        Monitor {
            rss_before: server.as_ref().map_or(0, ProcessTree::rss),
            drops_before: (server.as_ref().map_or(0, ProcessTree::drops), own.drops()),
            fleet,
            server,
            own,
            participants,
            quiet: quiet || !std::io::stderr().is_terminal(),
            start: Instant::now(),
            last,
            points: Vec::new(),
        }
    }

    /// Waits until so many joins have come about or failed; the last one begins after `last`.
    pub(crate) fn wait_for_joins(&mut self, count: u64, last: Duration) {
        let deadline = self.start + last + JOIN_TIMEOUT;
        loop {
            let joins = self.fleet.joins();
            let done = joins.ok + joins.failed;
            if done >= count || Instant::now() >= deadline {
                return;
            }
            self.tick("joining", done as f64 / count as f64);
        }
    }

    /// Lets time pass.
    pub(crate) fn watch(&mut self, what: &str, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            self.tick(what, began.elapsed().as_secs_f64() / time.as_secs_f64());
        }
    }

    /// Lets the measured time pass, or so many packets, and says what it showed. Fails where the server ends meanwhile:
    /// figures of one that is not there would hold every bound.
    pub(crate) fn measure(
        &mut self,
        time: Duration,
        packets: Option<u64>,
        sendto: Duration,
    ) -> Result<Figures, String> {
        let (before, threads) = (self.moment(), self.server.as_ref().map(ProcessTree::threads));
        let enough = |monitor: &Monitor| {
            let received = monitor.fleet.totals().packets_in - before.totals.packets_in;
            packets.is_some_and(|packets| received >= packets)
        };
        while before.at.elapsed() < time && !enough(self) {
            self.tick("measuring", before.at.elapsed().as_secs_f64() / time.as_secs_f64());
        }
        if let Some(server) = self.server.as_ref().filter(|server| !server.is_running()) {
            return Err(format!("the server (process {}) ended during the run; see its log", server.root()));
        }
        let after = self.moment();
        let mut figures = self.figures(&before, &after, sendto);
        if let Some((server, before)) = self.server.as_ref().zip(threads) {
            let since = |(id, cpu): (u32, Duration)| cpu.saturating_sub(before.get(&id).copied().unwrap_or_default());
            let used: Vec<Duration> = server.threads().into_iter().map(since).collect();
            let (busiest, all) = (used.iter().max().copied().unwrap_or_default(), used.iter().sum::<Duration>());
            figures.set("server_busiest_thread", busiest.as_secs_f64() / all.as_secs_f64().max(1e-9));
        }
        Ok(figures)
    }

    /// The seconds of the run.
    pub(crate) fn finish(self) -> Vec<Point> {
        if !self.quiet {
            eprintln!();
        }
        self.points
    }

    fn tick(&mut self, what: &str, share: f64) {
        std::thread::sleep(Duration::from_millis(100));
        if self.last.at.elapsed() < POINT_INTERVAL {
            return;
        }
        let now = self.moment();
        let before = std::mem::replace(&mut self.last, now);
        let point = self.point(&before, &self.last);
        if !self.quiet {
            let filled = ((share * BAR as f64) as usize).min(BAR);
            let cpu = point.server_cpu.map_or(String::new(), |cpu| format!(", server {}", Unit::Ratio.show(cpu)));
            // Progress is for looking at: where it cannot be shown, nothing is lost.
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[K{what:<10} [{}{}] {} joined, {}, {}{cpu}, own {}",
                "#".repeat(filled),
                " ".repeat(BAR - filled),
                point.joined,
                Unit::PacketRate.show(point.packets_in),
                Unit::BitRate.show(point.rate_in),
                Unit::Ratio.show(point.own_cpu),
            );
        }
        self.points.push(point);
    }

    fn moment(&self) -> Moment {
        Moment {
            at: Instant::now(),
            totals: self.fleet.totals(),
            server: self.server.as_ref().map(ProcessTree::cpu),
            own: self.own.cpu(),
        }
    }

    fn point(&self, before: &Moment, after: &Moment) -> Point {
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let totals = after.totals.since(&before.totals);
        let share = |after: CpuTime, before: CpuTime| after.since(&before).total().as_secs_f64() / seconds;
        Point {
            second: after.at.duration_since(self.start).as_secs_f64(),
            joined: self.fleet.joins().ok,
            packets_in: totals.packets_in as f64 / seconds,
            rate_in: totals.bytes_in as f64 * 8.0 / seconds,
            rate_out: totals.bytes_out as f64 * 8.0 / seconds,
            loss: totals.loss(),
            latency_p50: totals.latency(0.5),
            latency_p99: totals.latency(0.99),
            server_cpu: after.server.zip(before.server).map(|(after, before)| share(after, before)),
            own_cpu: share(after.own, before.own),
        }
    }

    fn figures(&self, before: &Moment, after: &Moment, sendto: Duration) -> Figures {
        let (totals, joins) = (after.totals.since(&before.totals), self.fleet.joins());
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let mut figures = Figures::default();
        figures.set("sendto", sendto.as_secs_f64());
        figures.set("joins_ok", joins.ok as f64);
        figures.set("joins_failed", joins.failed as f64);
        let mut times = joins.times;
        times.sort_unstable();
        for (name, quantile) in [("join_p50", 0.5), ("join_p99", 0.99)] {
            if let Some(time) = at_quantile(&times, quantile) {
                figures.set(name, time.as_secs_f64());
            }
        }
        let point = self.point(before, after);
        figures.set("packets_in", point.packets_in);
        figures.set("rate_in", point.rate_in);
        figures.set("packets_out", totals.packets_out as f64 / seconds);
        figures.set("rate_out", point.rate_out);
        // Where nothing came nothing was lost, and no picture stood still: that is not known then.
        if totals.packets_in > 0 {
            figures.set("loss", point.loss);
            figures.set("broken_frames", totals.broken_frames as f64);
            figures.set("freezes", totals.freezes as f64);
            figures.set("frozen", totals.frozen_us as f64 / 1e6);
        }
        figures.set("own_cpu", point.own_cpu);
        let quantiles = [("latency_p50", 0.5), ("latency_p90", 0.9), ("latency_p99", 0.99), ("latency_p999", 0.999)];
        for (name, quantile) in quantiles {
            if let Some(latency) = totals.latency(quantile) {
                figures.set(name, latency);
            }
        }
        let video: u64 = totals.layers.iter().sum();
        for (name, packets) in ["layer_q", "layer_h", "layer_f"].into_iter().zip(totals.layers) {
            if video > 0 {
                figures.set(name, packets as f64 / video as f64);
            }
        }
        for (name, count) in [
            ("network_drops", totals.network_drops),
            ("repaired", totals.repaired),
            ("nacks_in", totals.nacks_in),
            ("frames", totals.frames),
            ("opened", totals.opened),
            ("unauthentic", totals.unauthentic),
            ("foreign", totals.foreign),
            ("own_drops", totals.send_drops + self.own.drops() - self.drops_before.1),
        ] {
            figures.set(name, count as f64);
        }
        if let (Some(server), Some((after, before))) = (&self.server, after.server.zip(before.server)) {
            let cpu = after.since(&before);
            figures.set("server_cpu", cpu.total().as_secs_f64() / seconds);
            figures.set("server_kernel", cpu.kernel.as_secs_f64() / cpu.total().as_secs_f64().max(1e-9));
            figures.set("server_drops", server.drops().saturating_sub(self.drops_before.0) as f64);
            if totals.packets_in > 0 {
                figures.set("server_cpu_per_packet", cpu.total().as_secs_f64() / totals.packets_in as f64);
            }
            let rss = server.rss();
            figures.set("server_rss", rss as f64);
            let growth = rss.saturating_sub(self.rss_before) as f64;
            figures.set("server_rss_per_participant", growth / self.participants.max(1) as f64);
        }
        figures
    }
}

/// The value at a quantile of sorted ones; `None` where there are none.
fn at_quantile(sorted: &[Duration], quantile: f64) -> Option<Duration> {
    let place = (sorted.len() as f64 * quantile).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_seen() {
        let times: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(at_quantile(&times, 0.5), Some(Duration::from_millis(50)));
        assert_eq!(at_quantile(&times, 0.99), Some(Duration::from_millis(99)));
        assert_eq!(at_quantile(&times[..1], 0.5), Some(Duration::from_millis(1)));
        assert_eq!(at_quantile(&[], 0.5), None);
    }
}
