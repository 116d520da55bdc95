//! What the parts of the engine cost: `cargo bench -p sfu-engine`. docs/performance.md says what the figures are for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(unreachable_pub, dead_code, unused_imports, reason = "the harness is that of the calls")]

#[path = "../tests/harness/mod.rs"]
mod harness;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use harness::{Access, Publish, World, seconds};
use rtc::crypto::default_provider;
use sfu_engine::downlink::allocate::{Allocator, LayerOption, Subscription};
use sfu_engine::downlink::estimate::{Estimator, EstimatorConfig, Feedback, PacketReport, ReceiverTime, SentPacket};
use sfu_engine::ids::EncodingIndex;
use sfu_engine::media::Source;
use sfu_engine::rtp::packet::{RtpHeader, RtpPacket, write_header};
use sfu_engine::transport::demux::{Demux, classify};
use sfu_engine::transport::dtls::DtlsRole;
use sfu_engine::transport::srtp::{SrtpKeys, SrtpProfile, SrtpReceiver, SrtpSender};
use sfu_engine::units::{Bitrate, PayloadType, RtpTime, SeqNo, Ssrc};
use sfu_engine::{Priority, Protocol, Tuple};
use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

const SHARDS: u16 = 1;
/// Bytes of a video packet's payload.
const PAYLOAD: usize = 1120;

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
    let mut world = World::new(1);
    world.join(1, Access::default(), &[Publish::Microphone, Publish::Camera], (0, 0));
    for id in 2..=101 {
        world.join(id, Access::default(), &[], (1, 1));
    }
    world.run(seconds(10));
    world.around = clock;
    let sent = |world: &World| world.total(|s| s.counters.rtp_packets_out.iter().sum());
    criterion.bench_function("fan-out to 100, per packet sent", |bencher| {
        bencher.iter_custom(|packets| {
            MEDIA.set(Duration::ZERO);
            let before = sent(&world);
            while sent(&world) - before < packets {
                world.run(Duration::from_millis(100));
            }
            MEDIA.get().mul_f64(packets as f64 / (sent(&world) - before) as f64)
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

/// A plain RTP packet with this number.
fn packet(seq: u16) -> Vec<u8> {
    let header = RtpHeader {
        marker: false,
        payload_type: PayloadType(96),
        seq: SeqNo(seq),
        timestamp: RtpTime(1),
        ssrc: Ssrc(7),
    };
    let mut out = Vec::with_capacity(PAYLOAD + 64);
    write_header(&mut out, &header, [(3, &[0, 1][..]), (4, b"0")].into_iter(), true);
    out.resize(out.len() + PAYLOAD, 0x55);
    out
}

fn srtp(criterion: &mut Criterion) {
    let provider = default_provider().unwrap();
    for (name, profile) in [("GCM", SrtpProfile::AeadAes128Gcm), ("CM_SHA1_80", SrtpProfile::Aes128CmSha1_80)] {
        let material: Vec<u8> = (0..profile.keying_material_len()).map(|byte| byte as u8).collect();
        let keys = |role| SrtpKeys::from_exporter(profile, &material, role).unwrap();
        let mut sender = SrtpSender::new(&keys(DtlsRole::Client), provider.crypto()).unwrap();
        let mut seq = 0u16;
        let mut seal = || {
            seq = seq.wrapping_add(1);
            let mut sealed = packet(seq);
            sender.protect_rtp(&mut sealed, 0).unwrap();
            sealed
        };
        criterion.bench_function(&format!("SRTP {name}: write and seal"), |bencher| bencher.iter(&mut seal));
        let mut receiver = SrtpReceiver::new(&keys(DtlsRole::Server), provider.crypto()).unwrap();
        criterion.bench_function(&format!("SRTP {name}: open"), |bencher| {
            bencher.iter_batched(
                &mut seal,
                |mut sealed| receiver.unprotect_rtp(&mut sealed).unwrap(),
                BatchSize::SmallInput,
            );
        });
    }
}

fn demux(criterion: &mut Criterion) {
    let tuple = |client: u32| {
        let [_, a, b, c] = client.to_be_bytes();
        let remote = ([10, a, b, c], 40_000).into();
        Tuple { protocol: Protocol::Udp, local: ([192, 0, 2, 1], 7882).into(), remote }
    };
    let mut demux = Demux::new();
    (0..10_000).for_each(|client| {
        demux.insert_tuple(tuple(client), client);
    });
    let datagram = packet(1);
    let mut client = 0;
    criterion.bench_function("classify and find among 10,000", |bencher| {
        bencher.iter(|| {
            client = (client + 7919) % 10_000;
            (classify(black_box(&datagram)), demux.by_tuple(&tuple(client)))
        });
    });
    criterion.bench_function("parse a packet", |bencher| {
        bencher.iter(|| RtpPacket::parse(black_box(&datagram)).map(|packet| packet.extensions().count()));
    });
}

fn allocator(criterion: &mut Criterion) {
    let option = |encoding: u8, temporal: u8, kbps: u64, height: u16| LayerOption {
        encoding: EncodingIndex(encoding),
        spatial: 0,
        temporal,
        rate: Bitrate::kbps(kbps),
        height,
        fps: 30 >> (2 - temporal),
    };
    let ladder = [(0, 150, 180), (1, 500, 360), (2, 1700, 720)];
    let layers = ladder.into_iter().flat_map(|(encoding, kbps, height)| {
        [(0, 60), (1, 80), (2, 100)].map(|(temporal, share)| option(encoding, temporal, kbps * share / 100, height))
    });
    let options: Vec<LayerOption> = layers.collect();
    let subscriptions: Vec<_> = (0..26u32)
        .map(|key| Subscription {
            key,
            priority: if key == 0 { Priority::Speaker } else { Priority::Visible },
            source: Source::Camera,
            max_height: [180, 360, 720][key as usize % 3],
            options: &options,
            current: None,
        })
        .collect();
    let (mut allocator, mut decisions) = (Allocator::default(), Vec::new());
    let mut budget = 0;
    criterion.bench_function("allocate 26 tracks", |bencher| {
        bencher.iter(|| {
            budget = (budget + 977) % 12_000;
            allocator.choose(Bitrate::kbps(500 + budget), 0.0, &subscriptions, &mut decisions)
        });
    });
}

fn estimator(criterion: &mut Criterion) {
    let start = Instant::now();
    let mut estimator = Estimator::new(start, EstimatorConfig::default());
    let (mut now, mut transport_seq, mut reports) = (start, 0u16, Vec::new());
    criterion.bench_function("estimate: a packet sent and reported", |bencher| {
        bencher.iter(|| {
            now += Duration::from_millis(2);
            estimator.on_sent(now, SentPacket { transport_seq, bytes: 1200, probe: None, repair: false });
            let at = now.duration_since(start) + Duration::from_millis(20);
            reports.push(PacketReport { transport_seq, arrival: Some(ReceiverTime(at.as_micros() as i64)) });
            transport_seq = transport_seq.wrapping_add(1);
            if reports.len() == 50 {
                estimator.on_feedback(now + Duration::from_millis(40), &Feedback { reports: &reports });
                reports.clear();
            }
        });
    });
}

criterion_group!(parts, fan_out, data, srtp, demux, allocator, estimator);
criterion_main!(parts);
