//! The shards' threads: started together, watched, and ended together.

use super::queues::{self, ShardHandle};
use super::{Shard, ShardEnd, ShardSetup};
use sfu_engine::{Command, Event};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tokio::sync::mpsc;

/// Every shard's thread. The shards run until [`ShardThreads::stop`], or until this is dropped.
pub(crate) struct ShardThreads {
    /// A shard runs as long as its command queue has a sender, and this is the only lasting one.
    commands: Vec<mpsc::Sender<Command>>,
    ends: mpsc::Receiver<(usize, ShardEnd)>,
}

/// Starts a shard for each set-up. Returns also how to reach them, in the same order, and what they tell.
pub(crate) fn start(
    setups: Vec<ShardSetup>,
) -> std::io::Result<(ShardThreads, Vec<ShardHandle>, mpsc::Receiver<Event>)> {
    let (events, event_queue) = queues::event_queue();
    let (end, ends) = mpsc::channel(setups.len().max(1));
    let mut commands = Vec::new();
    let mut handles = Vec::new();
    let mut all_queues = Vec::new();
    for _ in &setups {
        let (sender, handle, queues) = queues::queues();
        commands.push(sender);
        handles.push(handle);
        all_queues.push(queues);
    }
    for (index, (setup, queues)) in setups.into_iter().zip(all_queues).enumerate() {
        let inboxes = handles.iter().map(ShardHandle::inbox).collect();
        let events = events.clone();
        watch(index, end.clone(), move || run(Shard::new(index, setup, queues, inboxes, events)))?;
    }
    Ok((ShardThreads { commands, ends }, handles, event_queue))
}

impl ShardThreads {
    /// The first shard that ends, which none should before [`ShardThreads::stop`].
    pub(crate) async fn ended(&mut self) -> (usize, ShardEnd) {
        match self.ends.recv().await {
            Some(end) => end,
            None => std::future::pending().await,
        }
    }

    /// Tells all shards to end, and waits until they have, up to `patience`.
    pub(crate) async fn stop(mut self, patience: Duration) {
        self.commands.clear();
        let all = async { while self.ends.recv().await.is_some() {} };
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!("a shard did not end in time");
        }
    }
}

/// Runs `work` on a thread of its own and tells how it ended, also when it panics.
fn watch(
    index: usize,
    ends: mpsc::Sender<(usize, ShardEnd)>,
    work: impl FnOnce() -> ShardEnd + Send + 'static,
) -> std::io::Result<()> {
    let watched = move || {
        // Nothing of the shard is looked at after a panic.
        let end = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            ShardEnd::Panicked(text.or_else(|| panic.downcast_ref().cloned()).unwrap_or_default())
        });
        // There is room for one end of each shard; nobody listens when the server has ended before.
        let _ = ends.try_send((index, end));
    };
    std::thread::Builder::new().name(format!("shard-{index}")).spawn(watched).map(drop)
}

/// Runs a shard on this thread.
fn run(shard: impl FnOnce() -> std::io::Result<Shard>) -> ShardEnd {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => return ShardEnd::NotStarted(error),
    };
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        match shard() {
            Ok(mut shard) => shard.run().await,
            Err(error) => ShardEnd::NotStarted(error),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_shard_is_reported_with_its_message() {
        let (end, ends) = mpsc::channel(2);
        watch(3, end.clone(), || panic!("the number was {}", 7)).unwrap();
        let mut threads = ShardThreads { commands: Vec::new(), ends };
        let (index, end_of_shard) = threads.ended().await;
        assert_eq!(index, 3);
        assert!(matches!(&end_of_shard, ShardEnd::Panicked(text) if text == "the number was 7"), "{end_of_shard}");
        watch(0, end, || ShardEnd::Stopped).unwrap();
        assert!(matches!(threads.ended().await, (0, ShardEnd::Stopped)));
    }
}
