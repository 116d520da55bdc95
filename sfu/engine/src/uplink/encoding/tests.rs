//! One encoding: codecs, demand, what its layers cost.

#![allow(clippy::unwrap_used)]

use super::demand::UNWANTED_AFTER;
use super::*;
use crate::units::RtpTime;

const AV1: Codec = Codec::Av1 { profile: 0 };

fn meta(now: Instant, seq: u64, redundant: u16) -> PacketMeta {
    PacketMeta {
        seq: ExtSeq(seq),
        timestamp: RtpTime(seq as u32 * 3000),
        marker: true,
        payload_type: PayloadType(96),
        arrival: now,
        audio_level: None,
        redundant,
        frame: FrameMeta { starts_frame: true, keyframe: true, size: Some((320, 180)), ..FrameMeta::default() },
    }
}

/// A packet arrives; true where it was taken.
fn arrives(encoding: &mut Encoding, codec: Codec, seq: u64, again: bool, of_track: Option<Codec>) -> bool {
    let now = Instant::now();
    let taken = encoding.take_codec(codec, ExtSeq(seq), again, of_track).is_ok();
    if taken {
        let _ = encoding.store.insert(meta(now, seq, 0), &[], &[1, 2, 3]);
        encoding.note_relayed(now, &meta(now, seq, 0), 100, CaptureMapping::unknown(90_000));
    }
    taken
}

#[test]
fn with_another_codec_an_encoding_begins_anew_and_what_is_late_of_the_old_one_is_refused() {
    let mut encoding = Encoding::new(MediaKind::Video, None, Method::Pli);
    assert!(arrives(&mut encoding, Codec::Vp8, 100, false, None));
    assert!(arrives(&mut encoding, Codec::Vp8, 101, false, Some(Codec::Vp8)));
    assert_eq!(encoding.rates.size(), Some((320, 180)));
    assert!(!arrives(&mut encoding, AV1, 99, false, Some(Codec::Vp8)), "of a codec before");
    assert!(arrives(&mut encoding, AV1, 103, false, Some(Codec::Vp8)), "it changes over");
    assert!(encoding.store.get(ExtSeq(101)).is_none() && encoding.store.get(ExtSeq(103)).is_some());
    assert!(!arrives(&mut encoding, Codec::Vp8, 102, false, Some(AV1)), "late");
    assert!(!arrives(&mut encoding, Codec::Vp8, 104, true, Some(AV1)), "a retransmission");
    assert!(arrives(&mut encoding, AV1, 104, false, Some(AV1)));
}

#[test]
fn an_encoding_that_has_not_followed_its_track_to_another_codec_is_not_taken_until_it_has() {
    let mut encoding = Encoding::new(MediaKind::Video, None, Method::Pli);
    assert!(arrives(&mut encoding, Codec::Vp8, 100, false, None));
    encoding.drop_other_codec(AV1);
    assert!(encoding.store.get(ExtSeq(100)).is_none() && encoding.rates.size().is_none());
    assert!(!arrives(&mut encoding, Codec::Vp8, 101, false, Some(AV1)));
    assert!(arrives(&mut encoding, AV1, 102, false, Some(AV1)));
    encoding.drop_other_codec(AV1);
    assert!(encoding.store.get(ExtSeq(102)).is_some());
}

#[test]
fn what_stopped_is_forgotten_somewhat_later_unless_it_goes_on() {
    for goes_on in [false, true] {
        let mut encoding = Encoding::new(MediaKind::Video, None, Method::Pli);
        let mut now = Instant::now();
        for seq in 100..110 {
            let _ = encoding.store.insert(meta(now, seq, 0), &[], &[1, 2, 3]);
            encoding.activity.on_packet(now, true);
            now += Duration::from_millis(100);
        }
        let stop = encoding.poll_timeout().unwrap();
        assert!(encoding.handle_timeout(stop));
        assert!(encoding.store.get(ExtSeq(109)).is_some(), "it may be asked for again");
        if goes_on {
            encoding.activity.on_packet(stop, true);
        }
        let release = stop + PacketStore::MEMORY.1;
        assert_eq!(encoding.poll_timeout(), Some(release));
        assert!(!encoding.handle_timeout(release));
        assert_eq!(encoding.store.get(ExtSeq(109)).is_some(), goes_on);
        assert_eq!(encoding.poll_timeout().is_some(), goes_on);
    }
}

