//! Spans reach an OpenTelemetry collector.

use crate::harness::server::Server;
use crate::harness::signaling::Signaling;
use crate::harness::within;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_a_span_with_its_room_and_participant() {
    let collector = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("log.otlp=http://{}/v1/traces", collector.local_addr().expect("an address"));
    let mut server = Server::start(&["--set", &url]).await;
    let mut ada = Signaling::open(&server).await;
    let joined = ada.join("daily", "Ada", None).await;
    let refused = ada.refused(json!({"type": "offer", "id": 1, "sdp": "nonsense", "tracks": []})).await;
    assert_eq!(refused["type"], "error");
    ada.send(json!({"type": "leave"})).await;
    ada.closed().await;
    server.logs("left").await;
    server.signal("INT");

    let request = within("the collector is sent spans", async {
        let (mut stream, _) = collector.accept().await.expect("a connection");
        let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
        while body(&request).is_none() {
            let read = stream.read(&mut chunk).await.expect("bytes");
            assert!(read > 0, "the request ends early: {}", String::from_utf8_lossy(&request));
            request.extend_from_slice(&chunk[..read]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("an answer");
        request
    })
    .await;
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
    let head = String::from_utf8_lossy(&request).to_lowercase();
    assert!(
        head.starts_with("post /v1/traces http/1.1") && head.contains("content-type: application/x-protobuf"),
        "{head}"
    );
    let spans = fields(body(&request).expect("a body"));
    let participant = joined["participant"].as_str().expect("an id");
    let named = |pair: &[String]| pair[0] == "service.name" && pair[2] == "sluice";
    assert!(spans.windows(3).any(named), "the service's name in {spans:?}");
    for text in ["session", "offer", "room", "daily", "participant", participant] {
        assert!(spans.iter().any(|field| field == text), "{text} in {spans:?}");
    }
}

/// The body of a request, once it is complete.
fn body(request: &[u8]) -> Option<&[u8]> {
    let end = request.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length: usize = head.split("content-length: ").nth(1)?.lines().next()?.trim().parse().ok()?;
    request.get(end..end + length)
}

/// Every text in a protobuf message, at any depth: the fields with a length that are text, and what is in those that
/// are messages.
fn fields(message: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = message;
    while let Some(tag) = varint(&mut rest) {
        let length = match tag & 7 {
            0 => {
                let Some(_) = varint(&mut rest) else { return found };
                continue;
            }
            1 => 8,
            5 => 4,
            2 => match varint(&mut rest) {
                Some(length) => length as usize,
                None => return found,
            },
            _ => return found,
        };
        let Some((value, after)) = rest.split_at_checked(length) else { return found };
        if tag & 7 == 2 {
            found.extend(std::str::from_utf8(value).ok().map(str::to_owned));
            found.extend(fields(value));
        }
        rest = after;
    }
    found
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
