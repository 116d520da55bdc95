//! The estimator as a whole, over a simulated link.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::simulation::{Sample, Scene, ladder};
use super::*;
use proptest::prelude::*;

/// Milliseconds of the first sample from `from` on that fits.
fn first(samples: &[Sample], from: u64, fits: impl Fn(&Sample) -> bool) -> Option<u64> {
    samples.iter().find(|s| s.ms >= from && fits(s)).map(|s| s.ms - from)
}

fn mean_kbps(samples: &[Sample], from: u64) -> u64 {
    let late: Vec<u64> = samples.iter().filter(|s| s.ms >= from).map(|s| s.estimate.as_bps() / 1000).collect();
    late.iter().sum::<u64>() / late.len() as u64
}

fn queue_p95(samples: &[Sample], from: u64) -> Duration {
    let mut queues: Vec<Duration> = samples.iter().filter(|s| s.ms >= from).map(|s| s.queue).collect();
    queues.sort();
    queues[queues.len() * 95 / 100]
}

fn drop_and_return(media: fn(Bitrate) -> Bitrate, seed: u64) -> Vec<Sample> {
    let capacity = vec![(0, Bitrate::kbps(4000)), (15_000, Bitrate::kbps(300)), (30_000, Bitrate::kbps(4000))];
    Scene { capacity, media, seed, ..Scene::default() }.run(45)
}

#[test]
fn the_estimate_finds_the_link_within_two_seconds_greedy_or_not() {
    let media: [fn(Bitrate) -> Bitrate; 2] = [|estimate| estimate, ladder];
    for (media, seed) in media.into_iter().zip(1..) {
        let samples = Scene { media, seed, ..Scene::default() }.run(30);
        assert!(first(&samples, 0, |s| s.estimate >= Bitrate::kbps(2700)).unwrap() <= 2000);
        assert!((2700..3050).contains(&mean_kbps(&samples, 3000)), "{}", mean_kbps(&samples, 3000));
        assert!(queue_p95(&samples, 3000) <= Duration::from_millis(60), "{:?}", queue_p95(&samples, 3000));
        assert_eq!(samples.last().unwrap().dropped, 0);
    }
}

#[test]
fn a_first_cluster_that_queued_did_not_get_through_however_low_the_first_guess() {
    let began = Instant::now();
    let at = |us: u64| began + Duration::from_micros(us);
    let mut estimator =
        Estimator::new(began, EstimatorConfig { start: Bitrate::kbps(500), ..EstimatorConfig::default() });
    estimator.set_demand(began, Bitrate::kbps(3000));
    // Sound alone, then five packets by 1.5 Mb/s over a link of 1 Mb/s and 50 ms.
    estimator.on_sent(began, SentPacket { transport_seq: 0, bytes: 100, probe: None, repair: None });
    let probe = estimator.poll_probe(began).unwrap();
    assert_eq!(probe.rate, Bitrate::kbps(1500));
    let mut reports = vec![PacketReport { transport_seq: 0, arrival: Some(ReceiverTime(50_800)) }];
    for n in 1..=5 {
        let sent = SentPacket { transport_seq: n, bytes: 1000, probe: Some(probe.id), repair: None };
        estimator.on_sent(at(10_000 + 5_333 * u64::from(n - 1)), sent);
        reports.push(PacketReport { transport_seq: n, arrival: Some(ReceiverTime(60_000 + 8_000 * i64::from(n))) });
    }
    estimator.on_feedback(at(160_000), &Feedback { reports: &reports });
    let estimate = estimator.estimate();
    assert!((900..=1000).contains(&(estimate.as_bps() / 1000)), "{estimate}");
}

#[test]
fn probing_stops_at_what_is_wanted() {
    let samples = Scene { demand: Bitrate::kbps(1000), media: ladder, ..Scene::default() }.run(20);
    let estimate = samples.last().unwrap().estimate;
    assert!((1000..=1150).contains(&(estimate.as_bps() / 1000)), "{estimate}");
}

