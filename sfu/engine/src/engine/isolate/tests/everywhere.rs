//! A call over three shards in which everything happens at least once. It is repeated with one panic each: at every
//! checkpoint the first and the last time that the call reaches it, and at the checkpoint `fan-out` also three times in
//! the middle; the times between are not tried. The calls of the others must go on, and the participant that the panic
//! was about must be able to come back.

use super::harness::{Access, Publish, World, millis, seconds};
use super::{FAULT, REACHED};
use crate::command::{Preference, Priority};
use crate::data::{DataMessage, Lane, Recipients};
use crate::event::{DisconnectReason, Event};
use crate::ids::{ParticipantId, RequestId, RoomId};
use crate::snapshot::PanicSubject::{self, Participant, Room, Track};
use crate::{Command, Protocol};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// 1, 4 and 7 are on one shard, 2 and 3 on one each; 4 leaves in the end. 2 comes by TCP.
const MEMBERS: [u64; 5] = [1, 2, 3, 4, 7];
const LEAVES: u64 = 4;

fn join(world: &mut World, id: u64) {
    let protocol = if id == 2 { Protocol::Tcp } else { Protocol::Udp };
    let access = Access { data: true, adds_slots: false, protocol, ..Access::default() };
    world.join(id, access, &[Publish::Microphone, Publish::Camera], (6, 6));
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
    world.leave(LEAVES);
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
                assert!(owner == LEAVES || hit.contains(&owner), "{fault:?}: {event:?}");
            }
            _ => {}
        }
    }
    // Its client starts over, here as somebody new on the same shard.
    let mut present: Vec<u64> = MEMBERS.into_iter().filter(|id| *id != LEAVES && !hit.contains(id)).collect();
    // Nobody else lacks even the packet over which it came.
    if fault.0 == "fan-out" {
        for (receiver, sender) in pairs(&present) {
            let video = &world.client(receiver).receiver_of(world.client(sender).track("1")).video;
            assert_eq!((video.holes(), video.undecoded()), (0, 0), "{fault:?}: {receiver} of {sender}");
        }
    }
    for id in hit.iter().filter(|id| **id != LEAVES) {
        world.leave(*id);
    }
    for id in hit {
        join(&mut world, id + 30);
        present.push(id + 30);
    }
    world.run(seconds(1));
    let before = world.now;
    world.run(seconds(1));
    for (receiver, sender) in pairs(&present) {
        let camera = world.client(sender).track("1");
        let pictures = world.client(receiver).receiver_of(camera).video.decoded_since(before).count();
        assert!(pictures > 10, "{fault:?}: {receiver} sees {pictures} pictures of {sender}");
    }
    let members: u64 = world.total(|snapshot| snapshot.participants);
    assert_eq!(members, present.len() as u64, "{fault:?}");
}

/// Who could see whom.
fn pairs(present: &[u64]) -> Vec<(u64, u64)> {
    let of = |receiver: &u64| present.iter().filter(move |s| *s != receiver).map(move |s| (*receiver, *s)).collect();
    present.iter().flat_map(|receiver| -> Vec<_> { of(receiver) }).collect()
}

#[test]
fn whichever_checkpoint_panics_the_others_calls_go_on() {
    check(call(), ("none", 0));
    REACHED.with_borrow_mut(BTreeMap::clear);
    drop(call());
    let places = REACHED.with_borrow(BTreeMap::clone);
    // What each is about.
    let (participant, room, track) = (&[Participant][..], &[Room][..], &[Track][..]);
    let expected = [
        ("asking home", track),
        ("choosing", participant),
        ("closing", participant),
        ("fan-out", participant),
        ("greeting", room),
        ("leaving", participant),
        ("negotiating", participant),
        ("participant", participant),
        ("ranking", room),
        ("rebinding", participant),
        ("relayed", track),
        ("speakers", room),
        ("track", &[Participant, Track]),
    ];
    assert_eq!(places.keys().copied().collect::<Vec<_>>(), expected.map(|(place, _)| place));
    for (place, about) in expected {
        let times = places[place];
        let mut picked = BTreeSet::from([0, times - 1]);
        if place == "fan-out" {
            // Several subscribers of one track on the same shard.
            picked.extend(times / 2..times / 2 + 3);
        }
        for nth in picked {
            FAULT.set(Some((place, nth)));
            let world = call();
            assert_eq!(FAULT.take(), None, "{place} is reached less often than before");
            let panics = PanicSubject::ALL.map(|subject| world.total(|s| s.counters.panics[subject as usize]));
            assert_eq!(panics.iter().sum::<u64>(), 1, "{place} {nth}");
            assert!(about.iter().any(|subject| panics[*subject as usize] == 1), "{place} {nth}: {panics:?}");
            check(world, (place, nth));
        }
    }
}
