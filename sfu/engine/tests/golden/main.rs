//! Golden captures: RTP that real browsers sent, in every codec and mode, replayed through track, forwarder and slot;
//! what comes out is put together by another implementation (`rtc-rtp`) and decoded by FFmpeg. Nothing may be wrong
//! with it, for any choice of layers.
//!
//! `web-demo/tests/capture.mjs` has recorded the captures; `./test` installs FFmpeg.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(unreachable_pub)]

mod capture;
mod changeover;
mod decode;
mod encoded;
mod replay;

use capture::Capture;
use changeover::{changeover, payload_type};
use decode::{Picture, decode};
use replay::{Frame, Replay};
use sfu_engine::forward::Layer;
use sfu_engine::ids::EncodingIndex;
use sfu_engine::rtp::layers_allocation::LayersAllocation;
use sfu_engine::rtp::packet::RtpPacket;
use sfu_engine::units::Bitrate;
use std::collections::{BTreeMap, BTreeSet};

/// Pixels; the same for all pictures of a layer, so that heights name spatial layers. Made even, as encoders make the
/// odd sizes that they announce.
type Height = u16;

#[test]
fn vp8_of_every_browser_and_mode_stays_decodable() {
    every("vp8", &["chromium-vp8-L1T1", "chromium-vp8-L1T3", "chromium-vp8-simulcast", "firefox-vp8-L1T1"]);
}

#[test]
fn vp9_of_every_browser_and_mode_stays_decodable() {
    every("vp9", &["chromium-vp9-L1T3", "chromium-vp9-L2T2", "chromium-vp9-L3T3", "chromium-vp9-L3T3_KEY"]);
}

#[test]
fn av1_of_every_browser_and_mode_stays_decodable() {
    every("av1", &["chromium-av1-L1T3", "chromium-av1-L2T2", "chromium-av1-L3T3", "chromium-av1-L3T3_KEY"]);
}

#[test]
fn h264_of_every_browser_and_mode_stays_decodable() {
    every("h264", &["chromium-h264-L1T1"]);
}

#[test]
fn h265_stays_decodable_with_and_without_its_upper_temporal_layer() {
    let capture = encoded::h265();
    assert_eq!(Layers::of(&capture).all().len(), 2, "two temporal layers");
    each_layer_alone(&capture);
    low_high_low(&capture);
}

/// Who joins late, at a key frame without its parameter sets, gets them nevertheless, under a number of their own.
#[test]
fn parameter_sets_that_came_once_are_there_for_who_joins_late() {
    for capture in encoded::with_sets_once() {
        let target = Layers::of(&capture).all().last().unwrap().0;
        let whole = Replay::run(&capture, &[(0.0, target)]);
        let pictures = decode(whole.codec, &whole.packets, &capture.name);
        assert_eq!(pictures.len(), 90, "{}: who was there from the start", capture.name);
        // The third second is the next that begins with a key frame.
        let late = Replay::run(&capture, &[(0.5, target)]);
        assert_eq!(decoded(&late, &format!("{} late", capture.name)).len(), 30, "{}", capture.name);
    }
}

/// In one source after the other, as a publisher of a mixed room changes over and back: both halves are whole, and
/// nothing of one goes out as the other.
#[test]
fn a_track_that_changes_its_codec_stays_decodable() {
    let named = |name: &str| {
        let codec = name.split('-').nth(1).unwrap();
        Capture::all(codec).into_iter().find(|capture| capture.name == name).unwrap()
    };
    for (before, after) in [
        ("chromium-av1-L3T3", "chromium-vp8-L1T3"),
        ("chromium-vp8-L1T3", "chromium-av1-L1T3"),
        ("chromium-h264-L1T3", "chromium-vp9-L1T3"),
    ] {
        let (before, after) = (named(before), named(after));
        let both = changeover(&before, &after);
        let highest = |capture: &Capture| Layers::of(capture).all().last().unwrap().0;
        let [began, all] = [&before, &both].map(|capture| capture.packets.last().unwrap().0.as_secs_f64());
        let change = (began + 0.01) / all;
        let replay = Replay::run(&both, &[(0.0, highest(&before)), (change, highest(&after))]);
        for capture in [&before, &after] {
            let codec = Replay::run(capture, &[]).codec;
            let number = payload_type(&capture.offer);
            let is_of = |packet: &&Vec<u8>| RtpPacket::parse(packet).unwrap().payload_type().0 == number;
            let packets: Vec<_> = replay.packets.iter().filter(is_of).cloned().collect();
            let pictures = decode(codec, &packets, &both.name);
            let alone = Replay::run(capture, &[(0.0, highest(capture))]);
            let expected = decode(codec, &alone.packets, &capture.name).len();
            // The last picture of a recording may be cut off.
            assert!(pictures.len().abs_diff(expected) <= 1, "{}: {} of {expected}", both.name, pictures.len());
        }
    }
}

