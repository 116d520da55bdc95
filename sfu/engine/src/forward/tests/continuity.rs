//! Issue 2, point 4: over random switches, pauses and rebinding, with loss, duplication, reordering and late repair,
//! the receiver sees strictly consistent numbering, no number twice, and never a frame whose reference was not sent.

use super::model::{Encoder, Encoding, Frame, Origin, Packet, RESTART_JUMP, STRUCTURES};
use crate::forward::{EncodingView, Forwarder, Layer, Outgoing};
use crate::ids::EncodingIndex;
use crate::media::MediaKind;
use crate::rtp::codec::{self, vp8};
use crate::units::{ExtSeq, RtpTime, SeqNo};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

const TRACKS: usize = 2;
const ENCODINGS: usize = 3;
/// Frames of the undisturbed end of each run: two full cycles of three layers, and one to start.
const EPILOGUE: usize = 17;

/// What the network does to a packet.
#[derive(Clone, Copy, Debug)]
enum Fate {
    InTime,
    Twice(u8),
    /// By so many frame times: reordered, or lost and repaired.
    Late(u8),
    Lost,
}

/// What happens in one frame time.
#[derive(Clone, Debug)]
enum Step {
    /// What each encoding sends, if anything.
    Frames([Option<Sending>; ENCODINGS]),
    SetTarget(Option<(u8, u8)>),
    Bind(usize),
    /// Nothing is sent for so many frame times.
    Silence(u16),
    /// An encoder begins anew, with other numbers.
    Restart(usize, u32),
}

#[derive(Clone, Debug)]
struct Sending {
    /// Of the frame's packets.
    fates: Vec<Fate>,
    /// Without being asked for.
    keyframe: bool,
    /// Of a packet of padding behind the frame.
    padding: Option<Fate>,
}

#[derive(Clone, Debug)]
struct Setup {
    encoders: [Encoder; TRACKS],
    origins: Vec<Origin>,
    seq: u16,
    timestamp: u32,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::InTime),
        1 => (0u8..4).prop_map(Fate::Twice),
        2 => (1u8..10).prop_map(Fate::Late),
        1 => Just(Fate::Lost),
    ]
}

fn sending() -> impl Strategy<Value = Sending> {
    (vec(fate(), 1..4), prop::bool::weighted(0.06), prop::option::weighted(0.1, fate()))
        .prop_map(|(fates, keyframe, padding)| Sending { fates, keyframe, padding })
}

