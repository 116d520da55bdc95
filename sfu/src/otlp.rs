//! Spans to an OpenTelemetry collector: OTLP by HTTP with bodies in protobuf, in batches, from a thread of their own.
//!
//! A session is a span with its room and participant, and what it asks for are spans in it; the log's filter decides
//! which there are. A collector that does not answer costs spans and nothing else.

use crate::settings::Settings;
use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use signaling::outgoing;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// For the collector to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends what is left when the process ends.
pub(crate) struct Spans(SdkTracerProvider);

impl Spans {
    /// Where `log.otlp` says so: the tracer, and what must be finished at the end. The error is for people.
    pub(crate) fn start(settings: &Settings, runtime: &Handle) -> Result<Option<(SdkTracer, Spans)>, String> {
        let Some(url) = &settings.log.otlp else { return Ok(None) };
        let client = outgoing::client(url.starts_with("https:"))
            .map_err(|error| format!("the system's certificates: {error}"))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client { client, runtime: runtime.clone() })
            .with_endpoint(url)
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|error| error.to_string())?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(Resource::builder().with_service_name("sluice").build())
            .build();
        Ok(Some((provider.tracer("sluice"), Spans(provider))))
    }

    /// Sends what is left.
    pub(crate) fn finish(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}

/// Our HTTP client for the exporter's thread, which has no runtime.
#[derive(Debug)]
struct Client {
    client: outgoing::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let answered = async {
                let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
                Ok::<_, HttpError>(Response::from_parts(head, body.collect().await?.to_bytes()))
            };
            timeout(TIMEOUT, answered).await?
        });
        sent.await?
    }
}
