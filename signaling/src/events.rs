//! The way from a room to a client: a bounded queue that never blocks whoever sends, and that outlives the WebSocket.
//!
//! An [`EventSink`] belongs to a participant. It is attached to at most one WebSocket at a time; each attachment has a
//! number, its generation, so that an old connection that ends late cannot undo what a newer one did.
//!
//! | | `send` | a new WebSocket attaches |
//! |---|---|---|
//! | attached | queued; a full queue detaches and closes the WebSocket | takes over, the old WebSocket is closed |
//! | detached | discarded: resuming sends the whole state | session resumed |
//! | over | discarded | refused |

use crate::protocol::{CloseCode, ServerMessage};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

/// Where a room sends what a participant shall know. Cheap to clone, never blocks.
#[derive(Clone)]
pub struct EventSink(Arc<Shared>);

struct Shared {
    link: Mutex<Link>,
    /// Wakes the task that waits for a session to be resumed.
    changed: Notify,
}

struct Link {
    generation: u64,
    state: State,
}

/// A message in a queue. Boxed, since the queue allocates room for 32 at once, and there is one for each participant.
pub(crate) type Queued = Box<ServerMessage>;

enum State {
    Attached { queue: mpsc::Sender<Queued>, end: oneshot::Sender<End> },
    Detached,
    Over,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client left.
    Left,
    /// A fatal error was queued.
    Fatal,
    /// The service ended the session; its last message was queued.
    Finished,
    /// Another WebSocket has the session now.
    TakenOver,
    /// The WebSocket is gone or must go, the session waits. The code is none where the client is gone already.
    Lost(Option<CloseCode>),
    /// The client's page was closed or reloaded; the session waits, but not for long.
    GoneAway,
}

/// A connection's end of an [`EventSink`].
pub(crate) struct Attachment {
    pub(crate) generation: u64,
    /// The connection's own way into its queue, for replies.
    pub(crate) replies: mpsc::Sender<Queued>,
    /// What to write to the client, in order.
    pub(crate) queue: mpsc::Receiver<Queued>,
    /// Tells the connection to end.
    pub(crate) ended: oneshot::Receiver<End>,
}

/// How the wait for a client came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Another connection has the session.
    Resumed,
    /// The service ended the session.
    Over,
    /// The client did not come back; the session is over now.
    Expired,
}

impl EventSink {
    /// Sends `message` to the client. Where the client reads too slowly for its queue, its WebSocket is closed and it
    /// resumes with the whole state; while it has no WebSocket, events are discarded for the same reason.
    pub fn send(&self, message: ServerMessage) {
        let mut link = self.0.link.lock();
        if let State::Attached { queue, .. } = &link.state
            && queue.try_send(Box::new(message)).is_err()
        {
            link.stop(State::Detached, End::Lost(Some(CloseCode::TooSlow)));
        }
    }

    /// Sends a last message, [`ServerMessage::Kicked`], and ends the session: the WebSocket is closed after it and
    /// cannot be resumed. For a participant that the service has removed by itself; `leave` is not called.
    pub fn finish(&self, last: ServerMessage) {
        self.send(last);
        self.over();
    }

    /// Ends the session, whichever connection it has.
    pub(crate) fn over(&self) {
        self.0.link.lock().stop(State::Over, End::Finished);
        self.0.changed.notify_one();
    }

    /// A sink that is attached from the start.
    pub(crate) fn new(capacity: usize) -> (EventSink, Attachment) {
        let (state, attachment) = attachment(0, capacity);
        let link = Mutex::new(Link { generation: 0, state });
        (EventSink(Arc::new(Shared { link, changed: Notify::new() })), attachment)
    }

    /// Gives the events to a new connection and takes them from the old one. None where the session is over.
    pub(crate) fn attach(&self, capacity: usize) -> Option<Attachment> {
        let mut link = self.0.link.lock();
        if matches!(link.state, State::Over) {
            return None;
        }
        let (state, attachment) = attachment(link.generation + 1, capacity);
        link.stop(state, End::TakenOver);
        link.generation = attachment.generation;
        self.0.changed.notify_one();
        Some(attachment)
    }

