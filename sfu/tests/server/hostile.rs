//! The media port takes datagrams from everybody on the Internet. A call must not notice them, and they must be counted
//! for what they are.

use crate::harness::participant::{Participant, Plan};
use crate::harness::payload::Kind::{Audio, Video};
use crate::harness::server::Server;
use crate::harness::stun::{Credentials, mapped_address};
use crate::harness::within;
use std::net::SocketAddr;
use tokio::net::UdpSocket;

/// Datagrams of each sort, a few from each of several sockets.
const EACH: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_at_the_media_port_disturb_no_call_and_are_counted() {
    let server = Server::start(&["--shards", "2"]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
    for kind in [Audio, Video] {
        grace.media.receives_more("Ada", kind, 10).await;
        ada.media.receives_more("Grace", kind, 10).await;
    }
    let pairs = [(&ada, &grace), (&grace, &ada)];
    let began: Vec<_> = pairs.iter().map(|(from, _)| [Audio, Video].map(|kind| from.sent(kind).sent() + 1)).collect();

    let answer = ada.signaling.nth("answer", 0).await;
    let credentials = Credentials::of(answer["sdp"].as_str().unwrap());
    let own = Credentials::of(&ada.media.description().await).ufrag;
    let mut strangers = Vec::new();
    for _ in 0..4 {
        strangers.push(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    }
    let mut seed = 7u64;
    for round in 0..EACH {
        let stranger = &strangers[round % strangers.len()];
        let noise: Vec<u8> = std::iter::repeat_with(|| next(&mut seed)).take(1 + round * 7 % 1200).collect();
        for datagram in [
            [&[70], &noise[..]].concat(),
            // Ada's user fragment and USE-CANDIDATE, which would steal her media, but not her password.
            credentials.check(&own, "not the password, but long enough"),
            Credentials { ufrag: "00nobody".into(), pwd: String::new() }.check("them", "x"),
            Credentials { ufrag: "zznobody".into(), pwd: String::new() }.check("them", "x"),
            [&[0, 1], &noise[..]].concat(),
            // The head of a DTLS 1.2 record with a ClientHello, and noise.
            [&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 1, 0, 0, 48], &noise[..]].concat(),
            [&[0x80, 96, 0, round as u8, 0, 0, 0, 1, 0, 0, 3, 232], &noise[..]].concat(),
            [&[0x80, 200, 0, 6, 0, 0, 3, 232], &noise[..]].concat(),
        ] {
            stranger.send_to(&datagram, server.udp).await.unwrap();
        }
        // Let the server's sockets keep up, so that what is lost would be lost by its doing.
        if round % 10 == 9 {
            grace.media.receives_more("Ada", Audio, 1).await;
        }
    }

    for ((from, to), began) in pairs.iter().zip(began) {
        for (kind, began) in [Audio, Video].into_iter().zip(began) {
            let last = from.sent(kind).sent();
            let all = |r: &crate::harness::media::Received| r.has_all(&from.name, kind, began, last);
            to.media.receives(&format!("{kind:?} of {} from {began} to {last}", from.name), all).await;
        }
    }
    for (reason, least) in [
        ("unclassified", EACH),
        ("stun_unauthenticated", EACH),
        ("stun_unknown_user", 2 * EACH),
        ("unknown_tuple", 3 * EACH),
        ("stun_malformed", EACH),
    ] {
        let labels = [("reason", reason)];
        let counted = server.metric_reaches("sluice_packets_dropped_total", &labels, |n| n >= least as f64).await;
        assert_eq!(counted, least as f64, "{reason}");
    }
    // Nobody who cannot sign gets an answer.
    for stranger in &strangers {
        assert!(stranger.try_recv(&mut [0; 64]).is_err());
    }
    assert_eq!(server.metric("sluice_disconnects_total", &[]).await, 0.0);
}

/// Offers for `participant` and sends a check to one address of the media port.
pub async fn check_is_answered(server: &Server, mut participant: Participant, to: SocketAddr) {
    let (own, credentials) = participant.offer_only().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let check = credentials.check(&own, &credentials.pwd);
    socket.send_to(&check, to).await.unwrap();
    let mut response = [0; 1500];
    let (length, from) = within("a response to a check", socket.recv_from(&mut response)).await.unwrap();
    assert_eq!(from, to, "the answer comes from where the check went");
    assert_eq!(mapped_address(&check, &response[..length]).port(), socket.local_addr().unwrap().port());
    assert_eq!(server.udp.port(), to.port());
}

/// Noise that is the same in every run (xorshift64).
fn next(seed: &mut u64) -> u8 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed as u8
}
