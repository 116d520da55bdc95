//! A track of a room that spans shards: at home, which shards take it; on those, its mirror. See [`crate::relay`].

use super::limits::Limits;
use super::recovery::Recovery;
use super::{Subscriber, Track};
use crate::downlink::allocate::LayerOption;
use crate::engine::keys::{ParticipantKey, RoomKey};
use crate::ids::{EncodingIndex, RoomId, ShardId};
use crate::media::{MediaKind, PacketMeta};
use crate::relay::{Batch, Description, Message, Packet};
use crate::sdp::MAX_ENCODINGS;
use crate::units::{ExtSeq, PayloadType};
use crate::uplink::encoding::Encoding;
use crate::uplink::keyframe::Method;
use crate::uplink::nack::Repair;
use crate::uplink::rtx::AssociatedPayloads;
use crate::uplink::store::{Inserted, StoredPacket};
use crate::wire_cost;
use std::time::{Duration, Instant};

/// Mirrors learn this often what the layers cost.
const TELL_LAYERS: Duration = Duration::from_secs(1);
/// How long a mirror waits for an answer from home; its requests for key frames are repeated by their own clock.
const HOME_ROUND_TRIP: Duration = Duration::from_millis(10);

/// Where a track comes from.
#[derive(Debug)]
pub enum Origin {
    /// A participant of this shard publishes it.
    Participant(ParticipantKey),
    /// Another shard does; this is its mirror.
    Shard(Mirror),
}

/// What a mirror knows and has said.
#[derive(Debug)]
pub struct Mirror {
    /// Home.
    pub home: ShardId,
    /// It has something to tell home.
    pub queued: bool,
    /// The earliest wake-up that the engine has noted for it.
    pub wake_at: Option<Instant>,
    layers: Vec<LayerOption>,
    /// Home was told that these are taken here.
    interest: u8,
}

/// Another shard that takes a track of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taker {
    shard: ShardId,
    interest: u8,
}

/// The other shards that take a track.
#[derive(Debug, Default)]
pub(super) struct Takers {
    list: Vec<Taker>,
    /// When they were told what the layers cost.
    told: Option<Instant>,
}

impl Takers {
    pub(super) fn take(&self, encoding: EncodingIndex) -> bool {
        self.list.iter().any(|taker| taker.interest & super::bit(encoding) != 0)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.told.filter(|_| !self.list.is_empty()).map(|at| at + TELL_LAYERS)
    }
}

/// The track on its home shard.
impl Track {
    /// The track as its mirrors must know it.
    pub fn description(&self, room: RoomId) -> Description {
        let rids = self.encodings.iter().map(|encoding| encoding.rid).collect();
        Description {
            room,
            track: self.id,
            mid: self.mid,
            source: self.source,
            muted: self.muted,
            codec: self.codec,
            rids,
        }
    }

    /// Notes which encodings a shard takes.
    pub fn set_taker(&mut self, shard: ShardId, interest: u8) {
        self.takers.list.retain(|taker| taker.shard != shard);
        if interest != 0 {
            self.takers.list.push(Taker { shard, interest });
        }
        self.demand_changed = true;
    }

    /// A shard needs a key frame of an encoding: what is just coming has not reached it from its beginning on.
    pub fn request_keyframe_for_mirror(&mut self, now: Instant, index: EncodingIndex) {
        if let Some(encoding) = self.encodings.get_mut(usize::from(index.0)) {
            encoding.keyframe.request_another(now);
        }
    }

