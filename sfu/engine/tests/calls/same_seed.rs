//! The same seed gives the same run to the byte.

use crate::harness::{Access, Publish, World, lossy, narrowing, seconds};
use netem::Reorder;
use std::time::Duration;

/// Everything that each client received, with the times.
fn run(seed: u64) -> Vec<u64> {
    let mut world = World::new(seed);
    for id in 1..=3 {
        let mut down = narrowing(20, [(2, 2_000_000), (5, 700_000)]);
        down.loss = lossy(0, 0.03).loss;
        down.reorder = Reorder { probability: 0.01, by: Duration::from_millis(7) };
        down.duplicate = 0.01;
        let access = Access { up: lossy(30, 0.02), down, ..Access::default() };
        world.join(id, access, &[Publish::Microphone, Publish::Camera], (0, 0));
    }
    world.run(seconds(8));
    world.clients.values().map(|client| client.digest).collect()
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let first = run(3);
    assert_eq!(first, run(3));
    assert_ne!(first, run(4));
}
