//! The part of the delay that differs from packet to packet.

use rand::{Rng, RngCore};
use rand_chacha::ChaCha12Rng;

use crate::{JitterModel, micros};

pub(crate) struct JitterState {
    model: JitterModel,
    rng: ChaCha12Rng,
    /// Trace: how many were drawn.
    drawn: usize,
}

impl JitterState {
    pub(crate) fn new(model: JitterModel, rng: ChaCha12Rng) -> JitterState {
        JitterState { model, rng, drawn: 0 }
    }

    /// Microseconds to add to the delay of the next packet.
    pub(crate) fn draw(&mut self) -> u64 {
        match &self.model {
            JitterModel::None => 0,
            JitterModel::Normal { sd } => {
                let magnitude = standard_normal_q16(&mut self.rng).unsigned_abs().min(3 << 16);
                (micros(*sd).saturating_mul(magnitude)) >> 16
            }
            JitterModel::Uniform { max } => self.rng.random_range(0..=micros(*max)),
            JitterModel::Trace(extra) => {
                let index = self.drawn.checked_rem(extra.len()).unwrap_or(0);
                self.drawn += 1;
                extra.get(index).map_or(0, |extra| micros(*extra))
            }
        }
    }
}

/// A standard normal variate in 1/65536: the sum of twelve uniform ones, which needs whole numbers only and so is the
/// same on every machine.
fn standard_normal_q16(rng: &mut ChaCha12Rng) -> i64 {
    const MEAN: i64 = 12 * 65_535 / 2;
    let sum = (0..3).map(|_| rng.next_u64().to_le_bytes()).flat_map(|bytes| {
        let words: [[u8; 2]; 4] =
            [[bytes[0], bytes[1]], [bytes[2], bytes[3]], [bytes[4], bytes[5]], [bytes[6], bytes[7]]];
        words.map(|word| i64::from(u16::from_le_bytes(word)))
    });
    sum.sum::<i64>() - MEAN
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng;

    use super::*;

    fn draws(model: JitterModel) -> Vec<u64> {
        let mut state = JitterState::new(model, ChaCha12Rng::seed_from_u64(1));
        (0..100_000).map(|_| state.draw()).collect()
    }

    #[test]
    fn normal_jitter_has_its_deviation_and_its_limit() {
        let draws = draws(JitterModel::Normal { sd: Duration::from_millis(5) });
        let rms = (draws.iter().map(|us| (us * us) as f64).sum::<f64>() / draws.len() as f64).sqrt();
        assert!((4_900.0..5_100.0).contains(&rms), "{rms}");
        assert!(draws.iter().all(|us| *us <= 15_000));
        let within_one = draws.iter().filter(|us| **us <= 5_000).count();
        assert!((67_000..69_500).contains(&within_one), "{within_one}");
    }

    #[test]
    fn uniform_jitter_fills_its_range() {
        let draws = draws(JitterModel::Uniform { max: Duration::from_millis(10) });
        let mean = draws.iter().sum::<u64>() / draws.len() as u64;
        assert!((4_900..5_100).contains(&mean) && draws.iter().all(|us| *us <= 10_000));
    }

    #[test]
    fn a_trace_of_jitter_is_played_in_turn() {
        let trace = JitterModel::Trace(vec![Duration::from_micros(7), Duration::from_micros(9)]);
        assert_eq!(draws(trace)[..5], [7, 9, 7, 9, 7]);
        assert_eq!(draws(JitterModel::Trace(Vec::new()))[0], 0);
    }
}
