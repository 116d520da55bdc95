//! Forwarder = Selector + Rewriter, with the History that repairs come from: what one slot of one receiver gets to see.
//!
//! The fan-out hands every received packet to the downlinks that take its encoding, and each gives it to the forwarder
//! of its slot (`Downlink::forward`). The forwarder says what to send now, under which numbers (RFC 7667 section 3.7).
//! Numbers stay continuous over layer switches, pauses and rebinding of the slot, with loss and reordering in flight:
//! the receiver sees one undisturbed RTP source. Decisions follow the publisher's order of packets, not the order of
//! arrival, so a late packet gets the decision of its position.

mod dropped;
mod history;
mod rewriter;
mod selector;
#[cfg(test)]
mod tests;

pub use selector::Layer;

use crate::ids::EncodingIndex;
use crate::media::{MediaKind, PacketMeta};
use crate::sdp::MAX_ENCODINGS;
use crate::units::{ExtSeq, RtpTime, SeqNo};
use crate::uplink::store::{PacketStore, StoredPacket};
use history::{Entry, History, Reserved};
use rewriter::Rewriter;
use selector::Selector;
use std::time::{Duration, Instant};

/// Numbers that may be kept for missing packets without one being sent: far less than half the number space, beyond
/// which SRTP could not tell the next number's rollover.
const MAX_UNSENT: u64 = 1 << 14;
/// A source that jumps ahead by more than this many sequence numbers has started over.
const MAX_JUMP: u64 = 10_000;
/// A source that falls back by more than this has started over too: the store takes no packet that late.
const MAX_LATE: u64 = PacketStore::VIDEO_SLOTS as u64;
/// A forwarder does not start from a key frame whose first packet is more than this many packets behind the encoding's
/// newest.
const MAX_REPLAY: u64 = 256;

/// What a forwarder may look at of one encoding of its track.
#[derive(Clone, Copy)]
pub struct EncodingView<'a> {
    /// Its last packets.
    pub store: &'a PacketStore,
    /// Its capture clock.
    pub clock: &'a dyn CaptureTime,
}

/// Maps an encoding's RTP timestamps to a time that all tracks of a publisher share.
pub trait CaptureTime {
    /// When the frame with timestamp `ts` was captured, in microseconds since any origin common to the publisher's
    /// tracks.
    fn capture_time(&self, ts: RtpTime) -> i64;
}

/// Takes the number of a packet that is to be sent, and the packet; `None` where padding fills the number.
/// [`Forwarder::outgoing`] looks up what goes into its header when it leaves: what is passed on until then fits two
/// registers.
pub type Emit<'a> = dyn FnMut(ExtSeq, Option<&StoredPacket>) + 'a;

/// One packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Whose payload to send.
    pub encoding: EncodingIndex,
    /// Which packet of the encoding's store. `None`: padding only, to fill a number that would otherwise look lost.
    pub source: Option<ExtSeq>,
    /// Sequence number on the slot.
    pub seq: SeqNo,
    /// Timestamp on the slot.
    pub timestamp: RtpTime,
    /// Marker bit.
    pub marker: bool,
    /// What to write into a VP8 or VP9 descriptor, by [`patch`](crate::rtp::codec::vp8::patch).
    pub picture: Option<OutgoingPicture>,
    /// Frame number of the dependency descriptor, where the packet has one.
    pub frame_number: u16,
    /// The highest layer that the slot takes at this position.
    pub max_layer: Layer,
}

impl Outgoing {
    /// A packet without a source.
    pub fn empty(seq: SeqNo, timestamp: RtpTime) -> Self {
        let (encoding, max_layer) = (EncodingIndex(0), Layer::default());
        Outgoing { encoding, source: None, seq, timestamp, marker: false, picture: None, frame_number: 0, max_layer }
    }

    /// Whether it has media of the picture with this timestamp on the slot.
    pub fn is_of(&self, timestamp: RtpTime) -> bool {
        self.source.is_some() && self.timestamp == timestamp
    }
}

