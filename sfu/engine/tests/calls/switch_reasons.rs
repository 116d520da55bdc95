//! Each change of the layer that a receiver gets is counted with what made it: its link, its wish, or the publisher.

use crate::harness::{Access, Publish, World, narrowing, seconds};
use sfu_engine::command::Preference;
use sfu_engine::downlink::estimate::ProbeOutcome;
use sfu_engine::event::Limit;

/// Switches up and down by `reason`, so far.
fn switches(world: &World, reason: Limit) -> [u64; 2] {
    [0, 1].map(|direction| world.total(|s| s.counters.layer_switches[direction][reason as usize]))
}

#[test]
fn a_switch_is_counted_by_what_made_it() {
    let mut world = World::new(91);
    world.join(1, Access::default(), &[Publish::Camera], (0, 0));
    let down = narrowing(20, [(30, 250_000)]);
    world.join(2, Access { down, ..Access::default() }, &[], (0, 1));
    world.run(seconds(12));
    let camera = world.client(1).track("0");
    let raised = world.total(|s| s.counters.probes[ProbeOutcome::Raised as usize]);
    assert!(raised > 0, "probes found out what the link takes");

    let rest = |world: &World| [Limit::Source, Limit::Bandwidth].map(|reason| switches(world, reason));
    let (before, others) = (switches(&world, Limit::Size), rest(&world));
    world.prefer(2, camera, Preference { max_height: 180, ..Preference::default() });
    world.run(seconds(4));
    let smaller = switches(&world, Limit::Size);
    assert_eq!((smaller[0], smaller[1] > before[1]), (before[0], true), "a smaller tile");
    world.prefer(2, camera, Preference::default());
    world.run(seconds(4));
    let larger = switches(&world, Limit::Size);
    assert_eq!((larger[0] > smaller[0], larger[1]), (true, smaller[1]), "a larger tile");
    assert_eq!(rest(&world), others, "the tile alone changed");

    world.run(seconds(8));
    let before = [Limit::Source, Limit::Size, Limit::Bandwidth].map(|reason| switches(&world, reason)[1]);
    world.run(seconds(16));
    let after = [Limit::Source, Limit::Size, Limit::Bandwidth].map(|reason| switches(&world, reason)[1]);
    assert_eq!((after[0], after[1], after[2] > before[2]), (before[0], before[1], true), "a narrower link");
}
