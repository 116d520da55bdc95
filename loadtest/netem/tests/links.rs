//! Single features of a link, by example.

use std::time::{Duration, Instant};

use netem::{
    Counters, Jitter, JitterModel, Link, LinkConfig, Loss, Pauses, QueueLimit, Rate, Reorder, Schedule, Trace,
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Sends `count` packets of 1250 bytes, one every `gap`; returns (number, arrival in ms, marked) in the order of
/// arrival.
fn run(config: LinkConfig, count: u64, gap: Duration) -> (Vec<(u64, u64, bool)>, Counters) {
    let start = Instant::now();
    let mut link = Link::new(config, start, 7);
    for number in 0..count {
        link.handle_packet(start + gap * number as u32, 1250, number);
    }
    let mut arrivals = Vec::new();
    while let Some(at) = link.poll_timeout() {
        let delivered = link.poll_deliver(at).unwrap();
        arrivals.push((delivered.packet, (at - start).as_millis() as u64, delivered.ce_marked));
    }
    (arrivals, link.counters())
}

#[test]
fn a_default_link_is_perfect() {
    let (arrivals, counters) = run(LinkConfig::default(), 3, ms(1));
    assert_eq!(arrivals, [(0, 0, false), (1, 1, false), (2, 2, false)]);
    assert_eq!((counters.delivered, counters.delivered_bytes), (3, 3750));
}

#[test]
fn two_flows_on_one_link_share_its_queue() {
    let start = Instant::now();
    let mut link = Link::new(LinkConfig { rate: Rate::constant(1_000_000), ..LinkConfig::default() }, start, 1);
    link.handle_packet(start, 1250, "audio");
    link.handle_packet(start, 1250, "video");
    link.handle_packet(start, 1250, "audio");
    assert_eq!((link.queued_bytes(start), link.queue_delay(start)), (3750, ms(30)));
    assert_eq!(link.queued_bytes(start + ms(15)), 2500);
    let order: Vec<_> = std::iter::from_fn(|| link.poll_deliver(start + ms(30))).map(|d| d.packet).collect();
    assert_eq!(order, ["audio", "video", "audio"]);
    assert_eq!((link.queued_bytes(start + ms(30)), link.queue_delay(start + ms(30))), (0, Duration::ZERO));
}

#[test]
fn a_drop_from_4_mbit_to_300_kbit_leaves_a_full_queue_that_drains_at_the_new_rate() {
    let rate = Rate::Schedule(Schedule::steps(Some(4_000_000), [(ms(1000), Some(300_000))]));
    let config = LinkConfig {
        rate,
        queue: QueueLimit::Bytes(150_000),
        delay: Schedule::constant(ms(50)),
        ..LinkConfig::default()
    };
    let start = Instant::now();
    let mut link = Link::new(config, start, 1);
    // 4 Mb/s, for a second after the drop too.
    for n in 0..800 {
        link.handle_packet(start + Duration::from_micros(2500) * n, 1250, n);
    }
    let end = start + ms(2000);
    assert!((148_000..=150_000).contains(&link.queued_bytes(end)), "{}", link.queued_bytes(end));
    assert!((ms(3900)..=ms(4000)).contains(&link.queue_delay(end)), "150 KB at 300 kb/s take 4 s");
    assert!((230..=270).contains(&link.counters().dropped_by_queue));
}

#[test]
fn a_queue_limited_in_time_follows_the_rate_and_always_takes_one_packet() {
    for (rate, expected) in [(1_000_000, 10), (100_000, 1), (1_000, 1)] {
        let config =
            LinkConfig { rate: Rate::constant(rate), queue: QueueLimit::Time(ms(100)), ..LinkConfig::default() };
        let (arrivals, counters) = run(config, 20, Duration::ZERO);
        assert_eq!((arrivals.len(), counters.dropped_by_queue), (expected, 20 - expected as u64), "{rate}");
    }
}

#[test]
fn a_shorter_delay_does_not_let_packets_overtake() {
    let delay = Schedule::steps(ms(100), [(ms(10), ms(20))]);
    let (arrivals, _) = run(LinkConfig { delay, ..LinkConfig::default() }, 3, ms(10));
    assert_eq!(arrivals.iter().map(|a| (a.0, a.1)).collect::<Vec<_>>(), [(0, 100), (1, 100), (2, 100)]);
}

#[test]
fn jitter_overtakes_only_where_it_may() {
    let reversals = |reorder| {
        let jitter = Jitter { model: JitterModel::Normal { sd: ms(5) }, reorder };
        let (arrivals, _) = run(LinkConfig { jitter, ..LinkConfig::default() }, 1000, ms(1));
        arrivals.windows(2).filter(|pair| pair[0].0 > pair[1].0).count()
    };
    assert_eq!(reversals(false), 0);
    assert!(reversals(true) > 100);
}

#[test]
fn a_reordered_packet_is_passed_by_those_behind_it() {
    let reorder = Reorder { probability: 0.05, by: ms(5) };
    let (arrivals, _) = run(LinkConfig { reorder, ..LinkConfig::default() }, 1000, ms(1));
    let late: Vec<_> = arrivals.iter().filter(|(number, at, _)| at != number).collect();
    assert!((30..70).contains(&late.len()), "{}", late.len());
    assert!(late.iter().all(|(number, at, _)| *at == number + 5));
}

#[test]
fn duplicates_arrive_beside_their_original() {
    let (arrivals, counters) = run(LinkConfig { duplicate: 0.01, ..LinkConfig::default() }, 10_000, ms(1));
    assert!((70..130).contains(&counters.duplicated), "{}", counters.duplicated);
    assert_eq!(arrivals.len() as u64, 10_000 + counters.duplicated);
    assert!(arrivals.is_sorted());
}

#[test]
fn nothing_passes_in_an_outage_neither_what_is_sent_then_nor_what_would_arrive_then() {
    let outages = std::iter::once(ms(100)..ms(200)).collect();
    let config = LinkConfig { outages, delay: Schedule::constant(ms(20)), ..LinkConfig::default() };
    let (arrivals, counters) = run(config, 30, ms(10));
    let sent: Vec<u64> = arrivals.iter().map(|a| a.0 * 10).collect();
    assert_eq!(sent, [0, 10, 20, 30, 40, 50, 60, 70, 200, 210, 220, 230, 240, 250, 260, 270, 280, 290]);
    assert_eq!(counters.dropped_by_outage, 12);
}

#[test]
fn a_pause_holds_deliveries_back_and_releases_them_in_one_burst() {
    let config = LinkConfig { pauses: Some(Pauses { every: ms(400), length: ms(50) }), ..LinkConfig::default() };
    let (arrivals, _) = run(config, 100, ms(10));
    let times: Vec<u64> = arrivals.iter().map(|a| a.1).collect();
    assert_eq!(times[..3], [0, 10, 20], "the link does not begin with a pause");
    assert_eq!(times[38..48], [380, 390, 450, 450, 450, 450, 450, 450, 460, 470]);
    assert_eq!(times[80], 850);
}

#[test]
fn packets_are_marked_while_the_queue_is_longer_than_the_threshold() {
    let config = LinkConfig { rate: Rate::constant(10_000_000), ecn_above: Some(ms(5)), ..LinkConfig::default() };
    let (arrivals, counters) = run(config, 20, Duration::ZERO);
    assert!(arrivals.iter().all(|(number, _, marked)| *marked == (*number > 5)), "each takes 1 ms");
    assert_eq!(counters.ce_marked, 14);
}

#[test]
fn loss_follows_its_schedule() {
    let loss = Loss::Random(Schedule::steps(0.0, [(ms(100), 1.0), (ms(200), 0.0)]));
    let (arrivals, counters) = run(LinkConfig { loss, ..LinkConfig::default() }, 30, ms(10));
    assert!(arrivals.iter().all(|(number, ..)| !(10..20).contains(number)));
    assert_eq!((arrivals.len(), counters.dropped_by_loss), (20, 10));
}

#[test]
fn a_trace_gives_its_mean_rate_to_a_busy_sender() {
    let rate = Rate::Trace(Trace::parse("3\n3\n7\n10\n").unwrap());
    let (arrivals, _) = run(LinkConfig { rate, ..LinkConfig::default() }, 4800, Duration::ZERO);
    assert_eq!(arrivals.last().map(|a| a.1), Some(10_000), "4800 * 1250 bytes are 4000 opportunities of 400 a second");
}

#[test]
fn turning_on_one_feature_does_not_change_what_another_does() {
    let lossy = LinkConfig { loss: Loss::Random(Schedule::constant(0.1)), ..LinkConfig::default() };
    let jitter = Jitter { model: JitterModel::Uniform { max: ms(5) }, reorder: true };
    let (plain, _) = run(lossy.clone(), 500, ms(1));
    let (mut jittered, _) = run(LinkConfig { jitter, ..lossy }, 500, ms(1));
    jittered.sort_unstable();
    assert!(plain.iter().map(|a| a.0).eq(jittered.iter().map(|a| a.0)));
}

#[test]
fn features_with_the_same_probability_choose_different_packets() {
    let (arrivals, _) = run(LinkConfig { duplicate: 0.3, ..LinkConfig::default() }, 500, ms(1));
    let duplicated: Vec<u64> = arrivals.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].0).collect();
    let loss = Loss::Random(Schedule::constant(0.3));
    let (arrivals, _) = run(LinkConfig { loss, ..LinkConfig::default() }, 500, ms(1));
    let both = duplicated.iter().filter(|number| !arrivals.iter().any(|a| a.0 == **number)).count();
    assert!((20..70).contains(&both), "{both} of {} by chance, not all", duplicated.len());
}

#[test]
fn another_seed_gives_another_run() {
    let lost = |seed| {
        let start = Instant::now();
        let config = LinkConfig { loss: Loss::Random(Schedule::constant(0.5)), ..LinkConfig::default() };
        let mut link = Link::new(config, start, seed);
        (0..64).for_each(|n| link.handle_packet(start, 100, n));
        std::iter::from_fn(|| link.poll_deliver(start)).map(|d| d.packet).collect::<Vec<_>>()
    };
    assert_eq!(lost(1), lost(1));
    assert_ne!(lost(1), lost(2));
}
