//! Sender reports let a receiver play sound and picture together, whichever encoding flows.

use crate::harness::{Access, PACKET_INTERVAL, Publish, World, delay, millis, seconds};
use sfu_engine::Preference;
use std::time::Instant;

#[test]
fn sound_and_picture_stay_together_over_layer_switches() {
    let mut world = World::new(21);
    world.join(1, Access { up: delay(60), ..Access::default() }, &[Publish::Microphone, Publish::Camera], (0, 0));
    world.join(2, Access::default(), &[], (1, 1));
    world.run(seconds(6));
    let (voice, camera) = (world.client(1).track("0"), world.client(1).track("1"));
    for height in [720, 180, 360, 720, 180] {
        world.prefer(2, camera, Preference { max_height: height, ..Preference::default() });
        world.run(seconds(3));
        let (publisher, receiver) = (world.client(1), world.client(2));

        let audio = receiver.receiver_of(voice);
        let microphone = &publisher.microphones[0];
        let (number, timestamp) = audio.audio.newest(microphone.number).unwrap();
        let spoken = microphone.started.unwrap() + PACKET_INTERVAL * (number - 1);
        let video = receiver.receiver_of(camera);
        let shown = video.video.decoded.last().unwrap();
        assert_eq!(shown.picture.height, height);

        // The time between the two as it was, and as the receiver must think by the reports.
        let captured = publisher.cameras[0].captured_at(&shown.picture);
        let truth = signed(captured, spoken);
        let told = video.clock_at(shown.timestamp) - audio.clock_at(timestamp);
        let skew = told - truth;
        assert!(skew.abs() < millis(15).as_secs_f64(), "at {height} the picture is {:.1} ms off", skew * 1e3);
    }
}

fn signed(a: Instant, b: Instant) -> f64 {
    if a >= b { (a - b).as_secs_f64() } else { -(b - a).as_secs_f64() }
}
