//! Access tokens against the running binary: what is refused and why, and what a token that is good lets its bearer do.

use crate::harness::participant::{Participant, Plan};
use crate::harness::payload::Kind::{Audio, Video};
use crate::harness::server::{Server, SettingsFile, run_to_end, sluice};
use crate::harness::signaling::Signaling;
use crate::limits::assert_error;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};
use std::time::SystemTime;

const SECRET: &str = "a secret of this test, long enough for HS256";

fn keys() -> String {
    format!("[access.keys]\nmain = '{SECRET}'\n")
}

/// Seconds since 1970, from now.
fn at(offset: i64) -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64 + offset
}

/// A token made by hand: any header, any claims, HMAC with any secret.
fn forge(header: Value, claims: Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    format!("{message}.{}", BASE64URL.encode(ring::hmac::sign(&key, message.as_bytes())))
}

fn token(claims: Value) -> String {
    forge(json!({"alg": "HS256", "kid": "main"}), claims, SECRET.as_bytes())
}

/// A token for an hour.
fn granting(sluice: Value) -> String {
    token(json!({"exp": at(3600), "sluice": sluice}))
}

/// What `sluice token` prints.
async fn mint(arguments: &[&str]) -> String {
    let run = run_to_end(sluice(&[&["token"], arguments].concat())).await;
    assert!(run.status.success(), "{}", run.stderr);
    run.stdout.trim().to_owned()
}

