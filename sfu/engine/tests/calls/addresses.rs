//! Networks change under a call.

use crate::harness::{Access, Publish, World, millis, seconds};
use netem::{LinkConfig, Rate, Schedule};
use sfu_engine::Event;
use sfu_engine::event::DisconnectReason;

fn call(seed: u64) -> World {
    let mut world = World::new(seed);
    for id in [1, 2] {
        world.join(id, Access::default(), &[Publish::Microphone, Publish::Camera], (1, 1));
    }
    world.run(seconds(6));
    world
}

#[test]
fn media_goes_on_after_an_ice_restart_on_another_address() {
    let mut world = call(13);
    world.move_client(1, "10.7.7.7:6000".parse().unwrap());
    world.run(seconds(4));
    assert!(!world.events.iter().any(|(_, e)| matches!(e, Event::Disconnected { .. })));
    for (id, other) in [(1, 2), (2, 1)] {
        let video = &world.client(id).receiver_of(world.client(other).track("1")).video;
        let late = video.decoded_since(world.now - seconds(2)).count();
        assert!(late > 55, "{id} decoded {late} pictures in the last 2 s");
        video.check();
        world.client(id).receiver_of(world.client(other).track("0")).audio.check();
    }
    let handshakes = world.total(|s| s.counters.handshakes_completed);
    assert_eq!(handshakes, 2, "DTLS goes on over an ICE restart");
}

#[test]
fn an_ice_restart_on_the_same_address_disturbs_nothing() {
    let mut world = call(14);
    let address = world.tuple(1).remote;
    world.move_client(1, address);
    world.run(seconds(4));
    for (id, other) in [(1, 2), (2, 1)] {
        let video = &world.client(id).receiver_of(world.client(other).track("1")).video;
        let late = video.decoded_since(world.now - seconds(4)).count();
        assert!(late > 115, "{id} decoded {late} pictures in the last 4 s");
        assert_eq!((video.plis, video.holes()), (0, 0));
        video.check();
    }
}

#[test]
fn a_client_that_falls_silent_is_disconnected_after_thirty_seconds() {
    let mut world = call(15);
    world.cut(1);
    world.run(seconds(27));
    let is_gone = |w: &World| {
        w.events.iter().find_map(|(at, e)| match e {
            Event::Disconnected { participant, reason } if participant.0 == 1 => Some((*at, *reason)),
            _ => None,
        })
    };
    assert_eq!(is_gone(&world), None);
    world.run(seconds(6));
    let (at, reason) = is_gone(&world).expect("consent expires");
    assert_eq!(reason, DisconnectReason::ConsentExpired);
    assert!(at > seconds(33) && at < seconds(37), "{at:?}");
    // The other one is still there.
    assert!(
        !world.events.iter().any(|(_, e)| matches!(e, Event::Disconnected { participant, .. } if participant.0 == 2))
    );
    assert!(world.client(2).rtcp_received > 0);
}

#[test]
fn a_client_that_moves_to_a_faster_network_far_away_sees_it_at_once() {
    let mut world = World::new(18);
    world.join(1, Access::default(), &[Publish::Camera], (0, 0));
    // The link to the other: 400 kb/s and 20 ms, then any rate and 120 ms.
    let steps = Schedule::steps(Some(400_000), [(seconds(10), None)]);
    let delay = Schedule::steps(millis(20), [(seconds(10), millis(120))]);
    let down = LinkConfig { rate: Rate::Schedule(steps), delay, ..LinkConfig::default() };
    world.join(2, Access { down, ..Access::default() }, &[], (0, 1));
    world.run(seconds(10));
    let track = world.client(1).track("0");
    let height = |world: &World| world.client(2).receiver_of(track).video.decoded.last().map(|d| d.picture.height);
    let narrow = height(&world);
    world.move_client(2, "10.7.7.8:6000".parse().unwrap());
    assert!(world.run_until(seconds(2), |world| height(world) > narrow), "{narrow:?}, and nothing larger came");
}