/// Five seconds of 30 pictures a second, then as long with one.
fn trickles(encoding: &mut Encoding, start: Instant) -> Instant {
    let times = (0..150).map(|n| n * 1000 / 30).chain((5..10).map(|n| n * 1000));
    let times = times.map(|ms: u64| start + Duration::from_millis(ms));
    for (seq, now) in (1..).zip(times.clone()) {
        let meta =
            PacketMeta { frame: FrameMeta { size: Some((1280, 720)), ..meta(now, seq, 0).frame }, ..meta(now, seq, 0) };
        encoding.note_media(now, &meta, 7000, false, &PublisherClock::new(start));
        encoding.rates.refresh(now, crate::media::Source::Camera);
    }
    start + Duration::from_secs(9)
}

#[test]
fn what_was_switched_off_as_too_much_is_offered_by_what_it_usually_costs() {
    let index = EncodingIndex(2);
    for too_much in [false, true] {
        let (mut encoding, start) = (Encoding::new(MediaKind::Video, None, Method::Pli), Instant::now());
        let now = trickles(&mut encoding, start);
        assert_eq!(encoding.update_demand(now, true, too_much, index), too_much, "at once");
        assert_eq!(encoding.is_wanted(), !too_much);
        let mut options = Vec::new();
        let stopped = now + Duration::from_secs(10);
        assert!(encoding.handle_timeout(stopped));
        encoding.layer_options(stopped, index, &mut options);
        let offered: Vec<_> = options.iter().map(|o| (o.height, o.fps, o.rate.as_bps() / 100_000)).collect();
        assert_eq!(offered, if too_much { vec![(720, 30, 16)] } else { vec![] });
    }
}

/// For so many milliseconds pictures of so many bytes, 15 a second, the first one a key frame six times as large.
fn flows(encoding: &mut Encoding, begin: Instant, ms: u64, bytes: usize) -> Instant {
    for (number, at) in (1..).zip((0..ms).step_by(1000 / 15)) {
        let now = begin + Duration::from_millis(at);
        let frame = FrameMeta { keyframe: number == 1, size: Some((1920, 1080)), ..meta(now, number, 0).frame };
        let bytes = if number == 1 { 6 * bytes } else { bytes };
        let publisher = PublisherClock::new(begin);
        encoding.note_media(now, &PacketMeta { frame, ..meta(now, number, 0) }, bytes, false, &publisher);
        encoding.rates.refresh(now, crate::media::Source::Screen);
    }
    begin + Duration::from_millis(ms)
}

/// The costliest layer in kb/s.
fn costs(encoding: &Encoding, now: Instant) -> Option<u64> {
    let mut options = Vec::new();
    encoding.layer_options(now, EncodingIndex(0), &mut options);
    options.iter().map(|option| option.rate.as_bps() / 1000).max()
}

#[test]
fn an_encoding_that_begins_costs_what_is_usual_until_it_shows_that_it_is_far_less() {
    let start = Instant::now();
    for (bytes, at_once, soon) in [(5_000, 3732, 900..1400), (30_000, 3732, 3732..3733)] {
        let cost_after = |ms| {
            let mut encoding = Encoding::new(MediaKind::Video, None, Method::Pli);
            let now = flows(&mut encoding, start, ms, bytes);
            costs(&encoding, now)
        };
        assert_eq!(cost_after(100), Some(at_once));
        let cost = cost_after(400).unwrap();
        assert!(soon.contains(&cost), "{cost} kb/s");
    }
}

