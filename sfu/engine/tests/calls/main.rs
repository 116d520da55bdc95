//! Calls through the engine in virtual time, one behaviour per file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(unreachable_pub)]

#[path = "../harness/mod.rs"]
mod harness;

/// All participants on one engine. `tests/shards` runs the same calls on several.
const SHARDS: u16 = 1;

mod addresses;
mod bad_network;
mod codec_change;
mod data;
mod data_hostile;
mod frame_extensions;
mod hostile;
mod late_joiner;
mod late_server;
mod layers;
mod lip_sync;
mod loss;
mod many_receivers;
mod mute;
mod narrow_downlink;
mod rebinding;
mod redundant_audio;
mod same_seed;
mod sections;
mod slow_uplink;
mod speaker;
mod switch_reasons;
mod tcp;
mod top_encoding_stops;
mod two_participants;
mod unwanted_encodings;
