//! One run of a scenario: a server, clients, links and competing traffic, driven by one clock. [`run`] has the engine
//! for a server, and virtual time; [`crate::run`] has a server behind sockets, and real time.

mod cast;
mod clock;
mod engine;
mod path;
pub(crate) mod server;
pub(crate) mod signal;
mod unanswered;
mod world;

pub use cast::{Member, Wish, cast};
pub use path::capacity;
pub(crate) use world::World;
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
