//! Webhooks: what happens in the rooms, posted as JSON to other services.
//!
//! [`Webhooks::send`] takes an [`Event`] and never waits; the room directory of `sfu` calls it under its locks, so
//! events leave in the order in which things happened. `queue` keeps that order for each room and URL while `post`
//! tries, signs and tries again. Delivery is at least once while the server runs: what waits when it ends is lost.
//! `docs/webhooks.md` is for receivers.

mod event;
mod post;
mod queue;
mod sign;

pub use event::{Event, EventKind, EventParticipant, EventRoom};
pub use post::BadUrl;

use parking_lot::Mutex;
use post::{Poster, Target};
use stats::ControlPlane;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Events that wait for the dispatcher, which only sorts them: more than that means that it has stopped.
const INTAKE: usize = 65_536;

/// Where events go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookConfig {
    /// `http://` or `https://`; every event is posted to each of them.
    pub urls: Vec<String>,
    /// Signs what is posted; unsigned without it.
    pub secret: Option<String>,
}

/// The way to the receivers of webhooks.
pub struct Webhooks {
    intake: Option<mpsc::Sender<Arc<Event>>>,
    counters: Arc<ControlPlane>,
    /// Makes the ids of events.
    sequence: Mutex<u64>,
    /// Tells the events of this run of the server from those of others.
    run: u64,
}

impl Webhooks {
    /// Starts the task that delivers, on the present tokio runtime; without URLs there is none.
    pub fn start(config: WebhookConfig, counters: Arc<ControlPlane>) -> Result<Webhooks, BadUrl> {
        let targets = config.urls.iter().map(|url| Target::parse(url)).collect::<Result<Vec<_>, _>>()?;
        let intake = if targets.is_empty() {
            None
        } else {
            let (intake, events) = mpsc::channel(INTAKE);
            let poster = Poster::new(config.secret, &targets, counters.clone())?;
            tokio::spawn(queue::run(events, targets, Arc::new(poster)));
            Some(intake)
        };
        Ok(Webhooks { intake, counters, sequence: Mutex::new(0), run: rand::random() })
    }

    /// Nobody is told anything.
    pub fn none() -> Webhooks {
        Webhooks { intake: None, counters: Arc::default(), sequence: Mutex::new(0), run: 0 }
    }

    /// Takes an event for delivery.
    pub fn send(&self, mut event: Event) {
        let Some(intake) = &self.intake else { return };
        // Numbered and queued at once, so that ids grow in the order of delivery.
        let mut sequence = self.sequence.lock();
        *sequence += 1;
        event.id = format!("{:016x}-{}", self.run, *sequence);
        if intake.try_send(Arc::new(event)).is_err() {
            self.counters.webhook_deliveries.count("dropped");
        }
    }
}
