//! The admin API: `/api/v1`, JSON over HTTP, for operators and the services beside Sluice.
//!
//! [`router`] serves it on behalf of a [`RoomAdmin`]; `sfu` puts it on the admin listener. `endpoint` has the
//! operations with their OpenAPI descriptions, `model` what they take and say, `problem` their errors (RFC 9457). The
//! document at `/api/v1/openapi.json` comes from the code, and `/api/v1/docs` shows it.
//!
//! Whoever calls needs an access token with the grant `admin`, except where access is open. A page of another origin is
//! refused whatever it has, since a browser would let any page call an API on its user's own machine.

mod endpoint;
pub mod model;
mod problem;
mod service;

pub use problem::Problem;
pub use service::{Data, RoomAdmin};

use crate::auth::Authority;
use crate::error::ServiceError;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use axum::{Json, Router};
use std::sync::Arc;
use std::time::SystemTime;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

/// The docs page, whole.
const DOCS: &str = include_str!("docs.html");

/// The document's frame; the operations come from `endpoint`.
#[derive(OpenApi)]
#[openapi(
    info(title = "Sluice admin API", description = "Rooms, participants and tracks of one Sluice server. Errors are problem details (RFC 9457)."),
    paths(
        endpoint::list_rooms, endpoint::create_room, endpoint::get_room, endpoint::close_room, endpoint::get_stats,
        endpoint::list_participants, endpoint::get_participant, endpoint::kick, endpoint::change_participant,
        endpoint::list_tracks, endpoint::change_track, endpoint::send_data,
    ),
    components(schemas(Problem)),
    security(("token" = []))
)]
struct Document;

/// The OpenAPI 3.1 document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    let token = token.description(Some("An access token with the grant `admin`: `sluice token --admin`."));
    document.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(token.build()));
    document
}

/// Serves the API.
pub fn router<S: RoomAdmin>(service: Arc<S>, authority: Arc<Authority>) -> Router {
    let operations = Router::new()
        .route("/rooms", get(endpoint::list_rooms::<S>).post(endpoint::create_room::<S>))
        .route("/rooms/{room}", get(endpoint::get_room::<S>).delete(endpoint::close_room::<S>))
        .route("/rooms/{room}/stats", get(endpoint::get_stats::<S>))
        .route("/rooms/{room}/participants", get(endpoint::list_participants::<S>))
        .route(
            "/rooms/{room}/participants/{participant}",
            delete(endpoint::kick::<S>).get(endpoint::get_participant::<S>).patch(endpoint::change_participant::<S>),
        )
        .route("/rooms/{room}/tracks", get(endpoint::list_tracks::<S>))
        .route("/rooms/{room}/tracks/{track}", patch(endpoint::change_track::<S>))
        .route("/rooms/{room}/data", post(endpoint::send_data::<S>))
        .method_not_allowed_fallback(async || {
            Problem::new(405, "method-not-allowed", "this resource has no such method", "See /api/v1/docs.")
        })
        .layer(from_fn_with_state(authority, guard))
        .with_state(service);
    Router::new()
        .nest("/api/v1", operations)
        .route("/api/v1/openapi.json", get(async || Json(openapi())))
        .route("/api/v1/docs", get(async || Html(DOCS)))
}

/// Lets operators through.
async fn guard(State(authority): State<Arc<Authority>>, request: Request, next: Next) -> Response {
    match check(&authority, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check(authority: &Authority, headers: &HeaderMap) -> Result<(), Problem> {
    if !same_origin(headers) {
        let hint = "Call the API from your own service, or open its pages from its own address.";
        return Err(Problem::new(403, "foreign-origin", "pages of other origins may not manage this server", hint));
    }
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
    let token = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    let grants = authority.admit(token, SystemTime::now())?;
    if grants.admin { Ok(()) } else { Err(ServiceError::Forbidden { what: "manage rooms" }.into()) }
}

/// Whether a request is of no browser, or of a page of this very address.
fn same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    origin.as_ref().and_then(|origin| origin.authority()).map(|a| a.as_str()) == host && host.is_some()
}
