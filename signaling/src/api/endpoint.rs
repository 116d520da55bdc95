//! The operations of the admin API, each with its OpenAPI description.

use super::model::{
    ChangeParticipant, ChangeTrack, CreateRoom, Participant, Removal, Room, RoomStats, SendData, Track,
};
use super::problem::Problem;
use super::service::{Data, RoomAdmin};
use crate::error::ServiceError;
use crate::protocol::{ParticipantId, RoomName, TrackId};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use std::sync::Arc;

type Service<S> = State<Arc<S>>;
type Answer<T> = Result<T, Problem>;

/// Every room, by name.
#[utoipa::path(get, path = "/api/v1/rooms", tag = "rooms", responses((status = 200, body = [Room]), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_rooms<S: RoomAdmin>(State(service): Service<S>) -> Json<Vec<Room>> {
    Json(service.rooms())
}

/// Makes a room before anybody is in it, with limits and metadata of its own. Rooms without these need not be made:
/// they begin with whoever joins first.
#[utoipa::path(post, path = "/api/v1/rooms", tag = "rooms", request_body = CreateRoom, responses((status = 201, body = Room), (status = 409, description = "There is a room of that name", body = Problem, content_type = "application/problem+json"), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_room<S: RoomAdmin>(
    State(service): Service<S>,
    body: Bytes,
) -> Answer<(StatusCode, Json<Room>)> {
    let request: CreateRoom = read(&body)?;
    let name = room_name(request.name.clone())?;
    Ok((StatusCode::CREATED, Json(service.create_room(name, request)?)))
}

/// A room.
#[utoipa::path(get, path = "/api/v1/rooms/{room}", tag = "rooms", params(("room" = String, Path)), responses((status = 200, body = Room), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_room<S: RoomAdmin>(State(service): Service<S>, Path(room): Path<String>) -> Answer<Json<Room>> {
    Ok(Json(service.room(&room_name(room)?)?))
}

/// Closes a room: everybody in it is removed, and told why.
#[utoipa::path(delete, path = "/api/v1/rooms/{room}", tag = "rooms", params(("room" = String, Path)), request_body = Option<Removal>, responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn close_room<S: RoomAdmin>(
    State(service): Service<S>,
    Path(room): Path<String>,
    body: Bytes,
) -> Answer<StatusCode> {
    let reason = reason(&body, "the room was closed")?;
    service.close_room(&room_name(room)?, reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a room does now: for each track its codec, layers, rates and loss, for each receiver its estimate, what it gets
/// and why.
#[utoipa::path(get, path = "/api/v1/rooms/{room}/stats", tag = "rooms", params(("room" = String, Path)), responses((status = 200, body = RoomStats), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_stats<S: RoomAdmin>(
    State(service): Service<S>,
    Path(room): Path<String>,
) -> Answer<Json<RoomStats>> {
    Ok(Json(service.stats(&room_name(room)?).await?))
}

/// Who is in a room, in the order in which they joined.
#[utoipa::path(get, path = "/api/v1/rooms/{room}/participants", tag = "participants", params(("room" = String, Path)), responses((status = 200, body = [Participant]), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_participants<S: RoomAdmin>(
    State(service): Service<S>,
    Path(room): Path<String>,
) -> Answer<Json<Vec<Participant>>> {
    Ok(Json(service.participants(&room_name(room)?)?))
}

/// Somebody in a room.
#[utoipa::path(get, path = "/api/v1/rooms/{room}/participants/{participant}", tag = "participants", params(("room" = String, Path), ("participant" = String, Path)), responses((status = 200, body = Participant), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_participant<S: RoomAdmin>(
    State(service): Service<S>,
    Path((room, participant)): Path<(String, String)>,
) -> Answer<Json<Participant>> {
    find(&*service, room, &participant).map(Json)
}