async fn refusal(server: &Server, token: &str) -> Value {
    let mut client = Signaling::open(server).await;
    let error = client.join_with("daily", "Eve", token).await;
    assert_eq!(client.closed().await, 4000, "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_token_is_refused_with_the_exact_reason() {
    let server = Server::configured(&keys(), &[]).await;
    let room = json!({"room": "daily"});
    let good = json!({"exp": at(3600), "sluice": room});
    let hs256 = || json!({"alg": "HS256", "kid": "main"});
    let bare = forge(json!({"alg": "none"}), good.clone(), b"");
    let bare = bare.rsplit_once('.').unwrap().0;
    for (token, code, words) in [
        ("".to_owned(), "token-required", "needed"),
        ("secret".to_owned(), "token-malformed", "three parts"),
        (format!("{bare}."), "token-algorithm", "none"),
        (forge(json!({"alg": "HS512", "kid": "main"}), good.clone(), SECRET.as_bytes()), "token-algorithm", "HS512"),
        (forge(json!({"alg": "EdDSA", "kid": "main"}), good.clone(), SECRET.as_bytes()), "token-algorithm", "HS256"),
        (forge(json!({"alg": "HS256", "kid": "old"}), good.clone(), SECRET.as_bytes()), "token-unknown-key", "old"),
        (forge(hs256(), good.clone(), b"a guess"), "token-signature", "main"),
        (token(json!({"exp": at(-180), "sluice": room})), "token-expired", "3 minutes ago"),
        (token(json!({"exp": at(9000), "nbf": at(7300), "sluice": room})), "token-not-yet-valid", "2 hours"),
        (token(json!({"sluice": room})), "token-no-expiry", "exp"),
        (token(json!({"exp": at(60), "aud": "mail", "sluice": room})), "token-audience", "mail"),
        (token(json!({"exp": at(60)})), "token-grants", "sluice"),
        (granting(json!({"room": "daily", "pubish": false})), "token-grants", "pubish"),
        (granting(json!({"room": "board"})), "token-wrong-room", "board"),
    ] {
        let error = refusal(&server, &token).await;
        assert_error(&error, code, true);
        assert!(error["message"].as_str().unwrap().contains(words), "{words:?} in {error}");
        assert!(server.metric("sluice_joins_total", &[("outcome", code)]).await > 0.0, "{code} is counted");
    }
    // Within the leeway of a minute, both ends are good.
    let mut client = Signaling::open(&server).await;
    let token = token(json!({"exp": at(-30), "nbf": at(30), "sluice": room}));
    assert_eq!(client.join_with("daily", "Ada", &token).await["type"], "joined");
    for secret in [SECRET, &token] {
        assert!(!server.log().contains(secret) && !server.printed.contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_key_is_no_shared_secret() {
    let directory = std::env::temp_dir().join(format!("sluice-keys-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let name = directory.join("site").to_str().unwrap().to_owned();
    assert!(run_to_end(sluice(&["key", "--ed25519", &name])).await.status.success());
    let again = run_to_end(sluice(&["key", "--ed25519", &name])).await;
    assert!(!again.status.success() && again.stderr.contains("never overwritten"), "{}", again.stderr);
    let (private, public) = (format!("{name}.private.jwks"), format!("{name}.public.jwks"));
    let published = std::fs::read_to_string(&public).unwrap();
    let set: Value = serde_json::from_str(&published).unwrap();
    assert_eq!(set["keys"][0]["d"], Value::Null, "the private half stays private");

    let server = Server::start(&["--jwks", &public]).await;
    let signed = mint(&["--jwks", &private, "--room", "daily"]).await;
    assert_eq!(Signaling::open(&server).await.join_with("daily", "Ada", &signed).await["type"], "joined");
    let x = set["keys"][0]["x"].as_str().unwrap();
    let claims = json!({"exp": at(3600), "sluice": {"room": "daily"}});
    for secret in [x.as_bytes(), &BASE64URL.decode(x).unwrap(), published.as_bytes()] {
        for (header, code) in [
            (json!({"alg": "HS256", "kid": "main"}), "token-algorithm"),
            (json!({"alg": "HS256"}), "token-unknown-key"),
            (json!({"alg": "EdDSA", "kid": "main"}), "token-signature"),
        ] {
            assert_error(&refusal(&server, &forge(header, claims.clone(), secret)).await, code, true);
        }
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_command_line_mints_is_good_and_says_who_one_is() {
    let file = SettingsFile::new(&format!("{}[access]\naudience = 'calls'\n", keys()));
    let server = Server::start(&["--config", file.path()]).await;
    let ada = mint(&[
        "--config",
        file.path(),
        "--room",
        "daily",
        "--name",
        "Ada L.",
        "--identity",
        "ada@example.org",
        "--metadata",
        r#"{"seat":7}"#,
        "--publish",
        "camera,screen",
        "--valid",
        "5m",
    ])
    .await;
    let mut client = Signaling::open(&server).await;
    let joined = client.join_with("daily", "somebody", &ada).await;
    assert_eq!(joined["name"], "Ada L.", "{joined}");
    let permissions =
        json!({"publish": ["camera", "screen"], "subscribe": true, "data": true, "hidden": false, "emulate": false});
    assert_eq!(joined["permissions"], permissions);
    let grace = mint(&["--config", file.path(), "--room", "*"]).await;
    let mut other = Signaling::open(&server).await;
    let joined = other.join_with("daily", "Grace", &grace).await;
    let seen = &joined["participants"][0];
    assert_eq!((&seen["identity"], &seen["metadata"]), (&json!("ada@example.org"), &json!({"seat": 7})));

    let none = SettingsFile::new("");
    let run = run_to_end(sluice(&["token", "--config", none.path(), "--room", "daily"])).await;
    assert!(!run.status.success() && run.stderr.contains("sluice key"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_that_the_command_line_makes_is_a_settings_file() {
    let made = run_to_end(sluice(&["key"])).await;
    let file = SettingsFile::new(&made.stdout);
    let server = Server::start(&["--config", file.path()]).await;
    let token = mint(&["--config", file.path(), "--room", "daily"]).await;
    assert_eq!(Signaling::open(&server).await.join_with("daily", "Ada", &token).await["type"], "joined");
    assert_error(&Signaling::open(&server).await.join("daily", "Eve", None).await, "token-required", true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_granted_is_published_and_received() {
    let server = Server::configured(&keys(), &[]).await;
    let speaker = granting(json!({"room": "daily", "publish": ["microphone"]}));
    let mut ada = Participant::enter_with(&server, "daily", "Ada", &speaker, Plan::TALK).await;
    // Said to be a camera, it is an error; not said to be anything, it is one all the same, and its section is
    // rejected.
    let sdp = ada.media.offer().await;
    let tracks = json!([{"mid": "1", "source": "camera"}]);
    let error = ada.signaling.refused(json!({"type": "offer", "id": 9, "sdp": sdp, "tracks": tracks})).await;
    assert_error(&error, "forbidden", false);
    ada.signaling.send(json!({"type": "offer", "id": 10, "sdp": sdp, "tracks": []})).await;
    let answer = ada.signaling.nth("answer", 0).await;
    let ports: Vec<_> = answer["sdp"].as_str().unwrap().lines().filter(|line| line.starts_with("m=")).collect();
    let rejected = |kind: &str| ports.iter().filter(|line| line.starts_with(&format!("m={kind} 0 "))).count();
    assert_eq!((rejected("audio"), rejected("video")), (0, 1), "{ports:?}");
    assert_eq!(answer["tracks"].as_array().unwrap().len(), 1);

    let deaf = granting(json!({"room": "daily", "subscribe": false}));
    let mut grace = Participant::enter_with(&server, "daily", "Grace", &deaf, Plan::TALK).await;
    let error = grace.signaling.refused(json!({"type": "subscribe", "tracks": []})).await;
    assert_error(&error, "forbidden", false);
    let sdp = grace.media.offer().await;
    grace.signaling.send(json!({"type": "offer", "id": 1, "sdp": sdp, "tracks": []})).await;
    let answer = grace.signaling.nth("answer", 0).await;
    let rejected =
        answer["sdp"].as_str().unwrap().lines().filter(|l| l.starts_with("m=") && l.contains(" 0 UDP")).count();
    assert_eq!(rejected, 2, "no slots: {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_hidden_watches_unseen() {
    let server = Server::configured(&keys(), &[]).await;
    let (plain, hidden) = (granting(json!({"room": "daily"})), granting(json!({"room": "daily", "hidden": true})));
    let mut ada = Participant::enter_with(&server, "daily", "Ada", &plain, Plan::TALK).await;
    ada.negotiate().await;
    ada.connected().await;
    let watch = Plan { publish: &[], slots: (1, 1), network: Plan::TALK.network };
    let mut eve = Participant::enter_with(&server, "daily", "Eve", &hidden, watch).await;
    eve.negotiate().await;
    eve.connected().await;
    eve.media.receives_more("Ada", Audio, 5).await;
    eve.media.receives_more("Ada", Video, 5).await;

    let mut grace = Signaling::open(&server).await;
    let joined = grace.join_with("daily", "Grace", &plain).await;
    let seen: Vec<_> = joined["participants"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
    assert_eq!(seen, ["Ada"]);
    eve.signaling.send(json!({"type": "leave"})).await;
    eve.signaling.closed().await;
    grace.send(json!({"type": "leave"})).await;
    // Ada hears of Grace only, from her coming to her going; Eve came before the one and left before the other.
    ada.signaling.nth("participant-left", 0).await;
    let about: Vec<String> = ada
        .signaling
        .log()
        .messages
        .iter()
        .map(Value::to_string)
        .filter(|text| text.contains(&format!("{:?}", eve.id)))
        .collect();
    assert!(about.is_empty(), "{about:?}");
    assert_eq!(ada.signaling.count("participant-joined"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_changed_by_a_reload_while_calls_go_on() {
    let file = SettingsFile::new(&keys());
    let server = Server::start(&["--config", file.path()]).await;
    let old = granting(json!({"room": "daily"}));
    let mut ada = Signaling::open(&server).await;
    assert_eq!(ada.join_with("daily", "Ada", &old).await["type"], "joined");

    file.replace("[access.keys]\nmain = 'too short'\n");
    server.signal("HUP");
    server.logs("nothing changed").await;
    assert_eq!(Signaling::open(&server).await.join_with("daily", "Bob", &old).await["type"], "joined");

    let secret = "another secret of this test, long enough";
    file.replace(&format!("[access.keys]\nnext = '{secret}'\n[limits]\nrooms = 7\n"));
    server.signal("HUP");
    server.logs("settings read again").await;
    server.logs("limits.rooms").await; // what needs a restart is named
    assert_error(&refusal(&server, &old).await, "token-unknown-key", true);
    let claims = json!({"exp": at(60), "sluice": {"room": "daily"}});
    let new = forge(json!({"alg": "HS256", "kid": "next"}), claims, secret.as_bytes());
    assert_eq!(Signaling::open(&server).await.join_with("daily", "Grace", &new).await["type"], "joined");
    ada.round_trip().await;
}
