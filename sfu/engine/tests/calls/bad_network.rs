//! Everything at once: loss, reordering, duplication, jitter, a rate that falls and rises. Numbers stay those of one
//! source per slot.

use crate::harness::{Access, Publish, World, lossy, narrowing, seconds};
use netem::{Jitter, JitterModel, Reorder};
use std::time::Duration;

fn bad(seed: u64) -> netem::LinkConfig {
    netem::LinkConfig {
        loss: lossy(0, 0.03).loss,
        jitter: Jitter { model: JitterModel::Normal { sd: Duration::from_millis(4) }, reorder: true },
        reorder: Reorder { probability: 0.01, by: Duration::from_millis(15) },
        duplicate: 0.01,
        ..narrowing(15 + seed % 40, [(4, 3_500_000), (9, 900_000), (14, 6_000_000)])
    }
}

#[test]
fn numbers_run_as_those_of_one_source_on_a_bad_network() {
    for seed in seeds() {
        let mut world = World::new(seed);
        for id in 1..=3 {
            let up = netem::LinkConfig { rate: netem::Rate::constant(6_000_000), ..bad(seed) };
            let access = Access { up, down: bad(seed + id), ..Access::default() };
            world.join(id, access, &[Publish::Microphone, Publish::Camera], (0, 0));
        }
        world.run(seconds(20));
        for id in 1..=3 {
            for other in (1..=3).filter(|other| *other != id) {
                let (client, publisher) = (world.client(id), world.client(other));
                let video = &client.receiver_of(publisher.track("1")).video;
                video.check();
                client.receiver_of(publisher.track("0")).audio.check();
                let seen = video.decoded.len();
                assert!(seen > 300, "seed {seed}: {id} decoded {seen} of {other}\n{}", world.story(id));
            }
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    let (first, count) = (100, 4);
    let count = std::env::var("SEEDS").map_or(count, |text| text.parse().unwrap());
    first..first + count
}
