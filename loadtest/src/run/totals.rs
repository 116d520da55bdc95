//! What a worker counts, for all its clients together. Everything only grows, so the difference of two moments is what
//! happened in between.

use hdrhistogram::Histogram;

/// Declares [`Totals`] with these counters, and how two of them are combined, so that none can be forgotten.
macro_rules! totals {
    ($($(#[$about:meta])* $name:ident),* $(,)?) => {
        /// Counts since the start of the run.
        #[derive(Clone, Debug)]
        pub(crate) struct Totals {
            $($(#[$about])* pub(crate) $name: u64,)*
            /// Opened video packets of each encoding, lowest first.
            pub(crate) layers: [u64; 3],
            /// One-way latency of opened packets in tenths of a microsecond.
            latency: Histogram<u64>,
        }

        impl Default for Totals {
            fn default() -> Totals {
                let latency = Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("bounds in order");
                Totals { $($name: 0,)* layers: [0; 3], latency }
            }
        }

        impl Totals {
            fn combine(&mut self, other: &Totals, combine: impl Fn(&mut u64, u64)) {
                $(combine(&mut self.$name, other.$name);)*
                self.layers.iter_mut().zip(other.layers).for_each(|(own, other)| combine(own, other));
            }
        }
    };
}

totals! {
    /// RTP packets that the server sent to clients, retransmissions and padding included.
    packets_in,
    /// Their bytes as datagrams.
    bytes_in,
    /// RTP packets sent.
    packets_out,
    /// Their bytes.
    bytes_out,
    /// Those of the packets in that the run's network drops.
    network_drops,
    /// Numbers that media sources advanced by.
    expected,
    /// Those of them that arrived, by themselves or repaired.
    received,
    /// Those that came as a retransmission.
    repaired,
    /// Packets whose number was received before, or given up.
    useless,
    /// Retransmissions that the server asked for.
    nacks_in,
    /// Key frames that the server asked for.
    keyframe_requests,
    /// Packets opened.
    opened,
    /// Those that failed authentication.
    unauthentic,
    /// Those that were not, to the byte, what a publisher sent.
    foreign,
    /// Video frames complete.
    frames,
    /// Video frames of which a packet never came.
    broken_frames,
    /// Pauses between complete frames that a viewer notices.
    freezes,
    /// Their length in microseconds.
    frozen_us,
    /// Datagrams that the own socket did not take.
    send_drops,
}

/// Units of the latency histogram in a second.
const LATENCY_UNITS: f64 = 1e7;
/// The longest latency that it tells from longer ones: a minute.
const LATENCY_MAX: u64 = 600_000_000;

impl Totals {
    /// Notes a packet's way of so many nanoseconds.
    pub(crate) fn note_latency(&mut self, nanoseconds: u64) {
        self.latency.saturating_record(nanoseconds / 100);
    }

    /// A quantile of the latency in seconds; `None` where nothing was measured.
    pub(crate) fn latency(&self, quantile: f64) -> Option<f64> {
        (!self.latency.is_empty()).then(|| self.latency.value_at_quantile(quantile) as f64 / LATENCY_UNITS)
    }

    /// Another worker's in addition.
    pub(crate) fn add(&mut self, other: &Totals) {
        self.combine(other, |own, other| *own += other);
        self.latency.add(&other.latency).expect("equal bounds");
    }

    /// What happened since an earlier moment.
    pub(crate) fn since(&self, earlier: &Totals) -> Totals {
        let mut since = self.clone();
        since.combine(earlier, |own, earlier| *own = own.saturating_sub(earlier));
        since.latency.subtract(&earlier.latency).expect("an earlier state of the same");
        since
    }

    /// Packets that never came, of all that were expected.
    pub(crate) fn loss(&self) -> f64 {
        self.expected.saturating_sub(self.received) as f64 / (self.expected as f64).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_of_two_moments_is_what_happened_in_between() {
        let mut before = Totals { packets_in: 5, layers: [1, 2, 3], ..Totals::default() };
        before.note_latency(1_000_000);
        let mut after = Totals { packets_in: 9, layers: [1, 2, 7], expected: 4, received: 3, ..before.clone() };
        after.note_latency(3_000_000);
        let between = after.since(&before);
        assert_eq!((between.packets_in, between.layers), (4, [0, 0, 4]));
        assert_eq!(between.loss(), 0.25);
        assert!((between.latency(0.5).unwrap() - 0.003).abs() < 1e-5);
        before.add(&between);
        assert_eq!((before.packets_in, before.latency.len()), (9, 2));
        assert_eq!(Totals::default().latency(0.5), None);
    }
}
