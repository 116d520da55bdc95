//! Who speaks, and who is heard where many do.

use crate::harness::{Access, Publish, World, seconds};
use sfu_engine::Event;
use sfu_engine::event::{PauseReason, Sending};

fn dominant(world: &World) -> Option<u64> {
    let last = world.events.iter().rev().find_map(|(_, e)| match e {
        Event::Speaker { participant, .. } => Some(participant.map(|p| p.0)),
        _ => None,
    });
    last.flatten()
}

#[test]
fn the_loudest_talker_becomes_the_dominant_speaker_and_then_the_next() {
    let mut world = World::new(18);
    for id in 1..=3 {
        world.join(id, Access::default(), &[Publish::Microphone], (0, 0));
        world.client_mut(id).microphones[0].level = 127;
    }
    world.run(seconds(2));
    for speaker in [2, 3, 1] {
        for id in 1..=3 {
            world.client_mut(id).microphones[0].level = if id == speaker { 20 } else { 127 };
        }
        world.run(seconds(4));
        assert_eq!(dominant(&world), Some(speaker));
    }
    world.leave(1);
    world.run(seconds(4));
    assert_ne!(dominant(&world), Some(1), "who left speaks no more");
}

#[test]
fn of_more_talkers_than_the_limit_the_loudest_are_heard() {
    let mut world = World::with(19, |config| config.max_talkers = 2);
    for id in 1..=4 {
        world.join(id, Access::default(), &[Publish::Microphone], (0, 0));
        world.client_mut(id).microphones[0].level = if id <= 2 { 15 } else { 60 };
    }
    // A listener with a slot for each.
    world.join(5, Access::default(), &[], (4, 0));
    world.run(seconds(6));
    let tracks: Vec<_> = (1..=4).map(|id| world.client(id).track("0")).collect();
    let heard_before: Vec<usize> = (0..4)
        .map(|i| world.client(5).receiver_of(tracks[i]).audio.heard(world.client(i as u64 + 1).microphones[0].number))
        .collect();
    world.run(seconds(4));
    for (i, track) in tracks.iter().enumerate() {
        let number = world.client(i as u64 + 1).microphones[0].number;
        let heard = world.client(5).receiver_of(*track).audio.heard(number) - heard_before[i];
        if i < 2 {
            assert!(heard > 190, "{track} is heard: {heard}");
        } else {
            assert_eq!(heard, 0, "{track} is not");
            assert_eq!(world.client(5).sending(*track), Some(Sending::Paused(PauseReason::NotTalking)));
        }
        world.client(5).receiver_of(*track).audio.check();
    }
}
