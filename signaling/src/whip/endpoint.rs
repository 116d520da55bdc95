//! The requests of WHIP and WHEP, taken apart, and their responses. Errors are `text/plain`: what is wrong, then what
//! to do.

use super::Server;
use super::fragment::{self, Credentials};
use super::session::{NotBegun, Protocol, Request, Session};
use super::shown::Shown;
use crate::auth::{Authority, TokenError};
use crate::body::TimelyBody;
use crate::error::{Refusal as Fault, ServiceError};
use crate::protocol::{DisplayName, IceServer, LeaveReason, RoomName};
use crate::service::{AnswerReply, RoomService};
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, LINK, LOCATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use subtle::ConstantTimeEq;

type Shared<S> = State<Arc<Server<S>>>;

/// What a POST is about.
#[derive(Deserialize)]
pub(super) struct Target {
    room: String,
    /// What to play, where it is not the whole room.
    wanted: Option<String>,
}

/// What may stand behind the `?`.
#[derive(Deserialize)]
pub(super) struct Options {
    /// The display name of the new participant.
    name: Option<String>,
    /// What a publisher shows.
    #[serde(default)]
    source: Shown,
}

/// `POST /whip/{room}`, `POST /whep/{room}`, `POST /whep/{room}/{wanted}`: makes a session.
pub(super) async fn post<S: RoomService>(
    protocol: Protocol,
    State(server): Shared<S>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Path(target): Path<Target>,
    Query(options): Query<Options>,
    headers: HeaderMap,
    TimelyBody(body): TimelyBody,
) -> Response {
    let counters = server.counters.clone();
    let begun = async {
        let request = request(&server.authority, protocol, target, options, &headers, body)?;
        let permit = server.connections.admit(address.ip())?;
        // A client that hangs up must not leave half a session behind.
        let begun = tokio::spawn(server.clone().begin(request, permit)).await;
        Ok::<_, Refusal>(begun.map_err(|_| ServiceError::Internal)??)
    };
    match begun.await {
        Ok((session, reply)) => {
            counters.joins.count("joined");
            created(&session, reply, &server.service.ice_servers(&session.participant))
        }
        Err(refusal) => {
            counters.joins.count(refusal.code);
            refusal.into_response()
        }
    }
}

