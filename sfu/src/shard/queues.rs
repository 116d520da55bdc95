//! The queues between threads: commands into a shard, events out of it, and what shards hand to each other.

use super::emulation::Network;
use super::handover::Handover;
use super::owners::OwnerNews;
use super::tcp::Accepted;
use sfu_engine::ids::{ParticipantId, ShardId};
use sfu_engine::relay::{Batch, Message};
use sfu_engine::transport::ice::MAX_TUPLES;
use sfu_engine::{Command, Event};
use stats::ShardSlot;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Commands that wait for a shard. Reliable: the control plane waits while it is full.
const COMMANDS: usize = 1024;
/// Events that wait for the control plane. Reliable up to this; a shard may never wait, so beyond it the control plane
/// has stopped and the process ends.
const EVENTS: usize = 65_536;
/// What one turn of another shard brought for this one: datagrams, packets of tracks, connections. Lossy: beyond this
/// it is dropped and counted, like datagrams in a full socket buffer.
const HANDOVERS: usize = 4096;
/// Batches on their way back to the shard that filled them, for their memory. Lossy: beyond this they are freed.
const SPENT: usize = 64;
/// News of tuples and tracks that wait for a shard: each tuple of 65 536 participants claimed and released. Reliable up
/// to this; a shard may never wait, and takes news at every turn of its loop, so beyond it that shard has stopped and
/// the process ends. Memory is taken as it fills.
const NEWS: usize = 65_536 * MAX_TUPLES * 2;

/// How the control plane reaches a shard. Holding it does not keep the shard running.
#[derive(Clone, Debug)]
pub(crate) struct ShardHandle {
    commands: mpsc::WeakSender<Command>,
    inbox: Inbox,
    stats: Arc<ShardSlot>,
}

/// How other shards, and the TCP listeners, reach a shard.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    inputs: mpsc::Sender<ShardInput>,
    news: mpsc::Sender<News>,
    spent: mpsc::Sender<Batch>,
}

/// What shards tell each other, in order and without loss.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// Whose a tuple is.
    Owner(OwnerNews),
    /// Something about a room that spans shards, and who says it.
    Relay(ShardId, Message),
}

/// Input that another thread gives to a shard.
#[derive(Debug)]
pub(crate) enum ShardInput {
    /// Datagrams that the kernel gave to the wrong shard.
    Datagrams(Handover),
    /// Packets of tracks that live on another shard, and which one that is.
    Relayed(ShardId, Batch),
    /// The network of a participant shall be like this.
    Emulate(ParticipantId, Network),
    /// A TCP connection for this shard.
    Tcp(Box<Accepted>),
}

/// A shard's ends of its queues.
pub(crate) struct ShardQueues {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) inputs: mpsc::Receiver<ShardInput>,
    pub(super) news: mpsc::Receiver<News>,
    pub(super) spent: mpsc::Receiver<Batch>,
    pub(super) stats: Arc<ShardSlot>,
}

/// The queues of one shard, made before any shard starts so that all know each other. The shard runs as long as the
/// sender exists.
pub(super) fn queues() -> (mpsc::Sender<Command>, ShardHandle, ShardQueues) {
    let (command_sender, commands) = mpsc::channel(COMMANDS);
    let (input_sender, inputs) = mpsc::channel(HANDOVERS);
    let (news_sender, news) = mpsc::channel(NEWS);
    let (spent_sender, spent) = mpsc::channel(SPENT);
    let stats = Arc::new(ShardSlot::default());
    let handle = ShardHandle {
        commands: command_sender.downgrade(),
        inbox: Inbox { inputs: input_sender, news: news_sender, spent: spent_sender },
        stats: stats.clone(),
    };
    (command_sender, handle, ShardQueues { commands, inputs, news, spent, stats })
}

/// The queue on which shards tell the control plane what happened: for each shard a clone of its one end.
pub(super) fn event_queue() -> (Events, mpsc::Receiver<Event>) {
    let (sender, events) = mpsc::channel(EVENTS);
    (Events { sender, dropped: 0 }, events)
}

/// A shard's end of the event queue.
#[derive(Clone, Debug)]
pub(super) struct Events {
    sender: mpsc::Sender<Event>,
    dropped: u64,
}

