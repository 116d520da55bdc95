//! Health pages, draining, the second signal, and what systemd is told.

use crate::harness::eventually;
use crate::harness::participant::{Participant, Plan};
use crate::harness::payload::Kind::Audio;
use crate::harness::server::{LOCAL, Server, SettingsFile, run_to_end, sluice};
use crate::harness::signaling::Signaling;
use crate::limits::assert_error;
use serde_json::{Value, json};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, SystemTime};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_told_on_both_addresses() {
    let server = Server::start(&[]).await;
    for path in ["/livez", "/readyz", "/version"] {
        let (public, admin) = (server.get(path).await, server.admin(path).await);
        assert_eq!((public.status, admin.status), (200, 200), "{path}: {}", public.body);
        assert_eq!(public.body, admin.body);
    }
    let version: Value = serde_json::from_str(&server.get("/version").await.body).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_check_needs_no_program_but_the_servers_own() {
    let mut server = Server::start(&[]).await;
    let check = format!("admin.listen={}", server.admin);
    let health = ["health", "--set", check.as_str()];
    let healthy = run_to_end(sluice(&health)).await;
    assert!(healthy.status.success(), "{}", healthy.stderr);
    server.signal("INT");
    server.exit().await;
    let gone = run_to_end(sluice(&health)).await;
    assert_eq!(gone.status.code(), Some(1));
    assert!(gone.stderr.contains(&server.admin.to_string()), "{}", gone.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_told_of_turn_servers_and_a_reload_changes_them() {
    let turn =
        |host: &str| format!("[ice]\nurls = ['stun:{host}', 'turn:{host}?transport=tcp']\nturn_secret = 'shared'\n");
    let file = SettingsFile::new(&turn("one.example"));
    let server = Server::start(&["--config", file.path()]).await;
    let joined = Signaling::open(&server).await.join("room", "Ada", None).await;
    let [stun, relay] = joined["iceServers"].as_array().expect("servers").as_slice() else { panic!("{joined}") };
    assert_eq!(*stun, json!({"urls": ["stun:one.example"]}));
    assert_eq!(relay["urls"], json!(["turn:one.example?transport=tcp"]));
    let (expiry, who) = relay["username"].as_str().and_then(|name| name.split_once(':')).expect("a user name");
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    assert!((now + 86_000..=now + 86_400).contains(&expiry.parse().expect("a time")), "{expiry} at {now}");
    assert_eq!(joined["participant"], who);
    assert!(!server.log().contains("shared"));

    file.replace(&turn("two.example"));
    server.signal("HUP");
    server.logs("settings read again").await;
    let joined = Signaling::open(&server).await.join("room", "Bob", None).await;
    assert_eq!(joined["iceServers"][1]["urls"], json!(["turn:two.example?transport=tcp"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_nobody_elsewhere_could_reach_is_not_ready() {
    let mut command = sluice(&["--open", "--http", "0.0.0.0:0", "--media-port", "0", "--media-listen", "127.0.0.1"]);
    command.env("SLUICE_ADMIN__LISTEN", "127.0.0.1:0");
    let server = Server::run(command).await;
    let ready = server.admin("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("--advertise"), "{}", ready.body);
    server.logs("--advertise").await;
    assert_eq!(server.admin("/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_calls_end_by_themselves() {
    let mut server = Server::start(&["--set", "shutdown.drain_seconds=600"]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    server.signal("TERM");
    let told = ada.signaling.nth("going-away", 0).await;
    assert_eq!(told["seconds"], 600, "{told}");
    assert_eq!(server.get("/readyz").await.status, 503);
    assert_eq!((server.metric("sluice_ready", &[]).await, server.metric("sluice_draining", &[]).await), (0.0, 1.0));
    assert_eq!(server.get("/livez").await.status, 200);

    // No new room; who belongs to a call that goes on still gets in, and media flows.
    let mut eve = Signaling::open(&server).await;
    assert_error(&eve.join("another", "Eve", None).await, "draining", true);
    let grace = Participant::join(&server, "room", "Grace", Plan::TALK).await;
    ada.media.receives_more("Grace", Audio, 5).await;
    for mut leaving in [ada, grace] {
        leaving.signaling.send(json!({"type": "leave"})).await;
        leaving.signaling.closed().await;
    }
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
    server.logs("all calls are over").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_has_a_deadline_and_a_second_signal_ends_it() {
    for (seconds, second, expected) in [
        ("1", None, "the time is over"),
        ("600", Some("TERM"), "a second signal"),
        ("600", Some("INT"), "a second signal"),
    ] {
        let mut server = Server::start(&["--set", &format!("shutdown.drain_seconds={seconds}")]).await;
        let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
        server.signal("TERM");
        ada.signaling.nth("going-away", 0).await;
        if let Some(signal) = second {
            server.signal(signal);
        }
        assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
        server.logs(expected).await;
        ada.signaling.nth("going-away", 1).await;
        ada.signaling.closed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_what_happens() {
    let path = std::env::temp_dir().join(format!("sluice-notify-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let told = std::cell::RefCell::new(String::new());
    let hears = async |word: &str| {
        eventually(&format!("systemd is told {word}"), async || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                told.borrow_mut().push_str(&(String::from_utf8_lossy(&buffer[..length]).into_owned() + "\n"));
            }
            let found = told.borrow().find(word)?;
            let rest = told.borrow()[found + word.len()..].to_owned();
            told.replace(rest);
            Some(())
        })
        .await
    };
    let mut command = sluice(&LOCAL);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", Duration::from_millis(200).as_micros().to_string());
    let mut server = Server::run(command).await;
    hears("READY=1").await;
    hears("WATCHDOG=1").await;
    server.signal("HUP");
    hears("RELOADING=1").await;
    hears("MONOTONIC_USEC=").await;
    hears("READY=1").await;
    server.signal("TERM");
    hears("STOPPING=1").await;
    assert_eq!(server.exit().await.code(), Some(0));
    std::fs::remove_file(path).unwrap();
}