#[test]
fn what_comes_back_costs_what_it_did_unless_it_had_stopped_by_itself() {
    for switched_off in [true, false] {
        let (mut encoding, start) = (Encoding::new(MediaKind::Video, None, Method::Pli), Instant::now());
        let now = flows(&mut encoding, start, 5000, 7_500);
        let cost = costs(&encoding, now).unwrap();
        assert!((800..1100).contains(&cost), "{cost} kb/s");
        if switched_off {
            encoding.update_demand(now, false, false, EncodingIndex(0));
            assert!(encoding.update_demand(now + UNWANTED_AFTER, false, false, EncodingIndex(0)));
        }
        let stopped = now + Duration::from_secs(10);
        assert!(encoding.handle_timeout(stopped));
        encoding.update_demand(stopped, true, false, EncodingIndex(0));
        let back = flows(&mut encoding, stopped, 100, 7_500);
        assert_eq!(costs(&encoding, back), Some(if switched_off { cost } else { 3732 }));
        // It stops by itself now, so that it may come back as something else.
        assert!(encoding.handle_timeout(back + Duration::from_secs(10)));
        let begins = back + Duration::from_secs(10);
        let again = flows(&mut encoding, begins, 100, 7_500);
        assert_eq!(costs(&encoding, again), Some(3732));
    }
}

#[test]
fn what_is_too_much_is_off_also_where_it_does_not_flow_and_what_it_cost_is_known() {
    let index = EncodingIndex(2);
    let (mut encoding, start) = (Encoding::new(MediaKind::Video, None, Method::Pli), Instant::now());
    assert!(!encoding.update_demand(start, true, true, index), "or it could not be offered again");
    let now = trickles(&mut encoding, start);
    assert!(encoding.update_demand(now, true, true, index) && encoding.update_demand(now, true, false, index));
    let stopped = now + Duration::from_secs(10);
    assert!(encoding.handle_timeout(stopped));
    assert!(!encoding.update_demand(stopped, false, false, index), "who stopped by itself may go on");
    assert!(encoding.update_demand(stopped, false, true, index));
    let mut options = Vec::new();
    encoding.layer_options(stopped, index, &mut options);
    assert_eq!(options.iter().map(|option| option.height).collect::<Vec<_>>(), [720]);
}

#[test]
fn who_asks_for_a_key_frame_while_one_is_coming_is_served_by_it() {
    let (mut encoding, start) = (Encoding::new(MediaKind::Video, None, Method::Pli), Instant::now());
    let receive = |encoding: &mut Encoding, number, keyframe, marker| {
        let mut meta = PacketMeta { marker, ..meta(start, number, 0) };
        meta.frame.keyframe = keyframe;
        encoding.store.insert(meta, &[], &[0]);
        encoding.note_repair(start, meta.seq, &meta.frame, false, true);
    };
    receive(&mut encoding, 0, true, false);
    encoding.keyframe.request(start);
    assert!(encoding.keyframe.poll_timeout().is_some() && encoding.keyframe.poll(start, Duration::ZERO).is_none());
    receive(&mut encoding, 1, false, true);
    assert_eq!(encoding.keyframe.poll_timeout(), None);
}

#[test]
fn what_audio_repeats_is_counted_by_itself() {
    let mut encoding = Encoding::new(MediaKind::Audio, None, Method::Pli);
    let start = Instant::now();
    let at = |packet: u64| start + Duration::from_millis(20 * packet);
    for packet in 0..100 {
        encoding.note_relayed(at(packet), &meta(at(packet), packet, 300), 100, CaptureMapping::unknown(48_000));
    }
    let (alone, repeated) = (encoding.rates.total(at(100)).as_bps(), encoding.repetitions.rate(at(100)).as_bps());
    assert!((35_000..45_000).contains(&alone), "50 packets a second of 100 bytes, not {alone} bit/s");
    assert!((105_000..135_000).contains(&repeated), "three times that, not {repeated} bit/s");
}
