//! Sluice's rooms protocol: JSON over a WebSocket at `/ws`, and who may use it. Knows no media and nothing of the
//! engine.
//!
//! [`router`] serves the protocol on behalf of a [`RoomService`], which `sfu` implements. A WebSocket is one
//! `session::run`: it reads a `join`, then passes requests to the service and events from the service to the client
//! until one side ends it. A session outlives its WebSocket by [`SignalingConfig::resume_window`], see `resume`.
//!
//! [`whip::router`] lets participants in by plain HTTP instead, for encoders and players.
//!
//! Runs on the control plane's tokio runtime. Everything that a client can make grow is bounded by a field of
//! [`SignalingConfig`].

pub mod api;
pub mod auth;
mod body;
pub mod config;
pub mod error;
pub mod events;
pub mod ice;
mod inbox;
mod limits;
pub mod outgoing;
pub mod protocol;
mod resume;
mod router;
pub mod service;
mod session;
#[cfg(test)]
mod tests;
pub mod webhooks;
pub mod whip;

pub use config::SignalingConfig;
pub use error::ServiceError;
pub use events::EventSink;
pub use ice::{IceServers, IceServersError};
pub use router::router;
pub use service::{AnswerReply, JoinRequest, JoinedState, OfferRequest, RoomService, SubscribeRequest};
