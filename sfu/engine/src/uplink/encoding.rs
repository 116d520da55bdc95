//! One received encoding of a track: its packets, how well they arrive, what it costs, whether somebody takes it.

mod demand;
#[cfg(test)]
mod tests;

use crate::downlink::allocate::LayerOption;
use crate::drops::DropReason;
use crate::forward::EncodingView;
use crate::ids::EncodingIndex;
use crate::media::{Codec, FrameMeta, MediaKind, PacketMeta};
use crate::rtp::codec::PayloadReader;
use crate::rtp::layers_allocation::StreamAllocation;
use crate::rtp::packet::RtpPacket;
use crate::units::{Bitrate, ExtSeq, PayloadType, Rid, SeqNo, Ssrc};
use crate::uplink::activity::{Activity, Change};
use crate::uplink::clock::{CaptureClock, CaptureMapping, PublisherClock};
use crate::uplink::keyframe::{KeyframeRequester, Method};
use crate::uplink::nack::{NackGenerator, Repair};
use crate::uplink::rates::{LayerRates, RateMeter};
use crate::uplink::reception::{Reception, SeqCheck};
use crate::uplink::shortfall::Shortfall;
use crate::uplink::store::PacketStore;
use demand::Demand;
use std::time::{Duration, Instant};

/// Parameter sets that change sooner are taken up after this time: other shards are told of each change.
const PARAMETERS_SPACING: Duration = Duration::from_millis(100);
/// The rates of an encoding are believed once it has flowed for this long.
const YOUNG: Duration = Duration::from_secs(1);
/// Once it has flowed for this long, what has come tells a still screen from what such a picture usually takes: where
/// it is less than half of that, it is what the layer is taken to cost, with some room to grow.
const FIRST_LOOK: Duration = Duration::from_millis(300);
const FIRST_LOOK_ROOM: f64 = 1.3;
/// Frame rate of an encoding that is too young to be measured.
const USUAL_FPS: u64 = 30;
/// Bits that a pixel of such an encoding takes, in thousandths.
const USUAL_MILLIBITS_PER_PIXEL: u64 = 60;

/// One encoding.
pub struct Encoding {
    /// Its rid, where the publisher names encodings.
    pub rid: Option<Rid>,
    /// The last packets.
    pub store: PacketStore,
    /// Ties its RTP clock to the publisher's.
    pub clock: CaptureClock,
    /// Lost packets that are asked for.
    pub nack: NackGenerator,
    /// Open request for a key frame.
    pub keyframe: KeyframeRequester,
    /// Rates of its layers, without what audio repeats of older packets.
    pub rates: LayerRates,
    /// Rate of the redundant blocks alone.
    pub repetitions: RateMeter,
    /// Whether it flows.
    pub activity: Activity,
    /// Whether the publisher's network carries it.
    pub shortfall: Shortfall,
    /// Arrival statistics; there from the first packet on.
    pub reception: Option<Reception>,
    /// Reads what packets say about their frames.
    pub reader: PayloadReader,
    /// The SSRC of the last packet.
    pub ssrc: Option<Ssrc>,
    /// What its last packet was encoded with.
    codec: Option<Codec>,
    /// Its RTP timestamps on the engine's time line, as of the last packet.
    mapping: CaptureMapping,
    /// Added to the present source's numbers: whole cycles of 2^16, so that the number on the wire stays.
    numbers_from: u64,
    given_up: u64,
    /// When its parameter sets changed last.
    parameters_at: Option<Instant>,
    demand: Demand,
    /// Set when it has stopped: from then on none of its last packets is asked for any more.
    release_at: Option<Instant>,
    /// What the publisher says that it is about to send of it.
    allocation: StreamAllocation,
    /// What its layers cost when it was switched off.
    remembered: Vec<LayerOption>,
}

