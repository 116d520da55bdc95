//! Calls through the engine in virtual time: the engine, clients that share no code with it, and links between them.
//!
//! [`World`] owns them all and the clock. A [`Client`] does what a browser does: it offers, runs ICE (`rtc-ice`), DTLS
//! (`rtc-dtls`) and SRTP (`rtc-srtp`), encodes what it publishes and decodes what it receives, with pictures that say
//! what they depend on.

mod audio;
mod camera;
mod client;
pub mod data;
mod picture;
mod receiver;
pub mod rtcp;
mod rtp;
pub mod sdp;
mod transport;
mod video;
mod world;

pub use audio::PACKET_INTERVAL;
pub use client::Publish;
pub use sdp::ext;
pub use world::{Access, World};

use netem::{LinkConfig, Loss, QueueLimit, Rate, Schedule};
use std::time::Duration;

/// A link with this one-way delay and nothing else.
pub fn delay(ms: u64) -> LinkConfig {
    LinkConfig { delay: Schedule::constant(Duration::from_millis(ms)), ..LinkConfig::default() }
}

/// A link that loses this share of its packets from the second second on, when the call is set up.
pub fn lossy(ms: u64, share: f64) -> LinkConfig {
    LinkConfig { loss: Loss::Random(Schedule::steps(0.0, [(seconds(2), share)])), ..delay(ms) }
}

/// A link whose rate in bits per second changes at the given seconds, with a queue of 300 ms.
pub fn narrowing(ms: u64, rates: impl IntoIterator<Item = (u64, u64)>) -> LinkConfig {
    let steps = rates.into_iter().map(|(at, rate)| (seconds(at), Some(rate)));
    LinkConfig {
        rate: Rate::Schedule(Schedule::steps(None, steps)),
        queue: QueueLimit::Time(Duration::from_millis(300)),
        ..delay(ms)
    }
}

/// Shorthand.
pub fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// Shorthand.
pub fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
