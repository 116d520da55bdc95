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

/// Share of the time that an answer takes after which a packet is sent once more: who asks anew may measure a little less than we do.
const RESEND_AFTER: f64 = 0.8;
/// How often a packet of padding goes out while everything is paused for want of bandwidth.
const TRICKLE_INTERVAL: Duration = Duration::from_millis(200);
/// A key frame of the store and what came since must get through in this time, or a new one alone would come as soon.
const START_WITHIN: Duration = Duration::from_millis(100);

/// What waits in the pacer: a number of a slot. What it was given to is looked up when it leaves: for the first time where it was queued as audio or video,
/// else once more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    number: ExtSeq,
    slot: u32,
}

/// Instead of a number: a packet of plain padding. A slot's numbers are above 2^16.
const PLAIN_PADDING: ExtSeq = ExtSeq(0);

/// What became of a receiver's request for packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// How many will be sent again.
    pub queued: usize,
    /// Something of the encoding that flows is remembered no more. Who still misses it then has not got past it, so that only a key frame helps.
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

    /// Starts what waits for a key frame from one that came a moment ago, where there is one and it will not wait long in the pacer.
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

    /// Queues what the forwarder of a slot emits.
    fn queue(&mut self, now: Instant, index: usize, run: impl FnOnce(&mut Forwarder, &mut Emit<'_>)) {
        let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else { return };
        let class = if slot.kind == MediaKind::Audio { Class::Audio } else { Class::Video };
        let before = slot.forwarder.current();
        let (pacer, mut refused, mut newest) = (&mut self.pacer, Vec::new(), slot.forwarder.newest());
        let mut keyframe = None;
        run(&mut slot.forwarder, &mut |number, packet| {
            if packet.is_some_and(|packet| packet.meta.frame.keyframe) {
                keyframe = Some(number);
            }
            let bytes = wire_cost::of(packet);
            let queued = Queued { number, slot: index as u32 };
            let accepted = if number > newest {
                newest = number;
                pacer.enqueue(now, class, bytes, queued)
            } else {
                // What the publisher sent again is missed already: what needs it must not leave before it.
                pacer.enqueue_late(now, class, bytes, queued, |waiting| {
                    waiting.slot == queued.slot && waiting.number > number
                })
            };
            if accepted.is_err() {
                refused.push(queued);
            }
        });
        if let Some(picture) = keyframe.and_then(|number| slot.forwarder.outgoing(number)) {
            slot.keyframe = Some((picture.timestamp, now));
        }
        let after = slot.forwarder.current();
        if let (Some(before), Some(after)) = (before, after)
            && after.encoding < before.encoding
        {
            self.pacer.release_video();
            // The smaller picture is there for a link that is overloaded: it must not wait behind the larger one. Only packets that came late, and
            // complete pictures which have left, are still sent.
            self.pacer.revise(class, |queued| {
                let outgoing = slot.forwarder.outgoing(queued.number).filter(|_| queued.slot as usize == index)?;
                let is_old = outgoing.source.is_some() && outgoing.encoding != after.encoding;
                (is_old && !slot.has_passed(outgoing.seq)).then(|| {
                    slot.forwarder.give_up(queued.number);
                    wire_cost::FILLER
                })
            });
        }
        let overflow = !refused.is_empty();
        if overflow {
            // What is queued would come too late: give it up and begin anew, at a key frame.
            slot.forwarder.bind();
            empty_queue(&mut self.pacer, class, index);
            for queued in refused {
                // Where not even this fits, the receiver asks.
                let _ = self.pacer.enqueue(now, class, wire_cost::FILLER, queued);
            }
            self.guard.invalidate();
        }
        let after = slot.forwarder.current();
        if slot.waiting_since.is_some() && after.is_some() && slot.forwarder.wants_keyframe().is_none() {
            let waited = slot.waiting_since.take().map(|since| now.saturating_duration_since(since));
            self.keyframe_waits.extend(waited);
        }
        self.states_changed |= before != after;
        if before.is_some() && after.is_none() {
            // The source started over: ask for a key frame without waiting.
            self.guard.invalidate();
        }
        if let (Some(before), Some(after)) = (before, after) {
            let [up, down] = &mut self.switches;
            add(up, slot.switched_by as usize, u64::from(after > before));
            add(down, slot.switched_by as usize, u64::from(after < before));
        }
        self.overflows += u64::from(overflow);
    }

    /// A receiver asks for packets again: queues those that are known, within the repair budget.
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
            let again = Queued { number, slot: index as u32 };
            for _ in 0..copies {
                self.repair.take(bytes);
                answered.queued += usize::from(self.pacer.enqueue(now, Class::Retransmission, bytes, again).is_ok());
            }
        }
        answered
    }

    /// Whether a key frame is on its way to who asks for one: it waits in the pacer, or left less than a round trip ago. It answers the request, which was made
    /// before it had arrived; a new one would wait behind it. Should it get lost, the receiver asks again.
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

    /// Appends the next packet that is due to `out`, as plain RTP, padded where that joins it to the `run` that is being gathered.
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

    /// When everything is paused for want of bandwidth, a packet of padding now and then brings the feedback that can end the
    /// pause. Where nothing was ever sent, because the only layer is beyond the first guess, the first goes out at once.
    pub(super) fn trickle_timeout(&self) -> Option<Instant> {
        let can_pad = || self.padding_slots().next().is_some();
        let due = self.sent_at.map_or(self.allocated_at, |at| Some(at + TRICKLE_INTERVAL));
        due.filter(|_| self.starved && can_pad())
    }

    fn write(
        &mut self,
        now: Instant,
        sent_us: i64,
        run: Run,
        released: &Released<Queued>,
        tracks: &SlotMap<TrackKey, Track>,
        out: &mut Vec<u8>,
    ) -> Option<Written> {
        let queued = &released.item;
        let slot = self.slots.get_mut(queued.slot as usize)?.as_mut()?;
        let track = slot.binding.as_ref()?.track;
        let is_new = matches!(released.class, Class::Audio | Class::Video);
        let outgoing = match queued.number {
            PLAIN_PADDING => Outgoing::padding(),
            number if is_new => slot.forwarder.outgoing(number)?,
            number => slot.forwarder.lookup(number)?,
        };
        let store = store_of(tracks, track, &outgoing);
        let stored = outgoing.source.and_then(|seq| store?.get(seq));
        if outgoing.source.is_some() && stored.is_none() {
            return None;
        }
        let start = out.len();
        let stamp = Stamp { transport_seq: self.transport_seq, sent_us };
        let repairs = RepairSource::of(queued.slot as usize);
        let source = match queued.number {
            PLAIN_PADDING => slot.pads_on(self.estimator.hears_repairs(repairs))?,
            _ if is_new => Source::Media,
            _ => Source::Retransmission,
        };
        let written = match queued.number {
            PLAIN_PADDING => slot.write_padding(now, source, stamp, out),
            _ if is_new => {
                let earlier = store.filter(|_| self.repetitions > 0).map(|store| (store, self.repetitions));
                slot.write(&outgoing, stored, earlier, stamp, out)
            }
            // A number that was only filled is repaired by an empty packet.
            _ => slot.write_rtx(&outgoing, stored, stamp, out),
        };
        if written.is_none() {
            out.truncate(start);
            return None;
        }
        if slot.feedback == SlotFeedback::Ccfb
            && let Some(packet) = out.get(start..).and_then(RtpPacket::parse)
        {
            self.sent_numbers.note(packet.ssrc(), packet.seq(), self.transport_seq);
        }
        if let Some((_, left)) = slot.keyframe.as_mut().filter(|(timestamp, _)| is_new && outgoing.is_of(*timestamp)) {
            *left = now;
        }
        let run_padding = run.pad(out, start, released.bytes, self.pacer.waiting(released.class));
        let bytes = out.len() - start + wire_cost::BEYOND_RTP;
        self.sent_at = Some(now);
        self.rate.on_packet(now, bytes);
        self.pacer.on_written(bytes);
        let (transport_seq, repair) = (self.transport_seq, (source == Source::Retransmission).then_some(repairs));
        self.estimator.on_sent(now, SentPacket { transport_seq, bytes, probe: released.probe, repair });
        self.transport_seq = self.transport_seq.wrapping_add(1);
        let latency = stored
            .filter(|packet| is_new && !packet.is_parameters())
            .map(|p| now.saturating_duration_since(p.meta.arrival));
        Some(Written { class: released.class, kind: slot.kind, run_padding, queued: released.waited, latency })
    }

    /// What to pad a probe with: the newest packet of a video slot sent again, which repairs loss that nobody noticed yet, or plain padding
    /// where that packet is much larger than wanted or forgotten.
    fn padding(&self, wanted: usize, tracks: &SlotMap<TrackKey, Track>) -> Option<(usize, Queued)> {
        let newest = self.padding_slots().find_map(|(index, slot, source)| {
            let outgoing = slot.forwarder.last_sent().filter(|_| source == Source::Retransmission)?;
            let bytes = wire_cost::rtp_bytes(stored_of(tracks, slot.binding.as_ref()?.track, &outgoing)?);
            let queued = Queued { number: slot.forwarder.newest(), slot: index as u32 };
            (bytes < wanted.saturating_mul(2)).then_some((bytes + wire_cost::BEYOND_RTP, queued))
        });
        newest.or_else(|| self.plain_padding())
    }

    pub(super) fn plain_padding(&self) -> Option<(usize, Queued)> {
        let (index, ..) = self.padding_slots().min_by_key(|(.., source)| *source == Source::Media)?;
        let queued = Queued { number: PLAIN_PADDING, slot: index as u32 };
        Some((wire_cost::PLAIN_PADDING, queued))
    }

    /// The video slots on which padding can be sent now, and on which of their sources.
    fn padding_slots(&self) -> impl Iterator<Item = (usize, &Slot, Source)> {
        self.slots(MediaKind::Video).filter_map(|(index, slot)| {
            let hears = self.estimator.hears_repairs(RepairSource::of(index));
            Some((index, slot, slot.pads_on(hears)?))
        })
    }
}

/// What is queued of a slot was forgotten. The numbers are given out already: empty packets fill them, or the receiver would ask for them.
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