#[test]
fn a_drop_is_followed_within_half_a_second_and_the_return_within_four() {
    for seed in 1..=5 {
        for media in [(|estimate| estimate) as fn(Bitrate) -> Bitrate, ladder] {
            let samples = drop_and_return(media, seed);
            let down = first(&samples, 15_000, |s| s.estimate <= Bitrate::kbps(300)).unwrap();
            assert!(down <= 500, "down after {down} ms, seed {seed}");
            let up = first(&samples, 30_000, |s| s.estimate >= Bitrate::kbps(3500)).unwrap();
            assert!(up <= 4000, "up after {up} ms, seed {seed}");
        }
    }
}

#[test]
fn once_the_queue_has_drained_the_smaller_link_is_used() {
    let samples = drop_and_return(ladder, 1);
    let drained = first(&samples, 15_500, |s| s.queue < Duration::from_millis(20)).unwrap() + 15_500;
    assert!(drained < 18_000, "drained at {drained} ms");
    let after: Vec<_> = samples.iter().filter(|s| (drained + 1000..30_000).contains(&s.ms)).copied().collect();
    assert!((265..=300).contains(&mean_kbps(&after, 0)), "{}", mean_kbps(&after, 0));
    assert!(queue_p95(&after, 0) < Duration::from_millis(60));
}

#[test]
fn random_loss_is_not_congestion() {
    for (random_loss, least) in [(0.01, 2700), (0.05, 2400), (0.10, 1800)] {
        let samples = Scene { random_loss, ..Scene::default() }.run(40);
        assert!(mean_kbps(&samples, 3000) >= least, "{} at {random_loss}", mean_kbps(&samples, 3000));
    }
}

#[test]
fn what_loss_leaves_is_found_by_probes() {
    // A short queue hides the drop: it is loss that tells of it, and that too much.
    for seed in 1..=12 {
        let capacity = vec![(0, Bitrate::kbps(6000)), (5000, Bitrate::kbps(300))];
        let jitter = Duration::from_millis(4);
        let lossy = Scene { random_loss: 0.03, jitter, queue_bytes: 20_000, ..Scene::default() };
        let samples = Scene { capacity, media: ladder, seed, ..lossy }.run(20);
        let mean = mean_kbps(&samples, 7000);
        assert!((240..=310).contains(&mean), "{mean} with seed {seed}");
    }
}

#[test]
fn a_first_guess_most_of_which_a_short_queue_drops_is_taken_back_within_a_second() {
    // Less is sent than the guess allows: how much too high that is, is told by the overload, most of which the queue
    // drops.
    let media = |estimate| {
        let steps = [370, 185, 60].map(Bitrate::kbps);
        steps.into_iter().find(|step| *step <= estimate).unwrap_or(Bitrate::kbps(60))
    };
    for (capacity, one_way) in [(100, 20), (100, 100), (130, 20), (130, 60)] {
        for seed in 1..=6 {
            let path = Scene {
                one_way: vec![(0, Duration::from_millis(one_way))],
                queue_bytes: 2500,
                seed,
                ..Scene::default()
            };
            let capacity = vec![(0, Bitrate::kbps(capacity))];
            let samples = Scene { capacity, start: Bitrate::kbps(500), media, ..path }.run(5);
            let down = first(&samples, 0, |s| s.estimate <= Bitrate::kbps(170)).unwrap();
            assert!(down <= 1000, "after {down} ms, {one_way} ms one way, seed {seed}");
        }
    }
}

#[test]
fn a_link_of_a_hundred_kilobits_carries_audio_and_a_thumbnail_without_a_queue() {
    let capacity = vec![(0, Bitrate::kbps(100))];
    let thumbnail = |estimate| if estimate >= Bitrate::kbps(85) { Bitrate::kbps(85) } else { Bitrate::kbps(40) };
    let scene =
        Scene { capacity, queue_bytes: 10_000, media: thumbnail, start: Bitrate::kbps(150), ..Scene::default() };
    let samples = scene.run(30);
    assert!((86..=100).contains(&mean_kbps(&samples, 3000)), "{}", mean_kbps(&samples, 3000));
    assert!(queue_p95(&samples, 3000) < Duration::from_millis(100), "{:?}", queue_p95(&samples, 3000));
    assert_eq!(samples.last().unwrap().dropped, samples[3000].dropped);
}