    /// The shards that take an encoding.
    pub fn takers_of(&self, encoding: EncodingIndex) -> impl Iterator<Item = ShardId> + '_ {
        let bit = super::bit(encoding);
        self.takers.list.iter().filter(move |taker| taker.interest & bit != 0).map(|taker| taker.shard)
    }

    /// What the layers cost, for those shards that take some; `None` where there are none, or where they know and it is
    /// not `news`.
    pub fn poll_layers(&mut self, now: Instant, news: bool) -> Option<(Message, Vec<ShardId>)> {
        let due = news || self.takers.poll_timeout().is_some_and(|at| at <= now);
        if self.takers.list.is_empty() || !due {
            return None;
        }
        self.takers.told = Some(now);
        let layers = self.layer_options(now);
        let message = Message::Layers { track: self.id, layers };
        Some((message, self.takers.list.iter().map(|taker| taker.shard).collect()))
    }

    /// The parameter sets of an encoding, for shards that take it.
    pub fn parameters_message(&self, index: EncodingIndex) -> Option<Message> {
        let stored = self.encoding(index)?.store.parameters()?;
        let (payload_type, payload) = (stored.meta.payload_type, stored.payload().to_vec());
        Some(Message::Parameters { track: self.id, encoding: index, payload_type, payload })
    }

    /// Appends a stored packet of an encoding to what goes to a shard.
    pub fn write_relayed(&self, index: EncodingIndex, stored: &StoredPacket, again: bool, batch: &mut Batch) {
        let Some(encoding) = self.encoding(index) else { return };
        let (meta, extensions, payload) = (&stored.meta, stored.extensions(), stored.whole_payload());
        batch.packets.push(Packet {
            track: self.id,
            encoding: index,
            seq: meta.seq,
            timestamp: meta.timestamp,
            marker: meta.marker,
            payload_type: meta.payload_type,
            audio_level: meta.audio_level,
            redundant: meta.redundant,
            frame: meta.frame,
            clock: encoding.mapping(),
            again,
            extensions_len: extensions.len(),
            len: extensions.len() + payload.len(),
        });
        batch.bytes.extend_from_slice(extensions);
        batch.bytes.extend_from_slice(payload);
    }
}

/// The track's mirror on another shard.
impl Track {
    /// The mirror of a track that lives on another shard.
    pub fn mirror_of(home: ShardId, room: RoomKey, description: &Description) -> Self {
        let mirror = Mirror { home, queued: false, wake_at: None, layers: Vec::new(), interest: 0 };
        let mut track = Track {
            id: description.track,
            mid: description.mid,
            kind: description.source.kind(),
            source: description.source,
            muted: description.muted,
            origin: Origin::Shard(mirror),
            room,
            codec: None,
            subscribers: Vec::new(),
            takers: Takers::default(),
            demand_changed: false,
            encodings: Vec::new(),
            recovery: Recovery::default(),
            limits: Limits::default(),
            payloads: Vec::new(),
            associated: AssociatedPayloads::default(),
            red: None,
        };
        track.describe_anew(description);
        track
    }

    /// Takes over what a later description says. Encodings that keep their rid keep their state. True where the codec
    /// is another one.
    pub fn describe_anew(&mut self, description: &Description) -> bool {
        self.mid = description.mid;
        let rids = description.rids.get(..MAX_ENCODINGS).unwrap_or(&description.rids);
        if !self.encodings.iter().map(|e| e.rid).eq(rids.iter().copied()) {
            self.encodings = rids.iter().map(|rid| Encoding::new(self.kind, *rid, Method::Pli)).collect();
        }
        let changed = std::mem::replace(&mut self.codec, description.codec) != description.codec;
        if changed {
            self.encodings.iter_mut().for_each(Encoding::reset_codec);
        }
        changed
    }

    /// The mirror's part, where this is one.
    pub fn mirror(&self) -> Option<&Mirror> {
        match &self.origin {
            Origin::Shard(mirror) => Some(mirror),
            Origin::Participant(_) => None,
        }
    }

    /// The same, to change it.
    pub fn mirror_mut(&mut self) -> Option<&mut Mirror> {
        match &mut self.origin {
            Origin::Shard(mirror) => Some(mirror),
            Origin::Participant(_) => None,
        }
    }

