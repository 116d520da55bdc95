//! A slot: one m= section on which a client receives. Its SSRC lives as long as the section; the track behind it
//! changes.
//!
//! Owned by [`super::Downlink`]. Turns what the forwarder emits into RTP packets (RFC 3550) and retransmissions (RFC
//! 4588).

use super::redundancy::blocks_before;
use crate::engine::keys::TrackKey;
use crate::event::{Limit, PauseReason, Sending, SlotState};
use crate::forward::{Forwarder, Layer, Outgoing};
use crate::ids::TrackId;
use crate::media::{Codec, MediaKind};
use crate::rtp::codec::vp8;
use crate::rtp::dependency;
use crate::rtp::extension::{AbsSendTime, ForwardedExtensions, write_transport_cc};
use crate::rtp::packet::{RtpHeader, append_padding, write_header};
use crate::rtp::red::{self, Block, Redundant};
use crate::rtp::template::{HeaderTemplate, Stamp};
use crate::sdp::{ExtensionKind, ExtensionMap, PayloadMapping, Section, SlotFeedback, SlotSection};
use crate::units::{Mid, PayloadType, Rid, RtpTime, SeqNo, Ssrc};
use crate::uplink::store::{PacketStore, StoredPacket};
use crate::wire_cost;
use rand::RngCore;
use std::cmp::Ordering;
use std::time::{Duration, Instant};

/// How many sequence numbers that were sent again are remembered, so that retransmissions of one number are spaced by a
/// round trip.
const RESENT_MEMORY: usize = 64;

/// One receiving section of a client.
pub struct Slot {
    /// The section.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// SSRC of the media that we send.
    pub ssrc: Ssrc,
    /// SSRC of the retransmissions, where negotiated.
    pub rtx_ssrc: Option<Ssrc>,
    /// How the client reports what arrives.
    pub feedback: SlotFeedback,
    /// The section is inactive for now.
    pub rests: bool,
    /// Selects and renumbers.
    pub forwarder: Forwarder,
    /// The track that is being sent here.
    pub binding: Option<Binding>,
    /// Why the forwarder's target is no higher.
    pub limit: Limit,
    /// Why the forwarder's target changed last: the limit that went away (upwards), or the one that came (downwards).
    pub switched_by: Limit,
    /// Since when the slot has waited for a key frame.
    pub waiting_since: Option<Instant>,
    /// The timestamp on this slot of the newest key frame, and when a packet of it last came or left.
    pub keyframe: Option<(RtpTime, Instant)>,
    payloads: Vec<PayloadMapping>,
    /// The payload type under which the client takes redundant audio.
    red: Option<PayloadType>,
    extensions: ExtensionMap,
    /// For `extensions`, with the MID until the client knows it; `None` where such headers are not of the one-byte
    /// form.
    template: Option<HeaderTemplate>,
    rtx_seq: SeqNo,
    /// The newest number written.
    newest: SeqNo,
    packets: u32,
    octets: u32,
    /// As the client reported last.
    lost: i32,
    mid_known: bool,
    /// When numbers were sent again; empty until the first is.
    resent: Box<[(SeqNo, Option<Instant>)]>,
    /// The dependency descriptor of the packet that is being written; kept for its memory.
    descriptor: Vec<u8>,
    reported: Option<SlotState>,
}

/// The two RTP sources of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The media itself.
    Media,
    /// What is sent again (RFC 4588).
    Retransmission,
}

/// The track behind a slot.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The track.
    pub track: TrackKey,
    /// Its id.
    pub id: TrackId,
    /// What the track is encoded with, once a packet has told.
    pub codec: Option<Codec>,
    /// Why nothing is sent, or `None`.
    pub pause: Option<PauseReason>,
    payload: Option<PayloadMapping>,
}

