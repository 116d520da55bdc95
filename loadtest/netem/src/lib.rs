//! A link emulator without I/O: one [`Link`] is one direction of one path, and several flows share it by being given
//! the same one.
//!
//! What happens to a packet, in this order: it is sent into an outage and lost, or lost by chance or by a policer, or
//! duplicated; it joins a FIFO queue or finds it full; it is served at the rate of the moment (or by a recorded trace);
//! it travels for the delay plus jitter; it arrives, unless in a pause, which holds it back, or in an outage, which
//! loses it.
//!
//! Virtual and real time work alike: `now` is an argument, times are whole microseconds since the start, chance comes
//! from a seed. The same calls with the same seed give the same run. Its users are the engine's tests and the scenario
//! runner.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use netem::{Link, LinkConfig, Rate, Schedule};
//!
//! let start = Instant::now();
//! let config = LinkConfig {
//!     rate: Rate::constant(1_000_000),
//!     delay: Schedule::constant(Duration::from_millis(50)),
//!     ..LinkConfig::default()
//! };
//! let mut link = Link::new(config, start, 1);
//! link.handle_packet(start, 1250, "hello");
//! let arrival = link.poll_timeout().unwrap();
//! assert_eq!(arrival - start, Duration::from_millis(60)); // 10 ms for 1250 bytes at 1 Mb/s
//! assert_eq!(link.poll_deliver(arrival).unwrap().packet, "hello");
//! ```

mod bottleneck;
mod config;
mod jitter;
mod link;
mod loss;
mod queue;
mod record;
mod schedule;
mod stall;
mod trace;

pub use config::{Jitter, JitterModel, LinkConfig, Loss, Pauses, QueueLimit, Rate, Reorder};
pub use link::{Delivered, Link};
pub use record::{Counters, DropCause, LogEntry, LogEvent};
pub use schedule::Schedule;
pub use trace::{Trace, TraceError};

/// A time that never comes, in microseconds: the departure from a link whose rate stays zero.
const NEVER: u64 = u64::MAX;

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(NEVER)
}
