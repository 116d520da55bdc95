//! `sluice token`: mints access tokens with the keys of the settings, or with a private JWK Set.

use crate::settings::{Problems, Sources};
use signaling::auth::{Claims, Grants, KeyError, Keys, PublishGrant, RoomGrant};
use signaling::protocol::{DisplayName, RoomName, Source};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The token goes to standard output: give it to a client as `token` of `join`, behind ?token= of the page, or as a bearer token of WHIP,
WHEP and the admin API. docs/tokens.md says what is in it, for minting it elsewhere."
)]
pub(super) struct TokenArgs {
    /// The room that it is for, or "*" for every room.
    #[arg(long)]
    room: String,
    /// Who the bearer is (`sub`).
    #[arg(long)]
    identity: Option<String>,
    /// The name that others see; without it the client chooses one.
    #[arg(long)]
    name: Option<String>,
    /// How long it is good: 90s, 15m, 8h, 30d.
    #[arg(long, default_value = "1h", value_parser = duration)]
    valid: Duration,
    /// What may be published: "all", "none", or some of camera, microphone, screen, screen-audio with commas between.
    #[arg(long, default_value = "all", value_parser = sources)]
    publish: PublishGrant,
    /// No media of others.
    #[arg(long)]
    no_subscribe: bool,
    /// No data to others.
    #[arg(long)]
    no_data: bool,
    /// May manage rooms and participants.
    #[arg(long)]
    admin: bool,
    /// Others do not see the bearer, who cannot publish.
    #[arg(long)]
    hidden: bool,
    /// For others to know, in JSON.
    #[arg(long, value_name = "JSON", value_parser = json)]
    metadata: Option<serde_json::Value>,
    /// The key to sign with, where there are several.
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Sign with a private JWK Set (`sluice key --ed25519`) instead of a key of the settings.
    #[arg(long = "jwks", value_name = "FILE")]
    private_jwks: Option<PathBuf>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum MintError {
    #[error(transparent)]
    Settings(#[from] Problems),
    #[error(
        "there is no key to sign with\nHint: `sluice key` makes one; its output belongs into the settings file of the server."
    )]
    NoKeys,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("cannot read {file}: {source}")]
    File { file: String, source: std::io::Error },
    #[error("{0:?} is no name of a room: 1 to 64 of A-Z a-z 0-9 - . _ ~, or * for every room")]
    Room(String),
    #[error("{0:?} is no name to show: 1 to 64 printable characters")]
    Name(String),
}

impl TokenArgs {
    pub(super) fn run(&self, sources: &Sources) -> Result<ExitCode, MintError> {
        let keys = self.keys(sources)?;
        let room = match self.room.as_str() {
            "*" => RoomGrant::Any,
            name if RoomName::try_from(name.to_owned()).is_ok() => RoomGrant::Named(name.to_owned()),
            name => return Err(MintError::Room(name.to_owned())),
        };
        if let Some(name) = self.name.as_ref().filter(|name| DisplayName::try_from((*name).clone()).is_err()) {
            return Err(MintError::Name(name.clone()));
        }
        let grants = Grants {
            identity: self.identity.clone(),
            name: self.name.clone(),
            room,
            publish: self.publish,
            subscribe: !self.no_subscribe,
            data: !self.no_data,
            admin: self.admin,
            hidden: self.hidden,
            metadata: self.metadata.clone(),
        };
        let mut claims = Claims::new(grants, SystemTime::now() + self.valid);
        claims.aud = self.audience(sources)?.map(signaling::auth::Audience::One);
        super::print(&format!("{}\n", keys.sign(self.key.as_deref(), &claims)?));
        Ok(ExitCode::SUCCESS)
    }

    fn keys(&self, sources: &Sources) -> Result<Keys, MintError> {
        let keys = match &self.private_jwks {
            Some(path) => {
                let failed = |source| MintError::File { file: path.display().to_string(), source };
                let mut keys = Keys::default();
                keys.add_jwks(&std::fs::read_to_string(path).map_err(failed)?)?;
                keys
            }
            None => sources.load()?.settings.keys().0,
        };
        if keys.is_empty() { Err(MintError::NoKeys) } else { Ok(keys) }
    }

    /// What the server of these settings wants `aud` to be. Who mints with a key file may be elsewhere, without the
    /// server's settings.
    fn audience(&self, sources: &Sources) -> Result<Option<String>, MintError> {
        match sources.load() {
            Ok(loaded) => Ok(loaded.settings.access.audience),
            Err(_) if self.private_jwks.is_some() => Ok(None),
            Err(problems) => Err(problems.into()),
        }
    }
}

/// `90s`, `15m`, `8h`, `30d`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let parse = |unit: char| text.strip_suffix(unit)?.parse::<u32>().ok();
    let found = units.iter().find_map(|(unit, seconds)| Some(u64::from(parse(*unit)?) * seconds));
    found
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .ok_or("it must be a number with s, m, h or d behind, like 8h".to_owned())
}

/// `all`, `none`, or a list.
fn sources(text: &str) -> Result<PublishGrant, String> {
    match text {
        "all" => Ok(PublishGrant::ALL),
        "none" => Ok(PublishGrant::NONE),
        list => list.split(',').map(|word| source(word.trim())).collect(),
    }
}

fn source(word: &str) -> Result<Source, String> {
    serde_json::from_value(word.into())
        .map_err(|_| format!("{word:?} is none of camera, microphone, screen, screen-audio"))
}

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_have_a_unit() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("8h", 28_800), ("365d", 31_536_000)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "h", "8", "-1h", "0s", "1.5h", "8 h", "99999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sources_are_named_as_in_the_protocol() {
        assert_eq!(sources("camera, screen-audio"), Ok([Source::Camera, Source::ScreenAudio].into_iter().collect()));
        assert_eq!(sources("none"), Ok(PublishGrant::NONE));
        assert!(sources("webcam").is_err() && sources("").is_err());
    }
}