/// The renumbered fields of a VP8 or VP9 descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutgoingPicture {
    /// PictureID, 15 bits. A descriptor with 7 bits takes the low ones.
    pub picture_id: u16,
    /// TL0PICIDX.
    pub tl0_pic_idx: u8,
}

/// Chooses and renumbers the packets of one slot. Lives as long as the slot; tracks come and go by
/// [`bind`](Self::bind).
#[derive(Debug)]
pub struct Forwarder {
    kind: MediaKind,
    selector: Selector,
    rewriter: Rewriter,
    history: History,
    /// The newest number sent.
    sent: ExtSeq,
    /// Timestamp at the source of the first packet of the present run.
    began: Option<RtpTime>,
    /// The newest number that nothing but padding got.
    padding: Option<ExtSeq>,
    /// Encoding and numbers, first to last, of the pictures that were given up last.
    given_up: Option<(EncodingIndex, ExtSeq, ExtSeq)>,
    /// A larger encoding is switched to only when its whole keyframe has come.
    needs_whole_keyframe: bool,
    /// The newest packet of each encoding that got a decision since the track was bound; 0 where none did.
    decided: [ExtSeq; MAX_ENCODINGS],
}

impl Forwarder {
    /// A forwarder for a slot that carries nothing yet. The first packet sent gets the given numbers, which should be
    /// random (RFC 3550 section 5.1).
    pub fn new(kind: MediaKind, first_seq: SeqNo, first_timestamp: RtpTime) -> Self {
        let remembered = match kind {
            MediaKind::Audio => history::AUDIO_PACKETS,
            MediaKind::Video => history::VIDEO_PACKETS,
        };
        Forwarder {
            kind,
            selector: Selector::default(),
            rewriter: Rewriter::new(kind, first_timestamp),
            history: History::new(remembered, ExtSeq::first(first_seq)),
            sent: ExtSeq::first(first_seq),
            began: None,
            padding: None,
            given_up: None,
            needs_whole_keyframe: false,
            decided: [ExtSeq(0); MAX_ENCODINGS],
        }
    }

    /// From now on the slot carries another track, or none. Paused until [`set_target`](Self::set_target). What was
    /// sent of the old track can no longer be looked up.
    pub fn bind(&mut self) {
        self.selector.set_target(None);
        self.rewriter.forget_source();
        self.history.forget(|_| true);
        self.decided = [ExtSeq(0); MAX_ENCODINGS];
    }

    /// What to send: `None` pauses at once. Another encoding is waited for while the present one plays on, thinned to
    /// its base temporal layer where the wish is for a lower one. So is a higher spatial layer, and a lower one whose
    /// frames were not sent so far.
    pub fn set_target(&mut self, target: Option<Layer>) {
        self.selector.set_target(target);
    }

    /// Whether a larger encoding is switched to only when its whole key frame has come, with the smaller one shown
    /// until then: it is doubtful that the publisher's network carries the larger one.
    pub fn require_whole_keyframe(&mut self, required: bool) {
        self.needs_whole_keyframe = required;
    }

    /// The encoding whose key frame is being waited for.
    pub fn wants_keyframe(&self) -> Option<EncodingIndex> {
        self.selector.waits_for().filter(|_| self.kind == MediaKind::Video)
    }

    /// From now on a packet may be asked for until `time` after it was sent.
    pub fn remember(&mut self, time: Duration) {
        self.history.remember(time);
    }

    /// Has the places of the next numbers fetched into the cache.
    pub fn prefetch_numbers(&self) {
        self.history.prefetch_next();
    }

    /// What was asked for by [`set_target`](Self::set_target).
    pub fn target(&self) -> Option<Layer> {
        self.selector.target()
    }

    /// The packet sent last, if it is of the bound track.
    pub fn last_sent(&self) -> Option<Outgoing> {
        self.lookup(self.history.newest())
    }

    /// The number given out last; what comes late has a lower one.
    pub fn newest(&self) -> ExtSeq {
        self.history.newest()
    }

    /// Tells whether the source's packet of a timestamp lies in the run that flows: then the slot's timestamps count
    /// through to it.
    pub fn reach(&self) -> impl Fn(RtpTime) -> bool + Copy + use<> {
        let began = self.began;
        move |timestamp| began.is_some_and(|began| timestamp.distance(began) >= 0)
    }

