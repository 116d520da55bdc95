//! Order and patience: for each URL and room one event at a time, the next when that one is delivered or given up.

use super::event::Event;
use super::post::{Poster, Target};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Events that wait for one URL about one room; beyond that the receiver has been away for long, and the newest are
/// given up.
const WAITING: usize = 10_000;

/// A URL, by its place in the list, and a room, by its id.
type Lane = (usize, String);

/// Delivers until there is nobody left who could send an event, and nothing to deliver.
pub(super) async fn run(mut events: mpsc::Receiver<Arc<Event>>, targets: Vec<Target>, poster: Arc<Poster>) {
    let targets: Vec<_> = targets.into_iter().map(Arc::new).collect();
    // A lane is here while one of its events is being delivered.
    let mut waiting: HashMap<Lane, VecDeque<Arc<Event>>> = HashMap::new();
    let mut deliveries: JoinSet<Lane> = JoinSet::new();
    loop {
        tokio::select! {
            event = events.recv() => {
                let Some(event) = event else { return };
                for (index, target) in targets.iter().enumerate() {
                    let lane = (index, event.room.id.clone());
                    match waiting.get_mut(&lane) {
                        None => {
                            waiting.insert(lane.clone(), VecDeque::new());
                            deliveries.spawn(deliver(poster.clone(), target.clone(), event.clone(), lane));
                        }
                        Some(queue) if queue.len() < WAITING => queue.push_back(event.clone()),
                        Some(_) => poster.count("dropped"),
                    }
                }
            }
            Some(Ok(lane)) = deliveries.join_next() => {
                let next = waiting.get_mut(&lane).and_then(VecDeque::pop_front);
                match (next, targets.get(lane.0)) {
                    (Some(event), Some(target)) => {
                        deliveries.spawn(deliver(poster.clone(), target.clone(), event, lane));
                    }
                    _ => drop(waiting.remove(&lane)),
                }
            }
        }
    }
}

async fn deliver(poster: Arc<Poster>, target: Arc<Target>, event: Arc<Event>, lane: Lane) -> Lane {
    poster.deliver(&target, &event).await;
    lane
}
