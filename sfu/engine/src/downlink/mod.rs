//! Everything towards one receiver: which layers it gets, when they leave, under which numbers.
//!
//! A forwarded packet enters at [`Downlink::forward`], waits in the pacer as a number of its slot, and leaves through
//! [`Downlink::poll_packet`] written into the send buffer. The estimator learns of each packet sent and of each
//! acknowledgement; the allocator turns its estimate into a layer for each slot.

pub mod allocate;
pub mod bind;
pub mod bottleneck;
mod ccfb;
pub mod estimate;
mod layers;
pub mod pace;
mod preferences;
mod redundancy;
mod relief;
mod repair;
pub mod run;
mod send;
pub mod slot;

pub use relief::Relief;

use crate::command::Preference;
use crate::config::WallClock;
use crate::engine::keys::{ParticipantKey, TrackKey};
use crate::event::{Limit, PauseReason, SlotState};
use crate::ids::{EncodingIndex, TrackId};
use crate::media::{Codec, MediaKind};
use crate::rtcp::write::{self, SenderInfo};
use crate::rtcp::{self, Ccfb, ReportBlock, RtcpBatch, TransportFeedback};
use crate::sdp::{Section, SlotFeedback, SlotSection};
use crate::snapshot::add;
use crate::units::{Bitrate, Ssrc};
use crate::uplink::rates::RateMeter;
use crate::uplink::store::PacketStore;
use crate::uplink::track::Track;
use allocate::{Decision, DipTolerance, SolveGuard, UpswitchBackoff};
use bottleneck::FairShare;
use ccfb::SentNumbers;
use estimate::{Estimator, EstimatorConfig, Feedback, PacketReport, ProbeOutcome, ReceiverTime};
use pace::{Class, Pacer};
use preferences::Preferences;
use prefetch::fetch;
use rand::RngCore;
use repair::RepairBudget;
use send::Queued;
use slot::Slot;
use slotmap::SlotMap;
use std::time::{Duration, Instant};

/// While only packets come, probes, pace and layers are looked at this often. Browsers send feedback about as often,
/// and each feedback has them looked at too.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Packets are remembered for this many round trips, so that a repair that gets lost can be asked for again.
const ANSWERS: u32 = 4;
/// Report a drop in memory time only if it is larger than this.
const FORGETFUL: Duration = Duration::from_millis(200);
/// Layers are chosen anew at least this often, since measured rates drift.
const ALLOCATE_INTERVAL: Duration = Duration::from_secs(1);

/// What happened on a downlink over some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often the pacer's queue was full.
    pub overflows: u64,
    /// Switches to a higher and to a lower layer, each by what made them, in the order of [`Limit::ALL`].
    pub switches: [[u64; Limit::ALL.len()]; 2],
    /// Packets that the client reported lost, by kind.
    pub lost: [u64; 2],
    /// Packets that the client reported as marked Congestion Experienced.
    pub ce_marks: u64,
    /// How probes ended, in the order of [`ProbeOutcome::ALL`].
    pub probes: [u64; ProbeOutcome::ALL.len()],
    /// How long slots waited for the key frame of an encoding that they switched to.
    pub keyframe_waits: Vec<Duration>,
}

/// What an offer means for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotFate {
    /// The client receives on it.
    Stay,
    /// The section is inactive: nothing is sent, but its source and numbers stay.
    Rest,
    /// The section is no slot any more.
    Go,
}

/// What a bound slot does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Media of this encoding flows.
    Active(EncodingIndex),
    /// A layer is chosen, its first decodable packet has not come.
    Starting,
    /// Nothing is sent, for want of bandwidth.
    Starved,
    /// Nothing is sent, for another reason.
    Paused,
}

/// A packet was written into the send buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Why it was sent.
    pub class: Class,
    /// Audio or video.
    pub kind: MediaKind,
    /// Bytes of padding by which it joins its run.
    pub run_padding: usize,
    /// How long it waited in the pacer.
    pub queued: Duration,
    /// How long ago it came from its publisher, where it is sent for the first time.
    pub latency: Option<Duration>,
}

