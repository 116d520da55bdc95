//! Spatial layers, and frames of random structures: what was left out is never leant on.

use crate::forward::{CaptureTime, EncodingView, Forwarder, Layer, Outgoing};
use crate::ids::EncodingIndex;
use crate::media::{Dependencies, FrameMeta, MediaKind, PacketMeta};
use crate::rtp::dependency::References;
use crate::units::{ExtSeq, PayloadType, RtpTime, SeqNo};
use crate::uplink::store::PacketStore;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

struct Clock;

impl CaptureTime for Clock {
    fn capture_time(&self, ts: RtpTime) -> i64 {
        i64::from(ts.0) * 100 / 9
    }
}

/// One encoding with spatial layers, a forwarder, and the frames that were left out. Every frame is one packet, whose
/// sequence number is the frame's number.
struct Call {
    began: Instant,
    store: PacketStore,
    forwarder: Forwarder,
    left_out: BTreeSet<u64>,
}

const FIRST: u64 = 1 << 16;

impl Call {
    fn new() -> Self {
        Call {
            began: Instant::now(),
            store: PacketStore::new(PacketStore::VIDEO_SLOTS),
            forwarder: Forwarder::new(MediaKind::Video, SeqNo(7), RtpTime(9)),
            left_out: BTreeSet::new(),
        }
    }

    fn target(&mut self, spatial: u8, temporal: u8) {
        self.forwarder.set_target(Some(Layer { encoding: EncodingIndex(0), spatial, temporal }));
    }

    fn limits(&self) -> Option<(u8, u8)> {
        self.forwarder.current().map(|current| (current.spatial, current.temporal))
    }

    /// A frame of picture `picture` arrives. It must not lean on one that was left out before.
    fn deliver(&mut self, picture: u32, marker: bool, frame: FrameMeta) -> Option<Outgoing> {
        let dependencies = frame.dependencies.unwrap();
        let number = dependencies.number;
        let now = self.began + Duration::from_millis(u64::from(picture) * 33);
        let meta = PacketMeta {
            seq: ExtSeq(number),
            timestamp: RtpTime(picture * 2970),
            marker,
            payload_type: PayloadType(98),
            arrival: now,
            audio_level: None,
            redundant: 0,
            frame,
        };
        self.store.insert(meta, &[], &[1]);
        let view = EncodingView { store: &self.store, clock: &Clock };
        let mut out = vec![];
        let stored = self.store.get(meta.seq).unwrap();
        self.forwarder.forward(now, EncodingIndex(0), stored, &[view], &mut |number, _| out.push(number));
        let out: Vec<_> = out.into_iter().map(|number| self.forwarder.outgoing(number).unwrap()).collect();
        let sources: Vec<u64> = out.iter().filter_map(|outgoing| outgoing.source).map(|seq| seq.0).collect();
        for source in &sources {
            let of = self.store.get(ExtSeq(*source)).unwrap().meta.frame.dependencies.unwrap();
            for reference in of.references.as_slice().iter().map(|difference| of.number - u64::from(*difference)) {
                assert!(!self.left_out.contains(&reference), "{source} leans on {reference}, which was left out");
            }
            // What came before its late key frame is sent with it after all.
            self.left_out.remove(source);
        }
        if sources.is_empty() {
            self.left_out.insert(number);
        }
        out.into_iter().find(|outgoing| outgoing.source == Some(meta.seq))
    }

    /// A picture of three spatial layers, as L3T1 has it, or L3T1_KEY. Gives what was sent of each layer.
    fn picture(&mut self, picture: u32, keyframe: bool, key_mode: bool) -> [Option<Outgoing>; 3] {
        [0u8, 1, 2].map(|spatial| {
            let mut references = References::default();
            if !keyframe {
                references.push(3);
            }
            if spatial > 0 && (keyframe || !key_mode) {
                references.push(1);
            }
            let frame = FrameMeta {
                starts_frame: true,
                ends_frame: true,
                keyframe: keyframe && spatial == 0,
                spatial,
                unneeded_above: spatial == 2 || (key_mode && !keyframe),
                dependencies: Some(Dependencies {
                    number: FIRST + u64::from(picture) * 3 + u64::from(spatial),
                    references,
                }),
                ..FrameMeta::default()
            };
            self.deliver(picture, spatial == 2, frame)
        })
    }
}

fn shape(sent: &[Option<Outgoing>; 3]) -> [bool; 3] {
    sent.map(|layer| layer.is_some())
}

#[test]
fn a_lower_spatial_layer_is_taken_at_once_and_the_marker_moves_to_it() {
    let mut call = Call::new();
    call.target(2, 0);
    assert_eq!(shape(&call.picture(0, true, false)), [true; 3]);
    call.target(1, 0);
    let sent = call.picture(1, false, false);
    assert_eq!(shape(&sent), [true, true, false]);
    assert_eq!(sent.map(|layer| layer.is_some_and(|out| out.marker)), [false, true, false]);
    assert_eq!(call.forwarder.wants_keyframe(), None);
}