/// What browsers announce of their layers is read, and is what comes: the element that each capture has with its key
/// frames.
#[test]
fn the_layers_that_browsers_announce_are_those_that_come() {
    for capture in ["vp8", "vp9", "av1", "h264"].into_iter().flat_map(Capture::all) {
        let Some(id) = layers_allocation_id(&capture.offer) else { continue };
        let sizes: BTreeSet<_> = Replay::run(&capture, &[]).received.iter().filter_map(|frame| frame.size).collect();
        let packets = || capture.packets.iter().map(|(_, bytes)| RtpPacket::parse(bytes).unwrap());
        let elements: Vec<_> = packets()
            .flat_map(|packet| packet.extensions())
            .filter(|(of, _)| *of == id)
            .map(|(_, data)| data)
            .collect();
        assert!(!elements.is_empty(), "{}: Chromium sends what it offers", capture.name);
        let mut announced = BTreeSet::new();
        for element in elements {
            let read = LayersAllocation::parse(element).unwrap_or_else(|| panic!("{}: {element:?}", capture.name));
            let layers = || read.streams().iter().flatten().flatten();
            assert!(layers().all(|layer| layer.rate() > Bitrate::ZERO), "{}: {read:?}", capture.name);
            announced.extend(layers().filter_map(|layer| layer.size()));
        }
        assert!(!announced.is_empty(), "{}: with sizes", capture.name);
        // Encoders make odd sizes even.
        let is_near =
            |one: &(u16, u16), other: &(u16, u16)| one.0.abs_diff(other.0) <= 1 && one.1.abs_diff(other.1) <= 1;
        let is_announced = |size: &(u16, u16)| announced.iter().any(|told| is_near(told, size));
        assert!(sizes.iter().all(is_announced), "{}: {announced:?}, {sizes:?}", capture.name);
    }
}

fn layers_allocation_id(offer: &str) -> Option<u8> {
    let line = offer.lines().find(|line| line.ends_with("/video-layers-allocation00"))?;
    line.strip_prefix("a=extmap:")?.split([' ', '/']).next()?.parse().ok()
}

/// What it costs to switch layers, in packets and time, by the captures with several sizes. Printed, and told in
/// docs/performance.md.
#[test]
fn the_documentation_tells_what_a_switch_costs() {
    let mut table = String::from(
        "| capture | up: packets | a picture else | down: after | down: packets |\n|---|---|---|---|---|\n",
    );
    for capture in ["vp8", "vp9", "av1", "h264"].into_iter().flat_map(Capture::all) {
        let layers = Layers::of(&capture).all();
        let ((low, _), (high, _)) = (layers[0], *layers.last().unwrap());
        let (bottom, top) = ((low.encoding, low.spatial), (high.encoding, high.spatial));
        if !capture.name.starts_with("chromium") || bottom == top {
            continue;
        }
        let replay = Replay::run(&capture, &[(0.0, low), (0.3, high), (0.65, low)]);
        let asked = capture.packets.last().unwrap().0.mul_f64(0.65);
        let up = replay.pictures.iter().position(|picture| picture.layer == top).expect("a picture of the top layer");
        let down =
            up + replay.pictures[up..].iter().position(|p| p.at >= asked && p.layer == bottom).expect("one below");
        let between: usize = replay.pictures[up + 1..down].iter().map(|picture| picture.packets).sum();
        let usual = between as f64 / (down - up - 1) as f64;
        let (first, waited) = (&replay.pictures[down], replay.pictures[down].at - asked);
        table += &format!(
            "| {} | {} | {usual:.1} | {} ms | {} |\n",
            &capture.name["chromium-".len()..],
            replay.pictures[up].packets,
            waited.as_millis(),
            first.packets,
        );
    }
    let told = include_str!("../../../../docs/performance.md");
    assert!(told.contains(&table), "docs/performance.md should say:\n{table}");
}

/// Replays all captures of a codec, of which these must be there.
fn every(codec: &str, needed: &[&str]) {
    let captures = Capture::all(codec);
    for name in needed {
        assert!(captures.iter().any(|capture| capture.name == *name), "{name} is missing");
    }
    for capture in &captures {
        each_layer_alone(capture);
        low_high_low(capture);
    }
}

