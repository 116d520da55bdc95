//! What holds for every link, whatever its configuration and traffic.

use std::time::{Duration, Instant};

use netem::{
    DropCause, Jitter, JitterModel, Link, LinkConfig, LogEntry, LogEvent, Loss, Pauses, QueueLimit, Rate, Reorder,
    Schedule, Trace,
};
use proptest::prelude::*;

/// Highest rate of the tests, in bits per second; so many millionths of a bit pass in a microsecond.
const MOST_PER_MICROSECOND: u128 = 50_000_000;

/// Packets to send: microseconds after the one before, and bytes.
type Traffic = Vec<(u64, usize)>;

fn traffic() -> impl Strategy<Value = Traffic> {
    proptest::collection::vec((0u64..20_000, 1usize..1500), 1..300)
}

fn rate() -> impl Strategy<Value = Schedule<Option<u64>>> {
    let value = prop_oneof![Just(None), Just(Some(0)), (10_000u64..100_000_000).prop_map(Some)];
    (value.clone(), proptest::collection::vec((0u64..3000, value), 0..5)).prop_map(|(first, steps)| {
        Schedule::steps(first, steps.into_iter().map(|(ms, rate)| (Duration::from_millis(ms), rate)))
    })
}

fn trace() -> impl Strategy<Value = Rate> {
    proptest::collection::vec(0u32..200, 1..50).prop_map(|mut lines| {
        lines.sort_unstable();
        lines.push(200);
        let lines: Vec<String> = lines.iter().map(u32::to_string).collect();
        Rate::Trace(Trace::parse(&lines.join("\n")).unwrap())
    })
}

fn queue() -> impl Strategy<Value = QueueLimit> {
    prop_oneof![
        Just(QueueLimit::Unlimited),
        (0u64..100_000).prop_map(QueueLimit::Bytes),
        (0u64..1000).prop_map(|ms| QueueLimit::Time(Duration::from_millis(ms))),
    ]
}

fn loss() -> impl Strategy<Value = Loss> {
    prop_oneof![
        (0.0..1.0f64).prop_map(|p| Loss::Random(Schedule::constant(p))),
        (0.0..0.9f64, 1.0..20.0f64).prop_map(|(mean, burst)| Loss::GilbertElliott { mean, burst }),
        (0u64..2_000_000, 0u64..20_000).prop_map(|(rate, bucket)| Loss::Policer { rate, bucket }),
    ]
}

fn jitter(reorder: bool) -> impl Strategy<Value = Jitter> {
    let ms = |ms: u64| Duration::from_millis(ms);
    prop_oneof![
        Just(JitterModel::None),
        (0u64..50).prop_map(move |sd| JitterModel::Normal { sd: ms(sd) }),
        (0u64..50).prop_map(move |max| JitterModel::Uniform { max: ms(max) }),
    ]
    .prop_map(move |model| Jitter { model, reorder })
}

/// Links that keep the order of packets, when `reorder` is false; anything goes otherwise.
fn any_link(reorder: bool) -> impl Strategy<Value = LinkConfig> {
    let rates = prop_oneof![rate().prop_map(Rate::Schedule), trace()];
    let times = (0u64..100, 0u64..3000, 0u64..500, 0u64..400);
    (rates, queue(), loss(), jitter(reorder), 0.0..0.5f64, times).prop_map(
        move |(rate, queue, loss, jitter, chance, (delay, from, long, pause))| LinkConfig {
            rate,
            queue,
            loss,
            jitter,
            delay: Schedule::constant(Duration::from_millis(delay)),
            duplicate: chance / 4.0,
            reorder: Reorder { probability: if reorder { chance } else { 0.0 }, by: Duration::from_millis(30) },
            ecn_above: Some(Duration::from_millis(5)),
            outages: std::iter::once(Duration::from_millis(from)..Duration::from_millis(from + long)).collect(),
            pauses: Some(Pauses { every: Duration::from_millis(500), length: Duration::from_millis(pause) }),
            log: true,
        },
    )
}

/// Sends the traffic, takes every packet at its time, and checks at each step that no packet is lost or made up.
fn run(config: LinkConfig, seed: u64, traffic: &Traffic) -> Vec<LogEntry> {
    let start = Instant::now();
    let mut link = Link::new(config, start, seed);
    let mut now = start;
    assert_eq!(link.poll_timeout(), None);
    for (gap, bytes) in traffic {
        now += Duration::from_micros(*gap);
        deliver(&mut link, start, Some(now));
        link.handle_packet(now, *bytes, ());
        assert_balanced(&link);
    }
    deliver(&mut link, start, None);
    assert_balanced(&link);
    link.log().to_vec()
}

fn deliver(link: &mut Link<()>, start: Instant, until: Option<Instant>) {
    while let Some(at) = link.poll_timeout().filter(|at| until.is_none_or(|until| *at <= until)) {
        let before = at - Duration::from_micros(1);
        assert!(before < start || link.poll_deliver(before).is_none(), "not before its time");
        assert!(link.poll_deliver(at).is_some(), "the timeout says when");
    }
}

fn assert_balanced(link: &Link<()>) {
    let c = link.counters();
    assert_eq!(c.offered + c.duplicated, c.delivered + c.dropped() + link.in_flight() as u64);
    let logged = link.log().iter().filter(|entry| matches!(entry.event, LogEvent::Dropped(_))).count();
    assert_eq!(c.dropped(), logged as u64);
}

