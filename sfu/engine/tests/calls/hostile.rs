//! Whatever strangers and malicious participants send, another pair's call is not disturbed.

use crate::harness::{Access, Publish, World, millis, rtcp, seconds};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;
use sfu_engine::Tuple;
use sfu_engine::drops::DropReason;
use sfu_engine::snapshot::RtcpKind;

/// Digests of two victims' calls while `attack` is called every 10 ms.
fn run(mut attack: impl FnMut(&mut World, &mut ChaCha12Rng)) -> (World, Vec<u64>) {
    let mut world = World::new(17);
    for id in [1, 2] {
        world.join(id, Access::default(), &[Publish::Microphone, Publish::Camera], (1, 1));
    }
    // The attacker has a room of its own, and a call with itself.
    for id in [7, 8] {
        world.join_room(2, id, Access::default(), &[Publish::Camera], (0, 1));
    }
    world.run(seconds(3));
    let mut rng = ChaCha12Rng::seed_from_u64(99);
    for _ in 0..300 {
        attack(&mut world, &mut rng);
        world.run(millis(10));
    }
    world.run(seconds(1));
    let digests = [1, 2].map(|id| world.client(id).digest);
    (world, digests.to_vec())
}

fn junk(rng: &mut ChaCha12Rng, first: u8) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(1..1400)];
    rng.fill_bytes(&mut bytes);
    bytes[0] = first;
    bytes
}

#[test]
fn datagrams_of_strangers_and_forgeries_change_nothing_for_anybody() {
    let (_, quiet) = run(|_, _| {});
    let (world, attacked) = run(|world, rng| {
        let victim = world.tuple(1);
        for _ in 0..20 {
            let first = *[0, 1, 20, 22, 23, 63, 64, 128, 144, 191, 255].get(rng.random_range(0..11)).unwrap();
            let stranger =
                Tuple { remote: ([203, 0, 113, rng.random()], rng.random_range(1..65_535)).into(), ..victim };
            world.inject(stranger, junk(rng, first));
            // From the victim's own address, as a spoofer would; DTLS alerts and records are its own weakness, not
            // tried here.
            let first = *[0, 1, 64, 128, 144, 191, 255].get(rng.random_range(0..7)).unwrap();
            world.inject(victim, junk(rng, first));
        }
        // RTP of the victim's real source with a wrong tag.
        let mut forged = vec![0x80, 96, 0, 1, 0, 0, 0, 1];
        forged.extend(world.client(1).cameras[0].encodings[2].ssrc.to_be_bytes());
        forged.resize(900, 0x55);
        world.inject(victim, forged);
    });
    assert_eq!(quiet, attacked);
    let drops = world.engines[1 % usize::from(crate::SHARDS)].snapshot().drops;
    for reason in [DropReason::Unclassified, DropReason::UnknownTuple, DropReason::SrtpAuth, DropReason::StunMalformed]
    {
        assert!(drops.get(reason) > 100, "{reason:?}: {}", drops.get(reason));
    }
}

#[test]
fn a_participant_that_sends_rubbish_under_good_keys_disturbs_nobody_else() {
    let (_, quiet) = run(|_, _| {});
    let (world, attacked) = run(|world, rng| {
        for _ in 0..10 {
            let first = 0x80 | rng.random_range(0..32);
            let mut rtcp = junk(rng, first);
            rtcp.resize(rtcp.len().max(12), 0);
            if let Some(kind) = rtcp.get_mut(1) {
                *kind = rng.random_range(192..=223);
            }
            if rng.random() {
                // A length that fits, so that the parser goes further.
                rtcp.truncate(rtcp.len() / 4 * 4);
                let words = (rtcp.len() / 4 - 1) as u16;
                rtcp[2..4].copy_from_slice(&words.to_be_bytes());
                rtcp[1] = *[200, 201, 202, 203, 204, 205, 206, 207].get(rng.random_range(0..8)).unwrap();
            }
            let attacker = world.client_mut(7);
            attacker.transport.send_rtcp(&rtcp);
            let camera = &attacker.cameras[0].encodings[0];
            // RTP of its own source with rubbish in it, and of sources that nobody announced.
            let ssrc = if rng.random() { camera.ssrc } else { rng.random() };
            let mut rtp = vec![0x80 | (rng.random::<u8>() & 0x3F), rng.random::<u8>() & 0x3F | 0x40];
            rtp.extend(rng.random::<u16>().to_be_bytes());
            rtp.extend(rng.random::<u32>().to_be_bytes());
            rtp.extend(ssrc.to_be_bytes());
            rtp.extend(junk(rng, 0x90));
            if let Some(sealed) = attacker.transport.seal_unchecked(&rtp) {
                attacker.transport.send_raw(sealed);
            }
        }
    });
    assert_eq!(quiet, attacked);
    assert!(world.total(|s| s.drops.get(DropReason::RtcpMalformed)) > 100);
}

#[test]
fn whoever_asks_for_a_key_frame_of_sound_has_nobody_disturbed() {
    let mut world = World::new(6);
    world.join(1, Access::default(), &[Publish::Microphone], (0, 0));
    world.join(2, Access::default(), &[], (1, 0));
    world.run(seconds(2));
    let microphone = world.client(1).track("0");
    let ssrc = world.client(2).receiver_of(microphone).ssrc;
    world.client_mut(2).transport.send_rtcp(&rtcp::pli(2, ssrc));
    world.run(seconds(3));
    let came = world.total(|s| s.counters.rtcp(RtcpKind::Pli).received);
    let asked = world.total(|s| s.counters.rtcp(RtcpKind::Pli).sent + s.counters.rtcp(RtcpKind::Fir).sent);
    assert_eq!((came, asked), (1, 0));
}
