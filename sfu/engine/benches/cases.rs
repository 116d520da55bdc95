//! The parts of the engine that are measured: by time in `parts`, by instructions in `counts`. Each function sets a
//! part up and gives back what is done once in a measurement.

use crate::harness::{Access, Publish, World, seconds};
use rtc::crypto::default_provider;
use sfu_engine::downlink::allocate::{Allocator, LayerOption, Subscription};
use sfu_engine::downlink::estimate::{Estimator, EstimatorConfig, Feedback, PacketReport, ReceiverTime, SentPacket};
use sfu_engine::forward::{CaptureTime, EncodingView, Forwarder, Layer};
use sfu_engine::ids::EncodingIndex;
use sfu_engine::media::{FrameMeta, MediaKind, PacketMeta, PictureNumbers, Source};
use sfu_engine::rtp::packet::{RtpHeader, RtpPacket, write_header};
use sfu_engine::timers::Timers;
use sfu_engine::transport::demux::{Demux, classify};
use sfu_engine::transport::dtls::DtlsRole;
use sfu_engine::transport::srtp::{SrtpKeys, SrtpProfile, SrtpReceiver, SrtpSender};
use sfu_engine::units::{Bitrate, ExtSeq, PayloadType, RtpTime, SeqNo, Ssrc};
use sfu_engine::uplink::store::PacketStore;
use sfu_engine::{Priority, Protocol, Tuple};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Bytes of a video packet's payload.
const PAYLOAD: usize = 1120;

/// A room with one publisher, camera and microphone, and so many subscribers, long enough for all estimates to be up.
pub fn room(subscribers: u64) -> World {
    let mut world = World::new(1);
    world.join(1, Access::default(), &[Publish::Microphone, Publish::Camera], (0, 0));
    for id in 2..2 + subscribers {
        world.join(id, Access::default(), &[], (1, 1));
    }
    world.run(seconds(10));
    world
}