impl Slot {
    /// A slot for a section that was just negotiated, with numbers that start at random.
    pub fn new(section: &Section, kind: MediaKind, role: &SlotSection, rng: &mut impl RngCore) -> Self {
        let first = SeqNo(low_start(rng));
        Slot {
            mid: section.mid,
            kind,
            ssrc: role.ssrc,
            rtx_ssrc: role.rtx_ssrc,
            feedback: role.feedback,
            rests: false,
            forwarder: Forwarder::new(kind, first, RtpTime(rng.next_u32())),
            binding: None,
            limit: Limit::default(),
            switched_by: Limit::default(),
            waiting_since: None,
            keyframe: None,
            payloads: section.codecs.clone(),
            red: section.red,
            extensions: section.extensions.clone(),
            template: HeaderTemplate::new(&section.extensions, Some(section.mid.as_bytes())),
            rtx_seq: SeqNo(low_start(rng)),
            newest: SeqNo(first.0.wrapping_sub(1)),
            packets: 0,
            octets: 0,
            lost: 0,
            mid_known: false,
            resent: Box::default(),
            descriptor: Vec::new(),
            reported: None,
        }
    }

    /// Takes a choice of layer and what kept it from being higher. Returns whether either has changed.
    pub fn choose(&mut self, target: Option<Layer>, limit: Limit) -> bool {
        let before = self.forwarder.target();
        match target.cmp(&before) {
            Ordering::Greater => self.switched_by = self.limit,
            Ordering::Less => self.switched_by = limit,
            Ordering::Equal => {}
        }
        std::mem::replace(&mut self.limit, limit) != limit || before != target
    }

    /// How long the slot has waited for a key frame, where that wait ends now.
    pub fn end_keyframe_wait(&mut self, now: Instant) -> Option<Duration> {
        let since = self.waiting_since?;
        if self.forwarder.current().is_none() || self.forwarder.wants_keyframe().is_some() {
            return None;
        }
        self.waiting_since = None;
        Some(now.saturating_duration_since(since))
    }

    /// Takes over what a later offer says about the section.
    pub fn renegotiate(&mut self, section: &Section, role: &SlotSection) {
        self.payloads.clone_from(&section.codecs);
        self.red = section.red;
        self.extensions = section.extensions.clone();
        self.renew_template();
        (self.rtx_ssrc, self.feedback) = (role.rtx_ssrc, role.feedback);
        if let Some(codec) = self.binding.as_ref().map(|b| b.codec) {
            self.set_codec(codec);
        }
    }

    /// Whether this section can carry the codec.
    pub fn takes(&self, codec: Codec) -> bool {
        self.payloads.iter().any(|p| p.codec == codec)
    }

    /// Puts a track behind the slot; numbering goes on.
    pub fn bind(&mut self, track: TrackKey, id: TrackId, codec: Option<Codec>) {
        self.binding = Some(Binding { track, id, codec: None, pause: None, payload: None });
        self.set_codec(codec);
        self.forwarder.bind();
    }

    /// Takes the track away.
    pub fn unbind(&mut self) {
        self.binding = None;
        self.forwarder.bind();
    }

    /// The bound track is encoded with another codec from now on.
    pub fn set_codec(&mut self, codec: Option<Codec>) {
        let payload = codec.and_then(|codec| self.payloads.iter().find(|p| p.codec == codec).cloned());
        if let Some(binding) = self.binding.as_mut() {
            binding.codec = codec;
            binding.payload = payload;
        }
    }

    /// Whether the receiver can tell spatial layers of the bound track apart. Those of AV1 are told by the dependency
    /// descriptor alone.
    pub fn reads_spatial_layers(&self) -> bool {
        let codec = self.binding.as_ref().and_then(|b| b.codec);
        !matches!(codec, Some(Codec::Av1 { .. })) || self.extensions.id(ExtensionKind::DependencyDescriptor).is_some()
    }

    /// Whether the client is sent repetitions of older packets of audio.
    pub fn takes_repetitions(&self) -> bool {
        self.red.is_some()
    }

    /// Whether the bound track's codec is known and this section cannot carry it.
    pub fn lacks_codec(&self) -> bool {
        self.binding.as_ref().is_some_and(|b| b.codec.is_some() && b.payload.is_none())
    }