fn step() -> impl Strategy<Value = Step> {
    let frames = prop::array::uniform3(prop::option::weighted(0.9, sending())).prop_map(Step::Frames);
    prop_oneof![
        30 => frames,
        3 => (0u8..3, 0u8..3).prop_map(|target| Step::SetTarget(Some(target))),
        1 => Just(Step::SetTarget(None)),
        1 => (0..TRACKS).prop_map(Step::Bind),
        1 => (1u16..2000).prop_map(Step::Silence),
        1 => (0..ENCODINGS, any::<u32>()).prop_map(|(encoding, timestamp)| Step::Restart(encoding, timestamp)),
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    let vp8 = || {
        (0..STRUCTURES.len(), prop::bool::weighted(0.8))
            .prop_map(|(structure, long_picture_id)| Encoder::Vp8 { structure, long_picture_id })
    };
    let encoder = || prop_oneof![4 => vp8(), 1 => Just(Encoder::H264)];
    // Numbers begin shortly before they wrap.
    let origin =
        (0u64..200, any::<u32>(), 0u16..100, any::<u8>(), -40_000i64..40_000).prop_map(|(seq, ts, id, tl0, error)| {
            Origin {
                seq: ExtSeq(0x2_0000 - seq),
                timestamp: RtpTime(ts),
                picture_id: 0x7FFF - id,
                tl0_pic_idx: tl0,
                clock_error: error,
            }
        });
    (prop::array::uniform2(encoder()), vec(origin, TRACKS * ENCODINGS), any::<u16>(), any::<u32>())
        .prop_map(|(encoders, origins, seq, timestamp)| Setup { encoders, origins, seq, timestamp })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        max_shrink_iters: 20_000,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_receiver_sees_one_undisturbed_source(setup in setup(), steps in vec(step(), 1..120)) {
        let mut call = Call::new(&setup);
        for step in &steps {
            call.step(step);
        }
        call.epilogue();
        Receiver { call: &call }.check();
    }
}

/// A stretch over which one encoding flows, from a key frame on.
#[derive(Clone, Copy, Debug)]
struct Run {
    epoch: usize,
    track: usize,
    encoding: EncodingIndex,
    first: ExtSeq,
    /// The newest packet that came while the run lasted.
    newest: ExtSeq,
}

/// A packet that the forwarder sent.
#[derive(Clone, Copy, Debug)]
struct Emitted {
    out: Outgoing,
    /// Index of its run; of the newest one for a fill.
    run: usize,
}

/// A publisher with two tracks, a network and a forwarder, and a record of everything.
struct Call {
    began: Instant,
    tick: u32,
    tracks: [Vec<Encoding>; TRACKS],
    forwarder: Forwarder,
    bound: usize,
    /// Counts binds.
    epoch: usize,
    in_flight: Vec<(u32, usize, EncodingIndex, Packet)>,
    /// The epoch in which a packet of (track, encoding) first reached the forwarder.
    arrived: HashMap<(usize, EncodingIndex, ExtSeq), usize>,
    newest: HashMap<(usize, EncodingIndex), ExtSeq>,
    /// Packets that came before all packets behind their frame.
    punctual: HashSet<(usize, EncodingIndex, ExtSeq)>,
    runs: Vec<Run>,
    emitted: BTreeMap<u64, Emitted>,
    newest_number: Option<ExtSeq>,
}

impl Call {
    fn new(setup: &Setup) -> Self {
        let mut origins = setup.origins.iter();
        let tracks = setup
            .encoders
            .map(|encoder| origins.by_ref().take(ENCODINGS).map(|origin| Encoding::new(encoder, *origin)).collect());
        Call {
            began: Instant::now(),
            tick: 0,
            tracks,
            forwarder: Forwarder::new(MediaKind::Video, SeqNo(setup.seq), RtpTime(setup.timestamp)),
            bound: 0,
            epoch: 0,
            in_flight: vec![],
            arrived: HashMap::new(),
            newest: HashMap::new(),
            punctual: HashSet::new(),
            runs: vec![],
            emitted: BTreeMap::new(),
            newest_number: None,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Frames(frames) => {
                let wanted = self.forwarder.wants_keyframe();
                for (index, frame) in frames.iter().enumerate() {
                    let Some(Sending { fates, keyframe, padding }) = frame else { continue };
                    let asked = wanted == Some(EncodingIndex(index as u8));
                    self.send_frame(index, fates, *keyframe || asked, *padding);
                }
                self.pass(1);
            }
            Step::SetTarget(target) => {
                let target = target.map(|(encoding, temporal)| Layer {
                    encoding: EncodingIndex(encoding),
                    spatial: 0,
                    temporal,
                });
                self.forwarder.set_target(target);
                self.start_from_store();
            }
            Step::Bind(track) => {
                // What is still under way reaches the store only, since nobody subscribes to it any more.
                if *track != self.bound {
                    self.in_flight.clear();
                }
                self.bound = *track;
                self.epoch += 1;
                self.forwarder.bind();
            }
            Step::Silence(ticks) => self.pass(u32::from(*ticks)),
            Step::Restart(encoding, timestamp) => self.tracks[self.bound][*encoding].restart(RtpTime(*timestamp)),
        }
    }

    fn start_from_store(&mut self) {
        let now = self.began + Duration::from_micros(u64::from(self.tick) * 100_000 / 3);
        let encodings = &self.tracks[self.bound];
        let views: Vec<_> = encodings.iter().map(|e| EncodingView { store: &e.store, clock: &e.clock }).collect();
        let mut out = vec![];
        self.forwarder.start_from_store(now, usize::MAX, &views, &mut |number, _| out.push(number));
        let out: Vec<_> = out.into_iter().map(|number| self.forwarder.outgoing(number).unwrap()).collect();
        let Some((first, encoding)) = out.first().and_then(|o| Some((o.source?, o.encoding))) else { return };
        let newest = self.newest[&(self.bound, encoding)];
        self.runs.push(Run { epoch: self.epoch, track: self.bound, encoding, first, newest });
        for outgoing in out {
            self.record(outgoing);
        }
    }

    /// A clean network, everything wanted: everything must come, from the key frame on.
    fn epilogue(&mut self) {
        self.pass(20);
        let top = EncodingIndex(ENCODINGS as u8 - 1);
        self.forwarder.set_target(None);
        self.forwarder.set_target(Some(Layer { encoding: top, spatial: 0, temporal: 2 }));
        assert_eq!(self.forwarder.wants_keyframe(), Some(top));
        let first = self.tracks[self.bound][usize::from(top.0)].frames.len();
        for _ in 0..EPILOGUE {
            let keyframe = self.forwarder.wants_keyframe().is_some();
            self.send_frame(usize::from(top.0), &[Fate::InTime, Fate::InTime], keyframe, None);
            self.pass(1);
        }
        let sent: Vec<ExtSeq> = self.emitted.values().rev().filter_map(|e| e.out.source).take(EPILOGUE * 2).collect();
        let frames = &self.tracks[self.bound][usize::from(top.0)].frames[first..];
        let expected: Vec<ExtSeq> = frames.iter().flat_map(Frame::seqs).rev().map(ExtSeq).collect();
        assert_eq!(sent, expected, "everything is sent when everything is wanted");
    }

    fn send_frame(&mut self, index: usize, fates: &[Fate], keyframe: bool, padding: Option<Fate>) {
        let encoding = &mut self.tracks[self.bound][index];
        let mut packets = encoding.encode(self.tick, fates.len() as u64, keyframe);
        packets.extend(padding.map(|_| encoding.pad(self.tick)));
        for (packet, fate) in packets.into_iter().zip(fates.iter().chain(padding.iter())) {
            let mut fly = |late: u8, packet: &Packet| {
                let entry = (self.tick + u32::from(late), self.bound, EncodingIndex(index as u8), packet.clone());
                self.in_flight.push(entry);
            };
            match fate {
                Fate::InTime => fly(0, &packet),
                Fate::Late(by) => fly(*by, &packet),
                Fate::Twice(by) => {
                    fly(0, &packet);
                    fly(*by, &packet);
                }
                Fate::Lost => {}
            }
        }
    }

    /// Delivers what arrives within the next `ticks` frame times.
    fn pass(&mut self, ticks: u32) {
        let until = self.tick + ticks;
        let mut due: Vec<_> = self.in_flight.extract_if(.., |entry| entry.0 < until).collect();
        due.sort_by_key(|entry| entry.0);
        for (at, track, encoding, packet) in due {
            self.deliver(self.began + Duration::from_micros(u64::from(at) * 100_000 / 3), track, encoding, &packet);
        }
        self.tick = until;
    }

    fn deliver(&mut self, now: Instant, track: usize, encoding: EncodingIndex, packet: &Packet) {
        let index = usize::from(encoding.0);
        if !self.tracks[track][index].receive(now, packet) {
            return;
        }
        let key = (track, encoding);
        let frame_end = self.tracks[track][index].frame_of(packet.seq).map(|frame| frame.seqs().end);
        if frame_end.is_some_and(|end| self.newest.get(&key).is_none_or(|newest| newest.0 < end)) {
            self.punctual.insert((track, encoding, packet.seq));
        }
        let late = self.newest.get(&key).is_some_and(|newest| packet.seq < *newest);
        self.newest.entry(key).and_modify(|newest| *newest = packet.seq.max(*newest)).or_insert(packet.seq);
        self.arrived.entry((track, encoding, packet.seq)).or_insert(self.epoch);

        let started_over = self.runs.last().is_some_and(|run| packet.seq.0 >= run.newest.0 + RESTART_JUMP);
        let before = self.forwarder.current().filter(|flows| flows.encoding != encoding || !started_over);
        let encodings = &self.tracks[track];
        let views: Vec<EncodingView<'_>> =
            encodings.iter().map(|e| EncodingView { store: &e.store, clock: &e.clock }).collect();
        let stored = encodings[index].store.get(packet.seq).unwrap();
        let mut out = vec![];
        self.forwarder.forward(now, encoding, stored, &views, &mut |number, _| out.push(number));
        let out: Vec<_> = out.into_iter().map(|number| self.forwarder.outgoing(number).unwrap()).collect();
        let after = self.forwarder.current();
        if let Some(flows) = after.filter(|flows| before.map(|b| b.encoding) != Some(flows.encoding)) {
            let first = out.iter().find_map(|out| out.source).unwrap_or(packet.seq);
            self.runs.push(Run { epoch: self.epoch, track, encoding: flows.encoding, first, newest: first });
        }
        if let Some(run) = self.runs.last_mut().filter(|_| after.is_some_and(|flows| flows.encoding == encoding)) {
            run.newest = self.newest[&key];
        }
        assert!(
            out.is_empty() || after.is_some() || late,
            "only missing packets are made up for while paused: {out:?}"
        );
        for outgoing in out {
            self.record(outgoing);
        }
    }

    fn record(&mut self, out: Outgoing) {
        let number = self.newest_number.map_or(ExtSeq::first(out.seq), |newest| newest.unwrap_near(out.seq));
        let run = match out.source {
            Some(source) => self
                .runs
                .iter()
                .rposition(|run| run.epoch == self.epoch && run.encoding == out.encoding && run.first <= source),
            None => Some(self.runs.len() - 1),
        };
        let run = run.expect("every packet belongs to a run");
        let earlier = self.emitted.insert(number.0, Emitted { out, run });
        assert!(earlier.is_none(), "number {number:?} was given twice: {earlier:?}, then {out:?}");
        assert_eq!(
            self.forwarder.lookup(self.forwarder.number_of(out.seq)),
            Some(out),
            "a NACK is answered with what was sent"
        );
        self.newest_number = self.newest_number.max(Some(number));
    }
}

/// Looks at a finished call as the receiver of the slot does.
struct Receiver<'a> {
    call: &'a Call,
}