#[test]
fn jitter_neither_starves_nor_inflates_the_estimate() {
    for seed in 1..=3 {
        let samples = Scene { jitter: Duration::from_millis(10), media: ladder, seed, ..Scene::default() }.run(60);
        let mean = mean_kbps(&samples, 5000);
        assert!((2550..=3100).contains(&mean), "{mean} with seed {seed}");
        let most = samples.iter().filter(|s| s.ms > 5000).map(|s| s.estimate).max().unwrap();
        assert!(most < Bitrate::kbps(3600), "{most} with seed {seed}");
    }
}

#[test]
fn a_longer_route_is_no_queue() {
    let ms = Duration::from_millis;
    let one_way = vec![(0, ms(20)), (11_000, ms(150))];
    let capacity = vec![(0, Bitrate::kbps(1000)), (13_500, Bitrate::kbps(3000))];
    let media: [fn(Bitrate) -> Bitrate; 2] = [|estimate| estimate, ladder];
    for (media, seed) in media.into_iter().zip(1..) {
        let scene = Scene { one_way: one_way.clone(), capacity: capacity.clone(), media, seed, ..Scene::default() };
        let after = first(&scene.run(30), 13_500, |s| s.estimate >= Bitrate::kbps(2700));
        assert!(after.is_some_and(|ms| ms <= 4000), "the rest of the link is found after {after:?} ms");
    }
}

#[test]
fn another_path_is_told_once() {
    let (mut estimator, now) = with_packets_in_flight();
    assert!(!estimator.take_other_path());
    estimator.on_path_change(now);
    assert!(estimator.take_other_path() && !estimator.take_other_path());
    let estimate = estimator.estimate();
    estimator.on_feedback(now, &Feedback { reports: &[report(0, 20)] });
    assert_eq!((estimator.estimate(), estimator.rtt()), (estimate, None), "what left on the one before tells nothing");
}

#[test]
fn a_receiver_that_reads_its_socket_late_is_no_bottleneck() {
    let demand = Bitrate::kbps(640);
    for (longest, seed) in
        [10, 20, 40, 60, 100].into_iter().flat_map(|longest| (1..=6).map(move |seed| (longest, seed)))
    {
        let capacity = vec![(0, Bitrate::kbps(50_000))];
        let media = |estimate| if estimate >= Bitrate::kbps(640) { Bitrate::kbps(640) } else { Bitrate::kbps(290) };
        let one_way = vec![(0, Duration::from_millis(1))];
        let scene = Scene { capacity, one_way, reads_after_ms: 1..=longest, media, demand, seed, ..Scene::default() };
        let samples = scene.run(20);
        let found = first(&samples, 0, |s| s.estimate >= demand);
        assert!(found.is_some_and(|ms| ms < 15_000), "{found:?}, reading every {longest} ms, seed {seed}");
        assert!(samples.last().unwrap().estimate >= demand, "lost again, reading every {longest} ms, seed {seed}");
    }
}

#[test]
fn a_receiver_that_hears_no_repairs_is_given_what_its_link_takes() {
    for (kbps, demand, least) in [(50_000, 640, 640), (3000, 10_000, 2700), (400, 10_000, 360)] {
        let (capacity, demand) = (vec![(0, Bitrate::kbps(kbps))], Bitrate::kbps(demand));
        let samples = Scene { capacity, demand, media: ladder, hears_no_repairs: true, ..Scene::default() }.run(60);
        assert!(mean_kbps(&samples, 20_000) >= least, "{} of {kbps}", mean_kbps(&samples, 20_000));
        assert!(queue_p95(&samples, 20_000) < Duration::from_millis(60), "{:?} at {kbps}", queue_p95(&samples, 20_000));
    }
}

#[test]
fn without_feedback_ever_less_is_sent_and_with_it_all_returns() {
    let samples = Scene { deaf: 10_000..16_000, media: ladder, ..Scene::default() }.run(20);
    assert!(samples[10_500].estimate >= Bitrate::kbps(2700), "half a second is a hiccup");
    assert!(samples[13_000].estimate <= Bitrate::kbps(600), "{}", samples[13_000].estimate);
    let back = first(&samples, 16_000, |s| s.estimate >= Bitrate::kbps(2700)).unwrap();
    assert!(back <= 500, "back after {back} ms");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || Scene { random_loss: 0.02, jitter: Duration::from_millis(5), seed: 7, ..Scene::default() }.run(10);
    assert_eq!(run(), run());
}

