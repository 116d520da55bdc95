//! Data channels (RFC 8831): messages between participants of a room, over SCTP in DTLS (RFC 8261).
//!
//! A client opens two channels, its *lanes*: a reliable ordered one and a lossy unordered one. What it sends is put
//! together and handed to the room as a [`DataMessage`], in which the server says who sent it; the room's shards give
//! it to the members it is for, and each member's [`DataChannels`] queues it. Nothing of that queue is shared but the
//! bytes, so a slow reader costs itself only.
//!
//! `frame` is the format on the lanes, `association` the only file that touches `rtc-sctp`, `guard` what keeps that
//! crate from input that would cost too much, `outbound` what waits for a receiver, `channels` puts the parts together.

mod association;
mod channels;
pub mod frame;
mod guard;
mod outbound;

pub use channels::{DataChannels, DataCounts};
pub use frame::Framed;

use crate::ids::ParticipantId;
use bytes::Bytes;

/// Payload bytes of one message.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// Payload bytes of a message on the lossy lane, which is one frame: it comes whole or not at all.
pub const MAX_LOSSY_MESSAGE: usize = 14 * 1024;
/// Bytes of UTF-8 in a topic.
pub const MAX_TOPIC: usize = 64;
/// Participants that one message can name.
pub const MAX_RECIPIENTS: usize = 64;

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Reliable and in order.
    Reliable,
    /// Sent once, in no order (RFC 3758); the oldest goes first where a receiver is slow.
    Lossy,
}

/// The receivers of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// Every member of the room but the sender.
    Everybody,
    /// These, where they are members.
    Only(Vec<ParticipantId>),
}

/// One message on its way through the room: a plain value, which crosses shards as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataMessage {
    /// Its sender, as the server knows it; `None` where that is the server itself.
    pub from: Option<ParticipantId>,
    /// Its receivers.
    pub to: Recipients,
    /// How it travels.
    pub lane: Lane,
    /// The payload is text (UTF-8) rather than bytes.
    pub is_text: bool,
    /// What it is about; for the application.
    pub topic: String,
    /// At most [`MAX_MESSAGE`] bytes, on the lossy lane [`MAX_LOSSY_MESSAGE`].
    pub payload: Bytes,
}
