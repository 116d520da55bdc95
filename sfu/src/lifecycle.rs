//! Start, reload and end as the outside sees them: health pages, signals, and what systemd is told.
//!
//! SIGTERM drains: the server is not ready any more, makes no new rooms, tells everybody to move, and ends when the
//! last one is gone or the deadline has come. A second signal ends it at once, and so does SIGINT (Ctrl-C). SIGHUP
//! reads the settings again.

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use sd_notify::NotifyState;
use serde_json::json;
use stats::{Build, ControlPlane};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix;

/// This program.
pub(crate) const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: match option_env!("SLUICE_COMMIT") {
        Some(commit) => commit,
        None => "unknown",
    },
};

/// What the health pages say.
#[derive(Debug, Default)]
pub(crate) struct Health {
    draining: AtomicBool,
    /// Where `sluice_ready` and `sluice_draining` stand.
    gauges: Arc<ControlPlane>,
    /// Why calls from elsewhere cannot work; known from the start.
    problems: Vec<String>,
}

impl Health {
    pub(crate) fn new(problems: Vec<String>, gauges: Arc<ControlPlane>) -> Arc<Health> {
        gauges.ready.set(u64::from(problems.is_empty()));
        Arc::new(Health { draining: AtomicBool::new(false), gauges, problems })
    }

    /// No more calls from here on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.gauges.ready.set(0);
        self.gauges.draining.set(1);
    }

    fn ready(&self) -> (StatusCode, Json<serde_json::Value>) {
        let draining = self.draining.load(Ordering::Relaxed);
        let ready = !draining && self.problems.is_empty();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(json!({"ready": ready, "draining": draining, "problems": self.problems})))
    }
}

/// `/livez`: the process works. `/readyz`: it takes calls. `/version`.
pub(crate) fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/livez", get(|| async { Json(json!({"alive": true})) }))
        .route("/readyz", get(move || async move { health.ready() }))
        .route("/version", get(|| async { Json(json!({"version": BUILD.version, "commit": BUILD.commit})) }))
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// End at once.
    Stop,
    /// End when calls are over.
    Drain,
    /// Read the settings again.
    Reload,
}

/// The process's signals, each as often as it comes.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        use unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Drain,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }

    /// Waits for one that ends the process.
    pub(crate) async fn stop(&mut self) {
        while self.next().await == Signal::Reload {}
    }
}

/// The service manager (sd_notify(3)). Without one, telling it does nothing.
pub(crate) struct Manager {
    watchdog: Option<tokio::time::Interval>,
}

impl Manager {
    pub(crate) fn new() -> Manager {
        // Twice in the time after which systemd gives a silent service up.
        let watchdog =
            sd_notify::watchdog_enabled().map(|time| tokio::time::interval((time / 2).max(Duration::from_millis(1))));
        Manager { watchdog }
    }

    pub(crate) fn ready(&self) {
        tell(&[NotifyState::Ready, NotifyState::Status("taking calls")]);
    }

    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    pub(crate) fn stopping(&self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("waiting for calls to end")]);
    }

    /// Says regularly, for ever, that the control plane is alive.
    pub(crate) async fn pat_watchdog(&mut self) {
        match &mut self.watchdog {
            None => std::future::pending().await,
            Some(interval) => loop {
                interval.tick().await;
                tell(&[NotifyState::Watchdog]);
            },
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}
