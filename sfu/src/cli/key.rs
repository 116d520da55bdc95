//! `sluice key`: makes keys that sign access tokens.

use signaling::auth::Keys;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --ed25519 it prints a shared secret (HS256) as a piece of the settings file; whoever has it can mint tokens.
With it, the private half stays where tokens are minted, and the server gets the public half only."
)]
pub(super) struct KeyArgs {
    /// The key's id, `kid` in tokens.
    #[arg(long, default_value = "main")]
    id: String,
    /// Make an Ed25519 pair (EdDSA), as NAME.private.jwks and NAME.public.jwks.
    #[arg(long, value_name = "NAME")]
    ed25519: Option<String>,
}

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {file}: {source}\nA file that is there already is never overwritten.")]
pub(super) struct KeyFileError {
    file: String,
    source: io::Error,
}

impl KeyArgs {
    pub(super) fn run(&self) -> Result<ExitCode, KeyFileError> {
        let Some(name) = &self.ed25519 else {
            super::print(&format!("[access.keys]\n{:?} = \"{}\"\n", self.id, Keys::new_secret()));
            return Ok(ExitCode::SUCCESS);
        };
        let (whole, public) = Keys::new_ed25519(&self.id);
        let (private_file, public_file) = (format!("{name}.private.jwks"), format!("{name}.public.jwks"));
        for (file, set) in [(&private_file, whole), (&public_file, public)] {
            write_new(Path::new(file), &format!("{set:#}\n"))
                .map_err(|source| KeyFileError { file: file.clone(), source })?;
        }
        super::print(&format!(
            "Keep {private_file} where tokens are minted: sluice token --jwks {private_file} ...\n\
             Give {public_file} to the server: access.jwks = \"{public_file}\"\n"
        ));
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes a file that only its owner may read.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}
