//! Settings as an operator meets them: what is wrong is said at once, what is in effect can be asked, and nobody is let
//! in by accident.

use crate::harness::server::{LOCAL, Server, SettingsFile, run_to_end, sluice};
use crate::harness::signaling::Signaling;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_everything_that_is_wrong_at_once() {
    let file = SettingsFile::new("[media]\nport = 99999\n[limits]\nroms = 3\n");
    let mut command = sluice(&["check", "--config", file.path(), "--set", "log.format=xml"]);
    command.env("SLUICE_LIMITS__ROOMS", "many");
    let run = run_to_end(command).await;
    assert_eq!(run.status.code(), Some(1));
    for expected in [
        "4 problems",
        &format!("media.port = 99999  (from {})", file.path()),
        "Do you mean limits.rooms?",
        "limits.rooms = \"many\"  (from the environment, SLUICE_LIMITS__ROOMS)",
        "log.format = \"xml\"  (from --set)",
    ] {
        assert!(run.stderr.contains(expected), "{expected:?} in {}", run.stderr);
    }
    let good = SettingsFile::new("[limits]\nrooms = 3\n");
    let run = run_to_end(sluice(&["check", "--config", good.path()])).await;
    assert!(run.status.success() && run.stdout.contains(good.path()), "{}{}", run.stdout, run.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_prints_what_is_in_effect_and_where_it_came_from() {
    let file = SettingsFile::new(
        "[limits]\nrooms = 3\n[access.keys]\nmain = 'a secret of this test, long enough for HS256'\n",
    );
    let mut command = sluice(&["--media-port", "5000", "config", "--config", file.path(), "--set", "limits.talkers=3"]);
    command.env("SLUICE_MEDIA__TCP", "false");
    let run = run_to_end(command).await;
    for line in [
        "port = 5000  # --media-port".to_owned(),
        format!("rooms = 3  # {}", file.path()),
        "talkers = 3  # --set".to_owned(),
        "tcp = false  # the environment, SLUICE_MEDIA__TCP".to_owned(),
        "video_slots = 49  # default".to_owned(),
        format!("keys = {{ main = \"***\" }}  # {}", file.path()),
    ] {
        assert!(run.stdout.lines().any(|l| l == line), "{line:?} in {}", run.stdout);
    }
    assert!(!run.stdout.contains("a secret"), "{}", run.stdout);
    // What it prints is a settings file; the secret in it is none, which is said.
    let printed = SettingsFile::new(&run.stdout);
    let run = run_to_end(sluice(&["check", "--config", printed.path()])).await;
    assert!(run.stderr.starts_with("sluice: 1 problem ") && run.stderr.contains("access.keys"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn help_is_grouped_and_has_examples() {
    let help = run_to_end(sluice(&["--help"])).await.stdout;
    for expected in
        ["Commands:", "Settings:", "Network:", "HTTPS and access:", "Process:", "Examples:", "--advertise", "doctor"]
    {
        assert!(help.contains(expected), "{expected:?} in {help}");
    }
    let help = run_to_end(sluice(&["token", "--help"])).await.stdout;
    assert!(help.contains("--room") && !help.contains("--media-port"), "a command shows its own flags only: {help}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_let_in_from_elsewhere_by_accident() {
    let everywhere = |more: &[&str]| {
        let mut arguments = LOCAL.to_vec();
        arguments[1] = "0.0.0.0:0";
        arguments.extend(more);
        sluice(&arguments)
    };
    let run = run_to_end(everywhere(&[])).await;
    assert_eq!(run.status.code(), Some(1), "{}", run.stdout);
    for expected in ["http.listen", "--http", "0.0.0.0:0", "sluice key", "--open"] {
        assert!(run.stderr.contains(expected), "{expected:?} in {}", run.stderr);
    }
    let open = Server::run(everywhere(&["--open"])).await;
    assert!(open.printed.contains("Everybody who reaches it may join"), "{}", open.printed);
    let keys = SettingsFile::new("[access.keys]\nmain = 'a secret of this test, long enough for HS256'\n");
    let closed = Server::run(everywhere(&["--config", keys.path()])).await;
    assert!(closed.printed.contains("needs an access token"), "{}", closed.printed);
    // What is open to everybody is not what is managed by everybody.
    let run = run_to_end(everywhere(&["--open", "--admin", "0.0.0.0:0"])).await;
    assert!(!run.status.success() && run.stderr.contains("admin.listen"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_win_over_what_is_discovered() {
    // Nobody answers there, and nobody is asked: the address that is named is told, alone.
    let server = Server::start(&["--stun", "127.0.0.1:9"]).await;
    assert!(server.printed.contains("udp  127.0.0.1:"), "{}", server.printed);
    assert!(!server.log().contains("media.stun"), "{}", server.log());
    let mut client = Signaling::open(&server).await;
    assert_eq!(client.join("room", "Ada", None).await["type"], "joined");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_tests_this_machine() {
    let run = run_to_end(sluice(&[&LOCAL[..], &["doctor"]].concat())).await;
    assert!(run.status.success(), "{}{}", run.stdout, run.stderr);
    for expected in
        ["(only for browsers on this machine) is reached", "UDP receive buffer", "UDP offloads", "clock", "open files"]
    {
        assert!(run.stdout.contains(expected), "{expected:?} in {}", run.stdout);
    }

    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut arguments = LOCAL.to_vec();
    arguments[3] = &port;
    arguments.push("doctor");
    let run = run_to_end(sluice(&arguments)).await;
    assert_eq!(run.status.code(), Some(1), "{}", run.stdout);
    assert!(run.stdout.contains("BAD") && run.stdout.contains(&port) && run.stdout.contains("->"), "{}", run.stdout);

    let mut arguments = LOCAL.to_vec();
    arguments[7] = "203.0.113.7";
    arguments.push("doctor");
    let run = run_to_end(sluice(&arguments)).await;
    assert!(run.stdout.contains("203.0.113.7") && run.stdout.contains("no address of this machine"), "{}", run.stdout);
}
