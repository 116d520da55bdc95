//! What clients and server tell each other beside the media: the rooms protocol, as values that arrive after the path's
//! latency.

use sfu_engine::command::PublishHint;
use sfu_engine::event::SlotState;
use sfu_engine::ids::TrackId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Something that happens at a client or at the server.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    /// At the client: it begins to join.
    Join,
    /// At the client: it leaves.
    Leave,
    /// At the client: its wishes change.
    WishesChange,
    /// At the client: it mutes or unmutes.
    MuteChanges,
    /// At the client: the answer to its offer.
    Answer(String),
    /// At the client: media cannot flow.
    Disconnected,
    /// At the client: the state of its slots.
    Slots(Vec<SlotState>),
    /// At the client: encodings of its track that somebody takes.
    Wanted(usize, Vec<bool>),
    /// At the client: it should offer more sections.
    SlotsWanted(usize, usize),
    /// At the client: somebody else's track began.
    Published(TrackId),
    /// At the server: an offer; the first one joins.
    Offer(String, Vec<PublishHint>),
    /// At the server: it is gone.
    Gone,
    /// At the server: what it wants of a track; `None` where it does not want it.
    Prefer(TrackId, Option<super::Wish>),
    /// At the server: a track is muted or unmuted.
    Muted(TrackId, bool),
}

/// Signals on their way.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    letters: std::collections::BTreeMap<u64, (usize, Signal)>,
    sent: u64,
}

impl Mailbox {
    /// Sends a signal of or for the member at `place`, to arrive at `at`.
    pub(super) fn send(&mut self, at: Instant, place: usize, signal: Signal) {
        self.heap.push(Reverse((at, self.sent)));
        self.letters.insert(self.sent, (place, signal));
        self.sent += 1;
    }

    /// The next signal that has arrived.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(usize, Signal)> {
        let Reverse((_, number)) = *self.heap.peek().filter(|Reverse((at, _))| *at <= now)?;
        self.heap.pop();
        self.letters.remove(&number)
    }

    /// When the next signal arrives.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}