/// One receiver's downlink.
pub struct Downlink {
    /// By m= section index; `None` for sections that are no slots.
    slots: Vec<Option<Slot>>,
    preferences: Preferences,
    relief: Relief,
    estimator: Estimator,
    pacer: Pacer<Queued>,
    decisions: Vec<Decision<usize>>,
    repair: RepairBudget,
    /// How many older packets each packet of audio repeats (RFC 2198).
    repetitions: u8,
    transport_seq: u16,
    /// Transport-wide numbers of the packets on slots that are reported by RFC 8888.
    sent_numbers: SentNumbers,
    guard: SolveGuard,
    /// When probes, pace and layers were last looked at.
    looked_at: Option<Instant>,
    upswitch_backoff: UpswitchBackoff,
    dip_tolerance: DipTolerance,
    allocated_at: Option<Instant>,
    /// The memory time that the tracks were told: how long they keep packets that this receiver may ask for again.
    remembered: Duration,
    /// What audio took at the last choice of layers.
    audio: Bitrate,
    /// What all video slots could use at the last choice of layers.
    demand: Bitrate,
    /// Its fair share of a bottleneck that it shares with others.
    fair_share: Option<FairShare>,
    compared_at: Option<Instant>,
    /// Something is paused for want of bandwidth.
    starved: bool,
    sent_at: Option<Instant>,
    missing: (usize, usize),
    states_changed: bool,
    overflows: u64,
    /// Packets that the client reported lost, by kind, since last taken.
    lost: [u64; 2],
    /// Switches of layers up and down since last taken.
    switches: [[u64; Limit::ALL.len()]; 2],
    /// Waits for key frames that ended since last taken.
    keyframe_waits: Vec<Duration>,
    rate: RateMeter,
    jitter: Duration,
}

impl Downlink {
    /// A downlink without slots.
    pub fn new(now: Instant, rates: EstimatorConfig) -> Self {
        let estimator = Estimator::new(now, rates);
        Downlink {
            slots: Vec::new(),
            preferences: Preferences::default(),
            relief: Relief::None,
            pacer: Pacer::new(now, estimator.pacing_rate()),
            estimator,
            decisions: Vec::new(),
            repair: RepairBudget::new(now),
            repetitions: 0,
            transport_seq: 0,
            sent_numbers: SentNumbers::default(),
            guard: SolveGuard::default(),
            looked_at: None,
            upswitch_backoff: UpswitchBackoff::default(),
            dip_tolerance: DipTolerance::default(),
            allocated_at: None,
            remembered: Duration::ZERO,
            audio: Bitrate::ZERO,
            demand: Bitrate::ZERO,
            fair_share: None,
            compared_at: None,
            starved: false,
            sent_at: None,
            missing: (0, 0),
            states_changed: false,
            overflows: 0,
            lost: [0; 2],
            switches: Default::default(),
            keyframe_waits: Vec::new(),
            rate: RateMeter::default(),
            jitter: Duration::ZERO,
        }
    }

    /// The client made a new peer connection: slots, estimate and queue are gone, its preferences stay.
    pub fn start_over(&mut self, now: Instant, rates: EstimatorConfig) {
        let preferences = std::mem::take(&mut self.preferences);
        let missing = self.missing;
        *self = Downlink { preferences, missing, ..Downlink::new(now, rates) };
    }

    // ----- preferences -----

    /// Takes what the receiver wants of the tracks that it names, and of all others. At most `limit` named tracks are
    /// remembered.
    pub fn prefer(&mut self, default: Option<Preference>, tracks: &[(TrackId, Preference)], limit: usize) {
        self.preferences.update(default, tracks, limit);
    }

