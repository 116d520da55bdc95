//! The HTTP client for what the server itself sends: webhooks, and spans to a collector. HTTP/1.1, HTTPS by the
//! system's certificates.

use axum::body::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::sync::Arc;

/// The client. Wants a tokio runtime around it.
pub type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Makes the client. The error is about the system's certificates, which are needed where it is to speak `https`.
pub fn client(https: bool) -> io::Result<Client> {
    let provider = rustls::crypto::ring::default_provider;
    let builder = match HttpsConnectorBuilder::new().with_provider_and_native_roots(provider()) {
        Err(_) if !https => {
            let versions =
                ClientConfig::builder_with_provider(Arc::new(provider())).with_safe_default_protocol_versions();
            let config = versions.map_err(io::Error::other)?.with_root_certificates(RootCertStore::empty());
            HttpsConnectorBuilder::new().with_tls_config(config.with_no_client_auth())
        }
        with_roots => with_roots?,
    };
    let connector = builder.https_or_http().enable_http1().build();
    Ok(legacy::Client::builder(TokioExecutor::new()).build(connector))
}
