//! A publisher changes its codec in the middle of a call: every shard's viewers see it go on, in the new codec alone.

use crate::harness::sdp::{H264, VP9};
use crate::harness::{Access, Publish, World, seconds};
use sfu_engine::command::Preference;

/// A publisher with viewers on each shard, 8 s of VP8, then 6 s of another codec, in which one more viewer comes. What
/// went wrong on the way shows.
fn changes_to(codec: u8, seed: u64) -> World {
    let mut world = World::new(seed);
    world.join(1, Access::default(), &[Publish::Camera], (0, 0));
    for id in [3, 4, 5] {
        world.join(id, Access::default(), &[], (0, 1));
    }
    world.run(seconds(8));
    world.client_mut(1).cameras[0].change_codec(codec);
    world.run(seconds(1));
    world.join(8, Access::default(), &[], (0, 1));
    world.run(seconds(5));
    let track = world.client(1).track("0");
    for id in [3, 4, 5, 8] {
        let video = &world.client(id).receiver_of(track).video;
        let (packets, falls_back) = video.packets_in(codec);
        assert!(packets > 100 && !falls_back, "{id}: {packets} packets, {}", world.story(id));
        assert_eq!((video.holes(), video.undecoded()), (0, 0), "{id}");
        assert_eq!(video.height(), 720, "{id}: {}", world.story(id));
        let shown: Vec<_> = video.decoded_since(world.start + seconds(8)).map(|picture| picture.at).collect();
        let longest = shown.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(shown.len() > 110 && longest < Some(seconds(1)), "{id}: {} pictures, {longest:?} apart", shown.len());
        assert_eq!(video.plis, 0, "{id}: nobody had to ask for help");
    }
    world
}

#[test]
fn viewers_on_every_shard_follow_a_publisher_to_another_codec() {
    changes_to(VP9, 61);
}

/// The publisher sends each encoding's parameter sets once: who comes later, and whoever gets another layer, has them
/// from the server.
#[test]
fn parameter_sets_that_came_once_reach_viewers_on_every_shard_at_every_switch() {
    let mut world = changes_to(H264, 62);
    let track = world.client(1).track("0");
    world.run(seconds(1));
    let sets = |world: &World, id: u64| world.client(id).receiver_of(track).video.parameter_sets.len();
    // The second viewer's shard takes the low encoding after its sets have come.
    for (id, height) in [(8, 180), (8, 720), (3, 180), (3, 720)] {
        let before = sets(&world, id);
        world.prefer(id, track, Preference { max_height: height, ..Preference::default() });
        world.run(seconds(3));
        assert_eq!(world.client(id).receiver_of(track).video.height(), height, "{id}: {}", world.story(id));
        assert!(sets(&world, id) > before, "{id}: before the key frame of the switch");
    }
    for id in [3, 8] {
        let video = &world.client(id).receiver_of(track).video;
        assert_eq!((video.holes(), video.undecoded(), video.plis), (0, 0, 0), "{id}");
    }
}
