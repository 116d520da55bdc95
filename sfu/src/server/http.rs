//! What is served by HTTP: on the public address the page, the SDK and the protocols, on the admin address metrics and
//! the admin API; health on both.

use crate::lifecycle::{self, Health};
use crate::rooms::Rooms;
use crate::settings::Settings;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use signaling::auth::Authority;
use stats::{ControlPlane, Registry};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember what CORS allows.
const CORS_MAX_AGE: Duration = Duration::from_secs(3600);

/// Everything that clients reach.
pub(super) fn public(
    rooms: Arc<Rooms>,
    authority: Arc<Authority>,
    settings: &Settings,
    control: Arc<ControlPlane>,
    health: Arc<Health>,
) -> Router {
    let config = signaling::SignalingConfig {
        message_bytes: settings.limits.message_bytes,
        messages_per_second: settings.limits.messages_per_second,
        message_burst: settings.limits.messages_per_second.saturating_mul(2),
        resume_window: Duration::from_secs(settings.limits.resume_seconds),
        connections_per_address: settings.limits.connections_per_address,
        emulation: settings.dev.emulation,
        ..signaling::SignalingConfig::default()
    };
    Router::new()
        .fallback(get(|uri: Uri, headers: HeaderMap| async move { asset(uri.path(), &headers) }))
        .merge(signaling::router(rooms.clone(), authority.clone(), config.clone(), control.clone()))
        .merge(signaling::whip::router(rooms, authority, config, control.clone()))
        .merge(lifecycle::router(health))
        .layer(from_fn_with_state(control, time))
        .layer(cors(&settings.http.cors_origins))
}

/// What operators reach.
pub(super) fn admin(
    rooms: Arc<Rooms>,
    authority: Arc<Authority>,
    registry: Registry,
    control: Arc<ControlPlane>,
    health: Arc<Health>,
) -> Router {
    let metrics = move || async move { ([(header::CONTENT_TYPE, stats::CONTENT_TYPE)], stats::render(&registry)) };
    Router::new()
        .route("/metrics", get(metrics))
        .merge(signaling::api::router(rooms, authority))
        .merge(lifecycle::router(health))
        .layer(from_fn_with_state(control, time))
}

/// Counts a request with the time until its answer. What no route takes is the page and its files.
async fn time(State(control): State<Arc<ControlPlane>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (method, began) = (request.method().clone(), Instant::now());
    let response = next.run(request).await;
    let route = route.as_ref().map_or("page", MatchedPath::as_str);
    control.http.observe(route, method.as_str(), response.status().as_u16(), began.elapsed());
    response
}

/// Which pages of other origins may use the server: their own tokens are their only right, as nothing here goes by
/// cookies.
fn cors(origins: &[String]) -> CorsLayer {
    let origins = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let exposed = ["accept-patch", "accept-post", "etag", "link", "location"].map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE, Method::OPTIONS])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_MATCH])
        .expose_headers(exposed)
        .max_age(CORS_MAX_AGE)
}

/// A file of the page or the SDK.
fn asset(path: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = web_demo::asset(path) else { return StatusCode::NOT_FOUND.into_response() };
    if headers.get(header::IF_NONE_MATCH).and_then(|seen| seen.to_str().ok()).is_some_and(|s| names(s, &asset.etag)) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, asset.etag)]).into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, asset.mime),
        (header::ETAG, asset.etag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, web_demo::CONTENT_SECURITY_POLICY),
    ];
    (headers, asset.bytes).into_response()
}

/// Whether If-None-Match names this ETag. Compared weakly (RFC 9110 section 13.1.2): a proxy that compresses makes
/// ETags weak.
fn names(if_none_match: &str, etag: &str) -> bool {
    if_none_match.split(',').map(str::trim).any(|seen| seen == "*" || seen.strip_prefix("W/").unwrap_or(seen) == etag)
}
