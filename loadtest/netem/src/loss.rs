//! Which packets are lost before the queue.

use rand::Rng;
use rand_chacha::ChaCha12Rng;

use crate::Loss;

pub(crate) struct LossState {
    loss: Loss,
    rng: ChaCha12Rng,
    /// Gilbert-Elliott: in a run of losses.
    bad: bool,
    /// Policer: millionths of a bit, and when they were counted.
    tokens: u64,
    counted_at: u64,
}

impl LossState {
    pub(crate) fn new(loss: Loss, rng: ChaCha12Rng) -> LossState {
        let tokens = if let Loss::Policer { bucket, .. } = loss { token_units(bucket) } else { 0 };
        LossState { loss, rng, bad: false, tokens, counted_at: 0 }
    }

    /// Whether a packet that is sent now is lost.
    pub(crate) fn takes(&mut self, now: u64, bytes: usize) -> bool {
        match &self.loss {
            Loss::Random(probability) => happens(&mut self.rng, probability.at(now)),
            Loss::GilbertElliott { mean, burst } => {
                let leave_bad = 1.0 / burst.max(1.0);
                let enter_bad = mean * leave_bad / (1.0 - mean).max(f64::MIN_POSITIVE);
                self.bad =
                    if self.bad { !happens(&mut self.rng, leave_bad) } else { happens(&mut self.rng, enter_bad) };
                self.bad
            }
            Loss::Policer { rate, bucket } => {
                let refill = (now.saturating_sub(self.counted_at)).saturating_mul(*rate);
                self.tokens = self.tokens.saturating_add(refill).min(token_units(*bucket));
                self.counted_at = self.counted_at.max(now);
                let left = self.tokens.checked_sub(token_units(bytes as u64));
                self.tokens = left.unwrap_or(self.tokens);
                left.is_none()
            }
        }
    }
}

/// True with the given probability. Draws nothing where there is no choice.
pub(crate) fn happens(rng: &mut ChaCha12Rng, probability: f64) -> bool {
    probability > 0.0 && rng.random::<f64>() < probability
}

fn token_units(bytes: u64) -> u64 {
    bytes.saturating_mul(8_000_000)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::Schedule;

    fn lost(loss: Loss, packets: u64, spacing: u64) -> Vec<bool> {
        let mut state = LossState::new(loss, ChaCha12Rng::seed_from_u64(1));
        (0..packets).map(|n| state.takes(n * spacing, 1250)).collect()
    }

    fn share(lost: &[bool]) -> f64 {
        lost.iter().filter(|lost| **lost).count() as f64 / lost.len() as f64
    }

    #[test]
    fn random_loss_has_its_mean() {
        let share = share(&lost(Loss::Random(Schedule::constant(0.05)), 100_000, 1));
        assert!((0.045..0.055).contains(&share), "{share}");
    }

    #[test]
    fn gilbert_elliott_loss_has_its_mean_and_its_bursts() {
        let lost = lost(Loss::GilbertElliott { mean: 0.03, burst: 8.0 }, 1_000_000, 1);
        let runs = lost.chunk_by(|a, b| a == b).filter(|run| run[0]);
        let lengths: Vec<usize> = runs.map(<[bool]>::len).collect();
        let burst = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
        assert!((0.027..0.033).contains(&share(&lost)), "{}", share(&lost));
        assert!((7.5..8.5).contains(&burst), "{burst}");
    }

    #[test]
    fn a_policer_passes_its_bucket_and_then_its_rate() {
        let policer = Loss::Policer { rate: 1_000_000, bucket: 12_500 };
        let lost = lost(policer, 2000, 5_000);
        assert_eq!(
            lost.iter().position(|lost| *lost),
            Some(19),
            "10 from the bucket, as many from its refill meanwhile"
        );
        assert!((0.495..=0.5).contains(&share(&lost[20..])), "2 Mb/s into 1 Mb/s");
    }
}