    /// What flows now: `None` while paused and while nothing has been sent yet.
    pub fn current(&self) -> Option<Layer> {
        self.selector.current()
    }

    /// A packet of `encoding` arrived and is in its store; `encodings` holds those of the track, lowest first. Gives
    /// `emit` the number of each packet to send now, in order: usually this one or none, more where a key frame is
    /// started with that has come before or whose first packet came late.
    pub fn forward(
        &mut self,
        now: Instant,
        encoding: EncodingIndex,
        packet: &StoredPacket,
        encodings: &[EncodingView<'_>],
        emit: &mut Emit<'_>,
    ) {
        let Some(decided) = self.decided.get(usize::from(encoding.0)).copied() else { return };
        let flows = self.selector.current().is_some_and(|current| current.encoding == encoding);
        match self.position(now, flows, decided, &packet.meta) {
            Position::Late => return self.forward_late(encoding, packet, emit),
            Position::New if flows => return self.forward_next(now, encoding, packet, emit),
            Position::New => {}
            Position::StartedOver => self.forget_encoding(encoding, flows),
        }
        if let Some(first) = self.beginning(encoding, packet, encodings) {
            self.start(now, encoding, first, encodings, emit);
        }
    }

    /// The packet to start with now that `packet` is there, if `encoding` is waited for: the first of a key frame that
    /// begins. A key frame that began to come before it was waited for, or that may not come whole while something
    /// smaller is shown, is started with when all of it is there.
    fn beginning<'a>(
        &self,
        encoding: EncodingIndex,
        packet: &'a StoredPacket,
        encodings: &[EncodingView<'a>],
    ) -> Option<&'a StoredPacket> {
        if self.selector.waits_for() != Some(encoding) {
            return None;
        }
        let shows_smaller = self.selector.current().is_some_and(|current| current.encoding < encoding);
        if packet.meta.frame.keyframe && !(self.needs_whole_keyframe && shows_smaller) {
            return Some(packet);
        }
        let decided = self.decided.get(usize::from(encoding.0))?;
        let first = encodings.get(usize::from(encoding.0))?.store.keyframe_completed(packet.meta.seq)?;
        (first.meta.seq > *decided).then_some(first)
    }