fn delivered(log: &[LogEntry]) -> Vec<LogEntry> {
    log.iter().filter(|entry| entry.event == LogEvent::Delivered).copied().collect()
}

/// Bits that a rate lets through, in millionths.
fn capacity(rate: &[(u64, u64)], from: u64, to: u64) -> u128 {
    let ends = rate.iter().skip(1).map(|(at, _)| *at).chain([u64::MAX]);
    let spans = rate
        .iter()
        .zip(ends)
        .map(|((at, rate), end)| u128::from(end.min(to).saturating_sub((*at).max(from))) * u128::from(*rate));
    spans.sum()
}

proptest! {
    #[test]
    fn packets_are_conserved_and_the_same_seed_gives_the_same_run(
        config in any_link(true), seed in any::<u64>(), traffic in traffic(),
    ) {
        prop_assert_eq!(run(config.clone(), seed, &traffic), run(config, seed, &traffic));
    }

    #[test]
    fn without_reordering_packets_arrive_in_the_order_in_which_they_were_sent(
        config in any_link(false), seed in any::<u64>(), traffic in traffic(),
    ) {
        let log = run(config, seed, &traffic);
        prop_assert!(delivered(&log).is_sorted_by_key(|entry| entry.packet));
    }

    #[test]
    fn no_packet_is_faster_than_the_delay_or_arrives_in_an_outage_or_a_pause(
        config in any_link(true), seed in any::<u64>(), traffic in traffic(), delay_ms in 0u64..200,
    ) {
        let delay = Duration::from_millis(delay_ms);
        let outage = config.outages[0].clone();
        let pauses = config.pauses.unwrap();
        let log = run(LinkConfig { delay: Schedule::constant(delay), ..config }, seed, &traffic);
        let mut clock = Duration::ZERO;
        let sent: Vec<Duration> = traffic.iter().map(|(gap, _)| { clock += Duration::from_micros(*gap); clock }).collect();
        for entry in delivered(&log) {
            prop_assert!(entry.at >= sent[entry.packet as usize] + delay);
            prop_assert!(!outage.contains(&entry.at));
            let since = entry.at.as_micros() % pauses.every.as_micros();
            prop_assert!(entry.at < pauses.every || since >= pauses.length.as_micros());
        }
    }

    #[test]
    fn over_any_window_the_rate_is_not_exceeded_by_more_than_a_packet_and_a_busy_link_uses_it_all(
        rates in proptest::collection::vec((0..MOST_PER_MICROSECOND as u64, 1u64..500_000), 1..6), traffic in traffic(),
    ) {
        // The last rate is not zero, so that the queue drains.
        let mut steps: Vec<(u64, u64)> = Vec::new();
        let mut at = 0;
        for (rate, us) in rates {
            steps.push((at, rate));
            at += us;
        }
        steps.push((at, 1_000_000));
        let changes = steps.iter().map(|(at, rate)| (Duration::from_micros(*at), Some(*rate)));
        let config = LinkConfig { rate: Rate::Schedule(Schedule::steps(None, changes)), log: true, ..LinkConfig::default() };
        let log = run(config, 1, &traffic);

        let out: Vec<(u64, u128)> = delivered(&log).iter().map(|e| (e.at.as_micros() as u64, e.bytes as u128 * 8_000_000)).collect();
        prop_assert_eq!(out.len(), traffic.len());
        for (first, (begin, _)) in out.iter().enumerate() {
            let mut passed = 0;
            for (at, bits) in &out[first + 1..] {
                passed += bits;
                // The first packet was in service before the window began, and ended up to a microsecond before its
                // time.
                prop_assert!(passed < capacity(&steps, *begin, *at) + MOST_PER_MICROSECOND);
            }
        }

        // Sent all at once, the last packet departs when the capacity reaches the sum, to the microsecond.
        let burst: Traffic = traffic.iter().map(|(_, bytes)| (0, *bytes)).collect();
        let changes = steps.iter().map(|(at, rate)| (Duration::from_micros(*at), Some(*rate)));
        let config = LinkConfig { rate: Rate::Schedule(Schedule::steps(None, changes)), log: true, ..LinkConfig::default() };
        let end = delivered(&run(config, 1, &burst)).last().unwrap().at.as_micros() as u64;
        let total: u128 = burst.iter().map(|(_, bytes)| *bytes as u128 * 8_000_000).sum();
        // Where the rate changes, up to a microsecond's worth is rounded.
        let rounding = MOST_PER_MICROSECOND * steps.len() as u128;
        prop_assert!(capacity(&steps, 0, end) + rounding >= total);
        prop_assert!(capacity(&steps, 0, end.saturating_sub(1)) <= total + rounding);
    }

    #[test]
    fn the_queue_never_holds_more_than_its_limit(
        bytes in 1500u64..100_000, rate in 10_000u64..10_000_000, traffic in traffic(),
    ) {
        let config = LinkConfig {
            rate: Rate::constant(rate), queue: QueueLimit::Bytes(bytes), log: true, ..LinkConfig::default()
        };
        for entry in run(config, 1, &traffic) {
            match entry.event {
                LogEvent::Queued { queued_bytes, departs, .. } => {
                    prop_assert!(queued_bytes <= bytes);
                    prop_assert!(departs >= entry.at);
                }
                LogEvent::Dropped(cause) => prop_assert_eq!(cause, DropCause::Queue),
                LogEvent::Delivered => {}
            }
        }
    }
}
