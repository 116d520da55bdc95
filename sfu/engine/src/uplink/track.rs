//! A published track: its encodings, and who receives it.
//!
//! Lives in the engine, since publisher and subscribers share it: the publisher's packets enter by [`Track::receive`], and the
//! subscribers' downlinks read the encodings' stores. `relayed` is what spans shards.

mod recovery;
mod relayed;

pub use recovery::Review;
pub use relayed::{Mirror, Origin};

use crate::command::PublishHint;
use crate::downlink::allocate::LayerOption;
use crate::drops::DropReason;
use crate::engine::keys::{ParticipantKey, RoomKey};
use crate::forward::{EncodingView, Target};
use crate::ids::{EncodingIndex, TrackId};
use crate::media::{Codec, MediaKind, PacketMeta, Source};
use crate::rtcp::{Batch, ReportBlock, SenderReport, write};
use crate::rtp::codec;
use crate::rtp::extension::{ForwardedExtensions, ReceivedExtensions};
use crate::rtp::layers_allocation::LayersAllocation;
use crate::rtp::packet::RtpPacket;
use crate::rtp::red::Redundant;
use crate::sdp::{ExtensionKind, ExtensionMap, MAX_ENCODINGS, PayloadMapping, PublishSection, Section};
use crate::units::{Bitrate, ExtSeq, Mid, PayloadType, Rid, Ssrc};
use crate::uplink::clock::PublisherClock;
use crate::uplink::encoding::Encoding;
use crate::uplink::keyframe::{KeyframeRequest, Method};
use crate::uplink::nack::Repair;
use crate::uplink::reception::Reception;
use crate::uplink::rtx::{self, AssociatedPayloads, Retransmission};
use crate::uplink::store::Inserted;
use crate::uplink::streams::StreamRef;
use crate::wire_cost;
use recovery::{Carried, Recovery};
use relayed::Takers;
use std::time::{Duration, Instant};

/// As many lost packets as surely fit into a packet with other parts.
const FEW_LOSSES: usize = 50;

/// A published track.
pub struct Track {
    /// Its id.
    pub id: TrackId,
    /// The section of the publisher's SDP.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// What it shows.
    pub source: Source,
    /// Muted by its publisher.
    pub muted: bool,
    /// Where it comes from.
    pub origin: Origin,
    /// Its room.
    pub room: RoomKey,
    /// What its packets are encoded with, once one has come.
    pub codec: Option<Codec>,
    /// Who has it behind a slot.
    pub subscribers: Vec<Subscriber>,
    takers: Takers,
    /// What is sent or what the subscribers take changed since it was looked at what the publisher should send.
    demand_changed: bool,
    encodings: Vec<Encoding>,
    recovery: Recovery,
    payloads: Vec<PayloadMapping>,
    associated: AssociatedPayloads,
    /// The payload type under which its audio comes with repetitions.
    red: Option<PayloadType>,
}

/// A receiver that has the track behind a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// The receiver.
    pub participant: ParticipantKey,
    /// Its slot, by section index.
    pub slot: usize,
    /// One bit for each encoding that it takes or waits for.
    interest: u8,
    /// How long after a packet came it may still be sent it, or ask for it again.
    asks_within: Duration,
}

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

/// Every encoding of a track as forwarders see it: a short list without allocation.
pub struct Views<'a> {
    list: Option<[EncodingView<'a>; MAX_ENCODINGS]>,
    len: usize,
}

impl<'a> Views<'a> {
    fn new(encodings: &'a [Encoding]) -> Self {
        let mut list = encodings.first().map(|first| [first.view(); MAX_ENCODINGS]);
        for (place, encoding) in list.iter_mut().flatten().zip(encodings) {
            *place = encoding.view();
        }
        Views { list, len: encodings.len() }
    }

    /// The encodings, lowest first.
    pub fn as_slice(&self) -> &[EncodingView<'a>] {
        self.list.as_ref().and_then(|list| list.get(..self.len)).unwrap_or_default()
    }
}

