//! Packets on their way to a receiver: from the forwarder into the pacer, and from the pacer into the send buffer.

use super::estimate::{RepairSource, SentPacket};
use super::pace::{Class, Paced, Pacer, Released};
use super::run::Run;
use super::slot::{Slot, Source};
use super::{DEFAULT_RTT, Downlink, Written, slot_of};
use crate::engine::keys::TrackKey;
use crate::forward::{Emit, EncodingView, Forwarder, Outgoing};
use crate::ids::EncodingIndex;
use crate::media::MediaKind;
use crate::rtcp::Nack;
use crate::rtp::packet::RtpPacket;
use crate::rtp::template::Stamp;
use crate::sdp::SlotFeedback;
use crate::snapshot::add;
use crate::units::{ExtSeq, Ssrc};
use crate::uplink::store::{PacketStore, StoredPacket};
use crate::uplink::track::Track;
use crate::wire_cost;
use slotmap::SlotMap;
use std::time::{Duration, Instant};

/// Share of the time that an answer takes after which a packet is sent once more: who asks anew may measure a little
/// less than we do.
const RESEND_AFTER: f64 = 0.8;
/// How often a packet of padding goes out while everything is paused for want of bandwidth.
const TRICKLE_INTERVAL: Duration = Duration::from_millis(200);
/// A key frame of the store and what came since must get through in this time, or a new one alone would come as soon.
const START_WITHIN: Duration = Duration::from_millis(100);

/// What waits in the pacer: an extended sequence number of a slot, or plain padding on it. Which packet the number was
/// given to is looked up when it leaves.
///
/// The number stands for plain padding by its value and not by an enum's variant: two plain fields are passed in two
/// registers ([`Paced`]), and a variant would be a third. [`Self::content`] tells the two apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    number: ExtSeq,
    slot: u32,
}

/// What a queued item turns out to be when it leaves.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// A number that is sent for the first time.
    New(ExtSeq),
    /// A number that is sent again.
    Again(ExtSeq),
    /// A packet of plain padding. It gets its number as it is written.
    PlainPadding,
}

impl Queued {
    /// Never the number of a packet: those of a slot are above 2^16.
    const PLAIN_PADDING: ExtSeq = ExtSeq(0);

    fn packet(number: ExtSeq, slot: usize) -> Queued {
        Queued { number, slot: slot as u32 }
    }

    fn plain_padding(slot: usize) -> Queued {
        Queued { number: Queued::PLAIN_PADDING, slot: slot as u32 }
    }

    /// What it is, given the class under which it was queued.
    #[inline]
    fn content(self, class: Class) -> Content {
        match (self.number, class) {
            (Queued::PLAIN_PADDING, _) => Content::PlainPadding,
            (number, Class::Audio | Class::Video) => Content::New(number),
            (number, Class::Retransmission | Class::Padding) => Content::Again(number),
        }
    }
}

/// An RTP packet as it stands in the send buffer.
struct WrittenRtp {
    kind: MediaKind,
    feedback: SlotFeedback,
    source: Source,
    /// When the packet came from its publisher, where media is sent for the first time.
    arrival: Option<Instant>,
}

/// What became of a NACK (RFC 4585 section 6.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// How many packets will be sent again.
    pub queued: usize,
    /// A packet of the encoding that flows is no longer stored. The receiver still misses it, so only a key frame
    /// helps.
    pub beyond_repair: bool,
}

impl Downlink {
    /// Packets of an encoding of a bound track arrived: queues what this receiver gets of them.
    pub fn forward<'a>(
        &mut self,
        now: Instant,
        index: usize,
        key: TrackKey,
        encoding: EncodingIndex,
        packets: impl Iterator<Item = &'a StoredPacket>,
        views: &[EncodingView<'_>],
    ) {
        let Some(slot) = self.slots.get(index).and_then(Option::as_ref) else { return };
        if slot.binding.as_ref().is_none_or(|b| b.track != key || b.pause.is_some()) {
            return;
        }
        self.queue(now, index, |forwarder, emit| {
            packets.for_each(|packet| forwarder.forward(now, encoding, packet, views, emit));
        });
    }

