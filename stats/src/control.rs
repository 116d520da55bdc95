//! What the control plane counts: events so rare that a lock costs nothing.
//!
//! Written by `signaling` and by the room directory of `sfu`; read by [`crate::collector`].

use crate::distribution::Distribution;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The counters of one node, shared by everything that is not a shard.
#[derive(Debug, Default)]
pub struct ControlPlane {
    /// 1 while calls are taken, now.
    pub ready: Gauge,
    /// 1 while the server waits for calls to end, now.
    pub draining: Gauge,
    /// Rooms with at least one participant, and empty rooms that the admin API keeps open, now.
    pub rooms: Gauge,
    /// Participants in all rooms, now.
    pub participants: Participants,
    /// Open WebSocket connections, now.
    pub websocket_sessions: Gauge,
    /// Open WHIP and WHEP sessions, now.
    pub http_sessions: Gauge,
    /// Attempts to join: `joined`, `resumed`, or an error code.
    pub joins: Labelled,
    /// Access tokens refused, by error code.
    pub auth_failures: Labelled,
    /// Errors sent to clients, by code.
    pub signaling_errors: Labelled,
    /// Webhooks by what became of them: `delivered`, `retried`, `refused`, `given_up`, `dropped`.
    pub webhook_deliveries: Labelled,
    /// The most participants that each room had at once, noted when it ends.
    pub room_sizes: Histogram<RoomSize>,
    /// Quality scores of connected participants, one of each every two seconds.
    pub quality_scores: Histogram<QualityScore>,
    /// HTTP requests.
    pub http: HttpRequests,
}

/// What a participant may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Publish and receive.
    Member,
    /// Publish only, as by WHIP.
    Publisher,
    /// Receive only, seen by others.
    Viewer,
    /// Receive without being seen, as by WHEP.
    Hidden,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 4] = [Role::Member, Role::Publisher, Role::Viewer, Role::Hidden];

    /// Value of the `role` label in Prometheus.
    pub const fn label(self) -> &'static str {
        match self {
            Role::Member => "member",
            Role::Publisher => "publisher",
            Role::Viewer => "viewer",
            Role::Hidden => "hidden",
        }
    }
}

/// A gauge for each role.
#[derive(Debug, Default)]
pub struct Participants([Gauge; Role::ALL.len()]);

impl Participants {
    /// The gauge of a role.
    pub fn of(&self, role: Role) -> &Gauge {
        let [member, publisher, viewer, hidden] = &self.0;
        match role {
            Role::Member => member,
            Role::Publisher => publisher,
            Role::Viewer => viewer,
            Role::Hidden => hidden,
        }
    }
}

/// Which buckets a [`Histogram`] has.
pub trait Bounds {
    /// Upper bounds, growing.
    const BOUNDS: &'static [f64];
}

/// Buckets for participants of a room.
#[derive(Debug)]
pub struct RoomSize;

impl Bounds for RoomSize {
    const BOUNDS: &'static [f64] = &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
}

/// Buckets for [`crate::quality::score`].
#[derive(Debug)]
pub struct QualityScore;

impl Bounds for QualityScore {
    const BOUNDS: &'static [f64] = &[1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.25, 4.5, 4.75, 5.0];
}

/// Buckets for the time that an HTTP request takes, in seconds.
#[derive(Debug)]
pub struct HttpDuration;

impl Bounds for HttpDuration {
    const BOUNDS: &'static [f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
}

/// A distribution of rare events.
#[derive(Debug)]
pub struct Histogram<B>(Mutex<Distribution>, PhantomData<B>);

impl<B: Bounds> Default for Histogram<B> {
    fn default() -> Self {
        Histogram(Mutex::new(Distribution::new(B::BOUNDS)), PhantomData)
    }
}

impl<B> Histogram<B> {
    /// Counts a value.
    pub fn observe(&self, value: f64) {
        self.0.lock().observe(value);
    }

    /// All values so far.
    pub fn get(&self) -> Distribution {
        self.0.lock().clone()
    }
}

/// What an HTTP request was: its route, its method, the status of the answer.
pub type HttpLabels = (String, &'static str, u16);

/// How long HTTP requests took. Routes are the patterns that the server has (`/whip/{room}`), never what a client
/// wrote, so there are as many series as there are kinds of request.
#[derive(Debug, Default)]
pub struct HttpRequests(Mutex<BTreeMap<HttpLabels, Distribution>>);

impl HttpRequests {
    /// Counts a request. A method that nothing here takes counts as `other`.
    pub fn observe(&self, route: &str, method: &str, status: u16, took: Duration) {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let method = known.into_iter().find(|known| *known == method).unwrap_or("other");
        let mut all = self.0.lock();
        let of_kind = all.entry((route.to_owned(), method, status));
        of_kind.or_insert_with(|| Distribution::new(HttpDuration::BOUNDS)).observe(took.as_secs_f64());
    }

    /// Every kind of request with its distribution.
    pub fn all(&self) -> Vec<(HttpLabels, Distribution)> {
        self.0.lock().iter().map(|(labels, distribution)| (labels.clone(), distribution.clone())).collect()
    }
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

/// A counter for each value of one label. Values are `'static`, so nothing that a client sends can become one and the
/// map stays as small as the code that names them.
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
