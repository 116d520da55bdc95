//! One run of a scenario in virtual time: the engine, clients, links and competing traffic, driven by one clock.

mod cast;
mod clock;
mod path;
mod signal;
mod unanswered;
mod world;

pub use cast::{Member, Wish, cast};
pub use path::capacity;
pub use world::run;

use crate::flow::Segment;

/// What travels on links.
#[derive(Clone, Debug)]
pub enum Parcel {
    /// A client's datagram.
    ToServer(usize, Vec<u8>),
    /// The server's datagram to a client.
    ToClient(usize, Vec<u8>),
    /// A packet of competing traffic.
    Flow(usize, Segment),
}
