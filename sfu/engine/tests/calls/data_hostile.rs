//! Whatever a participant sends inside of DTLS: it harms itself at most.

use crate::harness::data::{LOSSY, RELIABLE, frames};
use crate::harness::{Access, World, millis, seconds};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;
use sfu_engine::drops::DropReason;

/// Two who talk, and an attacker in their room.
fn room(seed: u64) -> World {
    let mut world = World::new(seed);
    for id in [1, 2, 7] {
        world.join(id, Access { data: true, ..Access::default() }, &[], (1, 0));
    }
    let open = |world: &World| [1, 2, 7].iter().all(|id| world.client(*id).data.as_ref().is_some_and(|d| d.is_open()));
    assert!(world.run_until(seconds(10), open));
    world
}

/// Whether the two others still hear each other, whole and soon.
fn check_others(world: &mut World) {
    for (from, to) in [(1, 2), (2, 1)] {
        let before = world.data(to).messages.len();
        world.data(from).send("", &[&format!("p{to}")], &[9; 100_000]);
        let came = |world: &World| world.client(to).data.as_ref().is_some_and(|data| data.messages.len() > before);
        assert!(world.run_until(seconds(3), came), "{from} to {to}");
        let last = world.data(to).messages.last().unwrap();
        assert_eq!((last.from.clone(), last.payload.len()), (format!("p{from}"), 100_000));
    }
}

/// A packet of the attacker's association.
fn packet(world: &mut World, chunks: &[u8]) -> Vec<u8> {
    let tag = world.data(7).association_tag;
    sctp(tag, chunks)
}

fn sctp(tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x13, 0x88, 0x13, 0x88];
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend_from_slice(chunks);
    let checksum = crc32c(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet
}

/// RFC 9260 appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 })
    })
}