    /// A track has ended, so nothing is wanted of it.
    pub fn forget_preference(&mut self, track: TrackId) {
        self.preferences.forget(track);
    }

    /// Caps the height of all pictures.
    pub fn cap(&mut self, max_height: u16) {
        self.preferences.cap(max_height);
        self.allocate_soon();
    }

    /// What the receiver wants of a track, with the height capped.
    pub fn preference(&self, track: TrackId) -> Preference {
        self.preferences.of(track)
    }

    // ----- slots -----

    /// Adds the slot of a section or takes over what a new offer says about it.
    pub fn negotiate_slot(&mut self, section: &Section, role: &SlotSection, kind: MediaKind, rng: &mut impl RngCore) {
        if self.slots.len() <= section.index {
            self.slots.reserve_exact(section.index + 1 - self.slots.len());
            self.slots.resize_with(section.index + 1, || None);
        }
        let Some(place) = self.slots.get_mut(section.index) else { return };
        match place {
            Some(slot) => slot.renegotiate(section, role),
            None => *place = Some(Slot::new(section, kind, role, rng)),
        }
    }

    /// Takes up what the sections of an offer say about the slots that there are: removes those whose section is gone,
    /// and empties those that rest. Returns the tracks that were behind them.
    pub fn review_slots(&mut self, fate: impl Fn(&Slot) -> SlotFate) -> Vec<TrackKey> {
        let mut freed = Vec::new();
        for place in &mut self.slots {
            let Some(slot) = place.as_mut() else { continue };
            let fate = fate(slot);
            slot.rests = fate == SlotFate::Rest;
            if fate != SlotFate::Stay {
                freed.extend(slot.binding.as_ref().map(|b| b.track));
                slot.unbind();
            }
            if fate == SlotFate::Go {
                *place = None;
            }
        }
        self.states_changed = true;
        let slots = &self.slots;
        let is_ours = |ssrc| slots.iter().flatten().any(|slot| slot.ssrc == ssrc || slot.rtx_ssrc == Some(ssrc));
        self.sent_numbers.retain(is_ours);
        freed
    }

    /// All slots are negotiated: how the client will report what arrives on them.
    pub fn expect_feedback(&mut self) {
        let expected = self.slots.iter().flatten().any(|slot| slot.feedback != SlotFeedback::Reports);
        self.estimator.expect_transport_feedback(expected);
    }

    /// The encoding of a video track that flows to this receiver, or will.
    pub fn encoding_of(&self, track: TrackId) -> Option<(TrackKey, EncodingIndex)> {
        let bound = |slot: &Slot| slot.binding.as_ref().filter(|b| b.id == track).map(|b| b.track);
        self.slots(MediaKind::Video).find_map(|(_, slot)| {
            let layer = slot.forwarder.current().or(slot.forwarder.target());
            Some((bound(slot)?, layer?.encoding))
        })
    }

