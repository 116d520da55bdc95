//! A packet of the publisher on its way into the encoding's store: taken out of retransmission or redundancy, numbered,
//! read, kept, and counted.

use super::Track;
use crate::drops::DropReason;
use crate::media::{Codec, MediaKind, PacketMeta};
use crate::rtp::codec;
use crate::rtp::extension::{ForwardedExtensions, ReceivedExtensions};
use crate::rtp::layers_allocation::LayersAllocation;
use crate::rtp::packet::RtpPacket;
use crate::rtp::red::Redundant;
use crate::sdp::{ExtensionKind, ExtensionMap};
use crate::units::{ExtSeq, PayloadType, SeqNo};
use crate::uplink::clock::PublisherClock;
use crate::uplink::rtx::{self, Retransmission};
use crate::uplink::store::Inserted;
use crate::uplink::streams::StreamRef;
use crate::wire_cost;
use std::time::{Duration, Instant};

/// What a packet brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// It is in the store under this number.
    pub seq: Option<ExtSeq>,
    /// The track's codec is another one now.
    pub codec_changed: bool,
    /// The encoding has other parameter sets now.
    pub parameters_changed: bool,
    /// An encoding started to flow.
    pub started: bool,
    /// The round trip to the publisher, where the packet shows it.
    pub round_trip: Option<Duration>,
}

/// The media of a packet, with the retransmission (RFC 4588) or the redundancy (RFC 2198) around it taken off.
struct Media<'a> {
    codec: Codec,
    payload_type: PayloadType,
    /// Empty where the packet is nothing but padding.
    payload: &'a [u8],
    /// What is stored: `payload`, in redundant audio behind the older blocks that came with it.
    stored: &'a [u8],
    /// The sequence number that a retransmitted packet had at first.
    original_seq: Option<SeqNo>,
}

impl Track {
    /// Takes a packet of one of the encodings. `extensions` is what was read of it under `ids`.
    pub fn receive(
        &mut self,
        now: Instant,
        stream: StreamRef,
        packet: &RtpPacket<'_>,
        ids: &ExtensionMap,
        extensions: &ReceivedExtensions,
        publisher: &mut PublisherClock,
    ) -> Result<Arrival, DropReason> {
        let Some(media) = self.unwrap(stream, packet)? else { return Ok(Arrival::default()) };
        self.keep_to_limits(now, &media)?;
        let meta = self.store(now, stream, packet, ids, extensions, &media)?;
        let mut arrival = Arrival { seq: Some(meta.seq), ..Arrival::default() };
        if !media.payload.is_empty() {
            self.note_media(now, stream, &media, &meta, publisher, &mut arrival);
        }
        if extensions.has_layers_allocation {
            self.note_allocation(packet, ids);
        }
        if arrival.codec_changed {
            // All encodings of a track have one codec: the others follow.
            self.encodings.iter_mut().for_each(|encoding| encoding.drop_other_codec(media.codec));
        }
        if self.kind == MediaKind::Video {
            arrival.round_trip = self.note_repair(now, stream, &meta, arrival.started);
        }
        Ok(arrival)
    }