fn request(
    authority: &Authority,
    protocol: Protocol,
    Target { room, wanted }: Target,
    options: Options,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Request, Refusal> {
    let room = RoomName::try_from(room).map_err(|error| {
        Refusal::new(400, "bad-room", error.to_string(), "Name the room in the path: /whip/my-room.")
    })?;
    let token = bearer(headers)?;
    let grants = authority.admit_to(room.as_str(), token.as_deref(), SystemTime::now()).map_err(ServiceError::from)?;
    let grants = protocol.narrow(grants, options.source)?;
    let name = grants.name.clone().or(options.name).unwrap_or_else(|| protocol.name().to_uppercase());
    let name = DisplayName::try_from(name)
        .map_err(|error| Refusal::new(400, "bad-name", error.to_string(), "Give another `name` behind the `?`."))?;
    if media_type(headers) != Some("application/sdp") {
        return Err(Refusal::new(
            415,
            "unsupported-media-type",
            "the body is no SDP offer",
            "Send the offer with `Content-Type: application/sdp`.",
        ));
    }
    let malformed =
        |what: &str| Refusal::new(400, "offer-malformed", what, "Send the offer of the peer connection as it is.");
    let offer = String::from_utf8(body.into()).map_err(|_| malformed("the offer is not UTF-8"))?;
    let credentials = Credentials::read(&offer).ok_or_else(|| malformed("the offer has no ICE credentials"))?;
    let tracks = options.source.sections(&offer);
    Ok(Request { protocol, room, name, grants, token, wanted, offer, tracks, credentials })
}

/// `PATCH /{protocol}/{room}/sessions/{id}`: trickled candidates or an ICE restart (RFC 9725 section 4.3).
pub(super) async fn change<S: RoomService>(
    protocol: Protocol,
    State(server): Shared<S>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    TimelyBody(body): TimelyBody,
) -> Response {
    let changed = async {
        let session = find(&server, protocol, &path, &headers)?;
        if media_type(&headers) != Some(fragment::CONTENT_TYPE) {
            let hint = format!(
                "Send an SDP fragment with `Content-Type: {}`; to change the media, end the session and POST a new offer.",
                fragment::CONTENT_TYPE
            );
            return Err(Refusal::new(415, "unsupported-media-type", "the body is no SDP fragment", hint));
        }
        let fragment = std::str::from_utf8(&body).ok().and_then(Credentials::read);
        let offered = fragment.ok_or_else(|| {
            Refusal::new(
                400,
                "fragment-malformed",
                "the fragment has no ICE credentials",
                "A fragment carries a=ice-ufrag and a=ice-pwd (RFC 8840 section 4.4).",
            )
        })?;
        let mut media = session.media.lock().await;
        check_if_match(&headers, media.version)?;
        if offered == media.credentials {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let reply = server.restart(&session, &mut media, offered).await?;
        let headers = [(CONTENT_TYPE, HeaderValue::from_static(fragment::CONTENT_TYPE)), (ETAG, etag(media.version))];
        Ok((headers, fragment::of_answer(&reply.sdp)).into_response())
    };
    changed.await.unwrap_or_else(IntoResponse::into_response)
}

/// `DELETE /{protocol}/{room}/sessions/{id}`
pub(super) async fn end<S: RoomService>(
    protocol: Protocol,
    State(server): Shared<S>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let session = match find(&server, protocol, &path, &headers) {
        Ok(session) => session,
        Err(refusal) => return refusal.into_response(),
    };
    // A client that hangs up has left all the same.
    let ended = tokio::spawn(async move { server.end(&session, LeaveReason::Left).await });
    match ended.await {
        Ok(true) => StatusCode::OK.into_response(),
        Ok(false) => gone().into_response(),
        Err(_) => Refusal::from(ServiceError::Internal).into_response(),
    }
}

fn find<S>(
    server: &Server<S>,
    protocol: Protocol,
    (room, id): &(String, String),
    headers: &HeaderMap,
) -> Result<Arc<Session>, Refusal> {
    let fits = |session: &Arc<Session>| session.protocol == protocol && session.room.as_str() == room;
    let session = server.sessions.find(id).filter(fits).ok_or_else(gone)?;
    let token = bearer(headers)?;
    match (&session.token, &token) {
        (None, _) => Ok(session),
        (Some(begun), Some(now)) if bool::from(begun.as_bytes().ct_eq(now.as_bytes())) => Ok(session),
        (Some(_), None) => Err(ServiceError::from(TokenError::Missing).into()),
        (Some(_), Some(_)) => Err(Refusal::new(
            403,
            "token-other",
            "the access token is not the one that began this session",
            "Use one access token for all requests of a session.",
        )),
    }
}

fn check_if_match(headers: &HeaderMap, version: u64) -> Result<(), Refusal> {
    let hint = "Send the last ETag that you were given as `If-Match`, or `If-Match: *` to restart ICE.";
    let Some(value) = headers.get(IF_MATCH) else {
        return Err(Refusal::new(428, "precondition-required", "there is no If-Match header", hint));
    };
    let current = etag(version);
    let matches = |tag: &str| tag == "*" || current == tag;
    if value.to_str().is_ok_and(|tags| tags.split(',').map(str::trim).any(matches)) {
        return Ok(());
    }
    let message = "If-Match does not name the present ICE session";
    Err(Refusal::new(412, "precondition-failed", message, hint))
}

fn created(session: &Session, reply: AnswerReply, ice_servers: &[IceServer]) -> Response {
    let location = format!("/{}/{}/sessions/{}", session.protocol.name(), session.room, session.id);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/sdp"));
    headers.insert(ETAG, etag(1));
    // Neither a room's name nor an id has characters that a header could not carry.
    headers.extend(HeaderValue::try_from(location).ok().map(|location| (LOCATION, location)));
    for link in ice_servers.iter().flat_map(links) {
        headers.append(LINK, link);
    }
    (StatusCode::CREATED, headers, reply.sdp).into_response()
}

/// `Link` headers of a server, one for each URL (RFC 9725 section 4.6).
fn links(server: &IceServer) -> impl Iterator<Item = HeaderValue> {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut parameters = String::from("; rel=\"ice-server\"");
    if let (Some(username), Some(credential)) = (&server.username, &server.credential) {
        let (username, credential) = (quoted(username), quoted(credential));
        parameters += &format!("; username=\"{username}\"; credential=\"{credential}\"; credential-type=\"password\"");
    }
    server.urls.iter().filter_map(move |url| HeaderValue::try_from(format!("<{url}>{parameters}")).ok())
}

fn etag(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The token of `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let parts = value.to_str().ok().and_then(|value| value.trim().split_once(' '));
    match parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) {
        Some((_, token)) => Ok(Some(token.trim().to_owned())),
        None => Err(Refusal::new(
            401,
            "token-malformed",
            "the Authorization header is not `Bearer TOKEN`",
            "Write `Authorization: Bearer`, a space, and the access token.",
        )),
    }
}

/// The media type of the body, without parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim)
}

fn gone() -> Refusal {
    Refusal::new(
        404,
        "no-session",
        "there is no such session",
        "It ended, or its media connection was lost. POST a new offer.",
    )
}

/// Why a request was refused.
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
    hint: String,
}

impl Refusal {
    fn new(status: u16, code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal { status, code, message: message.into(), hint: hint.into() }
    }
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Refusal {
        let hint = error.hint().into_owned();
        Refusal::new(error.http_status(), error.code(), error.to_string(), hint)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Refusal::new(fault.http_status(), fault.code(), fault.to_string(), "Close others first, or wait and try again.")
    }
}

impl From<NotBegun> for Refusal {
    fn from(error: NotBegun) -> Refusal {
        match error {
            NotBegun::Service(error) => error.into(),
            NotBegun::NothingUsable => Refusal::new(
                422,
                "nothing-usable",
                error.to_string(),
                "Offer to publish on `sendonly` and to play on `recvonly` sections, with Opus and with VP8 or H.264.",
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = format!("{}: {}\n{}\n", self.code, self.message, self.hint);
        match status {
            StatusCode::UNAUTHORIZED => (status, [(WWW_AUTHENTICATE, "Bearer")], body).into_response(),
            _ => (status, body).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_url_of_an_ice_server_is_a_link_with_its_credentials() {
        let urls = ["turn:turn.example?transport=udp", "turns:turn.example"].map(str::to_owned).to_vec();
        let (username, credential) = (Some("1700000000:ada".to_owned()), Some("a\"b".to_owned()));
        let told: Vec<_> = links(&IceServer { urls, username, credential }).collect();
        let rest = r#"; rel="ice-server"; username="1700000000:ada"; credential="a\"b"; credential-type="password""#;
        assert_eq!(told, [format!("<turn:turn.example?transport=udp>{rest}"), format!("<turns:turn.example>{rest}")]);
        let stun = IceServer { urls: vec!["stun:stun.example".to_owned()], username: None, credential: None };
        assert_eq!(links(&stun).collect::<Vec<_>>(), ["<stun:stun.example>; rel=\"ice-server\""]);
    }
}
