//! Header extensions about frames, which publisher and receiver know under different ids.

use crate::harness::{Access, Publish, World, ext, seconds};
use std::collections::BTreeMap;

/// Rotated by a quarter; 10 to 20 ms of playout delay; captured at some time, by a clock that is some time off; and, in
/// place of its rates, that the only layer of the only stream is sent.
fn marks() -> [Vec<u8>; 4] {
    let captured: Vec<u8> = (1..=16).collect();
    [vec![0b01], vec![0x00, 0x10, 0x02], captured, vec![0b0000_0001, 0, 100]]
}

#[test]
fn orientation_playout_delay_and_capture_time_arrive_as_they_were_sent_and_the_layers_allocation_stays_here() {
    let (publisher, receiver) = (1, 2);
    let mut world = World::new(3);
    world.join(publisher, Access::default(), &[Publish::Plain], (0, 0));
    let ids = ext::of_frames(publisher);
    assert!(ids.iter().all(|id| !ext::of_frames(receiver).contains(id)), "ids differ");
    world.client_mut(publisher).cameras[0].encodings[0].marks = ids.into_iter().zip(marks()).collect();
    world.join(receiver, Access::default(), &[], (0, 1));
    world.run(seconds(3));
    let track = world.client(publisher).track("0");
    let video = &world.client(receiver).receiver_of(track).video;
    assert!(!video.decoded.is_empty());
    let arrived: BTreeMap<u8, Vec<u8>> =
        ext::of_frames(receiver).into_iter().filter_map(|id| Some((id, video.extensions.get(&id)?.clone()))).collect();
    let expected = ext::of_frames(receiver).into_iter().zip(marks()).take(3).collect();
    assert_eq!(arrived, expected, "under the receiver's ids, and without what is about the publisher's layers");
    assert!(ids.iter().all(|id| !video.extensions.contains_key(id)), "nothing under the publisher's ids");
}