impl Encoding {
    /// An encoding of which nothing has come yet.
    pub fn new(kind: MediaKind, rid: Option<Rid>, keyframes: Method) -> Self {
        let clock_rate = kind.clock_rate();
        let (slots, keyframes) = match kind {
            MediaKind::Audio => (PacketStore::AUDIO_SLOTS, Method::Never),
            MediaKind::Video => (PacketStore::VIDEO_SLOTS, keyframes),
        };
        Encoding {
            rid,
            store: PacketStore::new(slots),
            clock: CaptureClock::new(clock_rate),
            mapping: CaptureMapping::unknown(clock_rate),
            nack: NackGenerator::default(),
            keyframe: KeyframeRequester::new(keyframes),
            rates: LayerRates::default(),
            repetitions: RateMeter::default(),
            activity: Activity::new(kind),
            shortfall: Shortfall::default(),
            reception: None,
            reader: PayloadReader::default(),
            ssrc: None,
            codec: None,
            numbers_from: 0,
            given_up: 0,
            parameters_at: None,
            demand: Demand::Wanted { since: None, idle: None },
            release_at: None,
            allocation: StreamAllocation::default(),
            remembered: Vec::new(),
        }
    }

    /// Unwraps the packet's sequence number; of a retransmission, `original` is the number that it was sent under
    /// first. Refuses packets that were seen before or are too old.
    pub fn number(
        &mut self,
        now: Instant,
        original: Option<SeqNo>,
        packet: &RtpPacket<'_>,
        clock_rate: u32,
    ) -> Result<ExtSeq, DropReason> {
        let received = match original {
            Some(seq) => self.reception.as_mut().map_or(SeqCheck::TooOld, |r| r.on_recovered(seq)),
            None => {
                if self.ssrc != Some(packet.ssrc()) {
                    self.switch_source(packet.ssrc(), clock_rate);
                }
                let reception = self.reception.get_or_insert_with(|| Reception::new(packet.ssrc()));
                reception.on_packet(now, packet.seq(), packet.timestamp(), clock_rate)
            }
        };
        match received {
            SeqCheck::New(seq) => Ok(ExtSeq(self.numbers_from + seq.0)),
            SeqCheck::Restarted(seq) => {
                self.reset_source(clock_rate);
                Ok(ExtSeq(self.numbers_from + seq.0))
            }
            SeqCheck::Duplicate => Err(DropReason::RtpDuplicate),
            SeqCheck::TooOld => Err(DropReason::RtpTooOld),
        }
    }

    /// Keeps the parameter sets of the packet that the reader has just read; true where they differ from those before.
    pub fn note_parameters(&mut self, now: Instant, codec: Codec, payload_type: PayloadType) -> bool {
        if self.parameters_at.is_some_and(|at| now.saturating_duration_since(at) < PARAMETERS_SPACING) {
            return false;
        }
        let Some(payload) = self.reader.take_parameters(codec) else { return false };
        self.parameters_at = Some(now);
        self.store.set_parameters(now, payload_type, payload);
        true
    }

    /// Counts a packet with media, `cost` bytes for a receiver; true where the encoding starts to flow with it.
    pub fn note_media(
        &mut self,
        now: Instant,
        meta: &PacketMeta,
        cost: usize,
        again: bool,
        publisher: &PublisherClock,
    ) -> bool {
        self.note_rates(now, meta, cost);
        if !again {
            self.clock.on_packet(publisher, now, meta.timestamp);
        }
        self.mapping = self.clock.mapping(publisher).unwrap_or(self.mapping);
        let started = self.activity.on_packet(now, meta.frame.starts_frame) == Some(Change::Started);
        if started {
            self.shortfall.on_started();
            if self.rates.size().is_none() {
                // Its first key frame was lost. Without its size no receiver would choose the encoding, and so none
                // would ask for a key frame.
                self.keyframe.request(now);
            }
        }
        started
    }

    /// As [`Encoding::note_media`], for a packet that came from another shard, which also says how to read its clock.
    pub fn note_relayed(&mut self, now: Instant, meta: &PacketMeta, cost: usize, clock: CaptureMapping) {
        self.note_rates(now, meta, cost);
        self.mapping = clock;
    }