    /// Takes the media out of a packet; `None` where the publisher only probes for bandwidth.
    fn unwrap<'a>(&self, stream: StreamRef, packet: &RtpPacket<'a>) -> Result<Option<Media<'a>>, DropReason> {
        let whole = packet.payload();
        let (original_seq, payload_type, payload, stored) = if stream.is_rtx {
            match rtx::unwrap(whole) {
                Retransmission::Original { seq, payload } => {
                    let original = self.associated.original(packet.payload_type());
                    (Some(seq), original.ok_or(DropReason::RtpUnknownPayload)?, payload, payload)
                }
                Retransmission::Probe => return Ok(None),
                Retransmission::Malformed => return Err(DropReason::RtpMalformed),
            }
        } else if self.red == Some(packet.payload_type()) && !whole.is_empty() {
            let redundant = Redundant::parse(whole).ok_or(DropReason::RtpMalformed)?;
            (None, redundant.payload_type, redundant.newest, whole)
        } else {
            (None, packet.payload_type(), whole, whole)
        };
        let codec = self.payloads.iter().find(|p| p.payload_type == payload_type).map(|p| p.codec);
        let codec = codec.ok_or(DropReason::RtpUnknownPayload)?;
        Ok(Some(Media { codec, payload_type, payload, stored, original_seq }))
    }

    /// Refuses what would cost others too much.
    fn keep_to_limits(&mut self, now: Instant, media: &Media<'_>) -> Result<(), DropReason> {
        if self.kind == MediaKind::Audio {
            return self.limits.admit_audio(now, media.stored.len() + wire_cost::HEADERS);
        }
        if media.payload.is_empty() {
            return Ok(());
        }
        self.limits.admit_codec(now, self.codec, media.codec)
    }

    /// Numbers the packet, reads what it says about its frame, and puts it into the encoding's store.
    fn store(
        &mut self,
        now: Instant,
        stream: StreamRef,
        packet: &RtpPacket<'_>,
        ids: &ExtensionMap,
        extensions: &ReceivedExtensions,
        media: &Media<'_>,
    ) -> Result<PacketMeta, DropReason> {
        let place = usize::from(stream.encoding.0);
        let encoding = self.encodings.get_mut(place).ok_or(DropReason::RtpUnknownSource)?;
        let seq = encoding.number(now, media.original_seq, packet, media.codec.clock_rate())?;
        if !media.payload.is_empty() {
            encoding.take_codec(media.codec, seq, stream.is_rtx, self.codec)?;
        }
        let previous = encoding.store.get(ExtSeq(seq.0.wrapping_sub(1))).map(|p| p.meta);
        let forwarded = ForwardedExtensions::gather(packet, ids);
        let received = codec::ReceivedPayload {
            payload: media.payload,
            descriptor: forwarded.get(ExtensionKind::DependencyDescriptor),
            marking: extensions.frame_marking,
            timestamp: packet.timestamp(),
            marker: packet.marker(),
        };
        let frame = encoding.reader.read(media.codec, &received, previous.as_ref()).ok_or(DropReason::RtpMalformed)?;
        let redundant = media.stored.len() - media.payload.len();
        let meta = PacketMeta {
            seq,
            timestamp: packet.timestamp(),
            marker: packet.marker(),
            payload_type: media.payload_type,
            arrival: now,
            audio_level: extensions.audio_level.map(|level| level.level),
            redundant: u16::try_from(redundant).map_err(|_| DropReason::RtpMalformed)?,
            frame,
        };
        match encoding.store.insert(meta, forwarded.as_bytes(), media.stored) {
            Inserted::New => Ok(meta),
            Inserted::Duplicate => Err(DropReason::RtpDuplicate),
            Inserted::TooOld => Err(DropReason::RtpTooOld),
        }
    }

    /// Counts a stored packet that has media, and notes in `arrival` what is new with it.
    fn note_media(
        &mut self,
        now: Instant,
        stream: StreamRef,
        media: &Media<'_>,
        meta: &PacketMeta,
        publisher: &PublisherClock,
        arrival: &mut Arrival,
    ) {
        let Some(encoding) = self.encodings.get_mut(usize::from(stream.encoding.0)) else { return };
        let cost = media.payload.len() + wire_cost::HEADERS;
        arrival.started = encoding.note_media(now, meta, cost, stream.is_rtx, publisher);
        self.demand_changed |= arrival.started;
        arrival.parameters_changed = encoding.note_parameters(now, media.codec, media.payload_type);
        let before = self.codec.replace(media.codec);
        arrival.codec_changed = before != Some(media.codec);
        if arrival.codec_changed && before.is_some() {
            self.limits.note_codec_change(now);
        }
    }

    /// Hands on what the publisher says that it is about to send.
    fn note_allocation(&mut self, packet: &RtpPacket<'_>, ids: &ExtensionMap) {
        let of_kind = |id: u8| ids.kind(id) == Some(ExtensionKind::VideoLayersAllocation);
        let element = packet.extensions().find(|(id, _)| of_kind(*id));
        let Some(allocation) = element.and_then(|(_, bytes)| LayersAllocation::parse(bytes)) else { return };
        for (encoding, layers) in self.encodings.iter_mut().zip(allocation.streams()) {
            encoding.note_allocation(layers);
        }
    }

    /// Keeps track of what is missing of a video encoding, which may have `started` to flow with this packet. Returns
    /// the round trip to the publisher, where the packet shows it.
    fn note_repair(&mut self, now: Instant, stream: StreamRef, meta: &PacketMeta, started: bool) -> Option<Duration> {
        let place = usize::from(stream.encoding.0);
        if started && meta.frame.keyframe && !stream.is_rtx {
            self.recovery.on_started(now, place);
        }
        let asked = self.is_taken(stream.encoding) || self.recovery.carried().tried == Some(place);
        self.encodings.get_mut(place)?.note_repair(now, meta.seq, &meta.frame, stream.is_rtx, asked)
    }
}
