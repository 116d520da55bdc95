//! What waits to be handed to other shards.

use super::{Batch, Message};
use crate::ids::ShardId;
use std::collections::VecDeque;

/// Batches that are kept for their memory.
const SPARES: usize = 16;

/// Messages and batches for each shard.
#[derive(Debug, Default)]
pub struct Outbox {
    messages: VecDeque<(ShardId, Message)>,
    /// The batch being filled for each shard that there ever was one for.
    batches: Vec<(ShardId, Batch)>,
    spares: Vec<Batch>,
}

impl Outbox {
    /// Queues a message.
    pub fn say(&mut self, to: ShardId, message: Message) {
        self.messages.push_back((to, message));
    }

    /// Queues a message for several shards.
    pub fn say_all(&mut self, to: &[ShardId], message: &Message) {
        self.messages.extend(to.iter().map(|shard| (*shard, message.clone())));
    }

    /// Adds to the batch that goes to a shard next.
    pub fn add(&mut self, to: ShardId, fill: impl FnOnce(&mut Batch)) {
        if let Some((_, batch)) = self.batches.iter_mut().find(|(shard, _)| *shard == to) {
            return fill(batch);
        }
        let mut batch = Batch::default();
        fill(&mut batch);
        self.batches.push((to, batch));
    }

    /// The next message.
    pub fn poll_message(&mut self) -> Option<(ShardId, Message)> {
        self.messages.pop_front()
    }

    /// The next batch that has something in it.
    pub fn poll_batch(&mut self) -> Option<(ShardId, Batch)> {
        let (shard, batch) = self.batches.iter_mut().find(|(_, batch)| !batch.is_empty())?;
        Some((*shard, std::mem::replace(batch, self.spares.pop().unwrap_or_default())))
    }

    /// Takes a batch back that has done its work.
    pub fn reuse(&mut self, mut batch: Batch) {
        if self.spares.len() < SPARES {
            batch.clear();
            self.spares.push(batch);
        }
    }
}
