//! Somebody in a call: signaling and media together, as a page would hold them.

use super::media::{Media, Network, Sending};
use super::payload::Kind;
use super::server::Server;
use super::signaling::{Log, Signaling};
use super::stun::Credentials;
use serde_json::{Value, json};
use webrtc::rtp_transceiver::RTCRtpTransceiverDirection::{Recvonly, Sendonly};

pub struct Participant {
    pub name: String,
    /// The id that the server gave.
    pub id: String,
    pub resume_token: String,
    pub signaling: Signaling,
    pub media: Media,
    pub sending: Vec<Sending>,
    offers: u64,
}

/// What somebody brings to a call.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub publish: &'static [Kind],
    /// Audio and video slots offered from the start.
    pub slots: (usize, usize),
    pub network: Network,
}

impl Plan {
    /// Camera and microphone, and slots for the media of one other.
    pub const TALK: Plan = Plan { publish: &[Kind::Audio, Kind::Video], slots: (1, 1), network: Network::Udp };
    /// The same over TCP.
    pub const TALK_TCP: Plan = Plan { network: Network::Tcp, ..Plan::TALK };
}

impl Participant {
    /// Joins, offers, and waits until media is connected.
    pub async fn join(server: &Server, room: &str, name: &str, plan: Plan) -> Participant {
        let mut participant = Participant::enter(server, room, name, plan).await;
        participant.negotiate().await;
        participant.connected().await;
        participant
    }

    /// Joins only; `plan` is ready to be offered.
    pub async fn enter(server: &Server, room: &str, name: &str, plan: Plan) -> Participant {
        let mut signaling = Signaling::open(server).await;
        let joined = signaling.join(room, name, None).await;
        Participant::joined(signaling, &joined, name, plan).await
    }

    /// Joins only, with an access token.
    pub async fn enter_with(server: &Server, room: &str, name: &str, token: &str, plan: Plan) -> Participant {
        let mut signaling = Signaling::open(server).await;
        let joined = signaling.join_with(room, name, token).await;
        Participant::joined(signaling, &joined, name, plan).await
    }

    async fn joined(signaling: Signaling, joined: &Value, name: &str, plan: Plan) -> Participant {
        assert_eq!(joined["type"], "joined", "{joined}");
        let (media, sending) = prepare(name, plan).await;
        Participant {
            name: name.to_owned(),
            id: text(&joined["participant"]),
            resume_token: text(&joined["resumeToken"]),
            signaling,
            media,
            sending,
            offers: 0,
        }
    }

    /// Throws the peer connection away and connects a new one, as a page does that was reloaded.
    pub async fn renew(&mut self, plan: Plan) {
        self.media.close().await;
        (self.media, self.sending) = prepare(&self.name, plan).await;
        self.negotiate().await;
        self.media.connected().await;
    }

    /// Offers what the peer connection has now and takes the answer.
    pub async fn negotiate(&mut self) {
        let sdp = self.media.offer().await;
        let mids = self.media.mids(Sendonly).await;
        let mut tracks = Vec::new();
        for (sending, mid) in self.sending.iter_mut().zip(mids) {
            let source = match sending.kind {
                Kind::Audio => "microphone",
                Kind::Video => "camera",
            };
            tracks.push(json!({"mid": mid, "source": source}));
            sending.mid = mid;
        }
        self.offers += 1;
        let id = self.offers;
        self.signaling.send(json!({"type": "offer", "id": id, "sdp": sdp, "tracks": tracks})).await;
        let answer = self
            .signaling
            .find("an answer to the offer", |log| {
                log.messages.iter().find(|m| (m["type"] == "answer" || m["type"] == "error") && m["id"] == id).cloned()
            })
            .await;
        assert_eq!(answer["type"], "answer", "{answer}\n{sdp}");
        self.media.answer(answer["sdp"].as_str().expect("SDP")).await;
    }

    /// Offers, and leaves it to the test to connect with what was agreed: our user fragment and the server's
    /// credentials.
    pub async fn offer_only(&mut self) -> (String, Credentials) {
        let sdp = self.media.offer().await;
        self.signaling.send(json!({"type": "offer", "id": 1, "sdp": sdp, "tracks": []})).await;
        let answer = self.signaling.nth("answer", 0).await;
        (Credentials::of(&sdp).ufrag, Credentials::of(answer["sdp"].as_str().expect("SDP")))
    }

    /// Waits until both the client and the server say that media is connected.
    pub async fn connected(&self) {
        self.media.connected().await;
        self.signaling
            .find("connection: connected", |log| {
                log.messages.iter().any(|m| m["type"] == "connection" && m["state"] == "connected").then_some(())
            })
            .await;
    }

    /// The id that the server gave to what this participant sends.
    pub fn track(&self, kind: Kind) -> String {
        let mid = &self.sending.iter().find(|sending| sending.kind == kind).expect("published").mid;
        let log = self.signaling.log();
        let answer = log.messages.iter().rfind(|m| m["type"] == "answer").expect("answered");
        let tracks = answer["tracks"].as_array().expect("tracks");
        text(&tracks.iter().find(|t| t["mid"] == mid.as_str()).expect("a track")["track"])
    }

    /// What is sent of a kind.
    pub fn sent(&self, kind: Kind) -> &Sending {
        self.sending.iter().find(|sending| sending.kind == kind).expect("published")
    }

    /// The mids of the recvonly sections.
    pub async fn slots(&self) -> Vec<String> {
        self.media.mids(Recvonly).await
    }

    /// Waits until the slot that carries `track` is in a state that `wanted` accepts, and returns the slot.
    pub async fn slot_of(&self, track: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{}'s slot with {track}", self.name);
        self.signaling
            .find(&what, |log| slots(log).into_iter().find(|s| s["track"] == track && wanted(&s["state"])))
            .await
    }

    /// Waits until media of a track is sent to this participant.
    pub async fn slot_sends(&self, track: &str) -> Value {
        self.slot_of(track, |state| state["type"] == "sending").await
    }

    /// Waits until a track is paused for a reason.
    pub async fn slot_pauses(&self, track: &str, reason: &str) -> Value {
        self.slot_of(track, |state| state["type"] == "paused" && state["reason"] == reason).await
    }
}

async fn prepare(name: &str, plan: Plan) -> (Media, Vec<Sending>) {
    let media = Media::new(plan.network).await;
    let mut sending = Vec::new();
    for kind in plan.publish {
        sending.push(media.publish(name, *kind).await);
    }
    for _ in 0..plan.slots.0 {
        media.add_slot(Kind::Audio).await;
    }
    for _ in 0..plan.slots.1 {
        media.add_slot(Kind::Video).await;
    }
    (media, sending)
}

/// The slots as they stand after everything that was said.
pub fn slots(log: &Log) -> Vec<Value> {
    let mut slots: Vec<Value> = Vec::new();
    for message in log.messages.iter().filter(|m| m["type"] == "slots" || m["type"] == "joined") {
        if message["type"] == "joined" {
            slots.clear();
        }
        for slot in message["slots"].as_array().expect("slots") {
            slots.retain(|known| known["mid"] != slot["mid"]);
            slots.push(slot.clone());
        }
    }
    slots
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}
