//! A client that reaches the server by TCP only.

use crate::harness::{Access, Publish, World, seconds};
use sfu_engine::Protocol;

#[test]
fn a_call_between_a_client_on_tcp_and_one_on_udp() {
    let mut world = World::new(16);
    world.join(
        1,
        Access { protocol: Protocol::Tcp, ..Access::default() },
        &[Publish::Microphone, Publish::Camera],
        (0, 0),
    );
    world.join(2, Access::default(), &[Publish::Microphone, Publish::Camera], (0, 0));
    world.run(seconds(6));
    for (id, other) in [(1, 2), (2, 1)] {
        let (client, publisher) = (world.client(id), world.client(other));
        let video = &client.receiver_of(publisher.track("1")).video;
        assert!(video.decoded.len() > 150, "{id} decoded {}", video.decoded.len());
        video.check();
        assert!(client.receiver_of(publisher.track("0")).audio.count() > 250);
    }

    // The connection closes, another one opens: the client checks there, and the call goes on.
    let closed = world.tuple(1);
    world.engine(1).handle_closed(closed);
    world.move_client(1, "10.0.0.1:5055".parse().unwrap());
    world.run(seconds(4));
    let video = &world.client(1).receiver_of(world.client(2).track("1")).video;
    let late = video.decoded_since(world.now - seconds(2)).count();
    assert!(late > 55, "{late} pictures in the last 2 s");
}