    /// Starts what waits for a key frame from one that came a moment ago, where there is one and it will not wait long
    /// in the pacer.
    pub(super) fn start_from_store(&mut self, now: Instant, tracks: &SlotMap<TrackKey, Track>) {
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get(index).and_then(Option::as_ref) else { continue };
            if slot.forwarder.wants_keyframe().is_none() || slot.forwarder.current().is_some() {
                continue;
            }
            let Some(key) = slot.binding.as_ref().filter(|b| b.pause.is_none()).map(|b| b.track) else { continue };
            let Some(track) = tracks.get(key) else { continue };
            let (room, queued) = (self.estimator.estimate().bytes_in(START_WITHIN), self.pacer.queued_bytes() as u64);
            let most = room.saturating_sub(queued);
            let views = track.views();
            self.queue(now, index, |forwarder, emit| {
                forwarder.start_from_store(now, most as usize, views.as_slice(), emit);
            });
        }
    }

    /// Queues what the forwarder of a slot emits while it runs `emit_from`.
    fn queue(&mut self, now: Instant, index: usize, emit_from: impl FnOnce(&mut Forwarder, &mut Emit<'_>)) {
        let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else { return };
        let class = if slot.kind == MediaKind::Audio { Class::Audio } else { Class::Video };
        let before = slot.forwarder.current();
        let refused = enqueue_emitted(now, &mut self.pacer, slot, index, class, emit_from);
        if let (Some(before), Some(after)) = (before, slot.forwarder.current())
            && after.encoding < before.encoding
        {
            self.pacer.release_video();
            drop_larger_encoding(&mut self.pacer, slot, index, class, after.encoding);
        }
        if !refused.is_empty() {
            recover_from_overflow(now, &mut self.pacer, slot, index, class, refused);
            self.guard.invalidate();
            self.overflows += 1;
        }
        self.keyframe_waits.extend(slot.end_keyframe_wait(now));
        let after = slot.forwarder.current();
        self.states_changed |= before != after;
        match (before, after) {
            (Some(before), Some(after)) => {
                let [up, down] = &mut self.switches;
                add(up, slot.switched_by as usize, u64::from(after > before));
                add(down, slot.switched_by as usize, u64::from(after < before));
            }
            // The source started over: ask for a key frame without waiting.
            (Some(_), None) => self.guard.invalidate(),
            (None, _) => {}
        }
    }

    /// Answers a NACK: queues the packets that are still stored, within the repair budget.
    pub fn handle_nack(&mut self, now: Instant, nack: &Nack<'_>, tracks: &SlotMap<TrackKey, Track>) -> Answered {
        let mut answered = Answered::default();
        let spacing = self.estimator.answer_time().unwrap_or(DEFAULT_RTT).mul_f64(RESEND_AFTER);
        let copies = self.estimator.repair_copies();
        self.repair.refill(now, self.estimator.estimate(), copies);
        let Some((index, slot)) = slot_of(&mut self.slots, nack.media) else { return answered };
        let Some(track_key) = slot.binding.as_ref().map(|b| b.track).filter(|_| slot.has_rtx()) else {
            return answered;
        };
        let flows = slot.forwarder.current().map(|current| current.encoding);
        for seq in nack.seqs() {
            let number = slot.forwarder.number_of(seq);
            let Some(outgoing) = slot.forwarder.lookup(number) else { continue };
            let stored = stored_of(tracks, track_key, &outgoing);
            let bytes = wire_cost::of(stored);
            if !self.repair.has(bytes) {
                break;
            }
            if !slot.may_resend(now, seq, spacing) {
                continue;
            }
            if outgoing.source.is_some() && stored.is_none() {
                answered.beyond_repair |= flows == Some(outgoing.encoding);
                continue;
            }
            let again = Queued::packet(number, index);
            for _ in 0..copies {
                self.repair.take(bytes);
                answered.queued += usize::from(self.pacer.enqueue(now, Class::Retransmission, bytes, again).is_ok());
            }
        }
        answered
    }

    /// Whether a key frame is on its way to a receiver that asks for one: it waits in the pacer, or left less than a
    /// round trip ago. That key frame answers the request, which was made before it had arrived; a new one would only
    /// wait behind it. If it gets lost, the receiver asks again.
    pub fn brings_keyframe(&self, now: Instant, media: Ssrc) -> bool {
        let Some((index, slot)) = self.slots(MediaKind::Video).find(|(_, slot)| slot.ssrc == media) else {
            return false;
        };
        let answer = self.estimator.answer_time().unwrap_or(DEFAULT_RTT);
        slot.keyframe.is_some_and(|(timestamp, left)| {
            now < left + answer
                || self.pacer.holds(Class::Video, |queued| {
                    let outgoing = || slot.forwarder.outgoing(queued.number);
                    queued.slot as usize == index && outgoing().is_some_and(|packet| packet.is_of(timestamp))
                })
        })
    }

    /// Appends the next packet that is due to `out`, as plain RTP. It is padded where that lets it join the `run` that
    /// is being gathered.
    pub fn poll_packet(
        &mut self,
        now: Instant,
        sent_us: i64,
        run: Run,
        tracks: &SlotMap<TrackKey, Track>,
        out: &mut Vec<u8>,
    ) -> Option<Written> {
        loop {
            while let Some(released) = self.pacer.poll(now) {
                if let Some(written) = self.write(now, sent_us, run, &released, tracks, out) {
                    return Some(written);
                }
            }
            let wanted = self.pacer.padding_needed(now)?;
            let Some((bytes, padding)) = self.padding(wanted, tracks) else {
                self.pacer.abort_probe();
                return None;
            };
            self.pacer.enqueue(now, Class::Padding, bytes, padding).ok()?;
        }
    }

    /// When to send a packet of padding while everything is paused for want of bandwidth: it brings the feedback that
    /// can end the pause. Where nothing was ever sent, because the only layer is beyond the first estimate, it is due
    /// at once.
    pub(super) fn trickle_timeout(&self) -> Option<Instant> {
        let can_pad = || self.padding_slots().next().is_some();
        let due = self.sent_at.map_or(self.allocated_at, |at| Some(at + TRICKLE_INTERVAL));
        due.filter(|_| self.starved && can_pad())
    }

    /// Writes what the pacer has released, and tells those that account for packets. `None` where nothing can be sent
    /// of it any more.
    fn write(
        &mut self,
        now: Instant,
        sent_us: i64,
        run: Run,
        released: &Released<Queued>,
        tracks: &SlotMap<TrackKey, Track>,
        out: &mut Vec<u8>,
    ) -> Option<Written> {
        let start = out.len();
        let stamp = Stamp { transport_seq: self.transport_seq, sent_us };
        let Some(rtp) = self.write_rtp(now, released, stamp, tracks, out) else {
            out.truncate(start);
            return None;
        };
        if rtp.feedback == SlotFeedback::Ccfb
            && let Some(packet) = out.get(start..).and_then(RtpPacket::parse)
        {
            self.sent_numbers.note(packet.ssrc(), packet.seq(), self.transport_seq);
        }
        let run_padding = run.pad(out, start, released.bytes, self.pacer.waiting(released.class));
        let bytes = out.len() - start + wire_cost::BEYOND_RTP;
        self.sent_at = Some(now);
        self.rate.on_packet(now, bytes);
        self.pacer.on_written(bytes);
        let repairs = RepairSource::of(released.item.slot as usize);
        let repair = (rtp.source == Source::Retransmission).then_some(repairs);
        let transport_seq = self.transport_seq;
        self.estimator.on_sent(now, SentPacket { transport_seq, bytes, probe: released.probe, repair });
        self.transport_seq = self.transport_seq.wrapping_add(1);
        let latency = rtp.arrival.map(|arrival| now.saturating_duration_since(arrival));
        Some(Written { class: released.class, kind: rtp.kind, run_padding, queued: released.waited, latency })
    }

    /// Writes the RTP packet itself. `None` where its payload is no longer stored or its slot carries something else
    /// now, with `out` perhaps longer.
    #[inline]
    fn write_rtp(
        &mut self,
        now: Instant,
        released: &Released<Queued>,
        stamp: Stamp,
        tracks: &SlotMap<TrackKey, Track>,
        out: &mut Vec<u8>,
    ) -> Option<WrittenRtp> {
        let index = released.item.slot as usize;
        let slot = self.slots.get_mut(index)?.as_mut()?;
        let track = slot.binding.as_ref()?.track;
        let (kind, feedback) = (slot.kind, slot.feedback);
        match released.item.content(released.class) {
            Content::New(number) => {
                let outgoing = slot.forwarder.outgoing(number)?;
                let store = store_of(tracks, track, &outgoing);
                let stored = match outgoing.source {
                    Some(seq) => Some(store?.get(seq)?),
                    None => None,
                };
                let earlier = store.filter(|_| self.repetitions > 0).map(|store| (store, self.repetitions));
                slot.write(&outgoing, stored, earlier, stamp, out)?;
                if let Some((_, left)) = slot.keyframe.as_mut().filter(|(timestamp, _)| outgoing.is_of(*timestamp)) {
                    *left = now;
                }
                let media = stored.filter(|packet| !packet.is_parameters());
                let arrival = media.map(|packet| packet.meta.arrival);
                Some(WrittenRtp { kind, feedback, source: Source::Media, arrival })
            }
            Content::Again(number) => {
                let outgoing = slot.forwarder.lookup(number)?;
                // A number that was only filled is repaired by an empty packet.
                let stored = match outgoing.source {
                    Some(_) => Some(stored_of(tracks, track, &outgoing)?),
                    None => None,
                };
                slot.write_rtx(&outgoing, stored, stamp, out)?;
                Some(WrittenRtp { kind, feedback, source: Source::Retransmission, arrival: None })
            }
            Content::PlainPadding => {
                let source = slot.pads_on(self.estimator.hears_repairs(RepairSource::of(index)))?;
                slot.write_padding(now, source, stamp, out)?;
                Some(WrittenRtp { kind, feedback, source, arrival: None })
            }
        }
    }

    /// What to pad a probe with: the newest packet of a video slot is sent again, which repairs loss that nobody has
    /// noticed yet. Where that packet is much larger than wanted or no longer stored, plain padding is sent.
    fn padding(&self, wanted: usize, tracks: &SlotMap<TrackKey, Track>) -> Option<(usize, Queued)> {
        let newest = self.padding_slots().find_map(|(index, slot, source)| {
            let outgoing = slot.forwarder.last_sent().filter(|_| source == Source::Retransmission)?;
            let bytes = wire_cost::rtp_bytes(stored_of(tracks, slot.binding.as_ref()?.track, &outgoing)?);
            let queued = Queued::packet(slot.forwarder.newest(), index);
            (bytes < wanted.saturating_mul(2)).then_some((bytes + wire_cost::BEYOND_RTP, queued))
        });
        newest.or_else(|| self.plain_padding())
    }

    /// A packet of plain padding and its size, preferably on a source of retransmissions.
    pub(super) fn plain_padding(&self) -> Option<(usize, Queued)> {
        let (index, ..) = self.padding_slots().min_by_key(|(.., source)| *source == Source::Media)?;
        Some((wire_cost::PLAIN_PADDING, Queued::plain_padding(index)))
    }

    /// The video slots on which padding can be sent now, and on which of their sources.
    fn padding_slots(&self) -> impl Iterator<Item = (usize, &Slot, Source)> {
        self.slots(MediaKind::Video).filter_map(|(index, slot)| {
            let hears = self.estimator.hears_repairs(RepairSource::of(index));
            Some((index, slot, slot.pads_on(hears)?))
        })
    }
}