    fn note_rates(&mut self, now: Instant, meta: &PacketMeta, cost: usize) {
        self.rates.on_packet(now, &meta.frame, cost);
        if meta.redundant > 0 {
            self.repetitions.on_packet(now, usize::from(meta.redundant));
        }
    }

    /// Its RTP timestamps on the engine's time line.
    pub fn mapping(&self) -> CaptureMapping {
        self.mapping
    }

    /// Keeps track of what is missing. Where only a key frame helps and the encoding is `taken`, one is asked for.
    /// Returns the round trip to the publisher where a retransmission shows it.
    pub fn note_repair(
        &mut self,
        now: Instant,
        seq: ExtSeq,
        frame: &FrameMeta,
        again: bool,
        taken: bool,
    ) -> Option<Duration> {
        let round_trip = if again { self.nack.answer_time(now, seq) } else { None };
        if again {
            self.nack.on_recovered(seq);
        } else if self.nack.on_received(now, seq) == Repair::NeedsKeyframe && taken {
            self.keyframe.request_another(now);
        }
        if frame.keyframe {
            self.nack.on_keyframe(seq);
            self.keyframe.on_begun(now);
        }
        if self.store.keyframe_completed(seq).is_some() {
            self.keyframe.on_whole();
        }
        round_trip
    }

