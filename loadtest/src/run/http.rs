//! Signaling by WHIP (RFC 9725) and WHEP, against any server: an offer by POST, an answer in the response, DELETE at
//! the end.

use super::fleet::{Fleet, JOIN_TIMEOUT, Progress, Running};
use super::plan::Seat;
use super::publisher::Media;
use super::rooms::connect_tcp;
use crate::client::sdp::Answer;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

const SDP: &str = "application/sdp";

/// Where to publish and where to play. `{room}`, `{publisher}` and `{subscriber}` stand for names; where a URL to play
/// at has no `{publisher}`, one connection takes all of them.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    pub(crate) whip: String,
    pub(crate) whep: String,
    /// Bearer token.
    pub(crate) token: Option<String>,
}

/// One connection of a participant.
pub(crate) struct Connection {
    url: String,
    media: Vec<Media>,
    slots: (usize, usize),
    /// Name of the track group that it publishes, or whose it plays.
    publisher: Option<String>,
    expects_media: bool,
}

/// Connects all that the seat needs, stays until told to leave, and hangs up. Notes how each connection went.
pub(crate) async fn attend(endpoints: &Endpoints, fleet: &Arc<Fleet>, seat: &Seat, mut leave: watch::Receiver<bool>) {
    let mut sessions = Vec::new();
    for connection in connections(endpoints, seat) {
        let began = Instant::now();
        match open(endpoints, fleet, seat, &connection).await {
            Ok((session, progress)) => {
                sessions.push(session);
                let (fleet, expects_media) = (fleet.clone(), connection.expects_media);
                tokio::spawn(async move { fleet.note_join(progress.arrive(began, expects_media).await) });
            }
            Err(reason) => fleet.note_join(Err(reason)),
        }
    }
    // An error means that the run is over, which is the same.
    let _ = leave.wait_for(|leave| *leave).await;
    for (_running, location) in sessions {
        if let Some(url) = location {
            let _ = request(Method::DELETE, &url, endpoints.token.as_deref(), String::new()).await;
        }
    }
}

/// The connections of a participant: where it publishes, and where it plays.
pub(crate) fn connections(endpoints: &Endpoints, seat: &Seat) -> Vec<Connection> {
    let fill = |template: &str, publisher: &str| fill(template, &seat.room, publisher, &seat.name);
    let own = (!seat.publish.is_empty()).then(|| Connection {
        url: fill(&endpoints.whip, &seat.name),
        media: seat.publish.clone(),
        slots: (0, 0),
        publisher: Some(seat.name.clone()),
        expects_media: false,
    });
    let play = |url: String, slots: (usize, usize), publisher: Option<String>| Connection {
        url,
        media: Vec::new(),
        slots,
        publisher,
        expects_media: true,
    };
    let each = endpoints.whep.contains("{publisher}");
    let played: Vec<Connection> = match (&seat.plays[..], each) {
        ([], _) => Vec::new(),
        (publishers, true) => {
            let slots = (seat.slots.0.min(1), seat.slots.1.min(1));
            publishers.iter().map(|name| play(fill(&endpoints.whep, name), slots, Some(name.clone()))).collect()
        }
        ([only], false) => vec![play(fill(&endpoints.whep, only), seat.slots, Some(only.clone()))],
        (_, false) => vec![play(fill(&endpoints.whep, ""), seat.slots, None)],
    };
    own.into_iter().chain(played).collect()
}

/// A URL with names in it.
pub(crate) fn fill(template: &str, room: &str, publisher: &str, subscriber: &str) -> String {
    template.replace("{room}", room).replace("{publisher}", publisher).replace("{subscriber}", subscriber)
}

