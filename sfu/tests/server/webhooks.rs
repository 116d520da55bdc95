//! Webhooks, with a receiver that fails at first.

use crate::harness::eventually;
use crate::harness::participant::{Participant, Plan};
use crate::harness::server::Server;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What came, and how it was answered.
#[derive(Clone, Debug)]
struct Delivery {
    headers: BTreeMap<String, String>,
    body: String,
    taken: bool,
}

impl Delivery {
    fn event(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

struct Receiver {
    address: SocketAddr,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
}

impl Receiver {
    /// Answers every request by the status that `answer` gives for its number, from 0.
    async fn start(answer: fn(usize) -> u16) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let deliveries = Arc::<Mutex<Vec<Delivery>>>::default();
        let log = deliveries.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, log.clone(), answer));
            }
        });
        Receiver { address, deliveries }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The events that were taken, in order.
    fn taken(&self) -> Vec<Delivery> {
        self.deliveries.lock().unwrap().iter().filter(|delivery| delivery.taken).cloned().collect()
    }

    /// Waits until the last event taken is of a kind, and returns all.
    async fn until(&self, kind: &str) -> Vec<Delivery> {
        let there =
            async || Some(self.taken()).filter(|taken| taken.last().is_some_and(|d| d.event()["event"] == kind));
        eventually(&format!("{kind} is delivered"), there).await
    }
}

async fn serve(stream: TcpStream, log: Arc<Mutex<Vec<Delivery>>>, answer: fn(usize) -> u16) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut headers = BTreeMap::new();
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end().split_once(": ") {
                Some((name, value)) => drop(headers.insert(name.to_lowercase(), value.to_owned())),
                None if line.trim_end().is_empty() => break,
                None => {}
            }
        }
        let mut body = vec![0; headers["content-length"].parse().expect("a length")];
        stream.read_exact(&mut body).await.expect("a body");
        let status = {
            let mut log = log.lock().unwrap();
            let status = answer(log.len());
            let body = String::from_utf8(body).expect("UTF-8");
            log.push(Delivery { headers, body, taken: status == 200 });
            status
        };
        let response = format!("HTTP/1.1 {status} so\r\nContent-Length: 0\r\n\r\n");
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn server(receivers: &[&Receiver]) -> Server {
    let urls: Vec<_> = receivers.iter().map(|receiver| receiver.url()).collect();
    Server::configured(&format!("[webhooks]\nurls = {urls:?}\nsecret = 'a secret of this test'\n"), &[]).await
}

fn kinds(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|d| d.event()["event"].as_str().unwrap().to_owned()).collect()
}

/// HMAC-SHA256 by OpenSSL, which shares no code with the server.
fn hmac(secret: &str, text: &str) -> String {
    use std::io::Write;
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", secret])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    openssl.stdin.take().unwrap().write_all(text.as_bytes()).expect("openssl reads");
    let output = openssl.wait_with_output().expect("openssl ends");
    String::from_utf8(output.stdout).unwrap().split_whitespace().last().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_a_room_is_delivered_in_order_and_signed_though_the_receiver_fails_at_first() {
    let receiver = Receiver::start(|number| if number < 3 { 503 } else { 200 }).await;
    let server = server(&[&receiver]).await;
    let mut ada = Participant::join(&server, "daily", "Ada", Plan::TALK).await;
    ada.signaling.send(json!({"type": "leave"})).await;
    let taken = receiver.until("room_finished").await;
    let order = [
        "room_started",
        "participant_joined",
        "track_published",
        "track_published",
        "track_unpublished",
        "track_unpublished",
        "participant_left",
        "room_finished",
    ];
    assert_eq!(kinds(&taken), order);
    let room = taken[0].event()["room"].clone();
    assert_eq!(room["name"], "daily");
    assert!(taken.iter().all(|delivery| delivery.event()["room"] == room));
    let left = taken[6].event();
    assert_eq!(
        (&left["participant"]["name"], &left["participant"]["id"], &left["reason"]),
        (&json!("Ada"), &json!(ada.id), &json!("left"))
    );
    assert_eq!(taken[2].event()["track"]["participant"], json!(ada.id));

    for delivery in &taken {
        assert_eq!(delivery.headers["content-type"], "application/json");
        assert_eq!(delivery.headers["sluice-event-id"], delivery.event()["id"]);
        let signature = delivery.headers["sluice-signature"].clone();
        let (time, signature) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        assert_eq!(signature, hmac("a secret of this test", &format!("{time}.{}", delivery.body)));
    }
    // What failed was the same event each time.
    let first = receiver.deliveries.lock().unwrap()[..4].iter().map(|d| d.event()["id"].clone()).collect::<Vec<_>>();
    assert!(first.iter().all(|id| *id == first[0]), "{first:?}");
    assert_eq!(server.metric("sluice_webhook_deliveries_total", &[("outcome", "retried")]).await, 3.0);
    assert_eq!(server.metric("sluice_webhook_deliveries_total", &[("outcome", "delivered")]).await, 8.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_down_or_refuses_holds_up_no_other() {
    let (refuses, takes) = (Receiver::start(|_| 410).await, Receiver::start(|_| 200).await);
    let server = server(&[&refuses, &takes]).await;
    let (status, body) = {
        let body = json!({"name": "made", "metadata": {"team": 7}}).to_string();
        let response = server.manage("POST", "/api/v1/rooms", &[], &body).await;
        (response.status, response.body)
    };
    assert_eq!(status, 201, "{body}");
    let started = takes.until("room_started").await;
    assert_eq!(started[0].event()["room"]["metadata"], json!({"team": 7}));
    server.manage("DELETE", "/api/v1/rooms/made", &[], "").await;
    takes.until("room_finished").await;
    // A refusal is final: one try for each event.
    server.metric_reaches("sluice_webhook_deliveries_total", &[("outcome", "refused")], |n| n == 2.0).await;
    assert_eq!(refuses.deliveries.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_kicked_and_whose_room_is_closed_is_said_so() {
    let receiver = Receiver::start(|_| 200).await;
    let server = server(&[&receiver]).await;
    let ada = Participant::join(&server, "daily", "Ada", Plan::TALK).await;
    let _grace = Participant::join(&server, "daily", "Grace", Plan::TALK).await;
    server.manage("DELETE", &format!("/api/v1/rooms/daily/participants/{}", ada.id), &[], "").await;
    server.manage("DELETE", "/api/v1/rooms/daily", &[], "").await;
    let taken = receiver.until("room_finished").await;
    let left: Vec<_> = taken.iter().map(Delivery::event).filter(|e| e["event"] == "participant_left").collect();
    let said: Vec<_> = left.iter().map(|e| (e["participant"]["name"].clone(), e["reason"].clone())).collect();
    assert_eq!(said, [(json!("Ada"), json!("kicked")), (json!("Grace"), json!("room-closed"))]);
}
