//! How well a capacity, with the share of random loss that goes best with it, explains what was observed.

use super::{OBSERVATIONS, Observation, USUAL_LOSS};

/// The penalty (in nats) for random loss beyond the usual share, per unit of loss: so much evidence is needed for it.
const UNUSUAL_LOSS_EVIDENCE: f64 = 60.0;
/// The lowest and the highest share of random loss that is considered. Nothing is taken to be surer than the lowest.
const SHARES: (f64, f64) = (1e-4, 0.5);
/// Halving the range this many times finds the share to about a hundredth of a percent.
const HALVINGS: u32 = 12;

/// What the likelihood depends on. A packet gets through if it is within the capacity and not lost at random, so the
/// probability of each arrival is a product of the two. To evaluate one share therefore takes two logarithms, and one
/// more for each observation that lost packets beyond the capacity.
pub(super) struct Likelihood {
    /// How many packets one loss event has cost on average. By this factor their number overstates the evidence.
    burst: f64,
    /// Packets that arrived, and those that were lost while no more than the capacity was sent.
    arrived: f64,
    lost: f64,
    /// Log likelihood that those which arrived were within the capacity.
    within: f64,
    /// Of each observation beyond the capacity the packets that were lost, and the share that was beyond.
    beyond: [(f64, f64); OBSERVATIONS],
}

impl Likelihood {
    /// Of observations with their weights; `capacity` is in bits per second, `None` where there is none to be met.
    pub(super) fn new<'a>(
        capacity: Option<f64>,
        burst: f64,
        observations: impl Iterator<Item = (f64, &'a Observation)>,
    ) -> Likelihood {
        let (mut arrived, mut lost, mut within) = (0.0, 0.0, 0.0);
        let mut beyond = [(0.0, 1.0); OBSERVATIONS];
        for ((weight, observation), place) in observations.zip(&mut beyond) {
            let excess = capacity.map_or(0.0, |c| 1.0 - c / observation.sent_rate.max(1.0));
            let came = weight * (observation.packets() - observation.lost());
            arrived += came;
            if excess > 0.0 {
                let excess = excess.min(1.0 - SHARES.0);
                within += came * (1.0 - excess).ln();
                *place = (weight * observation.lost(), excess);
            } else {
                lost += weight * observation.lost();
            }
        }
        Likelihood { burst, arrived, lost, within, beyond }
    }

    /// Log likelihood of what was observed, minus the penalty for this model, at the share of random loss that fits
    /// best. It is concave in the share, so its slope tells on which side the best share is.
    pub(super) fn highest(&self) -> f64 {
        let (mut low, mut high) = SHARES;
        for _ in 0..HALVINGS {
            let share = (low + high) / 2.0;
            if self.slope(share) > 0.0 {
                low = share;
            } else {
                high = share;
            }
        }
        self.score((low + high) / 2.0)
    }

    fn score(&self, share: f64) -> f64 {
        let beyond = self.lost_beyond().map(|(lost, excess)| lost * (share + (1.0 - share) * excess).ln());
        let likelihood = self.within + self.arrived * (1.0 - share).ln() + self.lost * share.ln() + beyond.sum::<f64>();
        likelihood / self.burst - (share - USUAL_LOSS).max(0.0) * UNUSUAL_LOSS_EVIDENCE
    }

    fn slope(&self, share: f64) -> f64 {
        let beyond = self.lost_beyond().map(|(lost, excess)| lost * (1.0 - excess) / (share + (1.0 - share) * excess));
        let likelihood = self.lost / share - self.arrived / (1.0 - share) + beyond.sum::<f64>();
        likelihood / self.burst - if share > USUAL_LOSS { UNUSUAL_LOSS_EVIDENCE } else { 0.0 }
    }

    fn lost_beyond(&self) -> impl Iterator<Item = (f64, f64)> {
        self.beyond.iter().copied().filter(|(lost, _)| *lost > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha12Rng;

    /// Packet by packet, as it is defined.
    fn defined(observations: &[(f64, Observation)], capacity: Option<f64>, burst: f64, share: f64) -> f64 {
        let terms = observations.iter().map(|(weight, o)| {
            let excess = capacity.map_or(0.0, |c| (1.0 - c / o.sent_rate).max(0.0));
            let loss = share + (1.0 - share) * excess;
            weight * (o.lost() * loss.ln() + (o.packets() - o.lost()) * (1.0 - loss).ln())
        });
        terms.sum::<f64>() / burst - (share - 0.1).max(0.0) * 60.0
    }

    #[test]
    fn the_best_share_explains_as_much_as_the_best_of_all() {
        let mut rng = ChaCha12Rng::seed_from_u64(5);
        for round in 0..300 {
            let mean = rng.random_range(0.0..0.4);
            let observations: Vec<_> = (0..rng.random_range(1..=OBSERVATIONS))
                .map(|at| {
                    let packets = rng.random_range(10..200);
                    let lost = (0..packets).filter(|_| rng.random_bool(mean)).count() as u32;
                    let sent_rate = rng.random_range(1e5..4e6);
                    (0.95f64.powi(at as i32), Observation { packets, lost, sent_rate, ..Observation::default() })
                })
                .collect();
            let (capacity, burst) =
                (rng.random_bool(0.8).then(|| rng.random_range(1e5..4e6)), rng.random_range(1.0..4.0));
            let shares = (1..5000).map(|share| f64::from(share) / 1e4);
            let best = shares.map(|share| defined(&observations, capacity, burst, share)).fold(f64::MIN, f64::max);
            let found = Likelihood::new(capacity, burst, observations.iter().map(|(w, o)| (*w, o))).highest();
            assert!((found - best).abs() < 0.1, "{round}: {found}, not {best}");
        }
    }
}
