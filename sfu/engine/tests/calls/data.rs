//! Data channels: messages reach whom they are for, as they were, from whom they really are; nobody waits for a slow
//! reader.

use crate::harness::data::Message;
use crate::harness::{Access, World, lossy, millis, narrowing, seconds};
use bytes::Bytes;
use sfu_engine::command::Permissions;
use sfu_engine::data::{DataMessage, Lane, Recipients};
use sfu_engine::drops::DropReason;
use sfu_engine::ids::{ParticipantId, RoomId};
use sfu_engine::{Command, Event};

fn with_data() -> Access {
    Access { data: true, ..Access::default() }
}

/// These participants, with their lanes open.
fn room(seed: u64, ids: impl IntoIterator<Item = u64> + Clone) -> World {
    let mut world = World::new(seed);
    for id in ids.clone() {
        world.join(id, with_data(), &[], (1, 0));
    }
    opens(&mut world, ids);
    world
}

fn opens(world: &mut World, ids: impl IntoIterator<Item = u64>) {
    let ids: Vec<u64> = ids.into_iter().collect();
    let open = |world: &World| ids.iter().all(|id| world.client(*id).data.as_ref().is_some_and(|data| data.is_open()));
    assert!(world.run_until(seconds(10), open), "the lanes open");
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 % 251) as u8).collect()
}

fn arrived(world: &World, id: u64) -> usize {
    world.client(id).data.as_ref().map_or(0, |data| data.messages.len())
}

#[test]
fn a_message_reaches_everybody_else_with_its_senders_name() {
    let mut world = room(71, [1, 2, 3]);
    world.data(1).send("chat", &[], b"hello");
    world.data(2).send_lossy("pointer", &[], &[1, 2]);
    world.run(seconds(1));
    let hello = Message { from: "p1".into(), topic: "chat".into(), payload: b"hello".to_vec(), is_lossy: false };
    let pointer = Message { from: "p2".into(), topic: "pointer".into(), payload: vec![1, 2], is_lossy: true };
    assert_eq!(world.data(1).messages, std::slice::from_ref(&pointer));
    assert_eq!(world.data(2).messages, std::slice::from_ref(&hello));
    world.data(3).messages.sort_by_key(|message| message.is_lossy);
    assert_eq!(world.data(3).messages, [hello, pointer]);
}

#[test]
fn a_message_for_some_reaches_them_and_nobody_else() {
    let mut world = room(72, 1..=5);
    world.join_room(2, 9, with_data(), &[], (1, 0));
    opens(&mut world, [9]);
    // To itself, to another room and to nobody are no addresses.
    world.data(1).send("", &["p3", "p4", "p1", "p9", "p77"], b"for you");
    world.data(1).send("", &["p9"], b"for another room");
    world.data(1).send("", &["nobody"], b"for nobody");
    world.run(seconds(1));
    let got: Vec<_> = [1, 2, 3, 4, 5, 9].map(|id| arrived(&world, id)).to_vec();
    assert_eq!(got, [0, 0, 1, 1, 0, 0]);
}

#[test]
fn long_messages_of_several_senders_arrive_whole_and_in_order_over_bad_links() {
    let mut world = World::new(73);
    for id in [1, 2, 3] {
        world.join(id, Access { up: lossy(30, 0.03), down: lossy(30, 0.03), ..with_data() }, &[], (1, 0));
    }
    opens(&mut world, [1, 2, 3]);
    let sizes = [262_144, 0, 1, 16_384, 100_000];
    for size in sizes {
        world.data(1).send("one", &[], &bytes(size));
        world.data(2).send("two", &[], &bytes(size));
    }
    assert!(world.run_until(seconds(120), |world| arrived(world, 3) == 10), "{} of 10", arrived(&world, 3));
    for sender in ["p1", "p2"] {
        let got: Vec<_> =
            world.data(3).messages.iter().filter(|m| m.from == sender).map(|m| m.payload.clone()).collect();
        assert_eq!(got, sizes.map(bytes), "{sender}");
    }
}

#[test]
fn who_may_not_send_is_not_heard_and_hears() {
    let mut world = room(74, [1, 2]);
    let permissions = Permissions { data: false, ..Permissions::default() };
    world.join(3, Access { permissions, ..with_data() }, &[], (1, 0));
    opens(&mut world, [3]);
    world.data(3).send("", &[], b"psst");
    world.data(3).send_lossy("", &["p1"], b"psst");
    world.data(1).send("", &[], b"hello");
    world.run(seconds(1));
    assert_eq!([1, 2, 3].map(|id| arrived(&world, id)), [0, 1, 1]);
    assert_eq!(world.total(|s| s.drops.get(DropReason::DataNotAllowed)), 2);
}

