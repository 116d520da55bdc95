//! Memory: in steady state no packet costs an allocation, neither when it comes nor for any of its receivers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(unreachable_pub, dead_code, unused_imports, reason = "the harness is that of the calls")]

#[path = "../harness/mod.rs"]
mod harness;

use harness::{Access, Publish, World, seconds};
use std::cell::Cell;

const SHARDS: u16 = 2;

thread_local! {
    static MEDIA: Cell<Count> = const { Cell::new(Count { calls: 0, allocations: 0 }) };
    static CONTROL: Cell<Count> = const { Cell::new(Count { calls: 0, allocations: 0 }) };
}

/// Calls into the engine, and what they allocated.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    calls: u64,
    allocations: u64,
}

fn count(call: &mut dyn FnMut() -> bool) {
    let mut is_media = false;
    let info = allocation_counter::measure(|| is_media = call());
    let counter = if is_media { &MEDIA } else { &CONTROL };
    let Count { calls, allocations } = counter.get();
    counter.set(Count { calls: calls + 1, allocations: allocations + info.count_total });
}

#[test]
fn a_forwarded_packet_costs_no_allocation() {
    let mut world = World::new(31);
    world.join(1, Access::default(), &[Publish::Microphone, Publish::Camera], (0, 0));
    for id in 2..=9 {
        world.join(id, Access::default(), &[], (1, 1));
    }
    // Until all estimates are up, all stores full once and all queues have had their longest burst.
    world.run(seconds(20));
    let sent = |world: &World| world.total(|s| s.counters.rtp_packets_out.iter().sum());
    let before = sent(&world);
    world.around = count;
    world.run(seconds(10));
    let sent = sent(&world) - before;
    let (media, control) = (MEDIA.get(), CONTROL.get());
    assert!(sent > 8 * 10 * 100, "{sent} packets were sent");
    assert_eq!(media.allocations, 0, "of {} calls", media.calls);
    // Feedback, reports and the choice of layers: some for each participant and second, whatever flows.
    assert!(control.allocations < 9 * 10 * 40, "{control:?}");
}