/// An estimator that has sent 100 packets, one per 10 ms, of which none is acknowledged yet; and the time after.
fn with_packets_in_flight() -> (Estimator, Instant) {
    let start = Instant::now();
    let mut estimator = Estimator::new(start, EstimatorConfig::default());
    estimator.set_demand(start, Bitrate::kbps(20_000));
    for i in 0..100u16 {
        let packet = SentPacket { transport_seq: i, bytes: 1000, probe: None, repair: None };
        estimator.on_sent(start + Duration::from_millis(10) * u32::from(i), packet);
    }
    (estimator, start + Duration::from_secs(1))
}

fn report(transport_seq: u16, arrival_ms: i64) -> PacketReport {
    PacketReport { transport_seq, arrival: Some(ReceiverTime(arrival_ms * 1000)) }
}

#[test]
fn feedback_about_packets_never_sent_changes_nothing() {
    let (mut estimator, now) = with_packets_in_flight();
    let before = estimator.estimate();
    for round in 0..50 {
        let invented: Vec<_> = (0..1000).map(|i| report(1000 + i, round * 100 + i64::from(i) / 100)).collect();
        estimator.on_feedback(now + Duration::from_millis(100 * round as u64), &Feedback { reports: &invented });
    }
    assert_eq!((estimator.estimate(), estimator.rtt(), estimator.loss()), (before, None, 0.0));
}

#[test]
fn repeated_and_impossible_feedback_does_not_raise_the_estimate() {
    let (mut estimator, now) = with_packets_in_flight();
    let honest: Vec<_> = (0..50).map(|i| report(i, 20 + 10 * i64::from(i))).collect();
    estimator.on_feedback(now, &Feedback { reports: &honest });
    let after_honest = estimator.estimate();
    for round in 1..20 {
        estimator.on_feedback(now + Duration::from_millis(50) * round, &Feedback { reports: &honest });
    }
    let before_sending: Vec<_> = (50..75).map(|i| report(i, -60_000)).collect();
    estimator.on_feedback(now + Duration::from_secs(1), &Feedback { reports: &before_sending });
    let after_reporting: Vec<_> = (75..100).map(|i| report(i, 60_000)).collect();
    estimator.on_feedback(now + Duration::from_secs(1), &Feedback { reports: &after_reporting });
    assert!(estimator.estimate() <= after_honest);
}

#[test]
fn a_huge_message_is_cut_short() {
    let (mut estimator, now) = with_packets_in_flight();
    let mut many = vec![report(30_000, 10); MAX_REPORTS];
    many.push(report(1, 10));
    estimator.on_feedback(now, &Feedback { reports: &many });
    assert_eq!(estimator.rtt(), None, "the only true report is beyond the limit");
    estimator.on_feedback(now, &Feedback { reports: &many[1..] });
    assert!(estimator.rtt().is_some());
}

#[test]
fn arrivals_claimed_all_at_once_do_not_raise_the_estimate_beyond_what_was_sent() {
    let (mut estimator, now) = with_packets_in_flight();
    let at_once: Vec<_> = (0..100).map(|i| report(i, 995)).collect();
    estimator.on_feedback(now, &Feedback { reports: &at_once });
    assert!(estimator.estimate() <= Bitrate::kbps(1210), "800 kb/s were sent: {}", estimator.estimate());
}

#[test]
fn remb_limits_and_without_transport_feedback_it_is_the_estimate() {
    let start = Instant::now();
    let mut estimator = Estimator::new(start, EstimatorConfig::default());
    estimator.on_remb(start, Bitrate::kbps(2000));
    assert_eq!(estimator.estimate(), Bitrate::kbps(2000));
    estimator.on_remb(start, Bitrate::bps(1));
    assert_eq!(estimator.estimate(), Bitrate::kbps(30));
    let (mut estimator, now) = with_packets_in_flight();
    let honest: Vec<_> = (0..100).map(|i| report(i, 20 + 10 * i64::from(i))).collect();
    estimator.on_feedback(now, &Feedback { reports: &honest });
    estimator.on_remb(now, Bitrate::kbps(20_000));
    assert!(estimator.estimate() < Bitrate::kbps(1000), "REMB does not raise what was measured");
}

