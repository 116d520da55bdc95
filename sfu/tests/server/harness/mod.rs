//! A running `sluice` and clients of it that share no code with it: `tokio-tungstenite` for signaling, `webrtc` for
//! media.
//!
//! Nothing here waits for time to pass: a test waits for a condition, and [`PATIENCE`] only ends a test that would
//! hang.

pub mod interceptor;
pub mod media;
pub mod participant;
pub mod payload;
pub mod server;
pub mod signaling;
pub mod stun;
pub mod whip;

use std::future::Future;
use std::time::Duration;

/// How long a condition may take before the test has failed. Far above what a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits for `future`, or fails the test saying `what` did not happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("did not happen: {what}"),
    }
}

/// Looks again and again until `condition` gives a value. For what can only be asked, such as `/metrics`.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let looking = async {
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        loop {
            pause.tick().await;
            if let Some(value) = condition().await {
                return value;
            }
        }
    };
    within(what, looking).await
}