    /// Appends the packet to `out` as plain RTP. Audio that repeats no older packets itself repeats as many of a store
    /// as `earlier` says. `None` where the packet cannot be built, with `out` perhaps longer.
    pub fn write(
        &mut self,
        outgoing: &Outgoing,
        packet: Option<&StoredPacket>,
        earlier: Option<(&PacketStore, u8)>,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let start = out.len();
        let payload_type = self.binding.as_ref()?.payload.as_ref()?.payload_type;
        let redundant = packet.and_then(|packet| self.redundant(packet, earlier));
        let outer_type = redundant.as_ref().map_or(payload_type, |(red, _)| *red);
        self.write_head(outgoing, (outer_type, self.ssrc, outgoing.seq), packet, stamp, out);
        let payload_at = out.len();
        match (redundant, packet) {
            (Some((_, blocks)), Some(packet)) => red::write(blocks, payload_type, packet.payload(), out),
            _ => write_payload(outgoing, packet, out)?,
        }
        if packet.is_none() {
            append_padding(out, start, wire_cost::FILLER_PADDING);
        }
        if !self.has_passed(outgoing.seq) {
            self.newest = outgoing.seq;
        }
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add((out.len() - payload_at) as u32);
        Some(())
    }

    /// Whether a higher number than this was written already, so that the receiver takes this one for lost.
    pub fn has_passed(&self, seq: SeqNo) -> bool {
        self.newest.distance(seq) > 0
    }

    /// The older packets that a packet of audio repeats (RFC 2198), and the payload type under which that goes to the
    /// client; `None` where it is sent alone. Only packets of the slot's codec are repeated, and only those from the
    /// run of packets that the slot is sent: the receiver would take an older one for media of this slot, under a time
    /// at which something else was sent here.
    fn redundant<'a>(
        &self,
        packet: &'a StoredPacket,
        earlier: Option<(&'a PacketStore, u8)>,
    ) -> Option<(PayloadType, impl Iterator<Item = Block<'a>> + Clone + use<'a>)> {
        let red = self.red.filter(|_| packet.meta.redundant > 0 || earlier.is_some())?;
        let by_publisher = repeated_by_publisher(packet);
        let earlier = earlier.filter(|_| by_publisher.is_none());
        let by_server = earlier.map(|(store, times)| repeated_by_server(store, packet, times));
        let (reaches, codec, newest) = (self.forwarder.reach(), packet.meta.payload_type, packet.meta.timestamp);
        let blocks = by_publisher.into_iter().flatten().chain(by_server.into_iter().flatten());
        let blocks =
            blocks.filter(move |block| block.payload_type == codec && reaches(newest.offset(-i32::from(block.offset))));
        blocks.clone().next().is_some().then_some((red, blocks))
    }

    /// Appends the packet as a retransmission (RFC 4588 section 4).
    pub fn write_rtx(
        &mut self,
        outgoing: &Outgoing,
        packet: Option<&StoredPacket>,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let payload_type = self.binding.as_ref()?.payload.as_ref()?.rtx?;
        let (ssrc, seq) = (self.rtx_ssrc?, self.rtx_seq);
        self.write_head(outgoing, (payload_type, ssrc, seq), packet, stamp, out);
        out.extend_from_slice(&outgoing.seq.0.to_be_bytes());
        write_payload(outgoing, packet, out)?;
        self.rtx_seq = SeqNo(seq.0.wrapping_add(1));
        Some(())
    }

    /// Appends a packet of nothing but padding, for probes.
    pub fn write_padding(&mut self, now: Instant, on: Source, stamp: Stamp, out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        let payload = self.binding.as_ref()?.payload.as_ref()?;
        let (media, rtx) = (payload.payload_type, payload.rtx);
        match on {
            Source::Retransmission => {
                let (payload_type, ssrc, seq) = (rtx?, self.rtx_ssrc?, self.rtx_seq);
                self.rtx_seq = SeqNo(seq.0.wrapping_add(1));
                let outgoing = Outgoing::empty(seq, RtpTime(0));
                self.write_head(&outgoing, (payload_type, ssrc, seq), None, stamp, out);
            }
            Source::Media => {
                let outgoing = self.forwarder.pad(now)?;
                self.write_head(&outgoing, (media, self.ssrc, outgoing.seq), None, stamp, out);
                self.newest = outgoing.seq;
                self.packets = self.packets.wrapping_add(1);
            }
        }
        append_padding(out, start, wire_cost::PLAIN_PADDING_OCTETS);
        Some(())
    }

