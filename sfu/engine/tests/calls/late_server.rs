//! A server that does not keep up: datagrams wait long before it takes them.

use crate::harness::{Access, Publish, World, millis, seconds};
use sfu_engine::event::{Limit, PauseReason, Sending};

const RECEIVERS: std::ops::RangeInclusive<u64> = 2..=9;

#[test]
fn who_cannot_be_served_in_time_gets_smaller_pictures_and_then_none_but_sound_until_all_can_be() {
    let mut world = World::new(31);
    world.join(1, Access::default(), &[Publish::Camera, Publish::Microphone], (0, 0));
    for receiver in RECEIVERS {
        world.join(receiver, Access::default(), &[], (1, 1));
    }
    world.run(seconds(5));
    let (track, voice) = (world.client(1).track("0"), world.client(1).track("1"));
    let heights =
        |world: &World| RECEIVERS.map(|id| world.client(id).receiver_of(track).video.height()).collect::<Vec<_>>();
    let relieved = |world: &World| [0, 1].map(|by| world.total(|s| s.relieved[by]));
    assert!(heights(&world).iter().all(|height| *height == 720) && relieved(&world) == [0, 0]);

    world.waited = millis(60);
    world.run(seconds(2));
    let some = heights(&world).iter().filter(|height| **height == 180).count();
    assert!((1..8).contains(&some), "not all at once: {:?}", heights(&world));
    let smaller = world.run_until(seconds(4), |world| heights(world).iter().all(|height| *height == 180));
    assert!(smaller, "{:?}", heights(&world));
    for receiver in RECEIVERS {
        let told = world.client(receiver).sending(track);
        let by_load = Some(Sending::Paused(PauseReason::ServerLoad));
        assert!(told == by_load || matches!(told, Some(Sending::Layer { limit: Limit::ServerLoad, .. })), "{told:?}");
    }
    world.run(seconds(5));
    assert_eq!(world.client(2).sending(track), Some(Sending::Paused(PauseReason::ServerLoad)));
    assert_eq!(relieved(&world), [0, 9], "the publisher would be sent less, too");
    let explored = |world: &World| world.total(|s| s.counters.probes.iter().sum());
    let before: u64 = explored(&world);
    world.join(10, Access::default(), &[], (1, 1));
    world.run(seconds(3));
    assert!(world.client(10).receiver_of(voice).audio.count() > 100, "who comes then hears everybody");
    assert_eq!(explored(&world), before, "and no link is explored");

    world.waited = millis(1);
    let from = world.now;
    world.run(seconds(5));
    assert_eq!(relieved(&world)[1], 10, "not at once");
    let back = world.run_until(seconds(110), |world| relieved(world) == [0, 0]);
    assert!(back && (world.now - from) > seconds(30), "{:?}", relieved(&world));
    world.run(seconds(3));
    assert!(heights(&world).iter().all(|height| *height == 720), "{:?}", heights(&world));
    for receiver in RECEIVERS {
        world.client(receiver).receiver_of(voice).audio.check();
    }
}