    /// Takes a packet from home; `bytes` are its extensions and payload. Returns its number where it is new.
    pub fn receive_relayed(&mut self, now: Instant, packet: &Packet, bytes: &[u8]) -> Option<ExtSeq> {
        let taken = self.is_taken(packet.encoding);
        let encoding = self.encodings.get_mut(usize::from(packet.encoding.0)).filter(|_| taken)?;
        let meta = PacketMeta {
            seq: packet.seq,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload_type: packet.payload_type,
            arrival: now,
            audio_level: packet.audio_level,
            redundant: packet.redundant,
            frame: packet.frame,
        };
        let (extensions, payload) = bytes.split_at_checked(packet.extensions_len)?;
        if encoding.store.insert(meta, extensions, payload) != Inserted::New {
            return None;
        }
        if !payload.is_empty() {
            let cost = payload.len().saturating_sub(usize::from(meta.redundant)) + wire_cost::HEADERS;
            encoding.note_relayed(now, &meta, cost, packet.clock);
        }
        if self.kind == MediaKind::Video {
            encoding.note_repair(now, packet.seq, &packet.frame, packet.again, taken);
        }
        Some(packet.seq)
    }

    /// Takes the parameter sets of an encoding from home.
    pub fn set_parameters(&mut self, now: Instant, index: EncodingIndex, payload_type: PayloadType, payload: Vec<u8>) {
        if let Some(encoding) = self.encodings.get_mut(usize::from(index.0)) {
            encoding.store.set_parameters(now, payload_type, payload);
        }
    }

    /// Takes what home says about the layers. True where receivers must choose at once: there are others now.
    pub fn set_layers(&mut self, layers: Vec<LayerOption>) -> bool {
        let Some(mirror) = self.mirror_mut() else { return false };
        let kinds = |layers: &[LayerOption]| layers.iter().fold(0, |bits, layer| bits | super::bit(layer.encoding));
        let changed = kinds(&mirror.layers) != kinds(&layers);
        mirror.layers = layers;
        changed
    }

    /// As [`Track::layer_options`], for a mirror.
    pub(super) fn told_layers(&self) -> Option<&[LayerOption]> {
        self.mirror().map(|mirror| mirror.layers.as_slice())
    }

    /// Tells the home shard, with `say`, which encodings are taken here, where that changed, and asks for the key
    /// frames and packets that are due.
    pub fn poll_requests_home(&mut self, now: Instant, say: &mut impl FnMut(ShardId, Message)) {
        let interest = self.subscribers.iter().fold(0, |bits, subscriber: &Subscriber| bits | subscriber.interest);
        let track = self.id;
        let Origin::Shard(mirror) = &mut self.origin else { return };
        let home = mirror.home;
        let before = std::mem::replace(&mut mirror.interest, interest);
        if before != interest {
            say(home, Message::Interest { track, encodings: interest });
        }
        let mut packets = Vec::new();
        for (index, encoding) in self.encodings.iter_mut().enumerate() {
            let index = EncodingIndex(index as u8);
            let bit = super::bit(index);
            if interest & bit == 0 || before & bit == 0 {
                // What came while nobody took it is not missing.
                encoding.nack.reset();
            }
            if interest & bit == 0 {
                encoding.keyframe.cancel();
                continue;
            }
            if encoding.nack.poll_nacks(now, HOME_ROUND_TRIP, &mut packets) == Repair::NeedsKeyframe {
                encoding.keyframe.request_another(now);
            }
            if !packets.is_empty() {
                say(home, Message::Nack { track, encoding: index, packets: std::mem::take(&mut packets) });
            }
            if encoding.keyframe.poll(now, HOME_ROUND_TRIP).is_some() {
                say(home, Message::Keyframe { track, encoding: index });
            }
        }
    }

    /// When [`Track::poll_requests_home`] has something to say.
    pub fn requests_home_timeout(&self) -> Option<Instant> {
        let due = |e: &Encoding| e.nack.poll_timeout().into_iter().chain(e.keyframe.poll_timeout()).min();
        self.encodings.iter().filter_map(due).min()
    }
}
