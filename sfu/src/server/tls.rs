//! HTTPS: certificate and key from PEM files, which are read again when they change, or a certificate of our own for a
//! local network.

use axum_server::tls_rustls::RustlsConfig;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often the files are looked at.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// How long a certificate of our own is good: devices of one vendor refuse more than 398 days.
const SELF_SIGNED_VALID: Duration = Duration::from_secs(397 * 86_400);

/// Why there is no HTTPS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read the certificate {0}: {1}")]
    Certificate(String, rustls::pki_types::pem::Error),
    #[error("there is no certificate in {0}")]
    NoCertificate(String),
    #[error("cannot read the private key {0}: {1}")]
    Key(String, rustls::pki_types::pem::Error),
    #[error("certificate and key cannot be used: {0}")]
    Unfit(#[from] rustls::Error),
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
}

/// The certificate in use, which connections that are accepted later may find replaced.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) config: RustlsConfig,
    /// SHA-256 of a certificate of our own, for people to compare.
    pub(crate) fingerprint: Option<String>,
    files: Option<Files>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    modified: [Option<SystemTime>; 2],
}

impl Certificate {
    /// The certificate from these files.
    pub(crate) fn from_files(certificate: &Path, key: &Path) -> Result<Certificate, TlsError> {
        let files = Files::new(certificate, key);
        let config = RustlsConfig::from_config(load(certificate, key)?);
        Ok(Certificate { config, fingerprint: None, files: Some(files) })
    }

    /// A certificate of our own for these names and addresses.
    pub(crate) fn self_signed(names: Vec<String>) -> Result<Certificate, TlsError> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Sluice");
        params.not_before = (SystemTime::now() - Duration::from_secs(3600)).into();
        params.not_after = (SystemTime::now() + SELF_SIGNED_VALID).into();
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate.der());
        let fingerprint: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = RustlsConfig::from_config(config(vec![certificate.der().clone()], key)?);
        Ok(Certificate { config, fingerprint: Some(fingerprint.join(":")), files: None })
    }

    /// Takes the files again if they have changed since, or in any case if `anyway`. What cannot be used is logged, and
    /// the old certificate stays: a renewal may write one file before the other.
    pub(crate) fn refresh(&mut self, anyway: bool) {
        let Some(files) = &mut self.files else { return };
        let now = Files::new(&files.certificate, &files.key);
        if now.modified == files.modified && !anyway {
            return;
        }
        match load(&files.certificate, &files.key) {
            Ok(config) => {
                self.config.reload_from_config(config);
                *files = now;
                tracing::info!("took the HTTPS certificate from its files again");
            }
            Err(error) => tracing::error!(%error, "the HTTPS certificate stays the old one"),
        }
    }
}

impl Files {
    fn new(certificate: &Path, key: &Path) -> Files {
        let modified = [certificate, key].map(|path| path.metadata().and_then(|data| data.modified()).ok());
        Files { certificate: certificate.to_owned(), key: key.to_owned(), modified }
    }
}

/// Names for a certificate of our own: those that are asked for and those of this machine.
pub(crate) fn names(asked: &[String], ips: &[IpAddr], listen: IpAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    let addresses = ips.iter().copied().chain((!listen.is_unspecified()).then_some(listen));
    names.extend(asked.iter().cloned().chain(addresses.map(|ip| ip.to_string())));
    names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    let mut seen = Vec::new();
    names.retain(|name| !seen.contains(name) && (seen.push(name.clone()), true).1);
    names
}

/// Certificate and key, if they fit each other.
pub(crate) fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let name = |path: &Path| path.display().to_string();
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::Certificate(name(certificate), error))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(name(certificate)));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::Key(name(key), error))?;
    Ok(config(chain, key)?)
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    // WebSockets need HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pair {
        directory: PathBuf,
    }

    impl Pair {
        fn new(test: &str) -> Pair {
            let directory = std::env::temp_dir().join(format!("sluice-tls-{test}-{}", std::process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            let pair = Pair { directory };
            pair.renew();
            pair
        }

        fn files(&self) -> (PathBuf, PathBuf) {
            (self.directory.join("certificate.pem"), self.directory.join("key.pem"))
        }

        fn renew(&self) {
            let made = rcgen::generate_simple_self_signed(["example.org".to_owned()]).unwrap();
            let (certificate, key) = self.files();
            std::fs::write(certificate, made.cert.pem()).unwrap();
            std::fs::write(key, made.signing_key.serialize_pem()).unwrap();
        }
    }

    impl Drop for Pair {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }

    #[test]
    fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
        let pair = Pair::new("renew");
        let (file, key) = pair.files();
        let mut certificate = Certificate::from_files(&file, &key).unwrap();
        let in_use = |certificate: &Certificate| Arc::as_ptr(&certificate.config.get_inner());
        let first = in_use(&certificate);
        certificate.refresh(false);
        assert_eq!(in_use(&certificate), first, "nothing has changed");

        pair.renew();
        // As if written later, however coarse the file system's clock is.
        let later = SystemTime::now() + Duration::from_secs(5);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
        certificate.refresh(false);
        let second = in_use(&certificate);
        assert_ne!(second, first);

        std::fs::write(&key, "half of a renewal").unwrap();
        certificate.refresh(true);
        assert_eq!(in_use(&certificate), second);
    }

    #[test]
    fn files_that_do_not_fit_are_explained() {
        let (pair, other) = (Pair::new("one"), Pair::new("other"));
        let ((certificate, key), (_, other_key)) = (pair.files(), other.files());
        assert!(matches!(load(&certificate, &other_key), Err(TlsError::Unfit(_))));
        assert!(matches!(load(&key, &key), Err(TlsError::NoCertificate(_))));
        assert!(matches!(load(&certificate, &certificate), Err(TlsError::Key(..))));
        assert!(matches!(load(Path::new("/nowhere"), &key), Err(TlsError::Certificate(..))));
    }

    #[test]
    fn our_own_certificate_has_the_names_of_the_machine() {
        let names = names(&["sfu.lan".into()], &[[192, 0, 2, 1].into()], [0, 0, 0, 0].into());
        assert_eq!(names, ["localhost", "sfu.lan", "192.0.2.1", "127.0.0.1", "::1"]);
        let certificate = Certificate::self_signed(names).unwrap();
        assert_eq!(certificate.fingerprint.unwrap().len(), 32 * 3 - 1);
    }
}