/// What was asked of the publisher, and what its repair shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// How many packets were asked for, by NACK.
    pub packets: usize,
    /// Packets that are not asked for any more, since the last call.
    pub given_up: u64,
    /// Where other encodings are carried now, receivers must choose among other layers than before.
    pub review: Review,
}

impl Track {
    /// A track that was just negotiated.
    pub fn new(
        id: TrackId,
        owner: ParticipantKey,
        room: RoomKey,
        hint: PublishHint,
        section: &Section,
        role: &PublishSection,
    ) -> Self {
        let mut track = Track {
            id,
            mid: section.mid,
            kind: hint.source.kind(),
            source: hint.source,
            muted: hint.muted,
            origin: Origin::Participant(owner),
            room,
            codec: None,
            subscribers: Vec::new(),
            takers: Takers::default(),
            demand_changed: true,
            encodings: Vec::new(),
            recovery: Recovery::default(),
            payloads: Vec::new(),
            associated: AssociatedPayloads::default(),
            red: None,
        };
        track.renegotiate(section, role);
        track
    }

    /// Takes over what a later offer says about the section. Encodings that keep their rid keep their state.
    pub fn renegotiate(&mut self, section: &Section, role: &PublishSection) {
        self.payloads.clone_from(&section.codecs);
        self.red = section.red;
        self.associated = AssociatedPayloads::new(section.codecs.iter().filter_map(|p| Some((p.rtx?, p.payload_type))));
        let method = if section.codecs.iter().any(|p| p.feedback.pli) { Method::Pli } else { Method::Fir };
        let rids = || role.encodings.iter().map(|e| e.rid).take(MAX_ENCODINGS);
        if !self.encodings.iter().map(|e| e.rid).eq(rids()) {
            self.encodings = rids().map(|rid| Encoding::new(self.kind, rid, method)).collect();
            self.recovery = Recovery::default();
        }
    }

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
        let (seq, payload, payload_type) = if stream.is_rtx {
            match rtx::unwrap(packet.payload()) {
                Retransmission::Original { seq, payload } => {
                    let original =
                        self.associated.original(packet.payload_type()).ok_or(DropReason::RtpUnknownPayload)?;
                    (Some(seq), payload, original)
                }
                Retransmission::Probe => return Ok(Arrival::default()),
                Retransmission::Malformed => return Err(DropReason::RtpMalformed),
            }
        } else if self.red == Some(packet.payload_type()) && !packet.payload().is_empty() {
            let redundant = Redundant::parse(packet.payload()).ok_or(DropReason::RtpMalformed)?;
            (None, redundant.newest, redundant.payload_type)
        } else {
            (None, packet.payload(), packet.payload_type())
        };
        let codec = self.payloads.iter().find(|p| p.payload_type == payload_type).map(|p| p.codec);
        let codec = codec.ok_or(DropReason::RtpUnknownPayload)?;
        let encoding = self.encodings.get_mut(usize::from(stream.encoding.0)).ok_or(DropReason::RtpUnknownSource)?;

