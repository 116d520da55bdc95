//! Connection quality as one figure from 1 (bad) to 5 (excellent).
//!
//! The E-model of ITU-T G.107 in its usual short form: a rating R that starts at 93.2 and loses points for delay (Id)
//! and for lost packets (Ie-eff), turned into a mean opinion score. The best score of that formula is 4.41, which
//! puzzles people who read "of 5", so the scale is stretched to reach 5.

use std::time::Duration;

/// What a connection suffers from, over the last few seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// Share of packets lost, 0 to 1, in the worse direction.
    pub loss: f64,
    /// Round trip between client and server, where measured.
    pub rtt: Option<Duration>,
    /// Interarrival jitter (RFC 3550 section 6.4.1).
    pub jitter: Duration,
}

/// Rating without any impairment (G.107, default values of all parameters).
const BEST_RATING: f64 = 93.2;
/// Packet loss robustness: G.711 with concealment has 25 (G.113 appendix I); loss here is counted before any repair.
const LOSS_ROBUSTNESS: f64 = 25.0;
/// Delay in milliseconds from which people begin to talk over each other (G.107 short form).
const CONVERSATION_DELAY_MS: f64 = 177.3;
/// Encoding, packetisation and rendering of one 20 ms frame, in milliseconds.
const CODEC_DELAY_MS: f64 = 40.0;

/// The score of a connection, 1.0 to 5.0.
pub fn score(conditions: Conditions) -> f32 {
    let best = opinion(rating(Conditions::default()));
    let stretched = 1.0 + (opinion(rating(conditions)) - 1.0) * 4.0 / (best - 1.0);
    stretched.clamp(1.0, 5.0) as f32
}

/// R of G.107.
fn rating(conditions: Conditions) -> f64 {
    BEST_RATING - delay_impairment(one_way_delay_ms(conditions)) - loss_impairment(conditions.loss)
}

/// Mouth to ear, in milliseconds. A jitter buffer holds about twice the jitter.
fn one_way_delay_ms(conditions: Conditions) -> f64 {
    let network = conditions.rtt.unwrap_or_default().as_secs_f64() * 1000.0 / 2.0;
    let buffer = conditions.jitter.as_secs_f64() * 1000.0 * 2.0;
    CODEC_DELAY_MS + network + buffer
}

/// Id of G.107, short form.
fn delay_impairment(delay_ms: f64) -> f64 {
    0.024 * delay_ms + 0.11 * (delay_ms - CONVERSATION_DELAY_MS).max(0.0)
}

/// Ie-eff of G.107 with Ie = 0 and random loss. Loss that is not a number counts as none.
fn loss_impairment(loss: f64) -> f64 {
    let percent = if loss.is_finite() { loss.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
    95.0 * percent / (percent + LOSS_ROBUSTNESS)
}

/// Mean opinion score of a rating (G.107 annex B).
fn opinion(rating: f64) -> f64 {
    let r = rating.clamp(0.0, 100.0);
    1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(loss: f64, rtt_ms: u64, jitter_ms: u64) -> f32 {
        score(Conditions { loss, rtt: Some(Duration::from_millis(rtt_ms)), jitter: Duration::from_millis(jitter_ms) })
    }

    #[test]
    fn a_perfect_connection_scores_five_and_a_dead_one_one() {
        assert_eq!(score(Conditions::default()), 5.0);
        assert_eq!(with(1.0, 5000, 1000), 1.0);
    }

    #[test]
    fn usual_connections_land_where_people_would_put_them() {
        assert!((4.7..5.0).contains(&with(0.0, 40, 5)), "good: {}", with(0.0, 40, 5));
        assert!((4.0..4.7).contains(&with(0.03, 80, 10)), "fair: {}", with(0.03, 80, 10));
        assert!((2.0..3.2).contains(&with(0.15, 300, 30)), "poor: {}", with(0.15, 300, 30));
        assert!(with(0.5, 300, 50) < 2.0, "unusable: {}", with(0.5, 300, 50));
    }

    #[test]
    fn nothing_that_gets_worse_raises_the_score() {
        for step in 0..100_u64 {
            let loss = step as f64 / 100.0;
            assert!(with(loss + 0.01, 100, 10) <= with(loss, 100, 10));
            assert!(with(0.01, step * 20 + 20, 10) <= with(0.01, step * 20, 10));
            assert!(with(0.01, 100, step * 5 + 5) <= with(0.01, 100, step * 5));
        }
    }

    #[test]
    fn nonsense_still_scores_within_the_scale() {
        for loss in [f64::NAN, f64::INFINITY, -1.0, 7.0] {
            let score = with(loss, 10, 1);
            assert!((1.0..=5.0).contains(&score), "{loss}: {score}");
        }
    }
}