    /// The connection of this generation is gone; the session waits.
    pub(crate) fn detach(&self, generation: u64) {
        let mut link = self.0.link.lock();
        if link.generation == generation && matches!(link.state, State::Attached { .. }) {
            link.state = State::Detached;
        }
    }

    /// Ends the session on behalf of the connection of this generation. False where it no longer is the one to do so.
    pub(crate) fn close(&self, generation: u64) -> bool {
        let mut link = self.0.link.lock();
        if link.generation != generation || matches!(link.state, State::Over) {
            return false;
        }
        link.state = State::Over;
        true
    }

    /// Waits until another connection takes the session, it ends, or `deadline` passes and ends it.
    pub(crate) async fn wait_for_resume(&self, generation: u64, deadline: Instant) -> Wait {
        loop {
            match &*self.0.link.lock() {
                Link { state: State::Over, .. } => return Wait::Over,
                link if link.generation != generation => return Wait::Resumed,
                _ => {}
            }
            // A wake-up from before this wait only costs another look.
            let timed_out = tokio::time::timeout_at(deadline, self.0.changed.notified()).await.is_err();
            if timed_out && self.close(generation) {
                return Wait::Expired;
            }
        }
    }
}

impl Link {
    /// Moves to `next` and tells the connection that was attached why.
    fn stop(&mut self, next: State, why: End) {
        if let State::Attached { end, .. } = std::mem::replace(&mut self.state, next) {
            // A connection that no longer listens has ended by itself.
            let _ = end.send(why);
        }
    }
}

fn attachment(generation: u64, capacity: usize) -> (State, Attachment) {
    let (sender, queue) = mpsc::channel(capacity.max(1));
    let (end, ended) = oneshot::channel();
    let attachment = Attachment { generation, replies: sender.clone(), queue, ended };
    (State::Attached { queue: sender, end }, attachment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn event(id: u64) -> ServerMessage {
        ServerMessage::Pong { id }
    }

    #[test]
    fn an_old_connection_that_ends_late_undoes_nothing() {
        let (sink, mut old) = EventSink::new(4);
        let mut new = sink.attach(4).expect("not over");
        assert_eq!(old.ended.try_recv(), Ok(End::TakenOver));
        sink.detach(old.generation);
        assert!(!sink.close(old.generation), "the session is the new connection's");
        sink.send(event(1));
        assert_eq!(new.queue.try_recv(), Ok(event(1).into()));
        assert!(old.queue.try_recv().is_err());
        assert!(new.ended.try_recv().is_err(), "the new connection goes on");
    }

    #[test]
    fn a_session_that_is_over_stays_over() {
        let (sink, attachment) = EventSink::new(4);
        assert!(sink.close(attachment.generation));
        assert!(!sink.close(attachment.generation), "ended once");
        assert!(sink.attach(4).is_none());
        sink.detach(attachment.generation);
        assert!(sink.attach(4).is_none());
    }

    #[test]
    fn a_full_queue_ends_the_connection_once_and_keeps_nothing_more() {
        let (sink, mut attachment) = EventSink::new(2);
        for id in 0..10 {
            sink.send(event(id));
        }
        assert_eq!(attachment.ended.try_recv(), Ok(End::Lost(Some(CloseCode::TooSlow))));
        assert_eq!(
            (attachment.queue.try_recv(), attachment.queue.try_recv()),
            (Ok(event(0).into()), Ok(event(1).into()))
        );
        assert!(attachment.queue.try_recv().is_err());
        assert!(sink.attach(2).is_some(), "it can be resumed");
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_resume_and_an_expiry_only_one_happens() {
        let (sink, attachment) = EventSink::new(2);
        sink.detach(attachment.generation);
        let deadline = Instant::now() + Duration::from_secs(30);
        assert_eq!(sink.wait_for_resume(attachment.generation, deadline).await, Wait::Expired);
        assert!(sink.attach(2).is_none());

        let (sink, attachment) = EventSink::new(2);
        sink.detach(attachment.generation);
        let _new = sink.attach(2).expect("waits");
        let passed = Instant::now() - Duration::from_secs(1);
        assert_eq!(sink.wait_for_resume(attachment.generation, passed).await, Wait::Resumed);
    }
}