        let ext_seq = encoding.number(now, seq, packet, codec.clock_rate())?;
        if !payload.is_empty() {
            encoding.take_codec(codec, ext_seq, stream.is_rtx, self.codec)?;
        }
        let previous = encoding.store.get(ExtSeq(ext_seq.0.wrapping_sub(1))).map(|p| p.meta);
        let forwarded = ForwardedExtensions::gather(packet, ids);
        let received = codec::Received {
            payload,
            descriptor: forwarded.get(ExtensionKind::DependencyDescriptor),
            marking: extensions.frame_marking,
            timestamp: packet.timestamp(),
            marker: packet.marker(),
        };
        let frame = encoding.reader.read(codec, &received, previous.as_ref()).ok_or(DropReason::RtpMalformed)?;
        let whole = if stream.is_rtx { payload } else { packet.payload() };
        let meta = PacketMeta {
            seq: ext_seq,
            timestamp: packet.timestamp(),
            marker: packet.marker(),
            payload_type,
            arrival: now,
            audio_level: extensions.audio_level.map(|level| level.level),
            redundant: u16::try_from(whole.len() - payload.len()).map_err(|_| DropReason::RtpMalformed)?,
            frame,
        };
        match encoding.store.insert(meta, forwarded.as_bytes(), whole) {
            Inserted::New => {}
            Inserted::Duplicate => return Err(DropReason::RtpDuplicate),
            Inserted::TooOld => return Err(DropReason::RtpTooOld),
        }
        let mut arrival = Arrival { seq: Some(ext_seq), ..Arrival::default() };
        if !payload.is_empty() {
            arrival.started =
                encoding.note_media(now, &meta, payload.len() + wire_cost::HEADERS, stream.is_rtx, publisher);
            self.demand_changed |= arrival.started;
            arrival.parameters_changed = encoding.note_parameters(now, codec, payload_type);
            arrival.codec_changed = self.codec.replace(codec) != Some(codec);
        }
        if extensions.has_layers_allocation {
            self.note_allocation(packet, ids);
        }
        if arrival.codec_changed {
            // All encodings of a track have one codec: the others follow.
            self.encodings.iter_mut().for_each(|encoding| encoding.drop_other_codec(codec));
        }
        if self.kind == MediaKind::Video {
            let place = usize::from(stream.encoding.0);
            if arrival.started && frame.keyframe && !stream.is_rtx {
                self.recovery.on_started(now, place);
            }
            let asked = self.is_taken(stream.encoding) || self.recovery.carried().tried == Some(place);
            if let Some(encoding) = self.encodings.get_mut(place) {
                arrival.round_trip = encoding.note_repair(now, ext_seq, &frame, stream.is_rtx, asked);
            }
        }
        Ok(arrival)
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

    /// Its publisher, where that is a participant of this shard.
    pub fn owner(&self) -> Option<ParticipantKey> {
        match self.origin {
            Origin::Participant(owner) => Some(owner),
            Origin::Shard(_) => None,
        }
    }

    // ----- for the subscribers -----

    /// Its encodings, lowest first.
    pub fn encodings(&self) -> &[Encoding] {
        &self.encodings
    }

    /// One encoding.
    pub fn encoding(&self, index: EncodingIndex) -> Option<&Encoding> {
        self.encodings.get(usize::from(index.0))
    }

