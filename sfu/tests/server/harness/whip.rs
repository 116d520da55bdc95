//! A WHIP publisher or WHEP player: the media client with plain HTTP for signaling (RFC 9725).

use super::media::{Media, Network, Sending};
use super::payload::Kind::{self, Audio, Video};
use super::server::{Response, Server};

pub const SDP: (&str, &str) = ("Content-Type", "application/sdp");
pub const FRAGMENT: (&str, &str) = ("Content-Type", "application/trickle-ice-sdpfrag");

/// A session with its media.
pub struct Http {
    pub media: Media,
    pub sending: Vec<Sending>,
    /// The session's URL.
    pub location: String,
    pub etag: String,
    pub answer: String,
}

impl Http {
    /// Publishes audio and video under `name`, and waits until they are connected.
    pub async fn publish(server: &Server, room: &str, name: &str) -> Http {
        let media = Media::new(Network::Udp).await;
        let sending = vec![media.publish(name, Audio).await, media.publish(name, Video).await];
        Http::begin(server, &format!("/whip/{room}?name={name}"), media, sending).await
    }

    /// Plays from `path` in one slot of each of these kinds.
    pub async fn play(server: &Server, path: &str, slots: &[Kind]) -> Http {
        let media = Media::new(Network::Udp).await;
        for kind in slots {
            media.add_slot(*kind).await;
        }
        Http::begin(server, path, media, Vec::new()).await
    }

    async fn begin(server: &Server, path: &str, media: Media, sending: Vec<Sending>) -> Http {
        let offer = media.offer().await;
        let response = server.send("POST", path, &[SDP], &offer).await;
        assert_eq!(response.status, 201, "{}", response.body);
        assert_eq!(response.header("content-type"), Some("application/sdp"));
        let (location, etag) = (header(&response, "location"), header(&response, "etag"));
        media.answer(&response.body).await;
        media.connected().await;
        Http { media, sending, location, etag, answer: response.body }
    }

    /// Sends a fragment.
    pub async fn patch(&self, server: &Server, headers: &[(&str, &str)], fragment: &str) -> Response {
        server.send("PATCH", &self.location, &[&[FRAGMENT], headers].concat(), fragment).await
    }

    /// Ends the session.
    pub async fn delete(&self, server: &Server) -> Response {
        server.request("DELETE", &self.location, &[]).await
    }
}

/// A header that must be there.
pub fn header(response: &Response, name: &str) -> String {
    response.header(name).unwrap_or_else(|| panic!("no {name}: {} {}", response.status, response.body)).to_owned()
}

/// The lines of a description that a fragment of trickle ICE has.
pub fn fragment(sdp: &str) -> String {
    let kept = ["m=", "a=mid:", "a=ice-ufrag:", "a=ice-pwd:", "a=candidate:", "a=end-of-candidates"];
    let first = sdp.split("\nm=").take(2).collect::<Vec<_>>().join("\nm=");
    first.lines().filter(|line| kept.iter().any(|k| line.starts_with(k))).map(|line| format!("{line}\r\n")).collect()
}