    /// Where padding can be sent now: on the source of the retransmissions, which disturbs nothing, or, where there is
    /// none that the client `hears`, on that of the media between two frames.
    pub fn pads_on(&self, hears: bool) -> Option<Source> {
        let has_payload = self.binding.as_ref().is_some_and(|b| b.payload.is_some());
        match self.has_rtx() && hears {
            true => Some(Source::Retransmission),
            false => (has_payload && self.forwarder.may_pad()).then_some(Source::Media),
        }
    }

    /// Whether retransmissions can be sent for the present track.
    pub fn has_rtx(&self) -> bool {
        self.rtx_ssrc.is_some()
            && self.binding.as_ref().is_some_and(|b| b.payload.as_ref().is_some_and(|p| p.rtx.is_some()))
    }

    /// Whether this number may be sent again now. If so, it counts as sent again.
    pub fn may_resend(&mut self, now: Instant, seq: SeqNo, spacing: Duration) -> bool {
        if self.resent.is_empty() {
            self.resent = vec![(SeqNo(0), None); RESENT_MEMORY].into();
        }
        let Some(entry) = self.resent.get_mut(usize::from(seq.0) % RESENT_MEMORY) else { return false };
        let too_soon = entry.0 == seq && entry.1.is_some_and(|at| now.saturating_duration_since(at) < spacing);
        if !too_soon {
            *entry = (seq, Some(now));
        }
        !too_soon
    }

    /// The client has reported on this SSRC, so it needs no MID extension any more to find the section.
    pub fn note_mid_known(&mut self) {
        if !self.mid_known {
            self.mid_known = true;
            self.renew_template();
        }
    }

    fn renew_template(&mut self) {
        let mid = (!self.mid_known).then_some(self.mid.as_bytes());
        self.template = HeaderTemplate::new(&self.extensions, mid);
    }

    /// Given how many packets the client reports lost so far, how many are new.
    pub fn newly_lost(&mut self, lost: i32) -> u64 {
        let before = std::mem::replace(&mut self.lost, lost);
        u64::try_from(lost.saturating_sub(before)).unwrap_or(0)
    }

    /// Packets and payload octets sent, for sender reports.
    pub fn sent(&self) -> (u32, u32) {
        (self.packets, self.octets)
    }

    /// Packets that the client has reported lost so far.
    pub fn lost(&self) -> i32 {
        self.lost
    }

    /// The slot's state where it differs from what was last reported.
    pub fn poll_state(&mut self, describe: impl Fn(Layer) -> (Option<Rid>, Option<(u16, u16)>)) -> Option<SlotState> {
        let state = self.state(describe);
        let changed = self.reported.as_ref().map_or(state.track.is_some(), |old| *old != state);
        changed.then(|| self.reported.insert(state).clone())
    }

    /// What the slot carries now, and how.
    pub fn state(&self, describe: impl Fn(Layer) -> (Option<Rid>, Option<(u16, u16)>)) -> SlotState {
        let track = self.binding.as_ref().map(|b| {
            let sending = match (b.pause, self.forwarder.current(), b.codec) {
                (Some(reason), _, _) => Sending::Paused(reason),
                (None, Some(current), Some(codec)) => {
                    let (rid, size) = describe(current);
                    let (encoding, spatial) = (current.encoding, current.spatial);
                    let target = self.forwarder.target().unwrap_or(current);
                    Sending::Layer {
                        encoding,
                        rid,
                        spatial,
                        temporal: current.temporal,
                        size,
                        codec,
                        target: (target.encoding, target.temporal),
                        limit: self.limit,
                    }
                }
                (None, _, None) => Sending::Paused(PauseReason::NoMedia),
                (None, None, Some(_)) => Sending::Starting,
            };
            (b.id, sending)
        });
        SlotState { mid: self.mid, kind: self.kind, track }
    }