impl Events {
    /// Tells an event. False if the control plane has stopped taking them, or has ended.
    pub(super) fn tell(&mut self, event: Event) -> bool {
        // Of these the next one says all anew: where the control plane is behind, the room is for what is said once.
        if matches!(event, Event::Quality { .. }) && self.sender.capacity() < EVENTS / 2 {
            self.dropped += 1;
            return true;
        }
        self.sender.try_send(event).is_ok()
    }

    /// Events that were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl ShardHandle {
    /// Gives a command; waits while the shard is behind. False once the shard has ended.
    pub(crate) async fn command(&self, command: Command) -> bool {
        match self.commands.upgrade() {
            Some(commands) => commands.send(command).await.is_ok(),
            None => false,
        }
    }

    /// Where other threads put input for the shard.
    pub(crate) fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// Where the shard publishes its counters.
    pub(crate) fn stats(&self) -> Arc<ShardSlot> {
        self.stats.clone()
    }
}

impl Inbox {
    /// Gives an input unless the queue is full.
    pub(crate) fn give(&self, input: ShardInput) -> bool {
        self.inputs.try_send(input).is_ok()
    }

    /// Gives a batch back to the shard that filled it.
    pub(super) fn give_back(&self, batch: Batch) {
        // A full queue means that there are enough.
        let _ = self.spent.try_send(batch);
    }

    /// Tells news. False if the shard has stopped taking news; one that has ended is told nothing and needs nothing.
    pub(super) fn tell(&self, news: News) -> bool {
        !matches!(self.news.try_send(news), Err(TrySendError::Full(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_engine::Tuple;
    use sfu_engine::event::Quality;
    use sfu_engine::ids::ParticipantId;
    use sfu_engine::units::Bitrate;

    const QUALITY: Quality = Quality {
        rtt_ms: None,
        uplink_jitter_ms: 0.0,
        downlink_jitter_ms: 0.0,
        uplink_loss: 0.0,
        downlink_loss: 0.0,
        downlink_estimate: Bitrate::ZERO,
        uplink_rate: Bitrate::ZERO,
        downlink_rate: Bitrate::ZERO,
    };

    #[tokio::test]
    async fn a_handle_does_not_keep_a_shard_running() {
        let (commands, handle, mut queues) = queues();
        let leave = Command::Leave { participant: ParticipantId(1) };
        assert!(handle.command(leave.clone()).await);
        drop(commands);
        assert!(!handle.command(leave).await);
        assert!(queues.commands.recv().await.is_some(), "what was commanded before is still done");
        assert!(queues.commands.recv().await.is_none());
    }

    #[test]
    fn where_the_control_plane_is_behind_qualities_leave_room_for_the_rest() {
        let (mut shard, mut events) = event_queue();
        let quality = Event::Quality { participant: ParticipantId(1), quality: QUALITY };
        let connected = Event::Connected { participant: ParticipantId(1) };
        assert!((0..EVENTS).all(|_| shard.tell(quality.clone())));
        assert_eq!(shard.dropped(), EVENTS as u64 - events.len() as u64);
        assert!((0..EVENTS / 3).all(|_| shard.tell(connected.clone())));
        while events.try_recv().is_ok() {}
        assert!(shard.tell(quality) && events.len() == 1, "the control plane is up to date again");
        assert!((1..EVENTS).all(|_| shard.tell(connected.clone())));
        assert!(!shard.tell(connected), "it has stopped");
    }

    #[test]
    fn news_are_never_lost_silently() {
        let (_commands, handle, mut queues) = queues();
        let mut owners = super::super::owners::Owners::new(0, 2);
        let tuple = |port: usize| Tuple {
            protocol: sfu_engine::Protocol::Udp,
            local: ([127, 0, 0, 1], 1).into(),
            remote: ([127, 0, 0, 1], port as u16).into(),
        };
        // More than the lossy queue holds.
        for port in 0..2 * HANDOVERS {
            assert!(handle.inbox().tell(News::Owner(owners.claim(tuple(port)))));
        }
        assert_eq!(queues.news.len(), 2 * HANDOVERS);
        queues.news.close();
        assert!(handle.inbox().tell(News::Owner(owners.claim(tuple(1)))), "a shard that has ended needs no news");
    }
}