/// Media packets sent so far.
pub fn sent(world: &World) -> u64 {
    world.total(|s| s.counters.rtp_packets_out.iter().sum())
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

fn keys(profile: SrtpProfile, role: DtlsRole) -> SrtpKeys {
    let material: Vec<u8> = (0..profile.keying_material_len()).map(|byte| byte as u8).collect();
    SrtpKeys::from_exporter(profile, &material, role).unwrap()
}

/// Writes a packet and seals it; gives it out.
pub fn seal(profile: SrtpProfile) -> impl FnMut() -> Vec<u8> {
    let mut sender = SrtpSender::new(&keys(profile, DtlsRole::Client), default_provider().unwrap().crypto()).unwrap();
    let mut seq = 0u16;
    move || {
        seq = seq.wrapping_add(1);
        let mut sealed = packet(seq);
        sender.protect_rtp(&mut sealed, 0).unwrap();
        sealed
    }
}

/// Opens what [`seal`] gave out.
pub fn open(profile: SrtpProfile) -> impl FnMut(&mut [u8]) -> usize {
    let keys = keys(profile, DtlsRole::Server);
    let mut receiver = SrtpReceiver::new(&keys, default_provider().unwrap().crypto()).unwrap();
    move |sealed| receiver.unprotect_rtp(sealed).unwrap()
}

/// Classifies a datagram and finds whose it is, among so many clients.
pub fn demux(clients: u32) -> impl FnMut() {
    let tuple = |client: u32| {
        let [_, a, b, c] = client.to_be_bytes();
        let remote = ([10, a, b, c], 40_000).into();
        Tuple { protocol: Protocol::Udp, local: ([192, 0, 2, 1], 7882).into(), remote }
    };
    let mut demux = Demux::new();
    (0..clients).for_each(|client| {
        demux.insert_tuple(tuple(client), client);
    });
    let (datagram, mut client) = (packet(1), 0);
    move || {
        client = (client + 7919) % clients;
        black_box((classify(black_box(&datagram)), demux.by_tuple(&tuple(client))));
    }
}

/// Reads a packet's header and walks its extensions.
pub fn parse() -> impl FnMut() {
    let datagram = packet(1);
    move || {
        black_box(RtpPacket::parse(black_box(&datagram)).map(|packet| packet.extensions().count()));
    }
}

struct Clock;

impl CaptureTime for Clock {
    fn capture_time(&self, ts: RtpTime) -> i64 {
        i64::from(ts.0) * 100 / 9
    }
}

/// Stores a packet and lets a slot's forwarder select and renumber it: three packets a frame, two temporal layers of
/// which the slot takes one.
pub fn rewrite() -> impl FnMut() {
    let (mut store, mut forwarder) =
        (PacketStore::new(PacketStore::VIDEO_SLOTS), Forwarder::new(MediaKind::Video, SeqNo(1000), RtpTime(5)));
    let encoding = EncodingIndex(0);
    forwarder.set_target(Some(Layer { encoding, spatial: 0, temporal: 0 }));
    let (start, payload, mut count) = (Instant::now(), packet(1), 0u64);
    move || {
        let (frame, part) = (count / 3, count % 3);
        let seq = ExtSeq(70_000 + count);
        count += 1;
        let picture = PictureNumbers {
            picture_id: frame as u16 & 0x7fff,
            picture_id_at: 2,
            long_picture_id: true,
            tl0_pic_idx: (frame / 2) as u8,
            tl0_at: 4,
            consecutive: true,
        };
        let arrival = start + Duration::from_micros(frame * 33_333 + part * 100);
        let meta = PacketMeta {
            redundant: 0,
            seq,
            timestamp: RtpTime(frame as u32 * 3000),
            marker: part == 2,
            payload_type: PayloadType(96),
            arrival,
            audio_level: None,
            frame: FrameMeta {
                starts_frame: part == 0,
                ends_frame: part == 2,
                keyframe: frame == 0 && part == 0,
                temporal: (frame % 2) as u8,
                picture: Some(picture),
                ..FrameMeta::default()
            },
        };
        store.insert(meta, &[], &payload);
        let stored = store.get(seq).unwrap();
        let views = [EncodingView { store: &store, clock: &Clock }];
        let mut emitted = None;
        forwarder.forward(arrival, encoding, stored, &views, &mut |number, _| emitted = Some(number));
        black_box(emitted.and_then(|number| forwarder.outgoing(number)));
    }
}

/// Chooses layers for a participant of so many video tracks in nine layers each, with another budget every time.
pub fn allocate(tracks: u32) -> impl FnMut() {
    let option = |encoding: u8, temporal: u8, kbps: u64, height: u16| LayerOption {
        encoding: EncodingIndex(encoding),
        spatial: 0,
        temporal,
        rate: Bitrate::kbps(kbps),
        height,
        fps: 30 >> (2 - temporal),
        doubtful: false,
    };
    let ladder = [(0, 150, 180), (1, 500, 360), (2, 1700, 720)];
    let layers = ladder.into_iter().flat_map(|(encoding, kbps, height)| {
        [(0, 60), (1, 80), (2, 100)].map(|(temporal, share)| option(encoding, temporal, kbps * share / 100, height))
    });
    let options: Vec<LayerOption> = layers.collect();
    let (mut allocator, mut decisions, mut budget) = (Allocator::default(), Vec::new(), 0);
    move || {
        let subscription = |key: u32| Subscription {
            key,
            priority: if key == 0 { Priority::Speaker } else { Priority::Visible },
            source: Source::Camera,
            max_height: [180, 360, 720][key as usize % 3],
            options: &options,
            current: None,
        };
        let subscriptions: Vec<_> = (0..tracks).map(subscription).collect();
        budget = (budget + 977) % 12_000;
        let rate = Bitrate::kbps(500 + budget);
        allocator.choose(rate, 0.0, rate, &subscriptions, &mut decisions);
        black_box(&decisions);
    }
}

/// For [`estimate`]: every packet arrives.
pub const NONE_LOST: u16 = 1;

/// Notes a packet sent, and takes the feedback for 50 when they are complete. Of so many packets the second is lost.
pub fn estimate(one_lost_of: u16) -> impl FnMut() {
    let start = Instant::now();
    let mut estimator = Estimator::new(start, EstimatorConfig::default());
    let (mut now, mut transport_seq, mut reports) = (start, 0u16, Vec::new());
    move || {
        now += Duration::from_millis(2);
        estimator.on_sent(now, SentPacket { transport_seq, bytes: 1200, probe: None, repair: None });
        let at = now.duration_since(start) + Duration::from_millis(20);
        let arrival = (transport_seq % one_lost_of != 1).then_some(ReceiverTime(at.as_micros() as i64));
        reports.push(PacketReport { transport_seq, arrival });
        transport_seq = transport_seq.wrapping_add(1);
        if reports.len() == 50 {
            estimator.on_feedback(now + Duration::from_millis(40), &Feedback { reports: &reports });
            reports.clear();
        }
    }
}

/// One of so many participants is woken, and wants to be again: each in 5 ms (a pacer), and every eighth time in 5 s
/// (consent).
pub fn wake(participants: u64) -> impl FnMut() {
    let (start, mut timers) = (Instant::now(), Timers::default());
    (0..participants)
        .for_each(|owner| timers.add(start + Duration::from_nanos(owner * 5_000_000 / participants), owner));
    let (mut now, mut woken) = (start, 0u64);
    move || {
        loop {
            let Some((at, owner)) = timers.pop_due(now) else {
                now = timers.next().unwrap();
                continue;
            };
            if owner < participants {
                woken += 1;
                timers.add(at + Duration::from_millis(5), owner);
                if woken.is_multiple_of(8) {
                    timers.add(at + Duration::from_secs(5), owner + participants);
                }
                return;
            }
        }
    }
}
