//! The media port over TCP (RFC 6544, RFC 4571), for clients whose network lets no UDP through, and for those who mean
//! no good.

use crate::harness::participant::{Participant, Plan};
use crate::harness::payload::Kind::{Audio, Video};
use crate::harness::server::Server;
use crate::harness::stun::{Credentials, mapped_address};
use crate::harness::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_can_use_only_tcp_talks_with_one_on_udp() {
    let server = Server::start(&["--shards", "2"]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK_TCP).await;
    let grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
    for (receiver, sender) in [(&ada, "Grace"), (&grace, "Ada")] {
        receiver.media.receives_more(sender, Audio, 20).await;
        receiver.media.receives_more(sender, Video, 20).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_in_halves_is_answered_on_its_connection() {
    let server = Server::start(&["--shards", "2"]).await;
    let (_ada, own, credentials) = offered(&server).await;
    let mut stream = connect(&server).await;
    for round in 0..3 {
        let check = credentials.check(&own, &credentials.pwd);
        let frame = framed(&check);
        // Cut within the length, within the frame, and not at all.
        let (first, second) = frame.split_at([1, 20, frame.len()][round]);
        stream.write_all(first).await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(second).await.unwrap();
        let response = read_frame(&mut stream).await.expect("a response");
        assert_eq!(mapped_address(&check, &response), stream.local_addr().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_begin_with_a_check_is_closed() {
    let server = Server::start(&[]).await;
    for garbage in
        [&b"GET / HTTP/1.1\r\nHost: sluice\r\n\r\n"[..], &framed(&[22; 40]), &framed(b"\x00\x01\x00\x00"), &[0xff; 64]]
    {
        let mut stream = connect(&server).await;
        stream.write_all(garbage).await.unwrap();
        assert_eq!(read_frame(&mut stream).await, None, "{garbage:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_proves_nothing_is_closed() {
    let server = Server::start(&[]).await;
    let (_ada, own, credentials) = offered(&server).await;
    let mut silent = connect(&server).await;
    let mut half = connect(&server).await;
    half.write_all(&framed(&credentials.check(&own, &credentials.pwd))[..30]).await.unwrap();
    let mut forged = connect(&server).await;
    forged.write_all(&framed(&credentials.check(&own, "not the password, but long enough"))).await.unwrap();
    let mut stranger = connect(&server).await;
    let unknown = Credentials { ufrag: "00nobody".into(), pwd: credentials.pwd.clone() };
    stranger.write_all(&framed(&unknown.check(&own, &credentials.pwd))).await.unwrap();
    for stream in [&mut silent, &mut half, &mut forged, &mut stranger] {
        assert_eq!(read_frame(stream).await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_of_a_participant_that_leaves_is_closed() {
    let server = Server::start(&[]).await;
    let (mut ada, own, credentials) = offered(&server).await;
    let mut stream = connect(&server).await;
    let check = credentials.check(&own, &credentials.pwd);
    stream.write_all(&framed(&check)).await.unwrap();
    read_frame(&mut stream).await.expect("a response");
    ada.signaling.send(serde_json::json!({"type": "leave"})).await;
    while read_frame(&mut stream).await.is_some() {}
}

/// Somebody who has offered and does not connect by itself.
async fn offered(server: &Server) -> (Participant, String, Credentials) {
    let mut participant = Participant::enter(server, "room", "Ada", Plan::TALK).await;
    let (own, credentials) = participant.offer_only().await;
    (participant, own, credentials)
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.tcp.expect("a TCP candidate")).await.expect("the media port takes TCP")
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes(), packet].concat()
}

/// The next frame, or none where the server closed the connection.
async fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let reading = async {
        let length = stream.read_u16().await.ok()?;
        let mut frame = vec![0; length.into()];
        stream.read_exact(&mut frame).await.ok()?;
        Some(frame)
    };
    within("a frame or the end of the connection", reading).await
}
