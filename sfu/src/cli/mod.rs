//! The command line: flags, which are settings like any other, and the commands that do something else than serve.

mod health;
mod key;
mod token;

use crate::doctor;
use crate::settings::{self, Given, Loaded, Problems, Sources};
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  sluice                                            try it: open http://127.0.0.1:8080 in two tabs
  sluice --http 0.0.0.0:8443 --self-signed --open   try it with phones in a local network
  sluice --config /etc/sluice/sluice.toml --advertise 203.0.113.7
                                                    a server behind a NAT
  sluice key >> sluice.toml                         make a key, so that not everybody may join
  sluice token --room daily --name Ada --valid 1h   let Ada into the room daily
  sluice doctor                                     what is wrong with this machine?

Every setting can stand in a TOML file (--config, else ./sluice.toml or /etc/sluice/sluice.toml), in the environment (media.port is
SLUICE_MEDIA__PORT) or behind --set. Flags win over the environment, the environment over the file. `sluice config` prints all settings with what
they are for; docs/configure.md explains them.";

/// Sluice: a selective forwarding unit for multi-party calls.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, about, after_help = EXAMPLES, subcommand_help_heading = "Commands")]
pub(crate) struct Cli {
    #[command(flatten)]
    files: FileFlags,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    access: AccessFlags,
    #[command(flatten)]
    process: ProcessFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
struct FileFlags {
    /// TOML file with settings.
    #[arg(long, value_name = "FILE", env = "SLUICE_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Any setting, for example --set limits.rooms=5; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment, global = true)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
struct NetworkFlags {
    /// Where the page, the rooms protocol, WHIP and WHEP are served.
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Option<String>,
    /// Where metrics, health and the admin API are served. Default: 127.0.0.1, the port after that of --http.
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<String>,
    /// Media port, UDP and TCP; 0 picks a free one.
    #[arg(long, value_name = "PORT")]
    media_port: Option<String>,
    /// Address to take media on; may be given several times. Default: every address of the machine.
    #[arg(long, value_name = "IP")]
    media_listen: Vec<String>,
    /// Address that clients are told to send media to, for example the public one behind a NAT: an IP, a host name, or
    /// "interfaces"; may be given several times.
    #[arg(long, value_name = "IP|NAME")]
    advertise: Vec<String>,
    /// STUN server that is asked for the public address, which is then advertised too.
    #[arg(long, value_name = "HOST:PORT")]
    stun: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "HTTPS and access")]
struct AccessFlags {
    /// PEM file with the certificate for HTTPS.
    #[arg(long, value_name = "FILE")]
    certificate: Option<String>,
    /// PEM file with the certificate's private key.
    #[arg(long, value_name = "FILE")]
    certificate_key: Option<String>,
    /// HTTPS with a certificate made at the start.
    #[arg(long)]
    self_signed: bool,
    /// JWK Set file with the keys that sign access tokens.
    #[arg(long, value_name = "FILE")]
    jwks: Option<String>,
    /// Let everybody in without an access token.
    #[arg(long)]
    open: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Process")]
struct ProcessFlags {
    /// Media threads; 0 means one for each core.
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// What to log, for example "info,sluice=debug".
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// "text" or "json".
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// For developers of clients: let participants have the server emulate a worse network for them.
    #[arg(long)]
    dev: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks the settings and says everything that is wrong with them.
    Check,
    /// Prints the effective settings, what each is for and where it came from.
    Config {
        /// Print the table of all keys in Markdown instead.
        #[arg(long)]
        table: bool,
    },
    /// Tests ports, addresses, buffers, offloads and the clock of this machine, and says what to fix.
    Doctor,
    /// Asks the server on this machine whether it is alive: for the health check of a container.
    Health,
    /// Makes a key that signs access tokens.
    Key(key::KeyArgs),
    /// Mints an access token.
    Token(Box<token::TokenArgs>),
    /// Prints the JSON Schema of the rooms protocol.
    Schema,
}

/// What the command line asks for.
pub(crate) enum Wish {
    /// Serve, with these settings.
    Serve(Sources, Box<Loaded>),
    /// Nothing more.
    Done(ExitCode),
}

impl Cli {
    /// Does what the command says, or says how to serve.
    pub(crate) fn run(self) -> Wish {
        let sources = Sources::of_process(self.files.config.clone(), self.flags());
        let outcome = match &self.command {
            None => return serve(sources),
            Some(Command::Check) => sources.load().map(|loaded| {
                let file = loaded.file.map_or("no file".to_owned(), |file| file.display().to_string());
                format!("The settings are good ({file}, {} of them not the default).\n", loaded.origins.len())
            }),
            Some(Command::Config { table: true }) => Ok(settings::table()),
            Some(Command::Config { table: false }) => sources.load().map(|loaded| loaded.to_toml()),
            Some(Command::Doctor) => return done(sources.load().map(|loaded| doctor::run(&loaded.settings))),
            Some(Command::Health) => return done(Ok::<_, Problems>(health::run(&sources.unchecked()))),
            Some(Command::Key(arguments)) => return done(arguments.run()),
            Some(Command::Token(arguments)) => return done(arguments.run(&sources)),
            Some(Command::Schema) => Ok(format!("{:#}\n", signaling::protocol::schema())),
        };
        done(outcome.map(|text| {
            print(&text);
            ExitCode::SUCCESS
        }))
    }

    /// The flags as values of settings.
    fn flags(&self) -> Vec<Given> {
        let Cli { files, network, access, process, .. } = self;
        let one = |flag: &str, key: &str, value: &Option<String>| given(flag, key, value.iter().cloned());
        let switch = |flag: &str, key: &str, on: bool| given(flag, key, on.then(|| "true".to_owned()));
        let set = files.set.iter().flat_map(|(key, value)| given("--set", key, [value.clone()]));
        let flags = [
            one("--http", "http.listen", &network.http),
            one("--admin", "admin.listen", &network.admin),
            one("--media-port", "media.port", &network.media_port),
            given("--media-listen", "media.listen", network.media_listen.iter().cloned()),
            given("--advertise", "media.advertise", network.advertise.iter().cloned()),
            one("--stun", "media.stun", &network.stun),
            one("--certificate", "https.certificate", &access.certificate),
            one("--certificate-key", "https.key", &access.certificate_key),
            switch("--self-signed", "https.self_signed", access.self_signed),
            one("--jwks", "access.jwks", &access.jwks),
            switch("--open", "access.open", access.open),
            one("--shards", "media.shards", &process.shards),
            one("--log", "log.filter", &process.log),
            one("--log-format", "log.format", &process.log_format),
            switch("--dev", "dev.emulation", process.dev),
        ];
        set.chain(flags.into_iter().flatten()).collect()
    }
}

fn given(flag: &str, key: &str, values: impl IntoIterator<Item = String>) -> Option<Given> {
    let values: Vec<String> = values.into_iter().collect();
    (!values.is_empty()).then(|| Given { origin: flag.to_owned(), key: key.to_owned(), values })
}

/// `KEY=VALUE`.
fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it must be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

fn serve(sources: Sources) -> Wish {
    match sources.load() {
        Ok(loaded) => Wish::Serve(sources, Box::new(loaded)),
        Err(problems) => done::<Problems>(Err(problems)),
    }
}

fn done<E: std::fmt::Display>(outcome: Result<ExitCode, E>) -> Wish {
    Wish::Done(outcome.unwrap_or_else(|error| {
        eprintln!("sluice: {error}");
        ExitCode::FAILURE
    }))
}

/// Writes to standard output. Whoever closed it has read enough.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
