//! The workers together, and what the signaling of all clients shares: who publishes what, and how joins went.

use super::client::{Client, Common, Milestones};
use super::publisher::{Departures, Media};
use super::totals::Totals;
use super::worker::{ClientId, Order, WorkerHandle};
use crate::client::sdp::Answer;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A join that takes longer has failed.
pub(crate) const JOIN_TIMEOUT: Duration = Duration::from_secs(20);

/// All workers.
pub(crate) struct Fleet {
    workers: Vec<WorkerHandle>,
    pub(crate) common: Common,
    next_client: AtomicU64,
    seed: u64,
    tracks: Mutex<HashMap<String, Track>>,
    joins: Mutex<Joins>,
}

/// A published track by the server's name for it.
#[derive(Default)]
struct Track {
    departures: Option<Arc<Departures>>,
    /// Sections that carry it, told before its publisher knew the name.
    waiting: Vec<(ClientId, usize)>,
}

/// How joins went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Joins {
    /// Connected, and received media where there was any.
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    /// Of those that received media: from the first message to the first packet.
    pub(crate) times: Vec<Duration>,
    /// Why the first one failed.
    pub(crate) first_failure: Option<String>,
}

impl Fleet {
    /// Starts the workers, which look at their sockets every so often.
    pub(crate) fn start(workers: usize, read_every: Duration, common: Common, seed: u64) -> std::io::Result<Fleet> {
        let workers = (0..workers).map(|index| WorkerHandle::start(index, read_every)).collect::<Result<_, _>>()?;
        let (tracks, joins) = (Mutex::default(), Mutex::default());
        Ok(Fleet { workers, common, next_client: AtomicU64::new(0), seed, tracks, joins })
    }

    /// A client with a name, which does not run yet.
    pub(crate) fn client(&self, media: &[Media], slots: (usize, usize)) -> (ClientId, Client) {
        let id = self.next_client.fetch_add(1, Ordering::Relaxed);
        (ClientId(id), Client::new(&self.common, media, slots, self.seed.wrapping_add(id)))
    }

    /// Runs a client that has its answer, until the guard goes.
    pub(crate) fn run(self: &Arc<Fleet>, id: ClientId, mut client: Client, answer: &Answer) -> (Running, Progress) {
        let (connected, is_connected) = oneshot::channel();
        let (media, has_media) = oneshot::channel();
        client.handle_answer(Instant::now(), answer, Milestones { connected, media });
        self.worker(id).give(Order::Add(id, Box::new(client)));
        (Running { fleet: self.clone(), id }, Progress { connected: is_connected, media: has_media })
    }

    /// Tells what a track's packets are, and those who wait for it.
    pub(crate) fn publish(&self, track: &str, departures: Arc<Departures>) {
        let mut tracks = self.tracks.lock();
        let entry = tracks.entry(track.to_owned()).or_default();
        for (id, section) in entry.waiting.drain(..) {
            self.worker(id).give(Order::Bind(id, section, Some(departures.clone())));
        }
        entry.departures = Some(departures);
    }

    /// A section of a client carries this track from now on, or none.
    pub(crate) fn bind(&self, id: ClientId, section: usize, track: Option<&str>) {
        let departures = track.and_then(|track| {
            let mut tracks = self.tracks.lock();
            let entry = tracks.entry(track.to_owned()).or_default();
            if entry.departures.is_none() {
                entry.waiting.push((id, section));
            }
            entry.departures.clone()
        });
        self.worker(id).give(Order::Bind(id, section, departures));
    }

    /// The server wants these encodings of a section.
    pub(crate) fn set_wanted(&self, id: ClientId, section: usize, wanted: Vec<(String, bool)>) {
        self.worker(id).give(Order::Wanted(id, section, wanted));
    }

    /// Notes how a join went.
    pub(crate) fn note_join(&self, outcome: Result<Option<Duration>, String>) {
        let mut joins = self.joins.lock();
        match outcome {
            Ok(time) => {
                joins.ok += 1;
                joins.times.extend(time);
            }
            Err(reason) => {
                joins.failed += 1;
                joins.first_failure.get_or_insert(reason);
            }
        }
    }

    /// How joins went so far.
    pub(crate) fn joins(&self) -> Joins {
        self.joins.lock().clone()
    }

    /// What all workers counted so far.
    pub(crate) fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        self.workers.iter().for_each(|worker| sum.add(&worker.totals()));
        sum
    }

    /// Ends the workers.
    pub(crate) fn stop(&self) {
        self.workers.iter().for_each(WorkerHandle::stop);
    }

    fn worker(&self, id: ClientId) -> &WorkerHandle {
        &self.workers[id.0 as usize % self.workers.len()]
    }
}

/// A client that runs, as long as this lives.
pub(crate) struct Running {
    fleet: Arc<Fleet>,
    pub(crate) id: ClientId,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.fleet.worker(self.id).give(Order::Remove(self.id));
    }
}

/// How far a client that runs gets.
pub(crate) struct Progress {
    connected: oneshot::Receiver<Instant>,
    media: oneshot::Receiver<Instant>,
}

impl Progress {
    /// Waits for the connection, and for media where there is some to be had. Returns the time from `began` to the
    /// first packet.
    pub(crate) async fn arrive(self, began: Instant, expects_media: bool) -> Result<Option<Duration>, String> {
        let deadline = tokio::time::Instant::from_std(began + JOIN_TIMEOUT);
        let connected = tokio::time::timeout_at(deadline, self.connected).await;
        connected.ok().and_then(Result::ok).ok_or("no connection: ICE or DTLS did not finish")?;
        if !expects_media {
            return Ok(None);
        }
        let media = tokio::time::timeout_at(deadline, self.media).await;
        let at = media.ok().and_then(Result::ok).ok_or("no media, though somebody publishes")?;
        Ok(Some(at.saturating_duration_since(began)))
    }
}
