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
use std::hint::black_box;
use std::time::{Duration, Instant};

const SHARDS: u16 = 1;

/// More than the caches of one processor hold.
const FLUSHED_BYTES: usize = 8 << 20;

thread_local! {
    /// Time inside the engine's calls that took or gave media.
    static MEDIA: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// What is read after a picture, so that nothing of the engine's is left in the caches.
    static OTHER_MEMORY: Vec<u8> = vec![1; FLUSHED_BYTES];
    /// The last call took or gave media.
    static IN_PICTURE: Cell<bool> = const { Cell::new(false) };
}

fn clock(call: &mut dyn FnMut() -> bool) {
    let began = Instant::now();
    if call() {
        MEDIA.set(MEDIA.get() + began.elapsed());
    }
}

/// As [`clock`], with caches that are used for something else after each picture.
fn clock_cold(call: &mut dyn FnMut() -> bool) {
    let began = Instant::now();
    let is_media = call();
    if is_media {
        MEDIA.set(MEDIA.get() + began.elapsed());
    }
    if IN_PICTURE.replace(is_media) && !is_media {
        OTHER_MEMORY.with(|memory| memory.iter().step_by(64).for_each(|byte| _ = black_box(*byte)));
    }
}

/// One publisher with camera and microphone, 100 subscribers: everything that the engine does for a packet, from the
/// datagram that comes in to those that go out sealed, divided by those that go out.
fn fan_out(criterion: &mut Criterion) {
    let mut world = cases::room(100);
    for (how, cold) in [("", false), (", from cold caches", true)] {
        world.around = if cold { clock_cold } else { clock };
        criterion.bench_function(&format!("fan-out to 100{how}, per packet sent"), |bencher| {
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
}

/// Time inside the engine's calls that took or gave no media.
fn clock_others(call: &mut dyn FnMut() -> bool) {
    let began = Instant::now();
    if !call() {
        MEDIA.set(MEDIA.get() + began.elapsed());
    }
}

/// 1000 messages of 1 KiB in a second to 50 receivers on the reliable lane: everything that the engine does for them,
/// receivers' acknowledgements included, divided by the messages that receivers get. 50 000 times this is the share of
/// a core that such a room takes, before the system calls.
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
    for (how, one_lost_of) in [("", cases::NONE_LOST), (", one of 50 as lost", 50)] {
        let name = format!("estimate: a packet sent and reported{how}");
        criterion.bench_function(&name, |bencher| bencher.iter(cases::estimate(one_lost_of)));
    }
    criterion.bench_function("wake one of 1000", |bencher| bencher.iter(cases::wake(1000)));
}

criterion_group!(benches, fan_out, data, parts);
criterion_main!(benches);