#[test]
fn who_offers_no_transport_feedback_is_sent_more_until_there_is_an_objection() {
    let (start, step) = (Instant::now(), Duration::from_millis(10));
    let mut estimator = Estimator::new(start, EstimatorConfig::default());
    estimator.set_demand(start, Bitrate::kbps(2000));
    estimator.expect_transport_feedback(false);
    let (mut now, mut filled) = (start, 0);
    let mut send = |estimator: &mut Estimator, now: &mut Instant, seconds: u32| {
        for i in 0..100 * seconds {
            *now += step;
            let bytes = estimator.estimate().bytes_in(step) as usize;
            estimator.on_sent(*now, SentPacket { transport_seq: i as u16, bytes, probe: None, repair: None });
            if estimator.poll_timeout().is_some_and(|at| at <= *now) {
                estimator.handle_timeout(*now);
                filled += estimator.poll_probe(*now).map_or(0, |probe| probe.bytes_min);
            }
        }
    };
    send(&mut estimator, &mut now, 5);
    assert_eq!(estimator.estimate(), Bitrate::kbps(2300), "nothing but silence");
    assert_eq!(estimator.poll_timeout(), None, "there is nothing more to gain");
    estimator.on_remb(now, Bitrate::kbps(1000));
    estimator.on_remb(now, Bitrate::kbps(900));
    assert_eq!(estimator.estimate(), Bitrate::kbps(900));
    send(&mut estimator, &mut now, 4);
    assert_eq!(estimator.estimate(), Bitrate::kbps(900).scale(1.15), "it said that about so much gets through");
    estimator.on_loss_report(now, 0.5, Duration::from_millis(50));
    assert!(estimator.estimate() < Bitrate::kbps(500), "{}", estimator.estimate());
    assert!(filled > 0, "what is tried is filled with padding");
    now += Duration::from_secs(1);
    estimator.on_remb(now, Bitrate::kbps(100));
    assert!(estimator.estimate() > Bitrate::kbps(300), "nothing was sent that this could object to");
    estimator.on_feedback(now, &Feedback { reports: &[report(399, 20)] });
    estimator.on_remb(now, Bitrate::kbps(100));
    assert_eq!(estimator.estimate(), Bitrate::kbps(100), "who sends transport feedback after all is taken at its word");
}

#[test]
fn nothing_sent_means_no_timers_and_no_probes() {
    let start = Instant::now();
    let mut estimator = Estimator::new(start, EstimatorConfig::default());
    estimator.set_demand(start, Bitrate::kbps(5000));
    assert_eq!((estimator.poll_timeout(), estimator.poll_probe(start)), (None, None));
    let (mut estimator, now) = with_packets_in_flight();
    assert!(estimator.poll_timeout().is_some());
    estimator.handle_timeout(now + Duration::from_secs(60));
    assert_eq!(estimator.poll_timeout(), None);
}

prop_compose! {
    fn any_report()(seq in 0u16..400, arrival in prop::option::of(prop_oneof![any::<i64>(), 0i64..10_000_000])) -> PacketReport {
        PacketReport { transport_seq: seq, arrival: arrival.map(ReceiverTime) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_receiver_claims_the_estimate_stays_within_half_again_what_was_sent(
        messages in prop::collection::vec((prop::collection::vec(any_report(), 0..50), any::<f32>(), any::<u64>()), 1..60),
    ) {
        let start = Instant::now();
        let config = EstimatorConfig { start: Bitrate::kbps(300), min: Bitrate::kbps(30), max: Bitrate::kbps(50_000) };
        let mut estimator = Estimator::new(start, config);
        estimator.set_demand(start, Bitrate::kbps(50_000));
        for (step, (reports, fraction, micros)) in messages.iter().enumerate() {
            let now = start + Duration::from_millis(60) * step as u32;
            for packet in 0..6 {
                let at = now + Duration::from_millis(10) * packet;
                let transport_seq = (step as u16) * 6 + packet as u16;
                estimator.on_sent(at, SentPacket { transport_seq, bytes: 1000, probe: None, repair: None });
            }
            let now = now + Duration::from_millis(59);
            estimator.on_feedback(now, &Feedback { reports });
            estimator.on_loss_report(now, *fraction, Duration::from_micros(*micros));
            estimator.handle_timeout(now);
            let estimate = estimator.estimate();
            prop_assert!(estimate >= config.min && estimate <= Bitrate::kbps(1250), "{}", estimate);
        }
    }
}
