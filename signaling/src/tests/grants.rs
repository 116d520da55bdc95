//! What a token grants is held to, whatever the client asks for.

use super::harness::{Harness, token};
use serde_json::{Value, json};

fn join(token: &str) -> Value {
    json!({"type": "join", "version": 1, "room": "daily", "name": "Eve", "token": token})
}

#[tokio::test(start_paused = true)]
async fn the_issuer_decides_name_and_permissions() {
    let server = Harness::new();
    let mut client = server.connect().await;
    client.send(join(&token(json!({"room": "daily", "publish": ["microphone"], "data": false})))).await;
    let joined = client.next().await;
    assert_eq!(server.room.calls(), [r#"join daily Ada of the token Some("ada@example.org")"#]);
    let permissions =
        json!({"publish": ["microphone"], "subscribe": true, "data": false, "hidden": false, "emulate": false});
    assert_eq!(joined["permissions"], permissions);
}

#[tokio::test(start_paused = true)]
async fn a_bad_token_is_refused_with_its_reason_before_the_room_hears_of_it() {
    let server = Harness::new();
    for (text, code) in
        [(token(json!({"room": "board"})), "token-wrong-room"), ("nonsense".to_owned(), "token-malformed")]
    {
        let mut client = server.connect().await;
        client.send(join(&text)).await;
        let error = client.next().await;
        assert_eq!((&error["code"], &error["fatal"]), (&json!(code), &json!(true)), "{error}");
        assert_eq!(server.counters.joins.get(code), 1);
    }
    assert!(server.room.calls().is_empty(), "{:?}", server.room.calls());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_granted_is_forbidden_and_the_session_goes_on() {
    let server = Harness::new();
    let mut client = server.connect().await;
    client.send(join(&token(json!({"room": "daily", "publish": ["camera"], "subscribe": false})))).await;
    client.next().await;
    let offer =
        |source: &str| json!({"type": "offer", "id": 4, "sdp": "x", "tracks": [{"mid": "0", "source": source}]});
    client.send(offer("screen")).await;
    let error = client.next().await;
    assert_eq!((&error["code"], &error["id"], &error["fatal"]), (&json!("forbidden"), &json!(4), &json!(false)));
    assert_eq!(error["message"], "not allowed to publish a screen");
    client.send(json!({"type": "subscribe", "tracks": []})).await;
    assert_eq!(client.next().await["message"], "not allowed to subscribe");
    assert_eq!(server.room.calls().len(), 1, "neither reached the room: {:?}", server.room.calls());
    client.send(offer("camera")).await;
    assert_eq!(client.next().await["type"], "answer");
}

#[tokio::test(start_paused = true)]
async fn who_is_hidden_publishes_nothing() {
    let server = Harness::new();
    let mut client = server.connect().await;
    client.send(join(&token(json!({"room": "*", "hidden": true})))).await;
    assert_eq!(client.next().await["permissions"]["publish"], json!([]));
    let tracks = json!([{"mid": "0", "source": "microphone"}]);
    client.send(json!({"type": "offer", "id": 1, "sdp": "x", "tracks": tracks})).await;
    assert_eq!(client.next().await["code"], "forbidden");
}