    /// What forwarders may look at: every encoding's packets and clock.
    pub fn views(&self) -> Views<'_> {
        Views::new(&self.encodings)
    }

    /// Puts a receiver on the list, or changes its slot.
    pub fn subscribe(&mut self, participant: ParticipantKey, slot: usize) {
        match self.subscribers.iter_mut().find(|s| s.participant == participant) {
            Some(known) => known.slot = slot,
            None => self.subscribers.push(Subscriber { participant, slot, interest: 0, asks_within: Duration::ZERO }),
        }
    }

    /// Takes a receiver off the list.
    pub fn unsubscribe(&mut self, participant: ParticipantKey) {
        self.subscribers.retain(|s| s.participant != participant);
        self.demand_changed = true;
        self.set_memories();
    }

    /// Which encodings a receiver takes or waits for. Encodings that it does not name are not handed to it.
    /// True where that changed.
    pub fn set_interest(
        &mut self,
        participant: ParticipantKey,
        encodings: impl Iterator<Item = EncodingIndex>,
    ) -> bool {
        let Some(subscriber) = self.subscribers.iter_mut().find(|s| s.participant == participant) else { return false };
        let interest = encodings.fold(0, |bits, encoding| bits | bit(encoding));
        let changed = std::mem::replace(&mut subscriber.interest, interest) != interest;
        self.demand_changed |= changed;
        changed
    }

    /// A receiver may be sent a packet, or ask for it again, so long after it came.
    pub fn remember(&mut self, participant: ParticipantKey, time: Duration) {
        let subscriber = self.subscribers.iter_mut().find(|s| s.participant == participant);
        subscriber.into_iter().for_each(|subscriber| subscriber.asks_within = time);
        self.set_memories();
    }

    /// What is stored is for the slowest.
    fn set_memories(&mut self) {
        let longest = self.subscribers.iter().map(|s| s.asks_within).max().unwrap_or_default();
        self.encodings.iter_mut().for_each(|encoding| encoding.store.remember(longest));
    }

    /// Whether anybody takes an encoding, here or on another shard.
    fn is_taken(&self, encoding: EncodingIndex) -> bool {
        is_taken(&self.subscribers, &self.takers, encoding)
    }

    /// Every encoding's index.
    pub fn encoding_indices(&self) -> impl Iterator<Item = EncodingIndex> + use<> {
        (0..self.encodings.len() as u8).map(EncodingIndex)
    }

    /// Somebody needs a key frame of an encoding, of which one may just be coming.
    pub fn request_keyframe(&mut self, now: Instant, index: EncodingIndex) {
        if let Some(encoding) = self.encodings.get_mut(usize::from(index.0)) {
            encoding.keyframe.request(now);
        }
    }

    /// The layers among which receivers can choose, with what each costs.
    pub fn layer_options(&mut self, now: Instant) -> Vec<LayerOption> {
        if let Some(told) = self.told_layers() {
            return told.to_vec();
        }
        let mut options = Vec::new();
        for (index, encoding) in self.encodings.iter_mut().enumerate() {
            encoding.rates.refresh(now, self.source);
            encoding.layer_options(now, EncodingIndex(index as u8), &mut options);
        }
        let lowest = options.iter().map(|option| option.encoding).min();
        let (offered, doubtful) = (self.recovery.carried().offered, self.recovery.is_recent(now));
        options.retain(|option| Some(option.encoding) == lowest || usize::from(option.encoding.0) < offered);
        for option in options.iter_mut().filter(|option| Some(option.encoding) != lowest) {
            option.doubtful = doubtful;
        }
        options
    }

    /// What all encodings take over the last second, for a receiver with or without repetitions (RFC 2198).
    pub fn rate(&self, now: Instant, with_repetitions: bool) -> Bitrate {
        let repetitions = |e: &Encoding| if with_repetitions { e.repetitions.rate(now) } else { Bitrate::ZERO };
        self.encodings.iter().map(|e| e.rates.total(now).plus(repetitions(e))).fold(Bitrate::ZERO, Bitrate::plus)
    }

    /// Rid and picture size of a layer.
    pub fn describe(&self, layer: Target) -> (Option<Rid>, Option<(u16, u16)>) {
        self.encoding(layer.encoding).map(|e| (e.rid, e.rates.size_of(layer.spatial))).unwrap_or_default()
    }

    // ----- towards the publisher -----

    /// Appends the NACKs and key frame requests that are due.
    pub fn write_requests(&mut self, now: Instant, rtt: Duration, sender: Ssrc, rtcp: &mut Batch) -> Requests {
        let mut requests = Requests::default();
        let mut missing = Vec::new();
        let carried = self.recovery.carried();
        for (index, encoding) in self.encodings.iter_mut().enumerate() {
            let Some(media) = encoding.ssrc else { continue };
            missing.clear();
            // Who takes it, or takes it again, begins with a key frame: until then nothing is missing.
            let taken = is_taken(&self.subscribers, &self.takers, EncodingIndex(index as u8));
            if index >= carried.off {
                encoding.nack.reset();
                encoding.keyframe.cancel();
            } else if !taken && carried.tried != Some(index) {
                encoding.nack.reset();
            } else if encoding.nack.poll_nacks(now, rtt, &mut missing) == Repair::NeedsKeyframe {
                encoding.keyframe.request_another(now);
            }
            encoding.shortfall.update(now, encoding.nack.counts());
            requests.packets += missing.len();
            requests.given_up += encoding.newly_given_up();
            let mut rest = missing.as_slice();
            while !rest.is_empty() {
                // Many losses may fill a packet of their own.
                let packet = if rest.len() > FEW_LOSSES { rtcp.empty_packet() } else { rtcp.packet() };
                rest = write::nack(packet, sender, media, rest);
            }
            match encoding.keyframe.poll(now, rtt) {
                Some(KeyframeRequest::Pli) => write::pli(rtcp.packet(), sender, media),
                Some(KeyframeRequest::Fir { number }) => write::fir(rtcp.packet(), sender, media, number),
                None => continue,
            }
        }
        requests.review = self.review_carried(now);
        self.demand_changed |= requests.review.changed;
        requests
    }

    /// The report blocks of all encodings since the last call.
    pub fn report_blocks(&mut self, now: Instant) -> impl Iterator<Item = ReportBlock> {
        self.encodings.iter_mut().filter_map(move |e| e.reception.as_mut()?.report_block(now))
    }

    /// A sender report of the publisher; false if it is about another track.
    pub fn on_sender_report(
        &mut self,
        now: Instant,
        report: &SenderReport<'_>,
        publisher: &mut PublisherClock,
    ) -> bool {
        let Some(encoding) = self.encodings.iter_mut().find(|e| e.ssrc == Some(report.ssrc)) else { return false };
        if let Some(reception) = encoding.reception.as_mut() {
            reception.on_sender_report(now, report.ntp);
        }
        encoding.clock.on_sender_report(publisher, now, report.ntp, report.rtp_time);
        true
    }

    /// Notices encodings that stopped; true where one did.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let mut stopped = false;
        for encoding in &mut self.encodings {
            stopped |= encoding.handle_timeout(now);
        }
        stopped
    }

    /// Which encodings the publisher should send, where that changed.
    pub fn poll_wanted(&mut self, now: Instant) -> Option<Vec<(EncodingIndex, Option<Rid>, bool)>> {
        let due = self.demand_changed || self.poll_timeout().is_some_and(|at| at <= now);
        if self.kind == MediaKind::Audio || !due {
            return None;
        }
        self.demand_changed = false;
        let mut changed = false;
        let Carried { tried, off, .. } = self.recovery.carried();
        for (place, encoding) in self.encodings.iter_mut().enumerate() {
            let index = EncodingIndex(place as u8);
            let taken = is_taken(&self.subscribers, &self.takers, index) || tried == Some(place);
            if encoding.update_demand(now, taken, place >= off, index) {
                changed = true;
                if !encoding.is_wanted() {
                    self.recovery.on_switched_off(place);
                }
            }
        }
        let wanted = || self.encodings.iter().enumerate().map(|(i, e)| (EncodingIndex(i as u8), e.rid, e.is_wanted()));
        changed.then(|| wanted().collect())
    }

    /// When [`Track::handle_timeout`] or [`Track::poll_wanted`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_encoding = |e: &Encoding| {
            let demand = if self.kind == MediaKind::Video { e.demand_timeout() } else { None };
            e.poll_timeout().into_iter().chain(demand).min()
        };
        self.encodings.iter().filter_map(of_encoding).chain(self.takers.poll_timeout()).min()
    }

    /// When [`Track::write_requests`] has something to do.
    pub fn poll_request_timeout(&self) -> Option<Instant> {
        // Without a source there is nobody to ask.
        let asked = self.encodings.iter().filter(|e| e.ssrc.is_some());
        asked.filter_map(|e| e.nack.poll_timeout().into_iter().chain(e.keyframe.poll_timeout()).min()).min()
    }

    /// Share of the publisher's packets that were lost on the way to the server for good, and the largest jitter.
    pub fn reception(&self) -> impl Iterator<Item = &Reception> {
        self.encodings.iter().filter_map(|e| e.reception.as_ref())
    }
}

impl Subscriber {
    /// Whether packets of this encoding are handed to the receiver.
    pub fn takes(&self, encoding: EncodingIndex) -> bool {
        self.interest & bit(encoding) != 0
    }
}

fn is_taken(subscribers: &[Subscriber], takers: &Takers, encoding: EncodingIndex) -> bool {
    subscribers.iter().any(|s| s.takes(encoding)) || takers.take(encoding)
}

fn bit(encoding: EncodingIndex) -> u8 {
    1u8.checked_shl(u32::from(encoding.0)).unwrap_or(0)
}
