//! The HTTP side: `GET /ws` becomes a session.

use crate::auth::Authority;
use crate::config::SignalingConfig;
use crate::error::{Fault, Refusal};
use crate::limits::Connections;
use crate::resume::Sessions;
use crate::service::RoomService;
use crate::session;
use axum::extract::{ConnectInfo, State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use stats::ControlPlane;
use std::net::SocketAddr;
use std::sync::Arc;

/// The WebSocket library refuses messages above this multiple of the limit by closing; up to it, the client is told.
const HARD_LIMIT: usize = 2;
/// Read buffer of a connection in bytes: most messages are far smaller, and there may be many thousand connections.
const READ_BUFFER: usize = 8 * 1024;

/// What all sessions share.
pub(crate) struct Server<S> {
    pub(crate) service: Arc<S>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) config: SignalingConfig,
    pub(crate) counters: Arc<ControlPlane>,
    pub(crate) sessions: Sessions,
    connections: Arc<Connections>,
}

/// Serves the rooms protocol at `/ws`. Serve it by
/// [`into_make_service_with_connect_info::<SocketAddr>`](Router::into_make_service_with_connect_info): connections are
/// counted by address.
pub fn router<S: RoomService>(
    service: Arc<S>,
    authority: Arc<Authority>,
    config: SignalingConfig,
    counters: Arc<ControlPlane>,
) -> Router {
    routes(Arc::new(Server::new(service, authority, config, counters)))
}

pub(crate) fn routes<S: RoomService>(server: Arc<Server<S>>) -> Router {
    Router::new().route("/ws", any(open::<S>)).with_state(server)
}

impl<S> Server<S> {
    pub(crate) fn new(
        service: Arc<S>,
        authority: Arc<Authority>,
        config: SignalingConfig,
        counters: Arc<ControlPlane>,
    ) -> Self {
        let (limit, per_address) = (config.connections, config.connections_per_address);
        let connections =
            Connections::new(limit, per_address, counters.clone(), |counters| &counters.websocket_sessions);
        Server { service, authority, config, counters, sessions: Sessions::default(), connections }
    }
}

async fn open<S: RoomService>(
    State(server): State<Arc<Server<S>>>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let permit = match server.connections.admit(address.ip()) {
        Ok(permit) => permit,
        Err(refusal) => return refuse(refusal, &server.counters),
    };
    let limit = server.config.message_bytes.saturating_mul(HARD_LIMIT);
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(limit)
        .max_frame_size(limit)
        .on_upgrade(|socket| session::run(server, socket, permit))
}

/// Before the upgrade an error is an HTTP response, so that a flood of connections costs no WebSocket.
fn refuse(refusal: Refusal, counters: &ControlPlane) -> Response {
    counters.signaling_errors.count(refusal.code());
    let status = StatusCode::from_u16(refusal.http_status()).unwrap_or(StatusCode::BAD_REQUEST);
    (status, Json(Fault::fatal(refusal).into_message())).into_response()
}
