//! The calls of `tests/calls` with their participants spread over three shards: what a participant sees must be the
//! same. And what is only so where a room spans shards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(unreachable_pub)]

#[path = "../harness/mod.rs"]
mod harness;

/// Participant n is on shard n modulo this.
const SHARDS: u16 = 3;

mod across;

#[path = "../calls/addresses.rs"]
mod addresses;
#[path = "../calls/bad_network.rs"]
mod bad_network;
#[path = "../calls/codec_change.rs"]
mod codec_change;
#[path = "../calls/data.rs"]
mod data;
#[path = "../calls/data_hostile.rs"]
mod data_hostile;
#[path = "../calls/frame_extensions.rs"]
mod frame_extensions;
#[path = "../calls/hostile.rs"]
mod hostile;
#[path = "../calls/late_joiner.rs"]
mod late_joiner;
#[path = "../calls/layers.rs"]
mod layers;
#[path = "../calls/lip_sync.rs"]
mod lip_sync;
#[path = "../calls/loss.rs"]
mod loss;
#[path = "../calls/mute.rs"]
mod mute;
#[path = "../calls/narrow_downlink.rs"]
mod narrow_downlink;
#[path = "../calls/rebinding.rs"]
mod rebinding;
#[path = "../calls/redundant_audio.rs"]
mod redundant_audio;
#[path = "../calls/same_seed.rs"]
mod same_seed;
#[path = "../calls/sections.rs"]
mod sections;
#[path = "../calls/slow_uplink.rs"]
mod slow_uplink;
#[path = "../calls/speaker.rs"]
mod speaker;
#[path = "../calls/tcp.rs"]
mod tcp;
#[path = "../calls/top_encoding_stops.rs"]
mod top_encoding_stops;
#[path = "../calls/two_participants.rs"]
mod two_participants;
#[path = "../calls/unwanted_encodings.rs"]
mod unwanted_encodings;