#[test]
fn a_higher_spatial_layer_waits_for_a_key_picture() {
    let mut call = Call::new();
    call.target(0, 0);
    assert_eq!(shape(&call.picture(0, true, false)), [true, false, false]);
    call.target(2, 0);
    assert_eq!(call.forwarder.wants_keyframe(), Some(EncodingIndex(0)));
    assert_eq!(shape(&call.picture(1, false, false)), [true, false, false]);
    assert_eq!(shape(&call.picture(2, true, false)), [true; 3]);
    assert_eq!((call.limits(), call.forwarder.wants_keyframe()), (Some((2, 0)), None));
}

#[test]
fn in_key_mode_only_the_wanted_layer_flows_between_key_pictures_and_every_change_waits_for_one() {
    let mut call = Call::new();
    call.target(2, 0);
    assert_eq!(shape(&call.picture(0, true, true)), [true; 3]);
    assert_eq!(shape(&call.picture(1, false, true)), [false, false, true]);
    call.target(1, 0);
    assert_eq!(call.forwarder.wants_keyframe(), Some(EncodingIndex(0)));
    assert_eq!(shape(&call.picture(2, false, true)), [false, false, true], "the picture goes on meanwhile");
    assert_eq!(shape(&call.picture(3, true, true)), [true, true, false]);
    assert_eq!(shape(&call.picture(4, false, true)), [false, true, false]);
}

#[test]
fn in_key_mode_a_layer_that_was_sent_all_along_is_taken_at_once() {
    let mut call = Call::new();
    call.target(2, 0);
    call.picture(0, true, true);
    call.target(1, 0);
    assert_eq!(call.forwarder.wants_keyframe(), None, "nothing of it was left out yet");
    assert_eq!(shape(&call.picture(1, false, true)), [false, true, false]);
}

/// One picture of a random encoder: its layers, and for each frame how far back it refers.
#[derive(Clone, Debug)]
struct Picture {
    target: Option<(u8, u8)>,
    keyframe: bool,
    temporal: u8,
    layer_sync: bool,
    frames: Vec<(Vec<u16>, bool)>,
    /// Which frame is lost or late by a picture.
    lost: Option<usize>,
    late: Option<usize>,
}

fn picture() -> impl Strategy<Value = Picture> {
    let frame = (prop::collection::vec(1u16..24, 0..4), any::<bool>());
    (
        prop::option::weighted(0.2, (0u8..4, 0u8..4)),
        prop::bool::weighted(0.1),
        0u8..4,
        any::<bool>(),
        prop::collection::vec(frame, 1..4),
        prop::option::weighted(0.1, 0usize..3),
        prop::option::weighted(0.1, 0usize..3),
    )
        .prop_map(|(target, keyframe, temporal, layer_sync, frames, lost, late)| Picture {
            target,
            keyframe,
            temporal: if keyframe { 0 } else { temporal },
            layer_sync,
            frames,
            lost,
            late,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_frame_leans_on_one_that_was_left_out(pictures in prop::collection::vec(picture(), 1..120)) {
        let mut call = Call::new();
        call.target(2, 2);
        let (mut number, mut held): (u64, Vec<(u32, FrameMeta)>) = (FIRST, vec![]);
        for (at, picture) in pictures.iter().enumerate() {
            let at = at as u32;
            if let Some((spatial, temporal)) = picture.target {
                call.target(spatial, temporal);
            }
            let last = picture.frames.len() - 1;
            let due = std::mem::take(&mut held);
            for (spatial, (references, unneeded_above)) in picture.frames.iter().enumerate() {
                let mut list = References::default();
                let back = references.iter().filter(|back| !picture.keyframe && u64::from(**back) <= number - FIRST);
                back.for_each(|back| assert!(list.push(*back)));
                if picture.keyframe && spatial > 0 {
                    list.push(1);
                }
                let frame = FrameMeta {
                    starts_frame: true,
                    ends_frame: true,
                    keyframe: picture.keyframe && spatial == 0,
                    spatial: spatial as u8,
                    temporal: picture.temporal,
                    layer_sync: picture.layer_sync,
                    unneeded_above: *unneeded_above,
                    dependencies: Some(Dependencies { number, references: list }),
                    ..FrameMeta::default()
                };
                number += 1;
                if picture.lost == Some(spatial) {
                    continue;
                }
                match picture.late == Some(spatial) {
                    true => held.push((at, frame)),
                    false => {
                        call.deliver(at, spatial == last, frame);
                    }
                }
            }
            for (at, frame) in due {
                call.deliver(at, false, frame);
            }
        }
    }
}
