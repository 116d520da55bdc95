//! The binary as its users meet it: a process with a command line, a web page, a WebSocket and a media port.
//!
//! One program for all of these tests, since the clients take long to link. One behaviour, or one family of them, in
//! each file.

#![allow(unreachable_pub, reason = "nothing of a test program is reachable from elsewhere")]

mod api;
mod bad_offers;
mod call;
mod data;
mod emulation;
mod harness;
mod hostile;
mod http;
mod https;
mod lifecycle;
mod limits;
mod load;
mod logs;
#[cfg(feature = "otlp")]
mod otlp;
mod process;
mod resuming;
mod settings;
mod shards;
mod tcp;
mod tokens;
mod webhooks;
mod whep;
mod whip;