/// Removes somebody, who is told why and cannot resume. To keep somebody out, give no further access token.
#[utoipa::path(delete, path = "/api/v1/rooms/{room}/participants/{participant}", tag = "participants", params(("room" = String, Path), ("participant" = String, Path)), request_body = Option<Removal>, responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn kick<S: RoomAdmin>(
    State(service): Service<S>,
    Path((room, participant)): Path<(String, String)>,
    body: Bytes,
) -> Answer<StatusCode> {
    let reason = reason(&body, "removed by an operator")?;
    service.kick(&room_name(room)?, &ParticipantId(participant), reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Caps the pictures that somebody is sent.
#[utoipa::path(patch, path = "/api/v1/rooms/{room}/participants/{participant}", tag = "participants", params(("room" = String, Path), ("participant" = String, Path)), request_body = ChangeParticipant, responses((status = 200, body = Participant), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn change_participant<S: RoomAdmin>(
    State(service): Service<S>,
    Path((room, participant)): Path<(String, String)>,
    body: Bytes,
) -> Answer<Json<Participant>> {
    let change: ChangeParticipant = read(&body)?;
    service.cap(&room_name(room.clone())?, &ParticipantId(participant.clone()), change.max_height).await?;
    find(&*service, room, &participant).map(Json)
}

/// Every track of a room.
#[utoipa::path(get, path = "/api/v1/rooms/{room}/tracks", tag = "tracks", params(("room" = String, Path)), responses((status = 200, body = [Track]), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_tracks<S: RoomAdmin>(
    State(service): Service<S>,
    Path(room): Path<String>,
) -> Answer<Json<Vec<Track>>> {
    let participants = service.participants(&room_name(room)?)?;
    Ok(Json(participants.into_iter().flat_map(|participant| participant.tracks).collect()))
}

/// Mutes or unmutes a track. Everybody is told, its publisher too, who may change it again.
#[utoipa::path(patch, path = "/api/v1/rooms/{room}/tracks/{track}", tag = "tracks", params(("room" = String, Path), ("track" = String, Path)), request_body = ChangeTrack, responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn change_track<S: RoomAdmin>(
    State(service): Service<S>,
    Path((room, track)): Path<(String, String)>,
    body: Bytes,
) -> Answer<StatusCode> {
    let change: ChangeTrack = read(&body)?;
    service.mute_track(&room_name(room)?, &TrackId(track), change.muted).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a message to everybody in a room, or to some, on their data channels. It comes from the server: no participant
/// can send such a one.
#[utoipa::path(post, path = "/api/v1/rooms/{room}/data", tag = "rooms", params(("room" = String, Path)), request_body = SendData, responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json"), (status = 413, body = Problem, content_type = "application/problem+json"), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn send_data<S: RoomAdmin>(
    State(service): Service<S>,
    Path(room): Path<String>,
    body: Bytes,
) -> Answer<StatusCode> {
    let SendData { topic, text, base64, to, lossy } = read(&body)?;
    let is_text = text.is_some();
    let payload = match (text, base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(base64)) => STANDARD.decode(base64).map_err(|error| bad_body(format!("base64: {error}")))?,
        _ => return Err(bad_body("one of text and base64 is needed")),
    };
    let to = to.map(|ids| ids.into_iter().map(ParticipantId).collect());
    service.send_data(&room_name(room)?, Data { topic, is_text, payload, to, is_lossy: lossy }).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn find(service: &impl RoomAdmin, room: String, id: &str) -> Answer<Participant> {
    let participants = service.participants(&room_name(room)?)?;
    let found = participants.into_iter().find(|participant| participant.id == id);
    found.ok_or_else(|| ServiceError::NotFound { what: "participant" }.into())
}

fn room_name(name: String) -> Answer<RoomName> {
    RoomName::try_from(name).map_err(|error| {
        Problem::new(400, "bad-room", error.to_string(), "A room's name has 1 to 64 of A-Z a-z 0-9 - . _ ~.")
    })
}

/// A JSON body, with the place of what is wrong in it.
fn read<T: DeserializeOwned>(body: &[u8]) -> Answer<T> {
    let mut json = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut json).map_err(|error| bad_body(error.to_string()))
}

fn bad_body(detail: impl Into<String>) -> Problem {
    Problem::new(400, "bad-body", detail, "Send JSON as /api/v1/docs describes it.")
}

fn reason(body: &[u8], usual: &str) -> Answer<String> {
    let removal: Removal = if body.is_empty() { Removal::default() } else { read(body)? };
    Ok(removal.reason.unwrap_or_else(|| usual.to_owned()))
}
