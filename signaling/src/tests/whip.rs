//! WHIP and WHEP sessions as the service sees them: one `leave` for each `join`, whatever the client does.

use super::harness::{ScriptedRoom, authority, token};
use crate::config::SignalingConfig;
use crate::protocol::{ConnectionState, ServerMessage};
use axum::body::Body;
use axum::extract::connect_info::MockConnectInfo;
use axum::http::{Request, Response, header};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::time::{Duration, sleep};
use tower::ServiceExt;

const OFFER: &str = "v=0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\nm=audio 9\r\na=sendonly\r\n";

struct Server(axum::Router, Arc<ScriptedRoom>);

impl Server {
    fn new() -> Server {
        let room = Arc::<ScriptedRoom>::default();
        let router = crate::whip::router(room.clone(), authority(false), SignalingConfig::default(), Arc::default());
        Server(router.layer(MockConnectInfo(SocketAddr::from(([192, 0, 2, 1], 4000)))), room)
    }

    async fn request(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/sdp");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.0.clone().oneshot(request.body(Body::from(body.to_owned())).expect("a request")).await.expect("served")
    }

    /// The URL of a new session.
    async fn begin(&self, path: &str, token: &str) -> String {
        let response = self.request("POST", path, Some(token), OFFER).await;
        assert_eq!(response.status(), 201);
        response.headers()[header::LOCATION].to_str().expect("text").to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn who_never_connects_is_removed_after_30_s_and_who_does_stays() {
    let server = Server::new();
    let token = token(json!({"room": "daily"}));
    server.begin("/whip/daily", &token).await;
    server.begin("/whip/daily", &token).await;
    let connected = ServerMessage::Connection { state: ConnectionState::Connected, reason: None };
    server.1.sink("p2").send(connected);
    server.1.calls();
    sleep(Duration::from_secs(29)).await;
    assert!(server.1.calls().is_empty());
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(server.1.calls(), ["leave p1 ConnectionLost"]);
    let disconnected = ServerMessage::Connection { state: ConnectionState::Disconnected, reason: None };
    server.1.sink("p2").send(disconnected);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.1.calls(), ["leave p2 ConnectionLost"]);
}

#[tokio::test(start_paused = true)]
async fn whom_the_room_removes_is_gone_without_a_leave() {
    let server = Server::new();
    let token = token(json!({"room": "daily"}));
    let url = server.begin("/whep/daily", &token).await;
    server.1.sink("p1").finish(ServerMessage::Kicked { reason: "enough".to_owned() });
    sleep(Duration::from_secs(1)).await;
    server.1.calls();
    assert_eq!(server.request("DELETE", &url, Some(&token), "").await.status(), 404);
    assert!(server.1.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_answers_only_to_the_token_that_began_it() {
    let server = Server::new();
    let (mine, other) = (token(json!({"room": "daily"})), token(json!({"room": "*"})));
    let url = server.begin("/whip/daily", &mine).await;
    let without = server.request("DELETE", &url, None, "").await;
    assert_eq!(
        (without.status().as_u16(), &without.headers()[header::WWW_AUTHENTICATE]),
        (401, &"Bearer".parse().expect("text"))
    );
    assert_eq!(server.request("DELETE", &url, Some(&other), "").await.status(), 403);
    assert_eq!(server.request("DELETE", &url.replace("whip", "whep"), Some(&mine), "").await.status(), 404);
    assert_eq!(server.request("DELETE", &url, Some(&mine), "").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn ice_servers_come_as_links_with_the_participants_own_credential() {
    let server = Server::new();
    let token = token(json!({"room": "daily"}));
    for (path, who) in [("/whip/daily", "p1"), ("/whep/daily", "p2")] {
        let response = server.request("POST", path, Some(&token), OFFER).await;
        let link = format!(
            "<turn:turn.example>; rel=\"ice-server\"; username=\"1700000000:{who}\"; credential=\"secret\"; credential-type=\"password\""
        );
        assert_eq!(response.headers()[header::LINK], link);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_must_grant_what_the_session_is_for() {
    let server = Server::new();
    let listens = token(json!({"room": "daily", "publish": false}));
    let publishes = token(json!({"room": "daily", "subscribe": false}));
    let camera = token(json!({"room": "daily", "publish": ["camera"]}));
    let screen = token(json!({"room": "daily", "publish": ["screen"]}));
    for (path, token, status) in [
        ("/whip/daily", Some(&listens), 403),
        ("/whep/daily", Some(&publishes), 403),
        ("/whip/other", Some(&publishes), 403),
        ("/whip/daily", None, 401),
        ("/whep/daily", Some(&listens), 201),
        ("/whip/daily", Some(&publishes), 201),
        ("/whip/daily?source=screen", Some(&publishes), 201),
        ("/whip/daily?source=screen", Some(&camera), 403),
        ("/whip/daily?source=camera", Some(&camera), 201),
        ("/whip/daily", Some(&screen), 403),
        ("/whip/daily?source=screen", Some(&screen), 201),
        ("/whip/daily?source=window", Some(&screen), 400),
    ] {
        let response = server.request("POST", path, token.map(String::as_str), OFFER).await;
        assert_eq!(response.status(), status, "{path}");
    }
}