/// With one target from start to end, exactly that layer's pictures come out.
fn each_layer_alone(capture: &Capture) {
    let sent = Layers::of(capture);
    for (target, height) in sent.all() {
        let replay = Replay::run(capture, &[(0.0, target)]);
        let pictures = decoded(&replay, &format!("{} {target:?}", capture.name));
        let expected = sent.pictures(target);
        assert_eq!(pictures.len(), expected, "{} {target:?}: pictures", capture.name);
        for picture in &pictures {
            assert_eq!(picture.height.next_multiple_of(2), height, "{} {target:?}: {picture:?}", capture.name);
        }
    }
}

/// The lowest layer, the highest, and the lowest again: what flows is what was chosen, and no picture of a base layer
/// is left out.
fn low_high_low(capture: &Capture) {
    let sent = Layers::of(capture);
    let layers = sent.all();
    let ((low, low_height), (high, high_height)) = (layers[0], *layers.last().unwrap());
    let what = format!("{} low, high, low", capture.name);
    let replay = Replay::run(capture, &[(0.0, low), (0.3, high), (0.65, low)]);
    let pictures = decoded(&replay, &what);
    let heights = runs(pictures.iter().map(|picture| picture.height.next_multiple_of(2)));
    let expected = if low_height == high_height { vec![low_height] } else { vec![low_height, high_height, low_height] };
    assert_eq!(heights, expected, "{what}");
    if low.temporal < high.temporal && low_height == high_height {
        let alone = |target| sent.pictures(target);
        assert!((alone(low) + 1..alone(high)).contains(&pictures.len()), "{what}: {} pictures", pictures.len());
    }
    // Between two pictures there is no more than the frames of the base temporal layer are apart, at every switch too.
    let rarest = layers.iter().map(|(target, _)| sent.longest_pause(*target)).max().unwrap();
    let longest = longest_pause(replay.pictures.iter().map(|picture| picture.capture_ticks));
    assert!(longest <= rarest * 2, "{what}: a pause of {longest} ticks, {rarest} within the layers");
}

fn decoded(replay: &Replay, what: &str) -> Vec<Picture> {
    let pictures = decode(replay.codec, &replay.packets, what);
    assert_eq!(pictures.len(), replay.pictures.len(), "{what}: every picture sent is decoded");
    pictures
}

/// The layers of a capture, by what its packets say.
struct Layers {
    frames: Vec<Frame>,
}

impl Layers {
    fn of(capture: &Capture) -> Layers {
        Layers { frames: Replay::run(capture, &[]).received }
    }

    /// Every layer with its height: lowest encoding and spatial layer first, then by temporal layer.
    fn all(&self) -> Vec<(Layer, Height)> {
        let mut layers = BTreeMap::new();
        let mut heights: BTreeMap<(EncodingIndex, u8), Height> = BTreeMap::new();
        for frame in &self.frames {
            if let Some((_, height)) = frame.size {
                heights.insert((frame.encoding, frame.spatial), height.next_multiple_of(2));
            }
            let (encoding, spatial, temporal) = (frame.encoding, frame.spatial, frame.temporal);
            layers.insert(Layer { encoding, spatial, temporal }, ());
        }
        layers.into_keys().map(|target| (target, heights[&(target.encoding, target.spatial)])).collect()
    }

    /// Times of the pictures that a layer has from the encoding's first key frame on.
    fn times(&self, target: Layer) -> Vec<i64> {
        let of_encoding = || self.frames.iter().filter(|frame| frame.encoding == target.encoding);
        let from = of_encoding().find(|frame| frame.keyframe).expect("a key frame").capture_ticks;
        // Probes may bring pictures again that are from before the capture.
        let of_layer = of_encoding().filter(|frame| {
            frame.capture_ticks >= from && frame.spatial <= target.spatial && frame.temporal <= target.temporal
        });
        let mut times: Vec<i64> = of_layer.map(|frame| frame.capture_ticks).collect();
        times.sort();
        times.dedup();
        times
    }

    fn pictures(&self, target: Layer) -> usize {
        self.times(target).len()
    }

    fn longest_pause(&self, target: Layer) -> i64 {
        longest_pause(self.times(target).into_iter())
    }
}

fn longest_pause(times: impl Iterator<Item = i64>) -> i64 {
    let times: Vec<i64> = times.collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

/// Each value once for every run of it.
fn runs(values: impl Iterator<Item = Height>) -> Vec<Height> {
    let mut runs: Vec<Height> = values.collect();
    runs.dedup();
    runs
}