    /// Notices that it stopped; true where it did. Somewhat later its memory is freed.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.release_at.take_if(|at| *at <= now).is_some() && self.activity.active_since().is_none() {
            self.store.release();
        }
        let stopped = self.activity.handle_timeout(now) == Some(Change::Stopped);
        if stopped {
            self.rates.reset();
            self.keyframe.cancel();
            self.release_at = Some(now + PacketStore::MEMORY.1);
        }
        stopped
    }

    /// When [`Encoding::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.activity.poll_timeout().into_iter().chain(self.release_at).min()
    }

    /// Packets given up since the last call.
    pub fn newly_given_up(&mut self) -> u64 {
        let given_up = self.nack.given_up();
        given_up.saturating_sub(std::mem::replace(&mut self.given_up, given_up))
    }

    /// What forwarders may look at.
    pub fn view(&self) -> EncodingView<'_> {
        EncodingView { store: &self.store, clock: &self.mapping }
    }

    /// Appends the layers that a receiver could be given. A switched-off encoding counts with what it cost last.
    pub fn layer_options(&self, now: Instant, index: EncodingIndex, options: &mut Vec<LayerOption>) {
        if self.activity.active_since().is_none() {
            if self.comes_back(now) {
                options.extend_from_slice(&self.remembered);
            }
            return;
        }
        let is_young = self.activity.active_since().is_some_and(|at| now.saturating_duration_since(at) < YOUNG);
        if is_young {
            if self.came_back() && !self.remembered.is_empty() {
                options.extend_from_slice(&self.remembered);
            } else {
                self.usual_options(now, index, self.at_first_look(now), options);
            }
            return;
        }
        for spatial in 0..self.rates.spatial_layers(now).max(1) {
            let height = self.rates.size_of(spatial).map_or(0, |(_, height)| height);
            for temporal in 0..self.rates.temporal_layers(now).max(1) {
                let rate = self.rates.stable(spatial, temporal);
                let fps = self.rates.frame_rate(now, spatial, temporal).round() as u8;
                options.push(LayerOption { encoding: index, spatial, temporal, rate, height, fps, doubtful: false });
            }
        }
    }

    /// What its layers could cost where the measured rates say nothing: each with all temporal layers, at the rate that
    /// the publisher announces, or else that a picture of this size usually takes. Where all that was `seen` so far is
    /// less than half of that, at the rate seen.
    fn usual_options(&self, now: Instant, index: EncodingIndex, seen: Option<Bitrate>, options: &mut Vec<LayerOption>) {
        let (temporal, fps) = (LayerRates::MAX_TEMPORAL as u8 - 1, USUAL_FPS as u8);
        for spatial in 0..self.rates.spatial_layers(now).max(1) {
            let (width, height) = self.rates.size_of(spatial).unwrap_or((0, 0));
            let pixels = u64::from(width) * u64::from(height) * USUAL_FPS;
            let usual = Bitrate::bps(pixels * USUAL_MILLIBITS_PER_PIXEL / 1000);
            let allocated = self.allocation.get(usize::from(spatial)).copied().flatten();
            let rate = allocated.map(|layer| layer.rate()).filter(|rate| *rate > Bitrate::ZERO);
            let rate = rate.or(seen.filter(|seen| *seen <= usual.scale(0.5))).unwrap_or(usual);
            let fps = allocated.and_then(|layer| layer.frame_rate()).unwrap_or(fps);
            options.push(LayerOption { encoding: index, spatial, temporal, rate, height, fps, doubtful: false });
        }
    }

    /// What it costs by the little that has come so far: the key frame that it began with makes up for the frames that
    /// are yet to come in the time over which [`RateMeter`] spreads them. `None` in its first moments.
    fn at_first_look(&self, now: Instant) -> Option<Bitrate> {
        let flowed = now.saturating_duration_since(self.activity.active_since()?);
        (flowed >= FIRST_LOOK).then(|| self.rates.total(now).scale(FIRST_LOOK_ROOM))
    }

    /// Takes what the publisher says that it is about to send. Key frames know better which size a layer has, where
    /// they can be read.
    pub fn note_allocation(&mut self, layers: &StreamAllocation) {
        self.allocation = *layers;
        for (spatial, size) in (0..).zip(layers).filter_map(|(spatial, layer)| Some((spatial, layer.as_ref()?.size()?)))
        {
            self.rates.assume_size(spatial, size);
        }
    }

    /// Notes what a packet is encoded with. Refuses packets of a codec that is not sent any more: the track's codec
    /// before it changed over, which this encoding has not followed yet, or the encoding's own codec before it changed
    /// over.
    pub fn take_codec(
        &mut self,
        codec: Codec,
        seq: ExtSeq,
        again: bool,
        of_track: Option<Codec>,
    ) -> Result<(), DropReason> {
        match self.codec {
            Some(known) if known == codec => {
                let is_of_track = of_track.is_none_or(|of_track| of_track == codec);
                if is_of_track { Ok(()) } else { Err(DropReason::RtpTooOld) }
            }
            Some(_) if again || self.store.highest().is_some_and(|highest| seq < highest) => Err(DropReason::RtpTooOld),
            before => {
                if before.is_some() {
                    self.reset_codec();
                }
                self.codec = Some(codec);
                Ok(())
            }
        }
    }

    /// The track has this codec now: what the encoding has of another one is of no use any more.
    pub fn drop_other_codec(&mut self, codec: Codec) {
        if self.codec.is_some_and(|own| own != codec) {
            self.reset_codec();
        }
    }

    /// Another codec begins: forgets everything about the pictures so far. Numbers and clock go on.
    pub fn reset_codec(&mut self) {
        self.store.clear();
        self.store.forget_parameters();
        self.nack.reset();
        self.reader = PayloadReader::default();
        self.rates = LayerRates::default();
        self.allocation = StreamAllocation::default();
        self.activity = Activity::new(self.activity.kind());
        // An encoding that is switched off must stay on offer, or it would never be asked for again. What it cost is
        // the best guess; higher spatial layers were the old codec's.
        self.remembered.retain(|layer| layer.spatial == 0);
    }

    /// Another source sends the encoding now. Its numbers continue far above the old ones, so that no forwarder takes
    /// it for the same.
    fn switch_source(&mut self, ssrc: Ssrc, clock_rate: u32) {
        if self.ssrc.replace(ssrc).is_some() {
            const CYCLE: u64 = 1 << 16;
            let highest = self.store.highest().map_or(0, |seq| seq.0);
            self.numbers_from = (highest / CYCLE + 1) * CYCLE;
        }
        self.reception = None;
        self.reset_source(clock_rate);
    }

    /// The source counts anew: nothing that it sent before can be used.
    fn reset_source(&mut self, clock_rate: u32) {
        self.store.clear();
        self.nack.reset();
        self.reader = PayloadReader::default();
        self.clock = CaptureClock::new(clock_rate);
    }
}
