//! What the control plane counts: events so rare that a lock costs nothing.
//!
//! Written by `signaling` and by the room directory of `sfu`; read by [`crate::collector`].

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The counters of one node, shared by everything that is not a shard.
#[derive(Debug, Default)]
pub struct ControlPlane {
    /// Rooms with at least one participant, now.
    pub rooms: Gauge,
    /// Participants in all rooms, now.
    pub participants: Gauge,
    /// Open WebSocket connections, now.
    pub websocket_sessions: Gauge,
    /// Open WHIP and WHEP sessions, now.
    pub http_sessions: Gauge,
    /// Attempts to join: `joined`, `resumed`, or an error code.
    pub joins: Labelled,
    /// Errors sent to clients, by code.
    pub signaling_errors: Labelled,
    /// Webhooks by what became of them: `delivered`, `retried`, `refused`, `given_up`, `dropped`.
    pub webhook_deliveries: Labelled,
}

/// A number that goes up and down and never below zero.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// One less.
    pub fn decrement(&self) {
        // An update that fails found zero, where one less means nothing.
        let _ = self.0.fetch_update(Relaxed, Relaxed, |value| value.checked_sub(1));
    }

    /// The value is this now.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter for each value of one label. Values are `'static`, so nothing that a client sends can become one and the map
/// stays as small as the code that names them.
#[derive(Debug, Default)]
pub struct Labelled(Mutex<BTreeMap<&'static str, u64>>);

impl Labelled {
    /// Counts one under `label`.
    pub fn count(&self, label: &'static str) {
        *self.0.lock().entry(label).or_default() += 1;
    }

    /// How many were counted under `label`.
    pub fn get(&self, label: &str) -> u64 {
        self.0.lock().get(label).copied().unwrap_or(0)
    }

    /// Every label with its count, in the labels' order.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        self.0.lock().iter().map(|(label, count)| (*label, *count)).collect()
    }
}
