//! Names of things that live longer than a packet. The control plane chooses participant and room ids; the engine
//! derives track ids from them, so ids are unique in a node without any shared counter.

use std::fmt;

/// A room: the isolation boundary. Chosen by the control plane, unique in the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u64);

/// A participant of one room. Chosen by the control plane, unique in the node, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParticipantId(pub u64);

/// A shard of the node: one engine on one thread. Rooms span shards by [`crate::relay`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// A published track: its participant and the how-manieth track that participant published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId {
    /// The publisher.
    pub participant: ParticipantId,
    /// Counts from 0 over the participant's life, also across recycled m= sections.
    pub index: u32,
}

/// Ties an answer to its offer. Chosen by the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

/// Index of an encoding within its track: 0 is the lowest quality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EncodingIndex(pub u8);

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl fmt::Display for ParticipantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

impl fmt::Display for TrackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}t{}", self.participant, self.index)
    }
}