async fn open(
    endpoints: &Endpoints,
    fleet: &Arc<Fleet>,
    seat: &Seat,
    connection: &Connection,
) -> Result<((Running, Option<String>), Progress), String> {
    let (id, client) = fleet.client(&connection.media, connection.slots);
    let posted = request(Method::POST, &connection.url, endpoints.token.as_deref(), client.offer());
    let response = tokio::time::timeout(JOIN_TIMEOUT, posted).await;
    let response = response.map_err(|_| format!("POST {}: no response", connection.url))??;
    let (status, location) = (response.status(), response.headers().get(LOCATION).cloned());
    let text = String::from_utf8_lossy(response.body()).into_owned();
    if !status.is_success() {
        return Err(format!("POST {}: {status}: {}", connection.url, text.trim()));
    }
    let location = location.and_then(|value| absolute(&connection.url, value.to_str().ok()?));
    let publishes = !connection.media.is_empty();
    // A server by WHEP does not name tracks: there is one of a kind of each publisher.
    let track = |audio: bool| connection.publisher.as_ref().map(|name| format!("{}/{name}/{audio}", seat.room));
    for (section, media) in connection.media.iter().enumerate() {
        if let Some((track, departures)) = track(matches!(media, Media::Audio { .. })).zip(client.departures(section)) {
            fleet.publish(&track, departures);
        }
    }
    let (running, progress) = fleet.run(id, client, &Answer::parse(&text));
    if !publishes {
        for section in 0..connection.slots.0 + connection.slots.1 {
            fleet.bind(id, section, track(section < connection.slots.0).as_deref());
        }
    }
    Ok(((running, location), progress))
}

/// A URL that stands in a response to a request for `base`.
pub(crate) fn absolute(base: &str, location: &str) -> Option<String> {
    if location.contains("://") {
        return Some(location.to_owned());
    }
    let base: Uri = base.parse().ok()?;
    let path = match location.strip_prefix('/') {
        Some(path) => path.to_owned(),
        None => format!(
            "{}/{location}",
            base.path().rsplit_once('/').map_or("", |(folder, _)| folder.trim_start_matches('/'))
        ),
    };
    Some(format!("http://{}/{}", base.authority()?, path.trim_start_matches('/')))
}

pub(crate) async fn request(
    method: Method,
    url: &str,
    token: Option<&str>,
    body: String,
) -> Result<Response<Bytes>, String> {
    let fail = |error: &dyn std::fmt::Display| format!("{method} {url}: {error}");
    let uri: Uri = url.parse().map_err(|error: hyper::http::uri::InvalidUri| fail(&error))?;
    if uri.scheme_str() != Some("http") {
        return Err(fail(&"only http:// is supported"));
    }
    let host = uri.host().ok_or_else(|| fail(&"no host"))?;
    let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    let stream = connect_tcp(&authority).await?;
    let (mut sender, driver) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| fail(&error))?;
    let driver = tokio::spawn(driver);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut builder = Request::builder()
        .method(method.clone())
        .uri(path)
        .header(HOST, &authority)
        .header(ACCEPT, SDP)
        .header(CONTENT_TYPE, SDP);
    if let Some(token) = token {
        builder = builder.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = builder.body(Full::new(Bytes::from(body))).map_err(|error| fail(&error))?;
    let (head, body) = sender.send_request(request).await.map_err(|error| fail(&error))?.into_parts();
    let body = body.collect().await.map_err(|error| fail(&error))?.to_bytes();
    driver.abort();
    Ok(Response::from_parts(head, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(whep: &str, plays: &[&str]) -> Vec<(String, (usize, usize))> {
        let endpoints = Endpoints { whip: "http://s/{room}/{publisher}".into(), whep: whep.into(), token: None };
        let seat = Seat {
            room: "r0".into(),
            name: "s1".into(),
            plays: plays.iter().map(|name| (*name).to_owned()).collect(),
            slots: (plays.len(), plays.len()),
            ..Seat::default()
        };
        connections(&endpoints, &seat).into_iter().map(|connection| (connection.url, connection.slots)).collect()
    }

    #[test]
    fn a_template_with_a_publisher_takes_a_connection_for_each() {
        let each = urls("http://s/{room}/{publisher}/{subscriber}", &["p0", "p1"]);
        assert_eq!(each, [("http://s/r0/p0/s1".to_owned(), (1, 1)), ("http://s/r0/p1/s1".to_owned(), (1, 1))]);
        assert_eq!(urls("http://s/{room}", &["p0", "p1"]), [("http://s/r0".to_owned(), (2, 2))]);
        assert!(urls("http://s/{room}", &[]).is_empty());
    }

    #[test]
    fn a_location_may_be_absolute_or_relative() {
        let base = "http://s:8080/whep/room?x=1";
        assert_eq!(absolute(base, "http://t/a").unwrap(), "http://t/a");
        assert_eq!(absolute(base, "/whep/session/7").unwrap(), "http://s:8080/whep/session/7");
        assert_eq!(absolute(base, "7").unwrap(), "http://s:8080/whep/7");
    }
}
