//! A published track: its encodings, and the receivers that have it.
//!
//! Lives in the engine, since publisher and subscribers share it: the publisher's packets enter by [`Track::receive`],
//! and the subscribers' downlinks read the encodings' stores. `recovery` decides what is asked of a publisher whose
//! network falls short, and `relayed` is what spans shards.

mod limits;
mod receive;
mod recovery;
mod relayed;

pub use receive::Arrival;
pub use recovery::Review;
pub use relayed::{Mirror, Origin};

use crate::command::PublishHint;
use crate::downlink::allocate::LayerOption;
use crate::engine::keys::{ParticipantKey, RoomKey};
use crate::forward::{EncodingView, Layer};
use crate::ids::{EncodingIndex, TrackId};
use crate::media::{Codec, MediaKind, Source};
use crate::rtcp::{ReportBlock, RtcpBatch, SenderReport, write};
use crate::sdp::{MAX_ENCODINGS, PayloadMapping, PublishSection, Section};
use crate::units::{Bitrate, Mid, PayloadType, Rid, Ssrc};
use crate::uplink::clock::PublisherClock;
use crate::uplink::encoding::Encoding;
use crate::uplink::keyframe::{KeyframeRequest, Method};
use crate::uplink::nack::Repair;
use crate::uplink::reception::Reception;
use crate::uplink::rtx::AssociatedPayloads;
use limits::Limits;
use recovery::Recovery;
use relayed::Takers;
use std::time::{Duration, Instant};

/// Lost packets of which a NACK surely fits into one packet with other parts.
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
    /// The receivers that have it behind a slot.
    pub subscribers: Vec<Subscriber>,
    takers: Takers,
    /// What is sent, or what the subscribers take, has changed since the last look at what the publisher should send.
    demand_changed: bool,
    encodings: Vec<Encoding>,
    recovery: Recovery,
    limits: Limits,
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
    /// Which encodings the publisher's network carries; where that has changed, receivers must choose their layers
    /// anew.
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
            limits: Limits::default(),
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

    /// Notes for how long after a packet came this receiver may still be sent it, or ask for it again.
    pub fn remember(&mut self, participant: ParticipantKey, time: Duration) {
        if let Some(subscriber) = self.subscribers.iter_mut().find(|s| s.participant == participant) {
            subscriber.asks_within = time;
        }
        self.set_memories();
    }

    /// Packets are stored for as long as the slowest receiver may need them.
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
        let (carried, doubtful) = (self.recovery.carried(), self.recovery.is_recent(now));
        let is_offered = |encoding: EncodingIndex| carried.is_offered(usize::from(encoding.0));
        options.retain(|option| Some(option.encoding) == lowest || is_offered(option.encoding));
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
    pub fn describe(&self, layer: Layer) -> (Option<Rid>, Option<(u16, u16)>) {
        self.encoding(layer.encoding).map(|e| (e.rid, e.rates.size_of(layer.spatial))).unwrap_or_default()
    }

    // ----- towards the publisher -----

    /// Appends the NACKs and key frame requests that are due.
    pub fn write_requests(&mut self, now: Instant, rtt: Duration, sender: Ssrc, rtcp: &mut RtcpBatch) -> Requests {
        let mut requests = Requests::default();
        let mut missing = Vec::new();
        let carried = self.recovery.carried();
        for (index, encoding) in self.encodings.iter_mut().enumerate() {
            let Some(media) = encoding.ssrc else { continue };
            missing.clear();
            // A receiver that begins to take an encoding starts with a key frame: before that nothing is missing.
            let taken = is_taken(&self.subscribers, &self.takers, EncodingIndex(index as u8));
            if carried.is_off(index) {
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
        let carried = self.recovery.carried();
        for (place, encoding) in self.encodings.iter_mut().enumerate() {
            let index = EncodingIndex(place as u8);
            let taken = is_taken(&self.subscribers, &self.takers, index) || carried.tried == Some(place);
            if encoding.update_demand(now, taken, carried.is_off(place), index) {
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

    /// What each encoding knows about the arrival of its packets (loss, jitter), for encodings of which any have come.
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
