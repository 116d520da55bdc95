//! What a world needs of whoever serves its clients: the engine in virtual time, or any server behind sockets in real
//! time.

use super::Wish;
use super::signal::Signal;
use sfu_engine::command::PublishHint;
use sfu_engine::ids::TrackId;
use std::time::Instant;

/// A server. It names participants by their places in the cast, and tracks by their publisher's place and their place
/// among its tracks.
pub(crate) trait Server {
    /// Somebody joins who wants this of tracks that it does not name; `None` where it wants nothing of them.
    fn join(&mut self, now: Instant, place: usize, default: Option<Wish>);
    /// An offer, and what its sending sections carry.
    fn offer(&mut self, now: Instant, place: usize, sdp: String, published: Vec<PublishHint>);
    /// What somebody wants of a track; `None` where it does not want it.
    fn prefer(&mut self, now: Instant, place: usize, track: TrackId, wish: Option<Wish>);
    /// A track's publisher mutes or unmutes it.
    fn set_muted(&mut self, now: Instant, track: TrackId, muted: bool);
    /// Somebody leaves.
    fn leave(&mut self, now: Instant, place: usize);
    /// A datagram of a client has arrived; opened in place.
    fn handle_datagram(&mut self, now: Instant, place: usize, datagram: &mut [u8]);
    /// The next datagram that it sends, and to whom.
    fn poll_datagram(&mut self, now: Instant) -> Option<(usize, Vec<u8>)>;
    /// The next thing that it tells.
    fn poll_told(&mut self, now: Instant) -> Option<Told>;
    /// When [`Server::handle_timeout`] is due, or there is something to poll.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant);
    /// Its estimate of somebody's downlink in bit/s, where it is known.
    fn estimate(&mut self, place: usize) -> Option<f64>;
    /// Packets that clients reported as marked Congestion Experienced, where that is known.
    fn ce_marks(&self) -> u64;
}

/// Something that a server tells.
pub(crate) enum Told {
    /// To a client.
    Client(usize, Signal),
    /// To everybody: a track began.
    Published(TrackId),
    /// To everybody: a track is over.
    Ended(TrackId),
    /// The run cannot go on: this went wrong for somebody.
    Failed(usize, String),
}
