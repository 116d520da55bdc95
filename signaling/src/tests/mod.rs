//! The protocol from outside: an independent WebSocket client against the router, over pipes in memory and in virtual
//! time, so that a test of a 30 s timer takes no time and cannot be late.

mod bad_input;
mod conversation;
mod docs;
mod grants;
mod harness;
mod resuming;
mod whip;
