//! Packets of sound that repeat the ones before (RFC 2198), as the publisher made them or as the server does.

use crate::harness::{Access, Publish, World, lossy, seconds};
use sfu_engine::Preference;

#[test]
fn a_receiver_that_did_not_negotiate_it_gets_the_sound_without_repetitions() {
    let mut world = World::new(2);
    world.join(1, Access::default(), &[Publish::Microphone], (0, 0));
    world.join(2, Access { red: false, ..Access::default() }, &[], (1, 0));
    world.client_mut(1).microphones[0].redundant = true;
    world.run(seconds(5));
    let audio = &world.client(2).receiver_of(world.client(1).track("0")).audio;
    assert!(audio.heard(world.client(1).microphones[0].number) > 200, "heard {}", audio.count());
    assert_eq!(audio.redundant(), 0);
    audio.check();
}

#[test]
fn a_receiver_that_negotiated_it_hears_what_was_lost_on_the_way_to_the_server() {
    let mut world = World::new(3);
    world.join(1, Access { up: lossy(20, 0.1), ..Access::default() }, &[Publish::Microphone], (0, 0));
    world.join(2, Access::default(), &[], (1, 0));
    world.client_mut(1).microphones[0].redundant = true;
    world.run(seconds(10));
    let audio = &world.client(2).receiver_of(world.client(1).track("0")).audio;
    assert!(audio.redundant() > 350, "{} of {} repeat another", audio.redundant(), audio.count());
    assert!(audio.recovered() > 20, "{} were lost and heard", audio.recovered());
    audio.check();
}

#[test]
fn nothing_is_repeated_of_before_the_slot_carried_the_track() {
    let mut world = World::new(4);
    for id in [1, 2] {
        world.join(id, Access { adds_slots: false, ..Access::default() }, &[Publish::Microphone], (0, 0));
        world.client_mut(id).microphones[0].redundant = true;
    }
    world.join(3, Access { adds_slots: false, ..Access::default() }, &[], (1, 0));
    world.run(seconds(2));
    let tracks = [1, 2].map(|id| world.client(id).track("0"));
    for round in 0..6 {
        let (wanted, other) = (tracks[round % 2], tracks[(round + 1) % 2]);
        world.prefer(3, other, Preference { enabled: false, ..Preference::default() });
        world.prefer(3, wanted, Preference::default());
        world.run(seconds(1));
    }
    let audio = &world.client(3).receiver_of(tracks[1]).audio;
    for id in [1, 2] {
        assert!(audio.heard(world.client(id).microphones[0].number) > 100, "{id} is heard in its turns");
    }
    assert!(audio.redundant() > 250, "{} of {} repeat another", audio.redundant(), audio.count());
    audio.check();
}

/// What becomes of 22 seconds of a microphone that repeats nothing, over a path to the receiver that loses this share
/// from the third second on: packets lost, of these those heard by repetition, packets that repeat others, packets that
/// came.
fn hears_after_loss_of(share: f64, red: bool) -> (usize, usize, usize, usize) {
    let mut world = World::new(5);
    world.join(1, Access::default(), &[Publish::Microphone], (0, 0));
    world.join(2, Access { down: lossy(20, share), red, ..Access::default() }, &[], (1, 0));
    world.run(seconds(22));
    let microphone = &world.client(1).microphones[0];
    let audio = &world.client(2).receiver_of(world.client(1).track("0")).audio;
    audio.check();
    let lost = microphone.sent as usize - audio.heard(microphone.number);
    (lost, audio.recovered(), audio.redundant(), audio.count())
}

#[test]
fn on_a_path_that_loses_packets_the_server_repeats_what_the_publisher_does_not() {
    let (lost, recovered, redundant, heard) = hears_after_loss_of(0.05, true);
    assert!((30..80).contains(&lost) && redundant > 600, "{lost} lost, {redundant} of {heard} repeat others");
    assert!(recovered * 10 > lost * 7, "{recovered} of {lost} lost packets are heard");
    let (lost, recovered, redundant, heard) = hears_after_loss_of(0.2, true);
    assert!((140..260).contains(&lost) && redundant > 450, "{lost} lost, {redundant} of {heard} repeat others");
    assert!(recovered * 10 > lost * 7, "{recovered} of {lost} lost packets are heard");
}

#[test]
fn nothing_is_repeated_where_nothing_gets_lost_or_who_hears_cannot_read_it() {
    for (share, red) in [(0.0, true), (0.002, true), (0.2, false)] {
        let (_, recovered, redundant, heard) = hears_after_loss_of(share, red);
        assert!(heard > 750, "{heard} heard at a loss of {share}");
        assert_eq!((recovered, redundant), (0, 0), "at a loss of {share}, offered: {red}");
    }
}