    /// The slots of one kind with their section index.
    pub fn slots(&self, kind: MediaKind) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((index, slot.as_ref()?)))
            .filter(move |(_, s)| s.kind == kind && !s.rests)
    }

    /// Kind and state of each bound slot.
    pub fn subscriptions(&self) -> impl Iterator<Item = (MediaKind, SubscriptionState)> + '_ {
        self.slots.iter().flatten().filter_map(|slot| {
            let state = match (slot.binding.as_ref()?.pause, slot.forwarder.current()) {
                (Some(PauseReason::Bandwidth), _) => SubscriptionState::Starved,
                (Some(_), _) => SubscriptionState::Paused,
                (None, None) => SubscriptionState::Starting,
                (None, Some(flows)) => SubscriptionState::Active(flows.encoding),
            };
            Some((slot.kind, state))
        })
    }

    /// Puts a track behind a slot.
    pub fn bind(&mut self, index: usize, key: TrackKey, track: &Track) {
        if let Some(slot) = self.slot_mut(index) {
            slot.bind(key, track.id, track.codec);
            self.states_changed = true;
            self.remembered = Duration::ZERO;
            send::empty_queue(&mut self.pacer, Class::Video, index);
        }
    }

    /// Empties a slot and returns the track that was behind it.
    pub fn unbind(&mut self, index: usize) -> Option<TrackKey> {
        self.states_changed = true;
        let slot = self.slot_mut(index)?;
        let track = slot.binding.as_ref().map(|b| b.track);
        slot.unbind();
        track
    }

    /// A track is encoded with another codec now.
    pub fn set_codec(&mut self, index: usize, codec: Option<Codec>) {
        if let Some(slot) = self.slot_mut(index) {
            slot.set_codec(codec);
            slot.forwarder.bind();
            self.states_changed = true;
            send::empty_queue(&mut self.pacer, Class::Video, index);
        }
        self.guard.invalidate();
    }

    /// A track ended: its slot is empty.
    pub fn forget_track(&mut self, index: usize, track: TrackKey) {
        if self
            .slots
            .get(index)
            .and_then(Option::as_ref)
            .and_then(|s| s.binding.as_ref())
            .is_some_and(|b| b.track == track)
        {
            self.unbind(index);
        }
    }

    /// Notes how many slots are missing; true where that changed.
    pub fn report_missing(&mut self, audio: usize, video: usize) -> bool {
        let changed = self.missing != (audio, video);
        self.missing = (audio, video);
        changed
    }

    /// Forgets how many missing slots were noted, so that the next number above zero counts as a change.
    pub fn forget_reported_missing(&mut self) {
        self.missing = (0, 0);
    }

    /// The slots whose state changed since the last call.
    pub fn poll_states(&mut self, tracks: &SlotMap<TrackKey, Track>) -> Vec<SlotState> {
        if !std::mem::take(&mut self.states_changed) {
            return Vec::new();
        }
        let changed = self.slots.iter_mut().flatten().filter_map(|slot| {
            let track = slot.binding.as_ref().and_then(|b| tracks.get(b.track));
            slot.poll_state(|layer| track.map(|t| t.describe(layer)).unwrap_or_default())
        });
        changed.collect()
    }

    // ----- congestion control -----

    /// The estimator of this downlink.
    pub fn estimator(&mut self) -> &mut Estimator {
        &mut self.estimator
    }

    /// Reception reports of the client about our slots: loss, round trip, jitter.
    pub fn on_reports(&mut self, now: Instant, blocks: impl Iterator<Item = ReportBlock>, wall_clock: &WallClock) {
        let now_ntp = wall_clock.ntp(now);
        for block in blocks {
            let Some((_, slot)) = slot_of(&mut self.slots, block.ssrc) else { continue };
            slot.note_mid_known();
            add(&mut self.lost, slot.kind as usize, slot.newly_lost(block.lost));
            let jitter = f64::from(block.jitter) / f64::from(slot.kind.clock_rate());
            self.jitter = Duration::from_secs_f64(jitter.min(1.0));
            if let Some(rtt) = rtcp::round_trip(now_ntp, block.last_sr, block.delay_since_last_sr) {
                self.estimator.on_loss_report(now, f32::from(block.fraction_lost) / 256.0, rtt);
            }
        }
    }

    /// Transport-wide feedback. `reports` is room for what it says.
    pub fn on_transport_feedback(
        &mut self,
        now: Instant,
        feedback: &TransportFeedback<'_>,
        reports: &mut Vec<PacketReport>,
    ) {
        let packets = feedback.packets();
        reports.clear();
        reports.extend(
            packets.map(|(seq, arrival)| PacketReport { transport_seq: seq.0, arrival: arrival.map(ReceiverTime) }),
        );
        self.estimator.on_feedback(now, &Feedback { reports });
    }

    /// The same by RFC 8888.
    pub fn on_ccfb(&mut self, now: Instant, feedback: &Ccfb<'_>, reports: &mut Vec<PacketReport>) {
        reports.clear();
        self.sent_numbers.read(feedback, self.transport_seq, reports);
        self.estimator.on_feedback(now, &Feedback { reports });
    }

    /// Whether its packets of sound repeat older ones because it loses many.
    pub fn repeats_sound(&self) -> bool {
        self.repetitions > 0
    }

    /// Whether its network drops what is beyond a rate, and queues nothing.
    pub fn is_policed(&self) -> bool {
        self.estimator.is_policed()
    }

    /// The jitter that the client reported last.
    pub fn jitter(&self) -> Duration {
        self.jitter
    }

    /// What all slots could use, as of the last choice of layers.
    pub fn demand(&self) -> Bitrate {
        self.demand
    }

    /// Rate sent over the last second.
    pub fn rate(&self, now: Instant) -> Bitrate {
        self.rate.rate(now)
    }

    /// Whether [`Self::poll_states`] may have something. What [`Self::take_counts`] has can wait until the participant
    /// is looked at anyway.
    pub fn has_news(&self) -> bool {
        self.states_changed
    }

    /// What happened since the last call.
    pub fn take_counts(&mut self) -> Counts {
        let switches = std::mem::take(&mut self.switches);
        let (overflows, lost) = (std::mem::take(&mut self.overflows), std::mem::take(&mut self.lost));
        let (probes, keyframe_waits) = (self.estimator.take_probe_outcomes(), std::mem::take(&mut self.keyframe_waits));
        let ce_marks = self.sent_numbers.take_ce_marks();
        Counts { overflows, switches, lost, ce_marks, probes, keyframe_waits }
    }

    /// The track and encoding that flow under an SSRC of ours now.
    pub fn playing(&self, media: Ssrc) -> Option<(TrackKey, EncodingIndex)> {
        let slot = self.slots.iter().flatten().find(|slot| slot.ssrc == media)?;
        Some((slot.binding.as_ref()?.track, slot.forwarder.current()?.encoding))
    }

    /// Appends a sender report for each slot that carries something, so that the client can synchronise audio and
    /// video.
    pub fn write_sender_reports(
        &self,
        now: Instant,
        wall_clock: &WallClock,
        tracks: &SlotMap<TrackKey, Track>,
        rtcp: &mut RtcpBatch,
    ) {
        for slot in self.slots.iter().flatten() {
            let Some(track) = slot.binding.as_ref().and_then(|b| tracks.get(b.track)) else { continue };
            let views = track.views();
            let Some(rtp_time) = slot.forwarder.rtp_time_at(wall_clock.micros(now), views.as_slice()) else { continue };
            let (packets, octets) = slot.sent();
            let info = SenderInfo { ssrc: slot.ssrc, ntp: wall_clock.ntp(now), rtp_time, packets, octets };
            write::sender_report(rtcp.packet(), &info, &[]);
        }
    }

    /// A choice of layers is due at once.
    pub fn allocate_soon(&mut self) {
        self.guard.invalidate();
    }

    /// Whether [`Self::handle_timeout`] and [`Self::allocation_is_due`] are to be called though only packets came.
    pub fn is_to_be_looked_at(&self, now: Instant) -> bool {
        let is_recent = |at| now.saturating_duration_since(at) < LOOK_INTERVAL;
        self.guard.is_invalid() || !self.looked_at.is_some_and(is_recent)
    }

    /// Whether they were called at this moment.
    pub fn was_looked_at(&self, now: Instant) -> bool {
        self.looked_at == Some(now)
    }

    /// Runs the estimator's clock, starts probes, sets the pace.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.looked_at = Some(now);
        self.estimator.handle_timeout(now);
        if let Some(probe) = self.estimator.poll_probe(now) {
            self.pacer.start_probe(now, probe);
        }
        self.pacer.set_rate(now, self.estimator.pacing_rate(), self.estimator.pacing_burst());
        if self.trickle_timeout().is_some_and(|at| at <= now)
            && let Some((bytes, padding)) = self.plain_padding()
        {
            // If the queue is full, something else is sent anyway.
            let _ = self.pacer.enqueue(now, Class::Padding, bytes, padding);
            self.sent_at = Some(now);
        }
    }

    /// Tells the tracks for how long packets may still be sent or asked for, where that is longer or much shorter than
    /// they were told.
    pub fn set_memories(&mut self, receiver: ParticipantKey, tracks: &mut SlotMap<TrackKey, Track>) {
        let time = self.asks_within();
        if time <= self.remembered && time + FORGETFUL > self.remembered {
            return;
        }
        self.remembered = time;
        for slot in self.slots.iter_mut().flatten() {
            slot.forwarder.remember(time);
            if let Some(track) = slot.binding.as_ref().and_then(|b| tracks.get_mut(b.track)) {
                track.remember(receiver, time);
            }
        }
    }

    /// How long it takes until all has left that waits in the pacer.
    fn queue_time(&self) -> Duration {
        self.estimator.pacing_rate().time_for(self.pacer.queued_bytes() as u64)
    }

    /// How long after a packet came it may still be sent or asked for: the least memory of a store, twice the time that
    /// the pacer's queue takes, and a few round trips for repairs that get lost too.
    fn asks_within(&self) -> Duration {
        let answer = self.estimator.answer_time().unwrap_or_default();
        (PacketStore::MEMORY.0 + ANSWERS * answer + 2 * self.queue_time()).min(PacketStore::MEMORY.1)
    }

    /// When the pacer has something to send.
    pub fn poll_pace_timeout(&self) -> Option<Instant> {
        self.pacer.poll_timeout()
    }

    /// When this downlink has something else to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let bound = self.slots.iter().flatten().any(|slot| slot.binding.is_some());
        let allocate = self.allocated_at.map(|at| at + ALLOCATE_INTERVAL).filter(|_| bound);
        let timeouts = [self.estimator.poll_timeout(), allocate, self.trickle_timeout()];
        timeouts.into_iter().flatten().min()
    }

    /// The media connection is gone: nothing waits, nothing is wanted, until it is back.
    pub fn suspend(&mut self, receiver: ParticipantKey, tracks: &mut SlotMap<TrackKey, Track>) {
        self.pacer.clear();
        for slot in self.slots.iter_mut().flatten() {
            slot.forwarder.set_target(None);
            if let Some(track) = slot.binding.as_ref().and_then(|b| tracks.get_mut(b.track)) {
                track.set_interest(receiver, std::iter::empty());
            }
        }
        self.states_changed = true;
    }

    /// Has fetched what a packet on a slot takes and is not in here.
    pub fn prefetch_behind(&self, slot: usize) {
        if let Some(slot) = self.slots.get(slot) {
            fetch(slot);
        }
        self.estimator.prefetch_behind();
    }

    /// The same for what transport feedback takes.
    pub fn prefetch_for_feedback(&self) {
        self.estimator.prefetch_for_feedback();
    }

    /// The same for what is behind the slot, once that is there. Returns its SSRC.
    pub fn prefetch_numbers(&self, slot: usize) -> Option<Ssrc> {
        let slot = self.slots.get(slot)?.as_ref()?;
        slot.forwarder.prefetch_numbers();
        Some(slot.ssrc)
    }

    fn slot_mut(&mut self, index: usize) -> Option<&mut Slot> {
        self.slots.get_mut(index)?.as_mut()
    }
}

/// The round trip that is assumed until one was measured.
pub const DEFAULT_RTT: Duration = Duration::from_millis(100);

fn slot_of(slots: &mut [Option<Slot>], ssrc: Ssrc) -> Option<(usize, &mut Slot)> {
    slots.iter_mut().enumerate().find_map(|(index, slot)| Some((index, slot.as_mut().filter(|s| s.ssrc == ssrc)?)))
}
