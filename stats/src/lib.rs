//! What Sluice measures about itself, and how it tells Prometheus.
//!
//! A shard fills a [`ShardSnapshot`] once a second and publishes it in its [`ShardSlot`]; the control plane counts in
//! [`ControlPlane`]; the [`SluiceCollector`] turns both into the metrics of [`catalogue`], which is the only place
//! where a metric's name, help and labels are written down. [`quality`] turns loss, delay and jitter into one figure
//! for people.
//!
//! Labels never name a room, a participant or a track: such series grow without bound, and Prometheus suffers from it.

pub mod catalogue;
pub mod collector;
pub mod control;
pub mod distribution;
pub mod quality;
pub mod snapshot;

pub use collector::{Build, CONTENT_TYPE, SluiceCollector, render};
pub use control::{ControlPlane, Gauge, Role};
pub use distribution::Distribution;
pub use prometheus::Registry;
#[cfg(target_os = "linux")]
pub use prometheus::process_collector::ProcessCollector;
pub use snapshot::{
    Connections, IceResults, KeyframeRequests, Lane, LayerSwitches, PerDirection, PerFamily, PerKind, ShardSlot,
    ShardSnapshot, Subscriptions, Tracks, UdpTraffic,
};
