//! The process as an operator meets it: command line, settings, output, signals.

use crate::harness::participant::{Participant, Plan};
use crate::harness::payload::Kind::{Audio, Video};
use crate::harness::server::{Finished, LOCAL, Server, SettingsFile, run_to_end, sluice};
use crate::hostile::check_is_answered;
use serde_json::Value;
use std::net::{TcpListener, UdpSocket};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_prints_where_to_go_and_where_media_is_taken() {
    let server = Server::start(&["--advertise", "192.0.2.7"]).await;
    for expected in [
        format!("Open http://{}/", server.http),
        format!("udp  {}", server.udp),
        format!("udp  192.0.2.7:{}", server.udp.port()),
        format!("tcp  192.0.2.7:{}", server.udp.port()),
        "--advertise".to_owned(),
        "--media-port".to_owned(),
    ] {
        assert!(server.printed.contains(&expected), "{expected:?} in {}", server.printed);
    }
    assert_eq!(server.tcp, Some(server.udp), "one port for both");
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tcp_only_udp_is_advertised() {
    let server = Server::configured("[media]\ntcp = false", &[]).await;
    assert_eq!(server.tcp, None);
    assert!(tokio::net::TcpStream::connect(server.udp).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_addresses_share_one_port_and_each_is_served() {
    let several = ["--media-listen", "127.0.0.2", "--media-listen", "127.0.0.3"];
    let server = Server::start(&several).await;
    for address in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        let ada = Participant::enter(&server, "room", address, Plan::TALK).await;
        let to = format!("{address}:{}", server.udp.port()).parse().unwrap();
        check_is_answered(&server, ada, to).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_named_with_the_flag_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_fails(&run(&["--http", &address]).await, &[&address, "--http"]);

    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = udp.local_addr().unwrap().port().to_string();
    assert_fails(&run(&["--media-port", &port]).await, &[&port, "--media-port"]);

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port().to_string();
    assert_fails(&run(&["--media-port", &port]).await, &[&port, "--media-port"]);

    // Another server shares its UDP port among its shards, but with nobody else.
    let off = SettingsFile::new("[media]\ntcp = false");
    let other = Server::start(&["--shards", "2", "--config", off.path()]).await;
    let port = other.udp.port().to_string();
    let second = run(&["--media-port", &port, "--shards", "2", "--config", off.path()]).await;
    assert_fails(&second, &[&port, "--media-port"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_setting_is_named_with_its_place() {
    let unknown = SettingsFile::new("[media]\nprot = 1");
    assert_fails(&run(&["--config", unknown.path()]).await, &["prot", "media", unknown.path()]);
    let wrong = SettingsFile::new("[limits]\nrooms = 'many'");
    assert_fails(&run(&["--config", wrong.path()]).await, &["limits.rooms", wrong.path()]);
    let broken = SettingsFile::new("[limits\n");
    assert_fails(&run(&["--config", broken.path()]).await, &[broken.path()]);
    assert_fails(&run(&["--config", "/nowhere/sluice.toml"]).await, &["/nowhere/sluice.toml"]);
    let none = SettingsFile::new("[limits]\nmessages_per_second = 0");
    assert_fails(&run(&["--config", none.path()]).await, &["limits.messages_per_second"]);
    let filter = SettingsFile::new("[log]\nfilter = 'sfu=loud'");
    assert_fails(&run(&["--config", filter.path()]).await, &["log.filter"]);

    let mut command = sluice(&LOCAL);
    command.env("SLUICE_LIMITS__ROMS", "3");
    assert_fails(&run_to_end(command).await, &["roms", "environment"]);
    assert_fails(&run(&["--advertise", "0.0.0.0"]).await, &["media.advertise"]);
    assert_fails(&run(&["--advertise", "2001:db8::1"]).await, &["media.advertise"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_wins_over_the_file_and_flags_over_both() {
    let file = SettingsFile::new(
        "[limits]\nparticipants_per_room = 3\nresume_seconds = 3\n[media]\nadvertise = ['192.0.2.1']",
    );
    let environment = [
        ("SLUICE_LIMITS__PARTICIPANTS_PER_ROOM", "4"),
        ("SLUICE_MEDIA__ADVERTISE", "192.0.2.2,192.0.2.3"),
        // What Kubernetes sets for a service of this name.
        ("SLUICE_SERVICE_HOST", "10.0.0.1"),
        ("SLUICE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
    ];
    let mut command = sluice(&["--http", "127.0.0.1:0", "--media-port", "0", "--media-listen", "127.0.0.1"]);
    command.args(["--config", file.path()]).envs(environment);
    let server = Server::run(command).await;
    assert!(server.printed.contains("192.0.2.2:") && server.printed.contains("192.0.2.3:"), "{}", server.printed);
    let joined = crate::harness::signaling::Signaling::open(&server).await.join("room", "Ada", None).await;
    assert_eq!(
        (&joined["limits"]["participants"], &joined["limits"]["resumeSeconds"]),
        (&Value::from(4), &Value::from(3))
    );

    let flagged = Server::start_with(&["--config", file.path()], &environment).await;
    assert!(flagged.printed.contains("127.0.0.1") && !flagged.printed.contains("192.0.2."), "{}", flagged.printed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_it_at_once_in_the_middle_of_a_call() {
    let mut server = Server::start(&["--shards", "2"]).await;
    let ada = Participant::join(&server, "room", "Ada", Plan::TALK).await;
    let grace = Participant::join(&server, "room", "Grace", Plan::TALK_TCP).await;
    ada.media.receives_more("Grace", Audio, 5).await;
    grace.media.receives_more("Ada", Video, 5).await;
    server.signal("INT");
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
    for participant in [&ada, &grace] {
        assert_eq!(participant.signaling.nth("going-away", 0).await["seconds"], 0);
        participant.signaling.closed().await;
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_as_soon_as_it_says_that_it_runs_is_heard() {
    let mut server = Server::start(&[]).await;
    server.signal("INT");
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_that_it_prints_is_the_one_in_the_repository() {
    let printed = run_to_end(sluice(&["schema"])).await;
    assert!(printed.status.success());
    let printed: Value = serde_json::from_str(&printed.stdout).expect("JSON");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../signaling/protocol.schema.json");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(printed, kept);
}

/// Runs with [`LOCAL`], where later flags win, and expects it to end by itself.
async fn run(arguments: &[&str]) -> Finished {
    let replaced = |flag: &str| arguments.contains(&flag);
    let local = LOCAL.chunks(2).filter(|pair| !replaced(pair[0])).flatten().copied();
    run_to_end(sluice(&local.chain(arguments.iter().copied()).collect::<Vec<_>>())).await
}

fn assert_fails(finished: &Finished, words: &[&str]) {
    assert_eq!(finished.status.code(), Some(1), "{}{}", finished.stdout, finished.stderr);
    for word in words {
        assert!(finished.stderr.contains(word), "{word:?} in {}", finished.stderr);
    }
    assert!(!finished.stdout.contains("is running"), "{}", finished.stdout);
}
