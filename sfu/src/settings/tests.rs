//! Settings from texts, without a process.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A file with `toml` in it, which is gone with its test.
struct File(PathBuf);

impl File {
    fn new(toml: &str) -> File {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sluice-settings-{}-{number}.toml", std::process::id()));
        std::fs::write(&path, toml).unwrap();
        File(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn sources(file: &File, environment: &[(&str, &str)], flags: &[(&str, &str, &[&str])]) -> Sources {
    Sources {
        file: Some(file.0.clone()),
        environment: environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        flags: flags
            .iter()
            .map(|(origin, key, values)| Given {
                origin: origin.to_string(),
                key: key.to_string(),
                values: values.iter().map(ToString::to_string).collect(),
            })
            .collect(),
    }
}

fn load(toml: &str) -> Result<Loaded, Problems> {
    sources(&File::new(toml), &[], &[]).load()
}

#[test]
fn later_sources_win_and_each_value_knows_where_it_came_from() {
    let file = File::new(
        "[media]\nport = 1\nadvertise = ['192.0.2.1']\n[limits]\nrooms = 3\n[access.keys]\nmain = '0123456789abcdef0123456789abcdef'",
    );
    let environment = [
        ("SLUICE_MEDIA__PORT", "2"),
        ("SLUICE_MEDIA__LISTEN", "127.0.0.1, ::1"),
        ("SLUICE_MEDIA__TCP", "false"),
        ("SLUICE_ACCESS__KEYS__OTHER", "00000000000000000000000000000012"),
        ("SLUICE_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ];
    let loaded = sources(&file, &environment, &[("--media-port", "media.port", &["3"])]).load().unwrap();
    let settings = &loaded.settings;
    assert_eq!((settings.media.port, settings.limits.rooms, settings.media.tcp), (3, 3, false));
    assert_eq!(settings.media.listen, ["127.0.0.1", "::1"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap()));
    assert_eq!(settings.media.advertise, [Advertised::Address([192, 0, 2, 1].into())]);
    let keys: Vec<_> = settings.access.keys.iter().map(|(id, secret)| (id.as_str(), secret.reveal())).collect();
    assert_eq!(keys[0], ("main", "0123456789abcdef0123456789abcdef"));
    assert_eq!(keys[1], ("other", "00000000000000000000000000000012"), "digits are no number here");

    let path = file.0.display().to_string();
    let origin = |key: &str| loaded.origins.get(key).map(String::as_str);
    assert_eq!(origin("media.port"), Some("--media-port"));
    assert_eq!(origin("media.listen"), Some("the environment, SLUICE_MEDIA__LISTEN"));
    assert_eq!(origin("limits.rooms"), Some(path.as_str()));
    assert_eq!(origin("limits.talkers"), None);

    let shown = loaded.to_toml();
    assert!(shown.contains("port = 3  # --media-port\n"), "{shown}");
    assert!(shown.contains("talkers = 8  # default\n"), "{shown}");
    assert!(shown.contains(r#"keys = { main = "***", other = "***" }"#), "{shown}");
    assert!(!shown.contains("0123456789abcdef") && !format!("{loaded:?}").contains("0123456789abcdef"));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let file = File::new(
        "[media]\nport = 99999\nprot = 1\n[limits]\ntalkers = 0\nrooms = 'many'\n[acess]\nopen = true\n[access]\ntoken = 'hush'",
    );
    let problems =
        sources(&file, &[("SLUICE_LIMITS__ROMS", "3")], &[("--set", "log.format", &["xml"])]).load().unwrap_err();
    let said = problems.to_string();
    assert_eq!(problems.0.len(), 8, "{said}");
    let path = file.0.display().to_string();
    for expected in [
        "8 problems in the settings",
        &format!("media.port = 99999  (from {path})"),
        "Hint: Do you mean media.port?",
        "limits.rooms = \"many\"",
        "limits.roms = \"3\"  (from the environment, SLUICE_LIMITS__ROMS)",
        "Hint: Do you mean limits.rooms?",
        "Hint: Do you mean access?",
        "limits.talkers = 0  (from ",
        "log.format = \"xml\"  (from --set)",
        "mint tokens by `sluice token`",
    ] {
        assert!(said.contains(expected), "{expected:?} in {said}");
    }
    assert!(!said.contains("hush"), "a secret is not repeated: {said}");
}

#[test]
fn what_would_serve_nobody_or_everybody_is_refused_by_key() {
    for (toml, key) in [
        ("[limits]\nrooms = 0", "limits.rooms"),
        ("[limits]\nmessages_per_second = 0", "limits.messages_per_second"),
        ("[media]\nadvertise = ['0.0.0.0']", "media.advertise"),
        ("[media]\nlisten = ['127.0.0.1']\nadvertise = ['2001:db8::1']", "media.advertise"),
        ("[media]\nlisten = ['0.0.0.0', '127.0.0.1']", "media.listen"),
        ("[media]\nlisten = ['127.0.0.1', '127.0.0.1']", "media.listen"),
        ("[media]\nlisten = []", "media.listen"),
        ("[media]\nstun = 'stun.example.org'", "media.stun"),
        ("[http]\nlisten = '0.0.0.0:80'", "http.listen"),
        ("[http]\ncors_origins = ['example.org']", "http.cors_origins"),
        ("[admin]\nlisten = '0.0.0.0:81'", "admin.listen"),
        ("[access]\nopen = true\n[admin]\nlisten = '0.0.0.0:81'", "admin.listen"),
        ("[access.keys]\nmain = 'short'", "access.keys"),
        ("[access]\njwks = '/nowhere.json'", "access.jwks"),
        ("[https]\ncertificate = 'c.pem'", "https.certificate"),
        ("[https]\nkey = 'k.pem'", "https.key"),
        ("[https]\ncertificate = '/nowhere.pem'\nkey = '/nowhere.pem'", "https.certificate"),
        ("[https]\ncertificate = 'c.pem'\nkey = 'k.pem'\nself_signed = true", "https.self_signed"),
        ("[log]\nfilter = 'sfu=loud'", "log.filter"),
        ("[log]\notlp = 'collector:4318'", "log.otlp"),
        ("[ice]\nurls = ['turn.example.org']", "ice.urls"),
        ("[ice]\nturn_seconds = 5", "ice.turn_seconds"),
        ("[codecs]\nprefer = ['vp8', 'av1', 'vp8']", "codecs.prefer"),
        ("[codecs]\nrequire = ['theora']", "codecs.require"),
        ("[codecs]\nprefer = ['vp8']\nrequire = ['av1']", "codecs.require"),
    ] {
        let problems = load(toml).unwrap_err();
        let keys: Vec<_> = problems.0.iter().filter_map(|problem| problem.key.as_deref()).collect();
        assert_eq!(keys, [key], "{toml}: {problems}");
        assert!(problems.0.iter().all(|problem| !problem.hint.is_empty() && problem.origin.is_some()), "{problems}");
    }
}

#[test]
fn open_access_is_for_loopback_or_on_request() {
    const KEYS: &str = "\n[access.keys]\nmain = '0123456789abcdef0123456789abcdef'";
    let open = |toml: String| load(&toml).unwrap().settings.is_open();
    assert!(open(String::new()));
    assert!(open("[http]\nlisten = '[::1]:80'".into()));
    assert!(open("[http]\nlisten = '0.0.0.0:80'\n[access]\nopen = true".into()));
    assert!(!open(KEYS.into()), "keys close it, on loopback too");
    assert!(!open(format!("[http]\nlisten = '0.0.0.0:80'{KEYS}")));
    assert!(open(format!("[access]\nopen = true{KEYS}")));
    assert!(!open("[access]\nopen = false".into()), "nobody gets in, if one wants that");
}

#[test]
fn where_a_running_server_is_asked_is_known_also_without_the_flags_that_it_was_started_with() {
    let file = File::new("http.listen = \"0.0.0.0:80\"\nadmin.listen = \"127.0.0.1:81\"\nshards = \"many\"\n");
    let sources = sources(&file, &[], &[]);
    assert!(sources.load().is_err(), "it would be open to everybody");
    assert_eq!(sources.unchecked().admin_listen().to_string(), "127.0.0.1:81");
}

#[test]
fn the_admin_port_follows_the_pages() {
    let admin = |toml: &str| load(toml).unwrap().settings.admin_listen().to_string();
    assert_eq!(admin(""), "127.0.0.1:8081");
    assert_eq!(admin("[http]\nlisten = '127.0.0.1:0'"), "127.0.0.1:0");
    assert_eq!(admin("[http]\nlisten = '127.0.0.1:65535'"), "127.0.0.1:0");
    assert_eq!(admin("[admin]\nlisten = '[::1]:9'"), "[::1]:9");
}

#[test]
fn the_documentation_has_the_table_of_all_keys() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configure.md")).unwrap();
    assert!(page.contains(&table()), "docs/configure.md lacks what `sluice config --table` prints:\n{}", table());
}
