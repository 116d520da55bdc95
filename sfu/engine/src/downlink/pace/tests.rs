#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use proptest::prelude::*;

const PACKET: usize = 1250;

/// Numbers from 1000 on are of stream 1, from 2000 on of stream 2.
impl Paced for u32 {
    fn stream(&self) -> usize {
        *self as usize / 1000
    }
}

fn pacer(now: Instant, rate: Bitrate) -> Pacer<u32> {
    Pacer::new(now, rate)
}

/// Polls at each timeout until nothing waits; returns (milliseconds, packet) of all releases.
fn drain(pacer: &mut Pacer<u32>, start: Instant) -> Vec<(u128, Released<u32>)> {
    let (mut now, mut out) = (start, Vec::new());
    while let Some(at) = pacer.poll_timeout() {
        now = now.max(at);
        out.extend(
            std::iter::from_fn(|| pacer.poll(now).inspect(|released| pacer.on_written(released.bytes)))
                .map(|released| (now.duration_since(start).as_millis(), released)),
        );
    }
    out
}

#[test]
fn a_key_frame_to_a_slow_receiver_is_spread_and_to_a_fast_one_leaves_at_once() {
    let now = Instant::now();
    for (rate, lasts_ms) in [(Bitrate::kbps(1000), 390..=400), (Bitrate::kbps(100_000), 0..=5)] {
        let mut pacer = pacer(now, rate);
        (0..40).for_each(|i| pacer.enqueue(now, Class::Video, PACKET, i).unwrap());
        let out = drain(&mut pacer, now);
        assert_eq!(out.iter().map(|(_, r)| r.item).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
        assert!(lasts_ms.contains(&out.last().unwrap().0), "{rate}: {} ms", out.last().unwrap().0);
    }
}

#[test]
fn packets_leave_in_runs_of_about_five_milliseconds() {
    let now = Instant::now();
    let mut pacer = pacer(now, Bitrate::kbps(20_000));
    (0..100).for_each(|i| pacer.enqueue(now, Class::Video, PACKET, i).unwrap());
    let out = drain(&mut pacer, now);
    let runs = out.chunk_by(|a, b| a.0 == b.0).map(<[_]>::len).collect::<Vec<_>>();
    assert!(runs.iter().all(|run| *run == 10), "{runs:?}");
}

#[test]
fn audio_passes_everything_that_waits_and_is_accounted_for() {
    let now = Instant::now();
    let mut pacer = pacer(now, Bitrate::kbps(100));
    (0..3).for_each(|i| pacer.enqueue(now, Class::Video, PACKET, i).unwrap());
    assert_eq!(pacer.poll(now).unwrap().item, 0);
    assert_eq!(pacer.poll(now), None);
    pacer.enqueue(now, Class::Audio, PACKET, 100).unwrap();
    assert_eq!(pacer.poll(now).unwrap().class, Class::Audio);
    let out = drain(&mut pacer, now);
    assert_eq!(out.first().unwrap().0, 200, "the video packet and the audio packet are paid for");
}

#[test]
fn retransmissions_leave_before_new_video_and_padding_after_it() {
    let now = Instant::now();
    let mut pacer = pacer(now, Bitrate::kbps(1000));
    for class in [Class::Padding, Class::Video, Class::Retransmission, Class::Audio] {
        pacer.enqueue(now, class, PACKET, 0).unwrap();
    }
    let order: Vec<_> = drain(&mut pacer, now).into_iter().map(|(_, r)| r.class).collect();
    assert_eq!(order, [Class::Audio, Class::Retransmission, Class::Video, Class::Padding]);
}

#[test]
fn video_is_held_back_for_a_while_and_audio_and_repairs_are_not() {
    let (now, ms) = (Instant::now(), Duration::from_millis);
    let held = |release: bool| {
        let mut pacer = pacer(now, Bitrate::kbps(10_000));
        pacer.hold_video(now, now + ms(200));
        for class in [Class::Video, Class::Retransmission, Class::Audio] {
            pacer.enqueue(now, class, PACKET, 0).unwrap();
        }
        assert!((0..2).all(|_| pacer.poll(now).is_some()) && pacer.poll(now).is_none());
        assert_eq!(pacer.poll_timeout(), Some(now + ms(200)));
        assert_eq!(pacer.poll(now + ms(199)), None);
        if release {
            pacer.release_video();
            return pacer.poll(now + ms(199)).is_some();
        }
        pacer.poll(now + ms(200)).is_some()
    };
    assert!(held(true) && held(false));
}

#[test]
fn a_probe_takes_what_is_held_back() {
    let now = Instant::now();
    let until = now + Duration::from_millis(200);
    let probe = Probe { id: ProbeId(7), rate: Bitrate::kbps(2000), bytes_min: 5000, packets_min: 5 };
    for probe_first in [true, false] {
        let mut pacer = pacer(now, Bitrate::kbps(100));
        pacer.enqueue(now, Class::Video, PACKET, 0).unwrap();
        if probe_first {
            pacer.start_probe(now, probe);
            pacer.hold_video(now, until);
        } else {
            pacer.hold_video(now, until);
            pacer.start_probe(now, probe);
        }
        assert!(pacer.poll(now).is_some());
    }
}

#[test]
fn what_is_large_of_a_stream_lets_others_pass() {
    let now = Instant::now();
    let mut pacer = pacer(now, Bitrate::kbps(1000));
    // A key frame of half a second, and two packets of another stream.
    let items = (1000..1050).chain([2000, 2001]);
    items.for_each(|item| pacer.enqueue(now, Class::Video, PACKET, item).unwrap());
    let out = drain(&mut pacer, now);
    let order: Vec<_> = out.iter().map(|(_, released)| released.item).collect();
    assert_eq!(order, (1000..1010).chain([2000, 2001]).chain(1010..1050).collect::<Vec<_>>());
    let passed = out.iter().find(|(_, released)| released.item == 2001).unwrap().0;
    assert!((100..=120).contains(&passed), "{passed} ms");
}

#[test]
fn what_follows_on_something_large_does_not_overtake_it() {
    let now = Instant::now();
    let mut pacer = pacer(now, Bitrate::kbps(1000));
    let enqueue = |pacer: &mut Pacer<u32>, items: std::ops::Range<u32>| {
        items.for_each(|item| pacer.enqueue(now, Class::Video, PACKET, item).unwrap());
    };
    enqueue(&mut pacer, 1000..1012);
    let left: Vec<_> = (0..6).filter_map(|n| pacer.poll(now + Duration::from_millis(10 * n))).map(|r| r.item).collect();
    assert_eq!(left, (1000..1006).collect::<Vec<_>>());
    // There is room before it again.
    enqueue(&mut pacer, 1012..1014);
    pacer.enqueue_late(now, Class::Video, PACKET, 1500, |queued| *queued == 1011).unwrap();
    pacer.enqueue_late(now, Class::Video, PACKET, 1501, |queued| *queued == 1008).unwrap();
    enqueue(&mut pacer, 2000..2001);
    assert_eq!(pacer.waiting(Class::Video).count(), 11);
    let order: Vec<_> = drain(&mut pacer, now).into_iter().map(|(_, r)| r.item).collect();
    assert_eq!(order, [1006, 1007, 1501, 1008, 1009, 2000, 1010, 1500, 1011, 1012, 1013]);
}

#[test]
fn the_usual_frames_of_a_slow_link_leave_as_they_came() {
    let now = Instant::now();
    let mut pacer = pacer(now, Bitrate::kbps(100));
    let items: Vec<_> = (0..9).map(|n| 1000 + 1000 * (n / 7) + n).collect();
    items.iter().for_each(|item| pacer.enqueue(now, Class::Video, PACKET, *item).unwrap());
    assert_eq!(drain(&mut pacer, now).into_iter().map(|(_, r)| r.item).collect::<Vec<_>>(), items);
}

#[test]
fn what_is_given_up_makes_room_for_the_rest_of_its_stream() {
    let now = Instant::now();
    let mut pacer = pacer(now, Bitrate::kbps(1000));
    (1000..1010).for_each(|item| pacer.enqueue(now, Class::Video, PACKET, item).unwrap());
    pacer.revise(Class::Video, |_| Some(50));
    assert_eq!(pacer.queued_bytes(), 10 * 50);
    (1010..1012).for_each(|item| pacer.enqueue(now, Class::Video, PACKET, item).unwrap());
    pacer.enqueue(now, Class::Video, PACKET, 2000).unwrap();
    let order: Vec<_> = drain(&mut pacer, now).into_iter().map(|(_, r)| r.item).collect();
    assert_eq!(order, (1000..1012).chain([2000]).collect::<Vec<_>>());
}

#[test]
fn what_comes_late_leaves_before_what_follows_it() {
    let now = Instant::now();
    let mut pacer = pacer(now, Bitrate::kbps(1000));
    [10, 12, 30, 32].iter().for_each(|i| pacer.enqueue(now, Class::Video, PACKET, *i).unwrap());
    pacer.enqueue_late(now, Class::Video, PACKET, 11, |queued| *queued > 11).unwrap();
    pacer.enqueue_late(now, Class::Video, PACKET, 33, |queued| *queued > 33).unwrap();
    assert_eq!(pacer.queued_bytes(), 6 * PACKET);
    let order: Vec<_> = drain(&mut pacer, now).into_iter().map(|(_, r)| r.item).collect();
    assert_eq!(order, [10, 11, 12, 30, 32, 33]);
}

#[test]
fn a_queue_that_takes_too_long_refuses_video_but_not_audio() {
    let now = Instant::now();
    let mut pacer = pacer(now, Bitrate::kbps(100));
    let accepted = (0..100).take_while(|i| pacer.enqueue(now, Class::Video, PACKET, *i).is_ok()).count();
    assert_eq!(accepted, 11);
    assert_eq!(pacer.enqueue(now, Class::Retransmission, PACKET, 0), Err(Overflow));
    assert_eq!(pacer.enqueue(now, Class::Audio, PACKET, 0), Ok(()));
    pacer.revise(Class::Video, |item| (*item % 2 == 1).then_some(PACKET / 10));
    assert_eq!(pacer.queued_bytes(), 7 * PACKET + 5 * (PACKET / 10));
    assert_eq!(pacer.enqueue(now, Class::Video, PACKET, 0), Ok(()));
    pacer.clear();
    assert_eq!((pacer.queued_bytes(), pacer.poll(now)), (0, None));
}

#[test]
fn queues_are_bounded_at_any_rate() {
    let now = Instant::now();
    let mut pacer = pacer(now, Bitrate::bps(u64::MAX));
    for class in [Class::Audio, Class::Retransmission, Class::Video, Class::Padding] {
        let accepted = (0..10_000).filter(|i| pacer.enqueue(now, class, 100, *i).is_ok()).count();
        assert_eq!(accepted, MAX_QUEUE_PACKETS);
    }
}

#[test]
fn a_probe_without_media_is_made_of_padding_at_its_own_rate() {
    let now = Instant::now();
    let mut pacer = pacer(now, Bitrate::kbps(100));
    let probe = Probe { id: ProbeId(7), rate: Bitrate::kbps(2000), bytes_min: 5000, packets_min: 5 };
    assert_eq!(pacer.padding_needed(now), None);
    pacer.start_probe(now, probe);
    let (mut at, mut sent) = (now, Vec::new());
    while let Some(next) = pacer.poll_timeout() {
        at = at.max(next);
        if let Some(bytes) = pacer.padding_needed(at) {
            pacer.enqueue(at, Class::Padding, bytes, 0).unwrap();
        }
        if let Some(released) = pacer.poll(at) {
            pacer.on_written(released.bytes);
            sent.push((at.duration_since(now).as_millis(), released.bytes, released.probe));
        }
    }
    let id = Some(ProbeId(7));
    assert_eq!(sent, [(0, 1000, id), (4, 1000, id), (8, 1000, id), (12, 1000, id), (16, 1000, id)]);
}

#[test]
fn a_probe_goes_on_until_enough_has_really_left() {
    let now = Instant::now();
    let mut pacer = pacer(now, Bitrate::kbps(100));
    pacer.start_probe(now, Probe { id: ProbeId(7), rate: Bitrate::kbps(2000), bytes_min: 5000, packets_min: 5 });
    let (mut at, mut sent) = (now, 0);
    while let Some(next) = pacer.poll_timeout() {
        at = at.max(next);
        if let Some(bytes) = pacer.padding_needed(at) {
            pacer.enqueue(at, Class::Padding, bytes, 0).unwrap();
        }
        // Each packet turns out smaller than announced.
        if let Some(released) = pacer.poll(at) {
            assert_eq!(released.probe, Some(ProbeId(7)));
            pacer.on_written(released.bytes - 20);
            sent += released.bytes - 20;
        }
    }
    assert!((5000..5100).contains(&sent), "{sent}");
}

#[test]
fn media_takes_the_place_of_padding_in_a_probe() {
    let now = Instant::now();
    let mut pacer = pacer(now, Bitrate::kbps(100));
    (0..8).for_each(|i| pacer.enqueue(now, Class::Video, PACKET, i).unwrap());
    pacer.start_probe(now, Probe { id: ProbeId(1), rate: Bitrate::kbps(10_000), bytes_min: 5000, packets_min: 5 });
    assert_eq!(pacer.padding_needed(now), None);
    let out = drain(&mut pacer, now);
    assert_eq!(out.iter().filter(|(_, r)| r.probe.is_some()).count(), 5);
    assert!(out.get(4).unwrap().0 <= 5 && out.last().unwrap().0 >= 200, "slow again after the probe");
}

#[test]
fn a_late_caller_catches_up_but_an_idle_pacer_saves_nothing() {
    let now = Instant::now();
    let ms = |ms| now + Duration::from_millis(ms);
    let mut busy = pacer(now, Bitrate::kbps(1000));
    (0..50).for_each(|i| busy.enqueue(now, Class::Video, 125, i).unwrap());
    let released = |pacer: &mut Pacer<u32>, at| std::iter::from_fn(|| pacer.poll(at)).count();
    assert_eq!((released(&mut busy, now), released(&mut busy, ms(8))), (5, 8), "three milliseconds late");
    let mut idle = pacer(now, Bitrate::kbps(1000));
    (0..50).for_each(|i| idle.enqueue(ms(1000), Class::Video, 125, i).unwrap());
    assert_eq!(released(&mut idle, ms(1000)), 5);
}

#[test]
fn a_probe_that_cannot_be_sent_expires() {
    let now = Instant::now();
    let mut pacer = pacer(now, Bitrate::kbps(100));
    pacer.start_probe(now, Probe { id: ProbeId(1), rate: Bitrate::kbps(1000), bytes_min: 5000, packets_min: 5 });
    assert!(pacer.poll_timeout().is_some());
    assert_eq!(pacer.padding_needed(now + PROBE_TIMEOUT), None);
    assert_eq!(pacer.poll_timeout(), None);
}

#[test]
fn a_longer_burst_lets_a_whole_frame_leave_at_once() {
    let (start, rate) = (Instant::now(), Bitrate::kbps(4000));
    for (burst_ms, at_once) in [(5, 3), (40, 15)] {
        let mut pacer = pacer(start, rate);
        pacer.set_rate(start, rate, Duration::from_millis(burst_ms));
        (0..15).for_each(|number| pacer.enqueue(start, Class::Video, 1200, number).unwrap());
        assert_eq!(std::iter::from_fn(|| pacer.poll(start)).count(), at_once);
    }
}

proptest! {
    #[test]
    fn no_packet_is_lost_or_reordered_and_no_more_leaves_than_the_rate_allows(
        kbps in 50u64..20_000,
        steps in prop::collection::vec((0u64..40, 1usize..1400, 0u8..3, 0u32..3), 1..200),
    ) {
        let start = Instant::now();
        let mut pacer = pacer(start, Bitrate::kbps(kbps));
        let (mut now, mut queued, mut released) = (start, Vec::new(), Vec::new());
        for (number, (wait_ms, bytes, class, stream)) in steps.iter().enumerate() {
            let item = 1000 * stream + number as u32;
            now += Duration::from_millis(*wait_ms);
            let class = [Class::Retransmission, Class::Video, Class::Padding][usize::from(*class)];
            if pacer.enqueue(now, class, *bytes, item).is_ok() {
                queued.push(item);
            }
            released.extend(std::iter::from_fn(|| pacer.poll(now)));
            let sent: usize = released.iter().map(|r| r.bytes).sum();
            let allowed = Bitrate::kbps(kbps).bytes_in(now.duration_since(start) + 3 * BURST) as usize + 1400;
            prop_assert!(sent <= allowed, "{} of {}", sent, allowed);
        }
        released.extend(drain(&mut pacer, now).into_iter().map(|(_, r)| r));
        for class in [Class::Retransmission, Class::Video, Class::Padding] {
            for stream in 0..3 {
                let of_stream = released.iter().filter(|r| r.class == class && r.item.stream() == stream);
                prop_assert!(of_stream.is_sorted_by_key(|r| r.item));
            }
        }
        let mut items: Vec<_> = released.iter().map(|r| r.item).collect();
        items.sort_unstable();
        queued.sort_unstable();
        prop_assert_eq!(items, queued);
        prop_assert_eq!(pacer.queued_bytes(), 0);
    }
}