/// Queues what the forwarder of a slot emits while it runs `emit_from`. Returns what the pacer has refused.
fn enqueue_emitted(
    now: Instant,
    pacer: &mut Pacer<Queued>,
    slot: &mut Slot,
    index: usize,
    class: Class,
    emit_from: impl FnOnce(&mut Forwarder, &mut Emit<'_>),
) -> Vec<Queued> {
    let mut refused = Vec::new();
    let mut newest = slot.forwarder.newest();
    let mut keyframe = None;
    emit_from(&mut slot.forwarder, &mut |number, packet| {
        if packet.is_some_and(|packet| packet.meta.frame.keyframe) {
            keyframe = Some(number);
        }
        let bytes = wire_cost::of(packet);
        let queued = Queued::packet(number, index);
        let accepted = if number > newest {
            newest = number;
            pacer.enqueue(now, class, bytes, queued)
        } else {
            // The receiver misses already what the publisher sent again: packets that need it must not leave before it.
            let follows = |waiting: &Queued| waiting.slot == queued.slot && waiting.number > number;
            pacer.enqueue_late(now, class, bytes, queued, follows)
        };
        if accepted.is_err() {
            refused.push(queued);
        }
    });
    if let Some(outgoing) = keyframe.and_then(|number| slot.forwarder.outgoing(number)) {
        slot.keyframe = Some((outgoing.timestamp, now));
    }
    refused
}

/// The slot has switched down to the `smaller` encoding, for a link that is overloaded: the smaller one must not wait
/// behind the larger one. Of the larger one only packets that came late, and those that complete frames which have
/// left, are still sent.
#[cold]
fn drop_larger_encoding(
    pacer: &mut Pacer<Queued>,
    slot: &mut Slot,
    index: usize,
    class: Class,
    smaller: EncodingIndex,
) {
    pacer.revise(class, |queued| {
        let outgoing = slot.forwarder.outgoing(queued.number).filter(|_| queued.slot as usize == index)?;
        let is_old = outgoing.source.is_some() && outgoing.encoding != smaller;
        (is_old && !slot.has_passed(outgoing.seq)).then(|| {
            slot.forwarder.give_up(queued.number);
            wire_cost::FILLER
        })
    });
}

/// The pacer's queue is full. What is queued of the slot would come too late: it is given up, and the slot begins anew
/// at a key frame.
#[cold]
fn recover_from_overflow(
    now: Instant,
    pacer: &mut Pacer<Queued>,
    slot: &mut Slot,
    index: usize,
    class: Class,
    refused: Vec<Queued>,
) {
    slot.forwarder.bind();
    empty_queue(pacer, class, index);
    for queued in refused {
        // Where not even an empty packet fits, the receiver asks for the number.
        let _ = pacer.enqueue(now, class, wire_cost::FILLER, queued);
    }
}

/// The forwarder of a slot has forgotten what is queued. The numbers are given out already: empty packets fill them, or
/// the receiver would ask for them.
pub(super) fn empty_queue(pacer: &mut Pacer<Queued>, class: Class, slot: usize) {
    pacer.revise(class, |queued| (queued.slot as usize == slot).then_some(wire_cost::FILLER));
}

impl Paced for Queued {
    fn stream(&self) -> usize {
        self.slot as usize
    }
}

fn stored_of<'a>(tracks: &'a SlotMap<TrackKey, Track>, key: TrackKey, outgoing: &Outgoing) -> Option<&'a StoredPacket> {
    store_of(tracks, key, outgoing)?.get(outgoing.source?)
}

fn store_of<'a>(tracks: &'a SlotMap<TrackKey, Track>, key: TrackKey, outgoing: &Outgoing) -> Option<&'a PacketStore> {
    tracks.get(key)?.encoding(outgoing.encoding).map(|encoding| &encoding.store)
}
