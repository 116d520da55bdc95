//! What the parts of the engine cost: `cargo bench -p sfu-engine`. docs/performance.md says what the figures are for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(unreachable_pub, dead_code, unused_imports, reason = "the harness is that of the calls")]

mod cases;
#[path = "../tests/harness/mod.rs"]
mod harness;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use harness::{Access, World, seconds};
use sfu_engine::transport::srtp::SrtpProfile;
use std::cell::Cell;
use std::time::{Duration, Instant};

const SHARDS: u16 = 1;

thread_local! {
    /// Time inside the engine's calls that took or gave media.
    static MEDIA: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn clock(call: &mut dyn FnMut() -> bool) {
    let began = Instant::now();
    if call() {
        MEDIA.set(MEDIA.get() + began.elapsed());
    }
}

/// One publisher with camera and microphone, 100 subscribers: everything that the engine does for a packet, from the datagram that comes
/// in to those that go out sealed, divided by those that go out.
fn fan_out(criterion: &mut Criterion) {
    let mut world = cases::room(100);
    world.around = clock;
    criterion.bench_function("fan-out to 100, per packet sent", |bencher| {
        bencher.iter_custom(|packets| {
            MEDIA.set(Duration::ZERO);
            let before = cases::sent(&world);
            while cases::sent(&world) - before < packets {
                world.run(Duration::from_millis(100));
            }
            MEDIA.get().mul_f64(packets as f64 / (cases::sent(&world) - before) as f64)
        });
    });
}

/// Time inside the engine's calls that took or gave no media.
fn clock_others(call: &mut dyn FnMut() -> bool) {
    let began = Instant::now();
    if !call() {
        MEDIA.set(MEDIA.get() + began.elapsed());
    }
}

/// 1000 messages of 1 KiB in a second to 50 receivers on the reliable lane: everything that the engine does for them, receivers'
/// acknowledgements included, divided by the messages that receivers get. 50 000 times this is the share of a core that such a room takes,
/// before the system calls.
fn data(criterion: &mut Criterion) {
    let mut world = World::new(1);
    for id in 1..=51 {
        world.join(id, Access { data: true, ..Access::default() }, &[], (1, 0));
    }
    world.run(seconds(5));
    world.around = clock_others;
    let sent = |world: &World| world.total(|s| s.counters.data_messages.sent);
    criterion.bench_function("data channels: 1 KiB to 50, per message sent", |bencher| {
        bencher.iter_custom(|messages| {
            MEDIA.set(Duration::ZERO);
            let before = sent(&world);
            while sent(&world) - before < messages {
                world.data(1).send("bench", &[], &[7; 1024]);
                world.run(Duration::from_millis(1));
            }
            MEDIA.get().mul_f64(messages as f64 / (sent(&world) - before) as f64)
        });
    });
    let dropped = world.total(|s| s.drops.get(sfu_engine::drops::DropReason::DataOverflow));
    assert_eq!(dropped, 0, "every receiver keeps up");
}

fn parts(criterion: &mut Criterion) {
    for (name, profile) in [("GCM", SrtpProfile::AeadAes128Gcm), ("CM_SHA1_80", SrtpProfile::Aes128CmSha1_80)] {
        criterion.bench_function(&format!("SRTP {name}: write and seal"), |bencher| bencher.iter(cases::seal(profile)));
        let (mut seal, mut open) = (cases::seal(profile), cases::open(profile));
        criterion.bench_function(&format!("SRTP {name}: open"), |bencher| {
            bencher.iter_batched(&mut seal, |mut sealed| open(&mut sealed), BatchSize::SmallInput);
        });
    }
    criterion.bench_function("classify and find among 10,000", |bencher| bencher.iter(cases::demux(10_000)));
    criterion.bench_function("parse a packet", |bencher| bencher.iter(cases::parse()));
    criterion.bench_function("store, select and renumber a packet", |bencher| bencher.iter(cases::rewrite()));
    criterion.bench_function("allocate 26 tracks", |bencher| bencher.iter(cases::allocate(26)));
    criterion.bench_function("estimate: a packet sent and reported", |bencher| bencher.iter(cases::estimate()));
    criterion.bench_function("wake one of 1000", |bencher| bencher.iter(cases::wake(1000)));
}

criterion_group!(benches, fan_out, data, parts);
criterion_main!(benches);