impl Receiver<'_> {
    fn check(&self) {
        self.every_hole_is_a_packet_that_never_came();
        self.payloads_carry_the_numbers();
        let frames = self.frames();
        for (emitted, frame) in frames.values() {
            self.was_sent_whole(emitted, frame);
            self.references_were_sent(emitted);
        }
        let frames: Vec<_> = frames.into_values().collect();
        for pair in frames.windows(2) {
            self.follows(&pair[0], &pair[1]);
        }
    }

    /// The frames of which anything was sent, in the order of their numbers, each with its first packet.
    fn frames(&self) -> BTreeMap<u64, (Emitted, Frame)> {
        let mut first_numbers: HashMap<(usize, ExtSeq), u64> = HashMap::new();
        let mut frames: BTreeMap<u64, (Emitted, Frame)> = BTreeMap::new();
        for (number, emitted) in &self.call.emitted {
            let Some(source) = emitted.out.source else { continue };
            let frame = self.encoding(emitted).frame_of(source).expect("padding is not forwarded").clone();
            let first = *first_numbers.entry((emitted.run, frame.first)).or_insert(*number);
            let (start, _) = frames.entry(first).or_insert((*emitted, frame));
            assert_eq!(start.out.timestamp, emitted.out.timestamp, "one timestamp for all packets of a frame");
            assert_eq!(start.out.picture, emitted.out.picture, "one PictureID for all packets of a frame");
        }
        frames
    }

    fn every_hole_is_a_packet_that_never_came(&self) {
        let all: Vec<_> = self.call.emitted.iter().collect();
        let mut pending_fills = 0;
        let mut before: Option<(u64, Emitted)> = None;
        for (number, emitted) in all {
            let Some(source) = emitted.out.source else {
                pending_fills += 1;
                continue;
            };
            if let Some((last_number, last)) = before {
                let holes = number - last_number - 1 - pending_fills;
                let from = last.out.source.unwrap();
                if last.run == emitted.run {
                    assert!(from < source, "numbers follow the source's order");
                    let missing = (from.0 + 1..source.0).filter(|seq| !self.came(&last, ExtSeq(*seq))).count();
                    assert_eq!(holes, missing as u64, "between {last:?} and {emitted:?}");
                } else {
                    assert!(last.run < emitted.run, "runs do not interleave");
                    let end = self.call.runs[last.run].newest.0;
                    let missing = (from.0 + 1..end).filter(|seq| !self.came(&last, ExtSeq(*seq))).count();
                    assert!(holes <= missing as u64, "between {last:?} and {emitted:?}: {holes} > {missing}");
                }
            }
            before = Some((*number, *emitted));
            pending_fills = 0;
        }
    }

    fn payloads_carry_the_numbers(&self) {
        for emitted in self.call.emitted.values() {
            let (Some(numbers), Some(source)) = (emitted.out.picture, emitted.out.source) else { continue };
            let encoding = self.encoding(emitted);
            let Some(stored) = encoding.store.get(source) else { continue };
            let mut payload = stored.payload().to_vec();
            vp8::patch(&mut payload, &stored.meta.frame.picture.unwrap(), numbers.picture_id, numbers.tl0_pic_idx);
            let received = codec::ReceivedPayload {
                payload: &payload,
                descriptor: None,
                marking: None,
                timestamp: stored.meta.timestamp,
                marker: stored.meta.marker,
            };
            let read =
                codec::PayloadReader::default().read(encoding.codec(), &received, None).unwrap().picture.unwrap();
            assert_eq!(read.picture_id, numbers.picture_id & encoding.picture_id_mask());
            assert_eq!(read.tl0_pic_idx, numbers.tl0_pic_idx);
        }
    }

    /// No decision changes within a frame; only the end of a run may cut one.
    fn was_sent_whole(&self, emitted: &Emitted, frame: &Frame) {
        let newest = self.call.runs[emitted.run].newest;
        for seq in frame.seqs().map(ExtSeq).filter(|seq| *seq <= newest) {
            assert!(self.was_sent(emitted, seq), "{seq:?} of {frame:?} was left out");
        }
    }

    /// A sent frame's references were sent in the same run, but for packets that the network lost.
    fn references_were_sent(&self, emitted: &Emitted) {
        let encoding = self.encoding(emitted);
        let frame = encoding.frame_of(emitted.out.source.unwrap()).unwrap();
        for reference in &frame.references {
            let run = self.call.runs[emitted.run];
            assert!(*reference >= run.first, "{frame:?} leans on a frame before the keyframe of {run:?}");
            for seq in encoding.frame_of(*reference).unwrap().seqs().map(ExtSeq) {
                assert!(self.was_sent(emitted, seq), "{frame:?} leans on {seq:?}, which was not sent");
            }
        }
    }

    /// Numbers of two frames that follow each other.
    fn follows(&self, (a, frame_a): &(Emitted, Frame), (b, frame_b): &(Emitted, Frame)) {
        let same_run = a.run == b.run;
        let step = b.out.timestamp.distance(a.out.timestamp);
        if same_run {
            assert_eq!(step, frame_b.timestamp.distance(frame_a.timestamp), "{a:?} {b:?}");
        }
        assert!(step > 0, "each frame is later than the one before: {a:?} {b:?}");
        let (Some(picture_a), Some(picture_b)) = (a.out.picture, b.out.picture) else { return };

        let (behind, ahead) = (self.encoding(a), self.encoding(b));
        let mask = behind.picture_id_mask() & ahead.picture_id_mask();
        let id_step = usize::from(picture_b.picture_id.wrapping_sub(picture_a.picture_id) & mask);
        let tl0_step = picture_b.tl0_pic_idx.wrapping_sub(picture_a.tl0_pic_idx);
        if same_run {
            let kept = self.frames_missed(a, frame_a.first, frame_b.first);
            assert!((1..=1 + kept).contains(&id_step), "PictureID {a:?} to {b:?}: {kept} frames were missing");
            assert_eq!(tl0_step, frame_b.tl0_pic_idx.wrapping_sub(frame_a.tl0_pic_idx), "TL0PICIDX {a:?} to {b:?}");
        } else {
            let kept = self.packets_missed_at_the_end(a, frame_a);
            assert!((1..=1 + kept).contains(&id_step), "PictureID {a:?} to {b:?}: {kept} packets were missing");
            assert!(
                (1..=1 + kept).contains(&usize::from(tl0_step)),
                "TL0PICIDX {a:?} to {b:?}: {kept} packets were missing"
            );
        }
    }

    /// Frames between two positions that were not there when it was their turn, so that numbers had to be kept for
    /// them.
    fn frames_missed(&self, of: &Emitted, after: ExtSeq, before: ExtSeq) -> usize {
        let between = self.encoding(of).frames.iter().filter(|frame| after < frame.first && frame.first < before);
        between.filter(|frame| !frame.seqs().any(|seq| self.was_punctual(of, seq))).count()
    }

    /// Packets missing at the end of a run, from the last frame on that was there in time: nobody knows how many frames
    /// they were.
    fn packets_missed_at_the_end(&self, of: &Emitted, frame: &Frame) -> usize {
        let mut sent = self.encoding(of).frames.iter().rev().skip_while(|f| f.first > frame.first);
        let run = self.call.runs[of.run];
        let from = sent.find(|f| f.seqs().any(|seq| self.was_punctual(of, seq))).map_or(run.first, |f| f.first);
        (from.max(run.first).0..=run.newest.0).filter(|seq| !self.was_punctual(of, *seq)).count()
    }

    fn was_punctual(&self, of: &Emitted, seq: u64) -> bool {
        let run = self.call.runs[of.run];
        self.call.punctual.contains(&(run.track, run.encoding, ExtSeq(seq)))
    }

    /// Whether a packet was sent in the run of `of`, or lost by the network.
    fn was_sent(&self, of: &Emitted, seq: ExtSeq) -> bool {
        let sent = |e: &Emitted| e.run == of.run && e.out.source == Some(seq);
        self.call.emitted.values().any(sent) || !self.came(of, seq)
    }

    /// Whether a packet of the encoding of `of` came while it could be sent.
    fn came(&self, of: &Emitted, seq: ExtSeq) -> bool {
        let run = self.call.runs[of.run];
        self.call.arrived.get(&(run.track, run.encoding, seq)).is_some_and(|epoch| *epoch <= run.epoch)
    }

    fn encoding(&self, of: &Emitted) -> &Encoding {
        let run = self.call.runs[of.run];
        &self.call.tracks[run.track][usize::from(run.encoding.0)]
    }
}
