//! The figures of a result by name: what each is called, what unit it has, what it means. Table, JSON, assertions and
//! comparison all go by this one list.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a figure's number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A plain number.
    Count,
    /// From 0 to 1, shown in per cent.
    Ratio,
    Seconds,
    Bytes,
    /// Bits per second.
    BitRate,
    /// Packets per second.
    PacketRate,
}

/// One figure.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) about: &'static str,
}

macro_rules! figures {
    ($($name:ident $unit:ident $about:literal)*) => {
        /// All figures, in the order of the table.
        pub(crate) const FIGURES: &[Figure] =
            &[$(Figure { name: stringify!($name), unit: Unit::$unit, about: $about }),*];
    };
}

figures! {
    joins_ok            Count      "connections that came about, with media where somebody published"
    joins_failed        Count      "connections that did not"
    join_p50            Seconds    "join message or POST to first media packet"
    join_p99            Seconds    "the same, 99th percentile"
    packets_in          PacketRate "RTP packets that the server sent to clients"
    rate_in             BitRate    "their bytes"
    packets_out         PacketRate "RTP packets that clients sent"
    rate_out            BitRate    "their bytes"
    loss                Ratio      "packets that never came, after repair"
    network_drops       Count      "packets that the run's network dropped on the way to clients (--network-loss)"
    repaired            Count      "packets that came as a retransmission"
    nacks_in            Count      "packets that the server asked for again"
    frames              Count      "complete video frames"
    broken_frames       Count      "video frames of which a packet never came"
    freezes             Count      "pauses in the picture that a viewer notices"
    frozen              Seconds    "their length, over all receivers"
    latency_p50         Seconds    "publisher's send call to arrival at the receiver's socket"
    latency_p90         Seconds    "the same, 90th percentile"
    latency_p99         Seconds    "the same, 99th percentile"
    latency_p999        Seconds    "the same, 99.9th percentile"
    layer_q             Ratio      "received video packets of the lowest encoding"
    layer_h             Ratio      "of the middle encoding"
    layer_f             Ratio      "of the highest encoding"
    opened              Count      "packets opened: authenticated and compared with what was sent"
    unauthentic         Count      "opened packets that failed authentication"
    foreign             Count      "opened packets that are not, to the byte, what was sent"
    server_cpu_per_packet Seconds  "server CPU time per forwarded packet"
    server_cpu          Ratio      "server CPU time, of one core"
    server_kernel       Ratio      "share of it that the kernel took"
    server_busiest_thread Ratio    "share of it that the busiest thread took: half where two shards are used evenly"
    server_rss          Bytes      "server memory at the end"
    server_rss_per_participant Bytes "growth of it since before the first join, per participant"
    server_drops        Count      "datagrams that the server's sockets had no room for"
    own_cpu             Ratio      "CPU time of the load generator, of one core: near its cores it is the limit"
    own_drops           Count      "datagrams that the load generator's sockets had no room for, in or out"
    sendto              Seconds    "S: CPU time of one plain sendto of 1150 bytes over loopback, just before the run"
}

/// The figures of a result; those that were not measured are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Enters a figure.
    pub(crate) fn set(&mut self, name: &'static str, value: f64) {
        debug_assert!(find(name).is_some(), "{name}");
        self.0.insert(name.to_owned(), value);
    }

    /// A figure; `None` where it was not measured.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }
}

/// The figure of a name.
pub(crate) fn find(name: &str) -> Option<&'static Figure> {
    FIGURES.iter().find(|figure| figure.name == name)
}

impl Unit {
    /// A value for people.
    pub(crate) fn show(self, value: f64) -> String {
        let scaled = |steps: &[(f64, &str)]| {
            let (scale, unit) = steps.iter().rev().find(|(scale, _)| value.abs() >= *scale).unwrap_or(&steps[0]);
            format!("{} {unit}", digits(value / scale))
        };
        match self {
            Unit::Count => digits(value),
            Unit::Ratio => format!("{} %", digits(value * 100.0)),
            Unit::Seconds if value == 0.0 => "0 s".into(),
            Unit::Seconds => scaled(&[(1e-6, "us"), (1e-3, "ms"), (1.0, "s")]),
            Unit::Bytes => scaled(&[(1.0, "B"), (1024.0, "KiB"), (1_048_576.0, "MiB"), (1_073_741_824.0, "GiB")]),
            Unit::BitRate => scaled(&[(1e3, "kb/s"), (1e6, "Mb/s"), (1e9, "Gb/s")]),
            Unit::PacketRate => format!("{} /s", digits(value)),
        }
    }
}

/// Three significant digits or so.
fn digits(value: f64) -> String {
    let places = match value.abs() {
        large if large >= 100.0 => 0,
        medium if medium >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_in_a_unit_that_suits_them() {
        assert_eq!(Unit::Seconds.show(0.000_002_75), "2.75 us");
        assert_eq!(Unit::Seconds.show(0.0123), "12.3 ms");
        assert_eq!(Unit::Ratio.show(0.0012), "0.12 %");
        assert_eq!(Unit::Bytes.show(150.0 * 1024.0), "150 KiB");
        assert_eq!(Unit::BitRate.show(152_300_000.0), "152 Mb/s");
        assert_eq!(Unit::Count.show(0.0), "0");
    }

    #[test]
    fn names_are_there_once() {
        let mut names: Vec<_> = FIGURES.iter().map(|figure| figure.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIGURES.len());
    }
}