    fn write_head(
        &mut self,
        outgoing: &Outgoing,
        (payload_type, ssrc, seq): (PayloadType, Ssrc, SeqNo),
        packet: Option<&StoredPacket>,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) {
        let elements = packet.map(StoredPacket::extensions).unwrap_or_default();
        let described = packet.is_some_and(|packet| write_descriptor(outgoing, packet, &mut self.descriptor));
        let descriptor_id = self.extensions.id(ExtensionKind::DependencyDescriptor);
        let passed_on = ForwardedExtensions::for_receiver(elements, &self.extensions).filter_map(|(id, bytes)| {
            match Some(id) == descriptor_id {
                true => described.then_some((id, self.descriptor.as_slice())),
                false => Some((id, bytes)),
            }
        });
        let header = RtpHeader { marker: outgoing.marker, payload_type, seq, timestamp: outgoing.timestamp, ssrc };
        let by_template = self.template.as_mut().map(|template| template.write(out, &header, stamp, passed_on.clone()));
        if by_template == Some(true) {
            return;
        }
        let (transport_seq, sent_at) =
            (write_transport_cc(stamp.transport_seq), AbsSendTime::at(stamp.sent_us).write());
        let mid = (!self.mid_known).then_some((ExtensionKind::Mid, self.mid.as_bytes()));
        let own = [(ExtensionKind::TransportCc, &transport_seq[..]), (ExtensionKind::AbsSendTime, &sent_at[..])];
        let own = own.into_iter().chain(mid).filter_map(|(kind, bytes)| Some((self.extensions.id(kind)?, bytes)));
        write_header(out, &header, own.chain(passed_on), self.extensions.two_byte_allowed());
    }
}

/// The blocks that the publisher has put into the packet beside its newest one, where there are any.
fn repeated_by_publisher<'a>(packet: &'a StoredPacket) -> Option<impl Iterator<Item = Block<'a>> + Clone + use<'a>> {
    let redundant = Some(packet).filter(|packet| packet.meta.redundant > 0)?;
    Some(Redundant::parse(redundant.whole_payload())?.older())
}

/// As many of the packets just before this one as the server is to repeat.
fn repeated_by_server<'a>(
    store: &'a PacketStore,
    packet: &StoredPacket,
    times: u8,
) -> impl Iterator<Item = Block<'a>> + Clone + use<'a> {
    blocks_before(store, packet, times).into_iter().flatten()
}

fn write_payload(outgoing: &Outgoing, packet: Option<&StoredPacket>, out: &mut Vec<u8>) -> Option<()> {
    let Some(packet) = packet else { return Some(()) };
    let at = out.len();
    out.extend_from_slice(packet.payload());
    if let (Some(numbers), Some(layout)) = (outgoing.picture, packet.meta.frame.picture) {
        vp8::patch(out.get_mut(at..)?, &layout, numbers.picture_id, numbers.tl0_pic_idx);
    }
    Some(())
}

/// The packet's dependency descriptor as the receiver must see it; false where there is none, none that could be read,
/// or none that is needed: VP8 and VP9 tell everything in their payload descriptors.
fn write_descriptor(outgoing: &Outgoing, packet: &StoredPacket, out: &mut Vec<u8>) -> bool {
    let frame = &packet.meta.frame;
    let Some(place) = frame.descriptor.filter(|_| frame.picture.is_none()) else { return false };
    let mut elements = ForwardedExtensions::iter(packet.extensions());
    let Some((_, bytes)) = elements.find(|(kind, _)| *kind == ExtensionKind::DependencyDescriptor) else {
        return false;
    };
    let mask = place.active & place.layers.within(outgoing.max_layer.spatial, outgoing.max_layer.temporal);
    let tells_mask = frame.starts_frame && place.layers.len() > 1;
    let active = tells_mask.then_some((place.mask_at, place.layers.len(), mask));
    dependency::rewrite(bytes, outgoing.frame_number, active, out)
}

/// A random first sequence number in the lower half: a receiver that loses the packets before an early wrap could not
/// tell the SRTP rollover (RFC 3711 section 3.3.1).
fn low_start(rng: &mut impl RngCore) -> u16 {
    (rng.next_u32() as u16) & 0x7fff
}
