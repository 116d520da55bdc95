//! The admin API, over its own listener.

use crate::harness::eventually;
use crate::harness::media::{Media, Network};
use crate::harness::participant::{Participant, Plan};
use crate::harness::payload::Kind::{Audio, Video};
use crate::harness::server::{Response, Server};
use crate::harness::whip::{Http, SDP, header};
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn call(server: &Server, method: &str, path: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let response = server.manage(method, path, &[("Content-Type", "application/json")], &body).await;
    (response.status, parsed(&response))
}

async fn get(server: &Server, path: &str) -> Value {
    let (status, value) = call(server, "GET", path, Value::Null).await;
    assert_eq!(status, 200, "{path}: {value}");
    value
}

fn parsed(response: &Response) -> Value {
    if response.body.is_empty() { Value::Null } else { serde_json::from_str(&response.body).expect("JSON") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_participants_and_tracks_are_listed() {
    let server = Server::start(&[]).await;
    assert_eq!(get(&server, "/api/v1/rooms").await, json!([]));
    let ada = Participant::join(&server, "daily", "Ada", Plan::TALK).await;
    let player = Http::play(&server, "/whep/daily", &[Audio, Video]).await;
    let rooms = get(&server, "/api/v1/rooms").await;
    assert_eq!(
        (&rooms[0]["name"], &rooms[0]["participants"], &rooms[0]["tracks"]),
        (&json!("daily"), &json!(2), &json!(2))
    );
    assert_eq!(get(&server, "/api/v1/rooms/daily").await, rooms[0]);

    let participants = get(&server, "/api/v1/rooms/daily/participants").await;
    let shown = |p: &Value| (p["name"].clone(), p["hidden"].clone(), p["connected"].clone());
    assert_eq!(shown(&participants[0]), (json!("Ada"), json!(false), json!(true)));
    assert_eq!(shown(&participants[1]), (json!("WHEP"), json!(true), json!(true)));
    assert_eq!(get(&server, &format!("/api/v1/rooms/daily/participants/{}", ada.id)).await["id"], json!(ada.id));
    let tracks = get(&server, "/api/v1/rooms/daily/tracks").await;
    let ids: BTreeSet<_> =
        tracks.as_array().unwrap().iter().map(|track| track["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, BTreeSet::from([ada.track(Audio), ada.track(Video)]));
    drop(player);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_made_room_waits_has_its_limit_and_ends_when_closed() {
    let server = Server::start(&[]).await;
    let made = json!({"name": "daily", "maxParticipants": 1, "metadata": {"team": 7}, "emptySeconds": 3600});
    let (status, room) = call(&server, "POST", "/api/v1/rooms", made.clone()).await;
    assert_eq!((status, &room["maxParticipants"], &room["metadata"]), (201, &json!(1), &json!({"team": 7})), "{room}");
    let (status, problem) = call(&server, "POST", "/api/v1/rooms", made).await;
    assert_eq!((status, &problem["code"]), (409, &json!("room-exists")));

    let ada = Participant::join(&server, "daily", "Ada", Plan::TALK).await;
    let mut grace = crate::harness::signaling::Signaling::open(&server).await;
    assert_eq!(grace.join("daily", "Grace", None).await["code"], "room-full");

    let (status, _) = call(&server, "DELETE", "/api/v1/rooms/daily", json!({"reason": "lunch"})).await;
    assert_eq!(status, 204);
    assert_eq!(ada.signaling.nth("kicked", 0).await["reason"], "lunch");
    assert_eq!(ada.signaling.closed().await, 4002);
    assert_eq!(call(&server, "GET", "/api/v1/rooms/daily", Value::Null).await.0, 404);
    server.metric_reaches("sluice_rooms", &[], |n| n == 0.0).await;
    server.metric_reaches("sluice_participants", &[], |n| n == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_room_ends_after_its_time_unless_somebody_came() {
    let server = Server::start(&[]).await;
    call(&server, "POST", "/api/v1/rooms", json!({"name": "short", "emptySeconds": 1})).await;
    let gone = async || (call(&server, "GET", "/api/v1/rooms/short", Value::Null).await.0 == 404).then_some(());
    eventually("the empty room ends", gone).await;
    call(&server, "POST", "/api/v1/rooms", json!({"name": "short", "emptySeconds": 1})).await;
    let ada = Participant::join(&server, "short", "Ada", Plan::TALK).await;
    ada.media.receives_more("nobody", Audio, 0).await;
    // Longer than the room would wait: the first quality report comes after some seconds.
    ada.signaling.nth("quality", 0).await;
    assert_eq!(call(&server, "GET", "/api/v1/rooms/short", Value::Null).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_kicked_is_told_and_gone_and_cannot_resume() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "daily", "Ada", Plan::TALK).await;
    let grace = Participant::join(&server, "daily", "Grace", Plan::TALK).await;
    grace.media.receives_more("Ada", Video, 5).await;
    let path = format!("/api/v1/rooms/daily/participants/{}", ada.id);
    assert_eq!(call(&server, "DELETE", &path, json!({"reason": "noise"})).await.0, 204);
    assert_eq!(ada.signaling.nth("kicked", 0).await["reason"], "noise");
    assert_eq!(ada.signaling.closed().await, 4002);
    let left = grace.signaling.nth("participant-left", 0).await;
    assert_eq!((&left["participant"], &left["reason"]), (&json!(ada.id), &json!("kicked")));
    assert_eq!(call(&server, "DELETE", &path, Value::Null).await.0, 404);
    let mut again = crate::harness::signaling::Signaling::open(&server).await;
    let joined = again.join("daily", "Ada", Some(&ada.resume_token)).await;
    assert_eq!(joined["resumed"], json!(false));

    // A WHIP publisher too, though nobody can tell it.
    let encoder = Http::publish(&server, "daily", "Encoder").await;
    let joined = grace.signaling.find("the encoder joins", |log| {
        log.messages
            .iter()
            .find(|m| m["type"] == "participant-joined" && m["participant"]["name"] == "Encoder")
            .cloned()
    });
    let id = joined.await["participant"]["id"].as_str().unwrap().to_owned();
    assert_eq!(call(&server, "DELETE", &format!("/api/v1/rooms/daily/participants/{id}"), Value::Null).await.0, 204);
    server.metric_reaches("sluice_http_sessions", &[], |n| n == 0.0).await;
    assert_eq!(encoder.delete(&server).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_muted_track_stops_for_everybody_and_its_publisher_is_told() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "daily", "Ada", Plan::TALK).await;
    let grace = Participant::join(&server, "daily", "Grace", Plan::TALK).await;
    let video = ada.track(Video);
    grace.slot_sends(&video).await;
    let path = format!("/api/v1/rooms/daily/tracks/{video}");
    assert_eq!(call(&server, "PATCH", &path, json!({"muted": true})).await.0, 204);
    for person in [&ada, &grace] {
        let told = person.signaling.nth("track-muted", 0).await;
        assert_eq!((&told["track"], &told["muted"]), (&json!(video), &json!(true)));
    }
    grace.slot_pauses(&video, "muted").await;
    assert_eq!(call(&server, "PATCH", &path, json!({"muted": false})).await.0, 204);
    grace.slot_sends(&video).await;
    assert_eq!(call(&server, "PATCH", "/api/v1/rooms/daily/tracks/p99t0", json!({"muted": true})).await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_say_what_flows_and_why() {
    let server = Server::start(&[]).await;
    let ada = Participant::join(&server, "daily", "Ada", Plan::TALK).await;
    let mut grace = Participant::join(&server, "daily", "Grace", Plan::TALK).await;
    let video = ada.track(Video);
    grace.slot_sends(&video).await;
    grace.media.receives_more("Ada", Video, 60).await;
    let cap = format!("/api/v1/rooms/daily/participants/{}", grace.id);
    let (status, capped) = call(&server, "PATCH", &cap, json!({"maxHeight": 180})).await;
    assert_eq!((status, &capped["maxHeight"]), (200, &json!(180)));

    let stats = get(&server, "/api/v1/rooms/daily/stats").await;
    let of = |name: &str| stats["participants"].as_array().unwrap().iter().find(|p| p["name"] == name).unwrap().clone();
    let (publisher, receiver) = (of("Ada"), of("Grace"));
    assert_eq!(publisher["protocol"], "udp");
    let track = publisher["tracks"].as_array().unwrap().iter().find(|t| t["id"] == *video).unwrap().clone();
    assert_eq!(
        (&track["codec"], &track["kind"], &track["subscribers"]),
        (&json!("VP8"), &json!("video"), &json!(1)),
        "{track}"
    );
    let encoding = &track["encodings"][0];
    assert_eq!(
        (&encoding["active"], &encoding["wanted"], &encoding["height"]),
        (&json!(true), &json!(true), &json!(180))
    );
    assert!(encoding["packets"].as_u64().unwrap() >= 60 && encoding["rate"].as_u64().unwrap() > 0, "{encoding}");
    let slot = receiver["slots"].as_array().unwrap().iter().find(|s| s["track"] == *video).unwrap().clone();
    assert_eq!(
        (&slot["state"], &slot["encoding"], &slot["maxHeight"]),
        (&json!("sending"), &json!(0), &json!(180)),
        "{slot}"
    );
    assert!(slot["packets"].as_u64().unwrap() >= 60, "{slot}");
    assert!(receiver["downlinkEstimate"].as_u64().unwrap() > 0);

    grace.signaling.send(json!({"type": "subscribe", "tracks": [{"track": video, "priority": "hidden"}]})).await;
    grace.slot_pauses(&video, "not-visible").await;
    let stats = get(&server, "/api/v1/rooms/daily/stats").await;
    let slots = stats["participants"][1]["slots"].as_array().unwrap().clone();
    let slot = slots.iter().find(|s| s["track"] == *video).unwrap();
    assert_eq!(
        (&slot["state"], &slot["pauseReason"], &slot["priority"]),
        (&json!("paused"), &json!("not-visible"), &json!("hidden"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_describes_the_api_and_nothing_else() {
    let server = Server::start(&[]).await;
    let document = get(&server, "/api/v1/openapi.json").await;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")), "{}", document["openapi"]);
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut operations = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operations.insert(operation["operationId"].as_str().expect("an operationId").to_owned()));
            assert!(operation["description"].is_string() || operation["summary"].is_string(), "{path}");
            let placeholders = path.matches('{').count();
            assert_eq!(operation["parameters"].as_array().map_or(0, Vec::len), placeholders, "{method} {path}");
            // Every described operation is there: what it does not know is a problem of the API, not an unknown route.
            let path = path.replace("{room}", "nowhere").replace("{participant}", "p1").replace("{track}", "p1t0");
            let (status, body) =
                call(&server, &method.to_uppercase(), &path, json!({"muted": true, "maxHeight": null, "name": "!"}))
                    .await;
            assert!(matches!(status, 200 | 400 | 404), "{method} {path}: {status}");
            if status != 200 {
                assert!(
                    ["not-found", "bad-room", "bad-body"].contains(&body["code"].as_str().unwrap_or_default()),
                    "{method} {path}: {body}"
                );
                assert_eq!(body["status"], status);
            }
        }
    }
    assert_eq!(operations.len(), 12);
    let page = server.manage("GET", "/api/v1/docs", &[], "").await;
    assert!(page.body.contains("openapi.json") && !page.body.contains("https://"), "nothing is loaded from elsewhere");
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| collect_references(value, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_operators_reach_it_and_no_page_of_another_origin() {
    let server = Server::start(&[]).await;
    assert_eq!(server.get("/api/v1/rooms").await.status, 404, "it is on the admin listener only");
    for origin in ["https://evil.example", "null"] {
        let refused = server.manage("GET", "/api/v1/rooms", &[("Origin", origin)], "").await;
        assert_eq!((refused.status, parsed(&refused)["code"].clone()), (403, json!("foreign-origin")));
        assert_eq!(header(&refused, "content-type"), "application/problem+json");
    }
    let own = format!("http://{}", server.admin);
    assert_eq!(server.manage("GET", "/api/v1/rooms", &[("Origin", &own)], "").await.status, 200);
    let wrong = server.manage("POST", "/api/v1/rooms", &[("Content-Type", "application/json")], "{\"nam\": 1}").await;
    assert_eq!((wrong.status, parsed(&wrong)["code"].clone()), (400, json!("bad-body")));
    assert_eq!(server.manage("PUT", "/api/v1/rooms", &[], "").await.status, 405);

    let keys = "[access]\nkeys = { test = 'a secret of tests, long enough for HS256' }\n";
    let server = Server::configured(keys, &[]).await;
    let refused = server.manage("GET", "/api/v1/rooms", &[], "").await;
    assert_eq!((refused.status, header(&refused, "www-authenticate")), (401, "Bearer".to_owned()));
    assert_eq!(parsed(&refused)["code"], "token-required");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_made_room_has_its_codecs_and_who_can_send_none_of_them_is_told_which() {
    let server = Server::start(&["--set", "codecs.prefer=vp9"]).await;
    let (_, usual) = call(&server, "POST", "/api/v1/rooms", json!({"name": "usual"})).await;
    assert_eq!(usual["codecs"], json!({"prefer": ["vp9"]}), "as the settings say");
    let made = |name: &str, codecs: Value| json!({"name": name, "codecs": codecs});
    for wrong in [json!({"require": []}), json!({"prefer": ["av1", "av1"]})] {
        let (status, problem) = call(&server, "POST", "/api/v1/rooms", made("wrong", wrong.clone())).await;
        assert_eq!((status, &problem["code"]), (422, &json!("bad-codecs")), "{wrong}: {problem}");
    }
    let (status, problem) = call(&server, "POST", "/api/v1/rooms", made("wrong", json!({"require": ["theora"]}))).await;
    assert_eq!((status, &problem["code"]), (400, &json!("bad-body")), "{problem}");

    let (status, room) = call(&server, "POST", "/api/v1/rooms", made("strict", json!({"require": ["av1"]}))).await;
    assert_eq!((status, &room["codecs"]), (201, &json!({"require": ["av1"]})), "{room}");
    let media = Media::new(Network::Udp).await;
    let _sending = media.publish("Ada", Video).await;
    let refused = server.send("POST", "/whip/strict?name=Ada", &[SDP], &media.offer().await).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(refused.body.starts_with("codec-required: ") && refused.body.contains("AV1"), "{}", refused.body);
}
