//! A call over three shards in which everything happens once, and in which some checkpoint panics. Whichever it is, the others' calls go on,
//! and whom it was about can come back.

use super::harness::{Access, Publish, World, millis, seconds};
use super::{FAULT, REACHED};
use crate::command::{Preference, Priority};
use crate::data::{DataMessage, Lane, Recipients};
use crate::event::{DisconnectReason, Event};
use crate::ids::{ParticipantId, RequestId, RoomId};
use crate::{Command, Protocol};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// 1 and 4 are on one shard, 2 and 3 on one each; 4 leaves in the end. 2 comes by TCP.
const MEMBERS: [u64; 4] = [1, 2, 3, 4];

fn join(world: &mut World, id: u64) {
    let protocol = if id == 2 { Protocol::Tcp } else { Protocol::Udp };
    let access = Access { data: true, adds_slots: false, protocol, ..Access::default() };
    world.join(id, access, &[Publish::Microphone, Publish::Camera], (4, 4));
}

/// Everything that a call has.
fn call() -> World {
    let mut world = World::new(77);
    for id in MEMBERS {
        join(&mut world, id);
        world.run(millis(200));
    }
    world.run(seconds(1));
    let track =
        |world: &World, id, mid| world.client(id).tracks.iter().find(|(m, _)| m == mid).map(|(_, track)| *track);
    if let Some(camera) = track(&world, 1, "1") {
        for id in [2, 4] {
            let preference = Preference { priority: Priority::Pinned, max_height: 360, ..Preference::default() };
            world.prefer(id, camera, preference);
            let (now, participant) = (world.now, ParticipantId(id));
            world.engine(id).handle_command(now, Command::RequestKeyframe { participant, track: camera });
        }
    }
    world.cap(3, 180);
    if let Some(microphone) = track(&world, 1, "0") {
        world.set_muted(microphone, true);
        world.run(millis(100));
        world.set_muted(microphone, false);
    }
    for shard in 0..world.engines.len() {
        let (now, room) = (world.now, RoomId(1));
        let message = DataMessage {
            from: None,
            to: Recipients::Everybody,
            lane: Lane::Reliable,
            is_text: true,
            topic: "all".into(),
            payload: Bytes::from_static(b"hear"),
        };
        world.engines[shard].handle_command(now, Command::SendData { room, message });
        world.engines[shard].handle_command(now, Command::Report { room, request: RequestId(shard as u64) });
    }
    // A second offer, with one more track.
    if !failed(&world).contains(&3) {
        let now = world.now;
        world.client_mut(3).publish(now, Publish::Screen);
        world.offer(3);
    }
    world.run(seconds(1));
    world.leave(4);
    world.run(millis(500));
    world
}

/// Whose media ended by a fault.
fn failed(world: &World) -> Vec<u64> {
    let of = |event: &Event| match event {
        Event::Disconnected { participant, reason: DisconnectReason::InternalError } => Some(participant.0),
        _ => None,
    };
    world.events.iter().filter_map(|(_, event)| of(event)).collect()
}

/// Those of the call that stayed and were not hit see and hear each other to the end, and a newcomer too.
fn check(mut world: World, fault: (&str, u32)) {
    let hit = failed(&world);
    assert!(hit.len() <= 1, "{fault:?} took down {hit:?}");
    for (_, event) in &world.events {
        match event {
            Event::Disconnected { participant, .. } => assert!(hit.contains(&participant.0), "{fault:?}: {event:?}"),
            Event::TrackEnded { track, .. } => {
                let owner = track.participant.0;
                assert!(owner == 4 || hit.contains(&owner), "{fault:?}: {event:?}");
            }
            _ => {}
        }
    }
    // Its client starts over, here as somebody new on the same shard.
    let mut present: Vec<u64> = [1, 2, 3].into_iter().filter(|id| !hit.contains(id)).collect();
    for id in hit.iter().filter(|id| **id != 4) {
        world.leave(*id);
    }
    for id in hit {
        join(&mut world, id + 3);
        present.push(id + 3);
    }
    world.run(seconds(1));
    let before = world.now;
    world.run(seconds(1));
    for receiver in &present {
        for sender in present.iter().filter(|sender| *sender != receiver) {
            let camera = world.client(*sender).track("1");
            let video = &world.client(*receiver).receiver_of(camera).video;
            let pictures = video.decoded_since(before).count();
            assert!(pictures > 10, "{fault:?}: {receiver} sees {pictures} pictures of {sender}");
        }
    }
    let members: u64 = world.total(|snapshot| snapshot.participants);
    assert_eq!(members, present.len() as u64, "{fault:?}");
}

#[test]
fn whichever_checkpoint_panics_the_others_calls_go_on() {
    check(call(), ("none", 0));
    REACHED.with_borrow_mut(BTreeMap::clear);
    drop(call());
    let places = REACHED.with_borrow(BTreeMap::clone);
    let expected = [
        "asking home",
        "choosing",
        "closing",
        "fan-out",
        "greeting",
        "leaving",
        "negotiating",
        "participant",
        "ranking",
        "rebinding",
        "relayed",
        "speakers",
        "track",
    ];
    assert_eq!(places.keys().copied().collect::<Vec<_>>(), expected);
    for (place, times) in places {
        for nth in BTreeSet::from([0, times - 1]) {
            FAULT.set(Some((place, nth)));
            let world = call();
            assert_eq!(FAULT.take(), None, "{place} is reached less often than before");
            assert_eq!(world.total(|snapshot| snapshot.counters.panics.iter().sum()), 1, "{place} {nth}");
            check(world, (place, nth));
        }
    }
}
