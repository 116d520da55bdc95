//! Loss on the way in and out is repaired.

use crate::harness::{Access, Publish, World, delay, lossy, millis, rtcp, seconds};

#[test]
fn two_percent_loss_both_ways_is_repaired_so_that_every_picture_decodes() {
    let mut world = World::new(3);
    for id in [1, 2] {
        let access = Access { up: lossy(25, 0.02), down: lossy(25, 0.02), ..Access::default() };
        world.join(id, access, &[Publish::Microphone, Publish::Camera], (1, 1));
    }
    world.run(seconds(30));

    for (id, other) in [(1, 2), (2, 1)] {
        let (client, publisher) = (world.client(id), world.client(other));
        let video = &client.receiver_of(publisher.track("1")).video;
        video.check();
        let (up, down) = world.links(id);
        assert!(up.dropped_by_loss > 60 && down.dropped_by_loss > 60);
        assert_eq!((video.lost.len(), video.plis), (0, 0), "nothing was given up");
        assert!(video.nacks > 20 && video.repaired > 20, "{} asked, {} repaired", video.nacks, video.repaired);
        assert!(publisher.cameras[0].encodings.iter().any(|e| e.retransmitted > 20), "the uplink was repaired too");

        // Every picture that the server chose to send decoded, but for those still on their way.
        assert_eq!(video.undecoded(), 0);
        assert!(video.holes() < 5, "{}", video.holes());
        assert!(video.decoded.len() > 28 * 29, "{} pictures in 30 s", video.decoded.len());
        let gaps = video.decoded.windows(2).map(|pair| pair[1].at - pair[0].at);
        assert!(gaps.max().unwrap() < millis(250), "repair takes a round trip or two on either side");
        let audio = &client.receiver_of(publisher.track("0")).audio;
        audio.check();
    }
    assert!(world.total(|s| s.counters.retransmissions.sent) > 40);
}

#[test]
fn where_what_is_asked_for_is_remembered_no_more_a_key_frame_is_asked_for() {
    let mut world = World::new(4);
    world.join(1, Access::default(), &[Publish::Camera], (0, 0));
    world.join(2, Access { down: delay(25), ..Access::default() }, &[], (0, 1));
    world.run(seconds(8));
    let track = world.client(1).track("0");
    let mut is_asked_after = |age| {
        let receiver = world.client(2).receiver_of(track);
        let (ssrc, number) = (receiver.ssrc, receiver.video.newest().unwrap());
        world.run(millis(age));
        let asked =
            |world: &World| world.client(1).cameras[0].encodings.iter().map(|e| e.keyframe_requests).sum::<u32>();
        let before = asked(&world);
        world.client_mut(2).transport.send_rtcp(&rtcp::nack(2, ssrc, &[number]));
        world.run_until(millis(500), |world| asked(world) > before)
    };
    assert!(!is_asked_after(100), "it can be sent again");
    assert!(is_asked_after(800));
}

#[test]
fn who_asks_for_a_key_frame_while_one_is_on_its_way_gets_that_one() {
    let mut world = World::new(4);
    world.join(1, Access::default(), &[Publish::Camera], (0, 0));
    world.join(2, Access { down: delay(25), ..Access::default() }, &[], (0, 1));
    world.run(seconds(8));
    let track = world.client(1).track("0");
    let ssrc = world.client(2).receiver_of(track).ssrc;
    let asked = |world: &World| world.client(1).cameras[0].encodings.iter().map(|e| e.keyframe_requests).sum::<u32>();
    let is_asked_on = |world: &mut World| {
        let before = asked(world);
        world.client_mut(2).transport.send_rtcp(&rtcp::pli(2, ssrc));
        world.run_until(seconds(2), |world| asked(world) > before)
    };
    assert!(is_asked_on(&mut world));
    let is_made = |world: &World| !world.client(1).cameras[0].encodings.iter().any(|e| e.wants_keyframe && e.flowing);
    assert!(world.run_until(millis(100), is_made));
    world.run(millis(5));
    assert!(!is_asked_on(&mut world), "it has not arrived yet");
    assert!(is_asked_on(&mut world), "that one was lost");
}

#[test]
fn where_every_seventh_packet_is_lost_what_is_asked_for_goes_out_twice() {
    let repaired_at = |loss| {
        let mut world = World::new(3);
        world.join(1, Access::default(), &[Publish::Camera], (0, 0));
        world.join(2, Access { down: lossy(25, loss), ..Access::default() }, &[], (0, 1));
        world.run(seconds(30));
        let video = &world.client(2).receiver_of(world.client(1).track("0")).video;
        video.check();
        world.total(|s| s.counters.retransmissions.sent) as f64 / video.nacks as f64
    };
    let (few, many) = (repaired_at(0.02), repaired_at(0.15));
    assert!(few <= 1.1, "{few} for each that is asked for");
    assert!(many > 1.5, "{many} for each that is asked for");
}
