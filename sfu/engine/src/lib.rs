//! Sluice's media engine: a selective forwarding unit (RFC 7667 section 3.7) without any I/O.
//!
//! The engine owns no socket, thread, lock or clock. A shard gives it datagrams, commands and the time (`handle_*`),
//! and takes from it datagrams to send, events and the next time at which it wants to be called (`poll_*`). The same
//! engine therefore runs in a server and, in tests, in virtual time.

mod bucket;
mod byte_reader;
pub mod command;
pub mod config;
pub mod data;
pub mod downlink;
pub mod drops;
pub mod engine;
pub mod event;
pub mod forward;
pub mod histogram;
pub mod ids;
pub mod media;
pub mod net;
pub mod participant;
pub mod progress;
pub mod relay;
pub mod report;
pub mod ring;
pub mod room;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod snapshot;
pub mod speaker;
pub mod timers;
pub mod transport;
pub mod units;
pub mod uplink;
pub mod wire_cost;

/// The cryptography that the engine is given: `default_provider()` makes one.
pub use rtc_crypto as crypto;

/// The harness of `tests` is used by the tests in here too: it names this crate, and the shards that it is to have.
#[cfg(test)]
extern crate self as sfu_engine;
#[cfg(test)]
const SHARDS: u16 = 3;

pub use command::{Command, Permissions, Preference, Priority};
pub use config::{EngineConfig, WallClock};
pub use engine::Engine;
pub use event::Event;
pub use net::{Protocol, Transmit, Tuple};
pub use snapshot::EngineSnapshot;