fn chunk(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut chunk = vec![kind, flags];
    chunk.extend(((body.len() + 4) as u16).to_be_bytes());
    chunk.extend_from_slice(body);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

fn data_chunk(tsn: u32, stream: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = tsn.to_be_bytes().to_vec();
    body.extend(stream.to_be_bytes());
    body.extend([0, 0, 0, 0, 0, 53]);
    body.extend_from_slice(payload);
    chunk(0, flags, &body)
}

fn init(tag: u32, tsn: u32) -> Vec<u8> {
    let mut body = tag.to_be_bytes().to_vec();
    body.extend([0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    body.extend(tsn.to_be_bytes());
    sctp(0, &chunk(1, 0, &body))
}

fn attack(world: &mut World, packets: impl IntoIterator<Item = Vec<u8>>) {
    let now = world.now;
    for packet in packets {
        world.client_mut(7).transport.send_data(now, &packet);
    }
    world.run(millis(50));
}

fn refused(world: &World) -> u64 {
    world.total(|s| s.drops.get(DropReason::SctpRefused))
}

#[test]
fn frames_of_rubbish_are_counted_and_the_next_good_one_counts() {
    let mut world = room(81);
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    for _ in 0..200 {
        let mut frame = vec![0; rng.random_range(1..300)];
        rng.fill_bytes(&mut frame);
        let lane = if rng.random() { RELIABLE } else { LOSSY };
        world.data(7).send_frame(lane, frame);
    }
    world.run(seconds(2));
    let malformed = world.total(|s| s.drops.get(DropReason::DataMalformed));
    assert!(malformed > 150, "{malformed}");
    // What rubbish left open is closed by what does not continue it.
    world.data(7).send("", &[], b"x");
    world.data(7).send("", &[], b"good");
    world.run(seconds(1));
    assert_eq!(world.data(1).messages.last().unwrap().payload, b"good");
    check_others(&mut world);
}

#[test]
fn a_sender_that_writes_another_name_is_known_by_its_own() {
    let mut world = room(82);
    // What the server would send of p1: in a client's frame there is no place for a sender, so it reads as a topic.
    let mut forged = vec![3, 2];
    forged.extend(b"p1");
    forged.extend([0]);
    forged.extend(b"I am p1");
    world.data(7).send_frame(RELIABLE, forged);
    world.run(seconds(1));
    let senders: Vec<_> = world.data(2).messages.iter().map(|message| message.from.clone()).collect();
    assert_eq!(senders, ["p7"]);
}

#[test]
fn messages_and_frames_that_are_too_long_go_nowhere() {
    let mut world = room(83);
    world.data(7).send("", &[], &vec![1; 262_145]);
    let long = frames("", &[], &[1; 16_000]).remove(0);
    world.data(7).send_frame(RELIABLE, [long, vec![1; 4000]].concat());
    world.data(7).send_lossy("", &[], &[1; 15_000]);
    world.run(seconds(2));
    assert_eq!((world.data(1).messages.len(), world.data(2).messages.len()), (0, 0));
    assert!(world.total(|s| s.drops.get(DropReason::DataMalformed)) >= 3);
    world.data(7).send("", &[], &vec![1; 262_144]);
    world.run(seconds(2));
    assert_eq!(world.data(1).messages.len(), 1, "the longest allowed");
    check_others(&mut world);
}

#[test]
fn floods_of_inits_change_nothing() {
    let mut world = room(84);
    attack(&mut world, (0..2000).map(|number| init(1 + number, number)));
    assert!(refused(&world) >= 2000, "{}", refused(&world));
    world.data(7).send("", &[], b"still here");
    world.run(seconds(1));
    assert_eq!(world.data(1).payloads(), [b"still here"], "the association stands");
    check_others(&mut world);
}

#[test]
fn floods_of_streams_are_refused() {
    let mut world = room(85);
    for id in (4..30).step_by(2) {
        world.data(7).open_channel(id, 0, b"another");
    }
    world.run(seconds(1));
    let tsn = world.data(7).next_tsn();
    let packets: Vec<_> = (40..2000).map(|stream| data_chunk(tsn, stream, 3, b"x")).collect();
    let packets: Vec<_> = packets.iter().map(|chunk| packet(&mut world, chunk)).collect();
    let before = refused(&world);
    attack(&mut world, packets);
    assert!(refused(&world) - before >= 1900, "{}", refused(&world) - before);
    check_others(&mut world);
}

#[test]
fn numbers_far_ahead_and_acknowledgements_of_nonsense_are_refused() {
    let mut world = room(86);
    let tsn = world.data(7).next_tsn();
    let forward = |ahead: u32| chunk(192, 0, &tsn.wrapping_add(ahead).to_be_bytes());
    let sack = |gaps: &[[u16; 2]]| {
        let mut body = vec![0; 8];
        body.extend((gaps.len() as u16).to_be_bytes());
        body.extend([0, 0]);
        gaps.iter().flatten().for_each(|edge| body.extend(edge.to_be_bytes()));
        chunk(3, 0, &body)
    };
    let reset = |ahead: u32| {
        let mut body = vec![0, 13, 0, 18, 0, 0, 0, 1, 0, 0, 0, 1];
        body.extend(tsn.wrapping_add(ahead).to_be_bytes());
        body.extend([0, 0]);
        chunk(130, 0, &body)
    };
    let chunks = [
        forward(1 << 30),
        forward(10_000),
        data_chunk(tsn.wrapping_add(10_000), 0, 3, b"x"),
        data_chunk(tsn, 0, 3, b""),
        sack(&[[5, 4]]),
        sack(&[[2, 3], [2, 3]]),
        sack(&[[0, 3]]),
        reset(1 << 20),
        chunk(2, 0, &[0; 16]),
        chunk(11, 0, &[]),
        chunk(64, 0, &[0; 200]),
    ];
    for chunk in &chunks {
        let before = refused(&world);
        let packet = packet(&mut world, chunk);
        attack(&mut world, [packet]);
        assert_eq!(refused(&world), before + 1, "{chunk:?}");
    }
    world.data(7).send("", &[], b"still here");
    world.run(seconds(1));
    assert_eq!(world.data(1).payloads(), [b"still here"], "the association stands");
    check_others(&mut world);
}

#[test]
fn fragments_without_end_end_the_association() {
    let mut world = room(87);
    let tsn = world.data(7).next_tsn();
    for number in 0..2000_u32 {
        let flags = if number == 0 { 2 } else { 0 };
        let mut chunk = data_chunk(tsn.wrapping_add(number), 0, flags, &[5; 1100]);
        // The next message of the stream: the first one opened the channel.
        chunk[11] = 1;
        let packet = packet(&mut world, &chunk);
        let now = world.now;
        world.client_mut(7).transport.send_data(now, &packet);
        world.run(millis(1));
    }
    let refused = refused(&world);
    assert!(refused > 1000, "refused from some half a megabyte on, not {refused} of 2000");
    check_others(&mut world);
}

#[test]
fn packets_of_rubbish_disturb_nobody() {
    for seed in 0..8 {
        let mut world = room(88 + seed);
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        for _ in 0..60 {
            let tsn = world.data(7).next_tsn();
            let mut packets = Vec::new();
            for _ in 0..20 {
                let mut chunks = Vec::new();
                for _ in 0..rng.random_range(1..4) {
                    let kind = *[0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 14, 130, 192, rng.random()]
                        .get(rng.random_range(0..14))
                        .unwrap();
                    let mut body = vec![0; rng.random_range(0..60)];
                    rng.fill_bytes(&mut body);
                    if rng.random() && body.len() >= 4 {
                        body[..4].copy_from_slice(&tsn.wrapping_add(rng.random_range(0..300)).to_be_bytes());
                    }
                    chunks.extend(chunk(kind, rng.random(), &body));
                }
                if rng.random_range(0..4) == 0 {
                    let at = rng.random_range(0..chunks.len());
                    chunks[at] = rng.random();
                }
                packets.push(packet(&mut world, &chunks));
            }
            attack(&mut world, packets);
        }
        check_others(&mut world);
    }
}
