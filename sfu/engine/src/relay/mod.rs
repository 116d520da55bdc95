//! What shards tell each other about a room that spans them, so that a participant need not know on which shard another
//! one is.
//!
//! A track lives on the shard of its publisher, its home. On every other shard of the room stands a *mirror* of it,
//! which slots bind to like to any track. A mirror tells home which encodings somebody takes there; home sends each
//! packet of those once, however many take it, and says what the layers cost. What a mirror misses it asks of home's
//! store; key frame requests go home and are throttled there. The speakers of a room are ranked on its lowest shard, to
//! which the others send the levels of their microphones.
//!
//! Everything here is a plain value without references, clocks or keys, so it could be sealed for another node.
//! [`Message`]s arrive in order and are not lost; [`Batch`]es may be. What is said by messages is heard before the
//! batches that are handed over after them.

mod outbox;

pub use outbox::Outbox;

use crate::data::DataMessage;
use crate::downlink::allocate::LayerOption;
use crate::ids::{EncodingIndex, ParticipantId, RoomId, TrackId};
use crate::media::{Codec, FrameMeta, Source};
use crate::units::{ExtSeq, Mid, PayloadType, Rid, RtpTime};
use crate::uplink::clock::CaptureMapping;

/// What one shard tells another.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The sender has members of this room. Its tracks follow; the receiver answers with the same, if it did not know.
    Hello {
        /// The room.
        room: RoomId,
    },
    /// The sender has no members of this room any more.
    Goodbye {
        /// The room.
        room: RoomId,
    },
    /// A track began at the sender, was negotiated anew, or has another codec.
    Track(Description),
    /// A track of the sender ended.
    Ended {
        /// Which.
        track: TrackId,
    },
    /// A track of the sender was muted or unmuted.
    Muted {
        /// Which.
        track: TrackId,
        /// New state.
        muted: bool,
    },
    /// The layers that a track of the sender has now.
    Layers {
        /// Which track.
        track: TrackId,
        /// Among what receivers can choose.
        layers: Vec<LayerOption>,
    },
    /// The parameter sets (H.264, H.265) of an encoding that the receiver takes: they may come in no packet that it
    /// gets.
    Parameters {
        /// Of which track of the sender.
        track: TrackId,
        /// Of which encoding.
        encoding: EncodingIndex,
        /// Payload type as the publisher wrote it.
        payload_type: PayloadType,
        /// An aggregation packet.
        payload: Vec<u8>,
    },
    /// Which encodings of the receiver's track somebody takes at the sender.
    Interest {
        /// Which track.
        track: TrackId,
        /// One bit for each encoding.
        encodings: u8,
    },
    /// Somebody at the sender needs a key frame.
    Keyframe {
        /// Of which track of the receiver.
        track: TrackId,
        /// Of which encoding.
        encoding: EncodingIndex,
    },
    /// Packets that did not reach the sender.
    Nack {
        /// Of which track of the receiver.
        track: TrackId,
        /// Of which encoding.
        encoding: EncodingIndex,
        /// Which packets.
        packets: Vec<ExtSeq>,
    },
    /// A message on a data channel, for members of the receiver's shard.
    Data {
        /// The room.
        room: RoomId,
        /// What, from whom and to whom.
        message: DataMessage,
    },
    /// Who speaks, said by the shard that ranks the room's microphones.
    Talkers {
        /// The room.
        room: RoomId,
        /// The dominant speaker.
        dominant: Option<ParticipantId>,
        /// Every microphone that is among the loudest.
        talking: Vec<TrackId>,
    },
}

/// A track as its mirrors must know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Its room.
    pub room: RoomId,
    /// Its id.
    pub track: TrackId,
    /// The section of the publisher's SDP.
    pub mid: Mid,
    /// What it shows.
    pub source: Source,
    /// Muted by its publisher.
    pub muted: bool,
    /// What it is encoded with, once a packet has come.
    pub codec: Option<Codec>,
    /// The encodings, lowest first.
    pub rids: Vec<Option<Rid>>,
}

/// What one turn of a shard's work brought for another shard.
#[derive(Debug, Default)]
pub struct Batch {
    /// Packets in the order in which they came.
    pub packets: Vec<Packet>,
    /// The packets' bytes one after the other: extensions and payload of each.
    pub bytes: Vec<u8>,
    /// Levels of microphones (RFC 6464, -dBov), for the shard that ranks them.
    pub levels: Vec<(TrackId, u8)>,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty() && self.levels.is_empty()
    }

    /// Empties it; its memory stays.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.bytes.clear();
        self.levels.clear();
    }
}

/// One received RTP packet: all that a forwarder needs of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packet {
    /// Its track.
    pub track: TrackId,
    /// Its encoding.
    pub encoding: EncodingIndex,
    /// Sequence number, unwrapped at home.
    pub seq: ExtSeq,
    /// RTP timestamp as the publisher wrote it.
    pub timestamp: RtpTime,
    /// RTP marker bit.
    pub marker: bool,
    /// Payload type as the publisher wrote it.
    pub payload_type: PayloadType,
    /// RFC 6464 level, where the packet tells it.
    pub audio_level: Option<u8>,
    /// Bytes at the payload's front that repeat older packets (RFC 2198).
    pub redundant: u16,
    /// What the payload header says.
    pub frame: FrameMeta,
    /// The encoding's timestamps on the time line that the node's shards share.
    pub clock: CaptureMapping,
    /// It repairs a loss, so its time of arrival says nothing.
    pub again: bool,
    /// Bytes of header extensions that receivers get too; they come first.
    pub extensions_len: usize,
    /// Bytes of extensions and payload together.
    pub len: usize,
}