    /// Where nothing of the track was sent yet, and the encoding that is waited for had a key frame a moment ago: gives
    /// `emit` the numbers of that key frame and of what came since, unless packets of it are missing or all of it is
    /// more than `most` bytes. So receivers that join together wait for one key frame.
    pub fn start_from_store(&mut self, now: Instant, most: usize, encodings: &[EncodingView<'_>], emit: &mut Emit<'_>) {
        let Some(encoding) = self.wants_keyframe().filter(|_| self.selector.current().is_none()) else { return };
        let Some(store) = encodings.get(usize::from(encoding.0)).map(|view| view.store) else { return };
        let Some(range) = store.since_keyframe() else { return };
        let bytes: usize = range.clone().filter_map(|seq| store.get(ExtSeq(seq))).map(|p| p.payload().len()).sum();
        let Some(first) = store.get(ExtSeq(*range.start())) else { return };
        // Nothing is shown twice where the slot only paused.
        let is_new = self.decided.iter().all(|decided| decided.0 == 0);
        if is_new && bytes <= most && first.meta.arrival + PacketStore::FRESH >= now {
            self.start(now, encoding, first, encodings, emit);
        }
    }

    /// Whether padding may take a number now. It may not in the midst of a picture: receivers know the packets of one
    /// by their consecutive numbers.
    pub fn may_pad(&self) -> bool {
        let newest = self.history.newest();
        let ends_picture = || matches!(self.history.get(newest), Some(Entry::Sent(sent)) if sent.marker);
        self.selector.current().is_none() || self.padding == Some(newest) || ends_picture()
    }

    /// Takes a number for a packet of nothing but padding, where [that is possible](Self::may_pad). It is not sent
    /// again.
    pub fn pad(&mut self, now: Instant) -> Option<Outgoing> {
        if !self.may_pad() {
            return None;
        }
        let timestamp = self.rewriter.timestamp();
        let number = self.history.push(now, Entry::Forgotten(timestamp));
        (self.sent, self.padding) = (number, Some(number));
        Some(Outgoing::empty(number.wire(), timestamp))
    }

    /// What is to leave under a number that was emitted: without payload where it was given up since, or another track
    /// is bound. `None` where that is too long ago.
    pub fn outgoing(&self, number: ExtSeq) -> Option<Outgoing> {
        match self.history.get(number)? {
            Entry::Forgotten(timestamp) => Some(Outgoing::empty(number.wire(), *timestamp)),
            entry => entry.outgoing(number),
        }
    }

    /// What was sent under `number`, to answer a NACK. `None` where that is too long ago, belongs to an earlier track,
    /// or still waits for the publisher's repair.
    pub fn lookup(&self, number: ExtSeq) -> Option<Outgoing> {
        self.history.get(number)?.outgoing(number)
    }

    /// The unwrapped form of a number on the wire.
    pub fn number_of(&self, seq: SeqNo) -> ExtSeq {
        self.history.number_of(seq)
    }

    /// What was emitted under `number` is not sent after all. It is not retransmitted either, nor are packets of the
    /// same pictures that come late.
    pub fn give_up(&mut self, number: ExtSeq) {
        let newest = self.history.newest();
        let Some(entry) = self.history.get(number) else { return };
        let Some((encoding, _)) = entry.packet() else { return };
        let forgotten = entry.forgotten();
        self.history.replace(number, forgotten);
        let same = self.given_up.filter(|(of, _, last)| (*of, *last) == (encoding, newest));
        self.given_up = Some((encoding, same.map_or(number, |(_, first, _)| first.min(number)), newest));
    }

    /// The slot's timestamp for a capture time (in the microseconds of [`CaptureTime`]), for sender reports: with it
    /// the receiver keeps lip sync across switches. `None` before the bound track's first packet.
    pub fn rtp_time_at(&self, capture_time: i64, encodings: &[EncodingView<'_>]) -> Option<RtpTime> {
        let (encoding, source_time) = self.rewriter.last_source()?;
        let last = encodings.get(usize::from(encoding.0))?.clock.capture_time(source_time);
        self.rewriter.time_after(capture_time.saturating_sub(last))
    }

    fn position(&self, now: Instant, flows: bool, decided: ExtSeq, meta: &PacketMeta) -> Position {
        match meta.seq.0.checked_sub(decided.0) {
            Some(1..) if !flows => Position::New,
            Some(1..=MAX_JUMP) if self.rewriter.is_plausible(now, meta.timestamp) => Position::New,
            Some(1..) => Position::StartedOver,
            Some(0) => Position::Late,
            None if decided.0 - meta.seq.0 <= MAX_LATE => Position::Late,
            None => Position::StartedOver,
        }
    }

    /// Switches to `encoding` at `packet`, the first of a key frame, and sends what has come of the packets behind it.
    fn start(
        &mut self,
        now: Instant,
        encoding: EncodingIndex,
        packet: &StoredPacket,
        encodings: &[EncodingView<'_>],
        emit: &mut Emit<'_>,
    ) {
        let first = packet.meta.seq;
        let Some(view) = encodings.get(usize::from(encoding.0)) else { return };
        let newest = view.store.highest().unwrap_or(first).max(first);
        if newest.0 - first.0 > MAX_REPLAY {
            return;
        }
        let capture_step = self.rewriter.last_source().and_then(|(old, time)| {
            let before = encodings.get(usize::from(old.0))?.clock.capture_time(time);
            Some(view.clock.capture_time(packet.meta.timestamp).saturating_sub(before))
        });
        self.selector.start(&packet.meta.frame);
        self.rewriter.start(now, encoding, &packet.meta, capture_step);
        self.began = Some(packet.meta.timestamp);
        self.set_decided(encoding, ExtSeq(first.0.saturating_sub(1)));
        if let Some(parameters) = view.store.parameters().filter(|_| !packet.meta.frame.has_parameters) {
            self.send_parameters(now, parameters, &packet.meta, emit);
        }
        self.forward_next(now, encoding, packet, emit);
        for seq in first.0 + 1..=newest.0 {
            if let Some(packet) = view.store.get(ExtSeq(seq)) {
                self.forward_next(now, encoding, packet, emit);
            }
        }
    }

    /// Sends the parameter sets that the key frame which begins with packet `first` needs and does not bring along, as
    /// a packet of its picture.
    fn send_parameters(&mut self, now: Instant, parameters: &StoredPacket, first: &PacketMeta, emit: &mut Emit<'_>) {
        let Some(max_layer) = self.selector.current() else { return };
        let meta = PacketMeta { timestamp: first.timestamp, ..parameters.meta };
        let sent = self.rewriter.offsets().apply(max_layer, &meta);
        let number = self.history.push(now, Entry::Sent(sent));
        self.sent = number;
        emit(number, Some(parameters));
    }

    /// The packet is the newest of the encoding that flows: decides on it, and reserves numbers for those missing
    /// before it.
    fn forward_next(&mut self, now: Instant, encoding: EncodingIndex, packet: &StoredPacket, emit: &mut Emit<'_>) {
        let Some(decided) = self.decided.get(usize::from(encoding.0)).copied() else { return };
        let Some(max_layer) = self.selector.current() else { return };
        let meta = &packet.meta;
        let missing = meta.seq.0.saturating_sub(decided.0 + 1);
        if self.history.newest().0.saturating_sub(self.sent.0) + missing > MAX_UNSENT {
            return self.forget_encoding(encoding, true);
        }
        let first = Reserved {
            source: ExtSeq(decided.0 + 1),
            encoding,
            max_temporal: max_layer.temporal,
            max_spatial: max_layer.spatial,
            offsets: self.rewriter.offsets(),
        };
        self.history.reserve(now, first, missing);
        self.rewriter.pass_over(missing);
        self.set_decided(encoding, meta.seq);
        // The publisher's padding is its own probing: it takes no number.
        let selected = !packet.payload().is_empty() && self.selector.admit(meta);
        let max_layer = self.selector.current().unwrap_or(max_layer);
        let sent = self.rewriter.rewrite(now, max_layer, meta, selected);
        if selected {
            let number = self.history.push(now, Entry::Sent(sent));
            self.sent = number;
            emit(number, Some(packet));
        }
    }

    /// The packet's position has been passed: it is sent under its reserved number, if it has one.
    fn forward_late(&mut self, encoding: EncodingIndex, packet: &StoredPacket, emit: &mut Emit<'_>) {
        let Some((number, reserved)) = self.history.find_reserved(encoding, packet.meta.seq) else { return };
        let max_layer = Layer { encoding, spatial: reserved.max_spatial, temporal: reserved.max_temporal };
        let given_up = |(of, first, last)| of == encoding && (first..=last).contains(&number);
        let wanted = !packet.payload().is_empty() && !self.given_up.is_some_and(given_up);
        let selected = wanted && self.selector.admit_late(max_layer, &packet.meta.frame);
        let sent = reserved.offsets.apply(max_layer, &packet.meta);
        let entry = if selected { Entry::Sent(sent) } else { Entry::Fill(sent) };
        self.history.replace(number, entry);
        emit(number, selected.then_some(packet));
    }

    fn set_decided(&mut self, encoding: EncodingIndex, seq: ExtSeq) {
        if let Some(decided) = self.decided.get_mut(usize::from(encoding.0)) {
            *decided = seq;
        }
    }

    /// The encoding's numbers so far mean nothing any more.
    fn forget_encoding(&mut self, encoding: EncodingIndex, flows: bool) {
        self.history.forget(|of| of == encoding);
        self.set_decided(encoding, ExtSeq(0));
        if flows {
            self.selector.stop();
            self.rewriter.forget_source();
        }
    }
}

/// Where a packet stands among those of its encoding.
enum Position {
    /// Behind all that were decided on.
    New,
    /// Before the last one decided on.
    Late,
    /// The source's numbers or timestamps have jumped: it is a new source.
    StartedOver,
}