#[test]
fn the_server_sends_in_its_own_name() {
    let mut world = room(75, [1, 2, 3]);
    let message = DataMessage {
        from: None,
        to: Recipients::Only(vec![ParticipantId(2)]),
        lane: Lane::Reliable,
        is_text: true,
        topic: "notice".into(),
        payload: Bytes::from_static(b"closing"),
    };
    let now = world.now;
    for engine in &mut world.engines {
        engine.handle_command(now, Command::SendData { room: RoomId(1), message: message.clone() });
    }
    world.run(seconds(1));
    assert_eq!([1, 2, 3].map(|id| arrived(&world, id)), [0, 1, 0]);
    let message = &world.data(2).messages[0];
    assert_eq!((message.from.as_str(), message.payload.as_slice()), ("", &b"closing"[..]));
}

#[test]
fn a_slow_reader_delays_nobody_holds_little_and_is_told_what_it_missed() {
    let mut world = room(76, [1, 2]);
    // 100 kb/s for messages of some 2 Mb/s.
    world.join(3, Access { down: narrowing(20, [(0, 100_000)]), ..with_data() }, &[], (1, 0));
    opens(&mut world, [3]);
    let mut longest = std::time::Duration::ZERO;
    for number in 0..200_u32 {
        let sent = world.now;
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(10_000, 0);
        world.data(1).send("", &[], &payload);
        assert!(world.run_until(seconds(2), |world| arrived(world, 2) == number as usize + 1), "{number}");
        longest = longest.max(world.now - sent);
        let until = sent + millis(40);
        world.run(until.saturating_duration_since(world.now));
        let held = world.engine(3).data_queued(ParticipantId(3)).unwrap();
        assert!(held <= 1024 * 1024, "{held} bytes wait for the slow one");
    }
    assert!(longest < millis(200), "a message to the fast one took {longest:?}");
    assert_eq!(world.data(1).buffered(), 0, "the sender is not held back");
    // It drains in the end: what came is whole and in order, and what did not come is counted.
    assert!(world.run_until(seconds(300), |world| {
        let data = world.client(3).data.as_ref().unwrap();
        data.messages.len() + data.lost as usize == 200
    }));
    let numbers: Vec<_> = world.data(3).messages.iter().map(|m| m.payload[..4].to_vec()).collect();
    assert!(numbers.is_sorted() && world.data(3).lost > 50, "{} lost", world.data(3).lost);
    assert_eq!(world.total(|s| s.drops.get(DropReason::DataOverflow)), u64::from(world.data(3).lost));
}

#[test]
fn the_lossy_lane_keeps_what_is_new() {
    let mut world = room(77, [1]);
    world.join(2, Access { down: narrowing(20, [(0, 200_000)]), ..with_data() }, &[], (1, 0));
    opens(&mut world, [2]);
    for number in 0..300_u32 {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(1000, 0);
        world.data(1).send_lossy("", &[], &payload);
        world.run(millis(10));
    }
    world.run(seconds(10));
    let numbers: Vec<u32> =
        world.data(2).messages.iter().map(|m| u32::from_be_bytes(m.payload[..4].try_into().unwrap())).collect();
    assert!(numbers.len() < 250, "{} came of 800 kb/s through 200", numbers.len());
    assert!(numbers.iter().any(|number| *number >= 295), "the newest came: {:?}", numbers.last());
    assert!(world.total(|s| s.drops.get(DropReason::DataOverflow)) > 50);
}

#[test]
fn who_sends_too_fast_is_held_back_and_loses_nothing() {
    let mut world = World::with(78, |config| config.limits.data_rate = sfu_engine::units::Bitrate::kbps(800));
    for id in [1, 2] {
        world.join(id, with_data(), &[], (1, 0));
    }
    opens(&mut world, [1, 2]);
    // A second's worth goes at once, the rest in its time: 1 MB at 100 kB/s.
    for _ in 0..10 {
        world.data(1).send("", &[], &bytes(100_000));
    }
    world.run(seconds(4));
    let (early, held) = (arrived(&world, 2), world.data(1).buffered());
    assert!(early <= 6 && held > 100_000, "{early} messages after 4 s, {held} bytes wait at the sender");
    assert!(world.run_until(seconds(60), |world| arrived(world, 2) == 10), "{} of 10", arrived(&world, 2));
    assert!(world.data(2).payloads().iter().all(|payload| *payload == bytes(100_000)));
    // The lossy lane is cut instead.
    for _ in 0..300 {
        world.data(1).send_lossy("", &[], &bytes(1000));
    }
    world.run(seconds(5));
    assert!(world.total(|s| s.drops.get(DropReason::DataOverRate)) > 100);
}

#[test]
fn a_new_peer_connection_has_lanes_of_its_own() {
    let mut world = room(79, [1, 2]);
    world.leave(2);
    world.join(2, with_data(), &[], (1, 0));
    opens(&mut world, [2]);
    world.data(1).send("", &[], b"again");
    world.run(seconds(1));
    assert_eq!(world.data(2).payloads(), [b"again"]);
    let ended = world.events.iter().any(|(_, event)| matches!(event, Event::Disconnected { .. }));
    assert!(!ended);
}
