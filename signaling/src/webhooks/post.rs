//! One event to one URL: signed, posted, and posted again until it is taken or given up.

use super::event::Event;
use super::sign;
use crate::outgoing;
use axum::body::Bytes;
use axum::http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use stats::ControlPlane;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// For a receiver to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Before the second try; doubled before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// At most between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Tries in all, over some eight minutes.
const TRIES: u32 = 15;
/// Requests at the same time, all rooms and URLs together.
const AT_ONCE: usize = 32;

/// Where events are posted to.
#[derive(Debug)]
pub(super) struct Target(Uri);

/// A URL that events cannot be posted to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// No URL, or one of another scheme.
    #[error("{0:?} is no http:// or https:// URL")]
    Malformed(String),
    /// No certificates to check `https://` by.
    #[error("the system's certificates cannot be read: {0}")]
    NoRoots(String),
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Target, BadUrl> {
        let uri = url.parse::<Uri>().ok();
        let good = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        uri.filter(good).map(Target).ok_or_else(|| BadUrl::Malformed(url.to_owned()))
    }
}

/// Posts events.
pub(super) struct Poster {
    client: outgoing::Client,
    secret: Option<String>,
    at_once: Semaphore,
    /// Whether the last try came through: only the first failure after one that did is worth a warning.
    delivers: AtomicBool,
    counters: Arc<ControlPlane>,
}

/// How a try came out.
enum Outcome {
    Taken,
    /// It makes sense to try again.
    NotNow(String),
    /// It does not.
    Refused(StatusCode),
}

impl Poster {
    pub(super) fn new(
        secret: Option<String>,
        targets: &[Target],
        counters: Arc<ControlPlane>,
    ) -> Result<Poster, BadUrl> {
        let https = targets.iter().any(|target| target.0.scheme_str() == Some("https"));
        let client = outgoing::client(https).map_err(|error| BadUrl::NoRoots(error.to_string()))?;
        Ok(Poster { client, secret, at_once: Semaphore::new(AT_ONCE), delivers: AtomicBool::new(true), counters })
    }

    pub(super) fn count(&self, outcome: &'static str) {
        self.counters.webhook_deliveries.count(outcome);
    }

    /// Tries until the event is taken or given up.
    pub(super) async fn deliver(&self, target: &Target, event: &Event) {
        // No field of an event can fail to serialise.
        let body = Bytes::from(serde_json::to_vec(event).unwrap_or_default());
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=TRIES {
            match self.attempt(target, event, body.clone()).await {
                Outcome::Taken => {
                    self.delivers.store(true, Relaxed);
                    return self.count("delivered");
                }
                Outcome::Refused(status) => {
                    warn!(url = %target.0, event = event.id, %status, "webhook refused");
                    return self.count("refused");
                }
                Outcome::NotNow(error) if attempt < TRIES => {
                    if self.delivers.swap(false, Relaxed) {
                        warn!(url = %target.0, event = event.id, error, "webhook not delivered; it is tried again");
                    } else {
                        debug!(url = %target.0, event = event.id, attempt, error, "webhook not delivered");
                    }
                    self.count("retried");
                    // Spread, so that the events of many rooms do not come back all at once.
                    let spread = rand::random_range(0.75..1.25);
                    sleep(pause.mul_f64(spread)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Outcome::NotNow(error) => warn!(url = %target.0, event = event.id, error, "webhook given up"),
            }
        }
        self.count("given_up");
    }

    async fn attempt(&self, target: &Target, event: &Event, body: Bytes) -> Outcome {
        let Ok(_place) = self.at_once.acquire().await else { return Outcome::NotNow("closing".to_owned()) };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut request = Request::post(target.0.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .header("sluice-event-id", &event.id);
        if let Some(secret) = &self.secret {
            request = request.header(sign::HEADER, sign::signature(secret, now, &body));
        }
        let request = match request.body(Full::new(body)) {
            Ok(request) => request,
            Err(error) => return Outcome::NotNow(error.to_string()),
        };
        match timeout(TIMEOUT, self.client.request(request)).await {
            Err(_) => Outcome::NotNow("no answer in time".to_owned()),
            Ok(Err(error)) => Outcome::NotNow(error.to_string()),
            Ok(Ok(response)) => match response.status() {
                status if status.is_success() => Outcome::Taken,
                status if status.is_server_error() => Outcome::NotNow(status.to_string()),
                status @ (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => {
                    Outcome::NotNow(status.to_string())
                }
                status => Outcome::Refused(status),
            },
        }
    }
}
