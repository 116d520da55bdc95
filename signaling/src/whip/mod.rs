//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): publishing into a room and playing from it with nothing but HTTP.
//!
//! | Request | What it does |
//! |---|---|
//! | `POST /whip/{room}?name=&source=` | takes an SDP offer and makes a participant that publishes |
//! | `POST /whep/{room}` | makes a hidden participant that receives everybody in its `recvonly` sections |
//! | `POST /whep/{room}/{wanted}` | the same, of one participant (name or id) or one track (id) only |
//! | `PATCH` on the answer's `Location` | trickled candidates, ICE restart (RFC 8840 fragments) |
//! | `DELETE` there | ends the session |
//!
//! [`router`] serves these on behalf of a [`RoomService`]; `sfu` merges it with the rooms protocol's. `endpoint` takes
//! the requests apart and words the responses, `session` owns what outlives a request, `selection` says what a player
//! of one participant receives, `shown` what a publisher shows, `fragment` reads and writes what PATCH carries. A
//! session's participant is one like any other: the people in the room see a publisher's name and tracks.

mod endpoint;
mod fragment;
mod selection;
mod session;
mod shown;

use crate::auth::Authority;
use crate::config::SignalingConfig;
use crate::limits::Connections;
use crate::service::RoomService;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{HeaderName, HeaderValue};
use axum::routing::{patch, post};
use session::{Protocol, Sessions};
use stats::ControlPlane;
use std::sync::Arc;
use tower_http::set_header::SetResponseHeaderLayer;

/// What the requests share.
struct Server<S> {
    service: Arc<S>,
    authority: Arc<Authority>,
    config: SignalingConfig,
    counters: Arc<ControlPlane>,
    sessions: Sessions,
    connections: Arc<Connections>,
}

/// Serves WHIP and WHEP. As [`crate::router`], it wants to know the addresses of its clients.
pub fn router<S: RoomService>(
    service: Arc<S>,
    authority: Arc<Authority>,
    config: SignalingConfig,
    counters: Arc<ControlPlane>,
) -> Router {
    let (limit, per_address) = (config.connections, config.connections_per_address);
    let connections = Connections::new(limit, per_address, counters.clone(), |counters| &counters.http_sessions);
    let body_limit = DefaultBodyLimit::max(config.message_bytes);
    let server = Arc::new(Server { service, authority, config, counters, sessions: Sessions::default(), connections });
    Router::new()
        .route("/whip/{room}", begins(Protocol::Whip))
        .route("/whep/{room}", begins(Protocol::Whep))
        .route("/whep/{room}/{wanted}", begins(Protocol::Whep))
        .route("/whip/{room}/sessions/{id}", sessions(Protocol::Whip))
        .route("/whep/{room}/sessions/{id}", sessions(Protocol::Whep))
        .layer(body_limit)
        .layer(says("accept-post", "application/sdp"))
        .layer(says("accept-patch", fragment::CONTENT_TYPE))
        .with_state(server)
}

fn begins<S: RoomService>(protocol: Protocol) -> axum::routing::MethodRouter<Arc<Server<S>>> {
    post(move |state, address, target, options, headers, body| {
        endpoint::post::<S>(protocol, state, address, target, options, headers, body)
    })
}

fn sessions<S: RoomService>(protocol: Protocol) -> axum::routing::MethodRouter<Arc<Server<S>>> {
    patch(move |state, path, headers, body| endpoint::change::<S>(protocol, state, path, headers, body))
        .delete(move |state, path, headers| endpoint::end::<S>(protocol, state, path, headers))
}

/// A header of every response, which tells clients what the endpoints take (RFC 9725 section 4.2).
fn says(name: &'static str, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(HeaderName::from_static(name), HeaderValue::from_static(value))
}
