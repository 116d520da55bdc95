//! HTTPS with certificate files, renewed while the server runs, or with a certificate of its own; and CORS.

use crate::harness::server::{Response, Server, request_over};
use crate::harness::within;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

/// Certificate and key in files that are gone with their test.
struct Pair(PathBuf);

impl Pair {
    fn new(test: &str) -> Pair {
        let directory = std::env::temp_dir().join(format!("sluice-https-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let pair = Pair(directory);
        pair.renew();
        pair
    }

    fn certificate(&self) -> String {
        self.0.join("certificate.pem").to_str().unwrap().to_owned()
    }

    fn key(&self) -> String {
        self.0.join("key.pem").to_str().unwrap().to_owned()
    }

    fn renew(&self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.certificate(), made.cert.pem()).unwrap();
        std::fs::write(self.key(), made.signing_key.serialize_pem()).unwrap();
    }

    fn root(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.certificate()).unwrap()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A connection to a server whose certificate must be `trusted`.
async fn connect(server: &Server, trusted: CertificateDer<'static>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(server.http).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

async fn get(server: &Server, trusted: CertificateDer<'static>, path: &str) -> Response {
    let stream = within("a TLS connection", connect(server, trusted)).await.expect("a connection");
    request_over(stream, server.http, "GET", path, &[], "").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_and_websocket_are_served_and_the_certificate_is_renewed_under_way() {
    let pair = Pair::new("files");
    let server = Server::start(&["--certificate", &pair.certificate(), "--certificate-key", &pair.key()]).await;
    assert!(server.printed.contains(&format!("Open https://{}/", server.http)), "{}", server.printed);
    assert_eq!(get(&server, pair.root(), "/").await.status, 200);
    assert_eq!(get(&server, pair.root(), "/readyz").await.status, 200);

    let stream = connect(&server, pair.root()).await.unwrap();
    let url = format!("wss://{}/ws", server.http);
    let (mut socket, _) = within("a WebSocket opens", tokio_tungstenite::client_async(url, stream)).await.unwrap();
    let join = json!({"type": "join", "version": 1, "room": "daily", "name": "Ada"});
    socket.send(Message::text(join.to_string())).await.unwrap();
    let joined = within("joined", socket.next()).await.unwrap().unwrap().into_text().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&joined).unwrap()["type"], "joined");

    let old = pair.root();
    pair.renew();
    server.signal("HUP");
    server.logs("took the HTTPS certificate from its files again").await;
    assert_eq!(get(&server, pair.root(), "/").await.status, 200, "new connections get the new certificate");
    assert!(connect(&server, old).await.is_err());
    // The old connection goes on.
    socket.send(Message::text(json!({"type": "ping", "id": 3}).to_string())).await.unwrap();
    let pong = within("a pong", async {
        loop {
            let text = socket.next().await.unwrap().unwrap().into_text().unwrap();
            if text.contains("\"pong\"") {
                return text;
            }
        }
    });
    assert!(pong.await.contains('3'));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_its_own_has_the_printed_fingerprint() {
    let server = Server::start(&["--self-signed"]).await;
    // Whoever connects is shown the certificate, trusted or not.
    let shown = seen_certificate(&server).await;
    let digest = ring::digest::digest(&ring::digest::SHA256, &shown);
    let fingerprint: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    assert!(server.printed.contains(&fingerprint.join(":")), "{}", server.printed);
    assert_eq!(get(&server, shown, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_origins_are_let_in_as_the_settings_say() {
    let preflight = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type"),
    ];
    let everybody = Server::start(&[]).await;
    let answer = everybody.request("OPTIONS", "/whip/daily", &preflight).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
    let methods = answer.header("access-control-allow-methods").unwrap();
    assert!(["POST", "PATCH", "DELETE"].iter().all(|method| methods.contains(method)), "{methods}");
    assert!(answer.header("access-control-allow-headers").unwrap().contains("authorization"));
    let page = everybody.request("GET", "/sdk/index.js", &[("Origin", "https://app.example")]).await;
    assert_eq!(page.header("access-control-allow-origin"), Some("*"));
    assert!(page.header("access-control-expose-headers").unwrap().contains("location"));

    let some = Server::start(&["--set", "http.cors_origins=https://app.example,https://other.example"]).await;
    let answer = some.request("OPTIONS", "/whip/daily", &preflight).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    let stranger = some.request("GET", "/sdk/index.js", &[("Origin", "https://evil.example")]).await;
    assert_eq!(stranger.header("access-control-allow-origin"), None);
}

/// The certificate that the server shows, without trusting it.
async fn seen_certificate(server: &Server) -> CertificateDer<'static> {
    let seen = Arc::new(Seen::default());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.dangerous().with_custom_certificate_verifier(seen.clone()).with_no_client_auth();
    let stream = TcpStream::connect(server.http).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    assert!(TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_err(), "nobody is trusted");
    seen.0.lock().unwrap().clone().expect("a certificate")
}

/// Looks at the certificate and refuses it.
#[derive(Debug, Default)]
struct Seen(std::sync::Mutex<Option<CertificateDer<'static>>>);

impl rustls::client::danger::ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = Some(certificate.clone().into_owned());
        Err(rustls::Error::General("only looked at".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("never asked".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("never asked".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
