//! A server with a scripted room behind it, and clients.

use crate::auth::{Authority, Claims, Keys, Policy};
use crate::config::SignalingConfig;
use crate::error::ServiceError;
use crate::events::EventSink;
use crate::protocol::{
    AnsweredSection, Emulate, IceServer, LeaveReason, ParticipantId, RoomLimits, ServerMessage, TrackId,
};
use crate::router::{Server, routes};
use crate::service::{AnswerReply, JoinRequest, JoinedState, OfferRequest, RoomService, SubscribeRequest};
use axum::extract::connect_info::MockConnectInfo;
use axum::serve::Listener;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use stats::ControlPlane;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Tokens are signed with it.
const SECRET: &str = "a secret of tests, long enough for HS256";

/// A token with these grants, as docs/tokens.md has them, good for an hour.
pub(super) fn token(sluice: Value) -> String {
    let mut keys = Keys::default();
    keys.add_secret("test", SECRET).expect("long enough");
    let expiry = std::time::SystemTime::now() + Duration::from_secs(3600);
    let seconds = expiry.duration_since(std::time::SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = json!({"sub": "ada@example.org", "name": "Ada of the token", "exp": seconds, "sluice": sluice});
    let claims: Claims = serde_json::from_value(claims).expect("claims");
    keys.sign(None, &claims).expect("signed")
}

/// Goes by the key of [`token`].
pub(super) fn authority(open: bool) -> Arc<Authority> {
    let mut keys = Keys::default();
    keys.add_secret("test", SECRET).expect("long enough");
    Arc::new(Authority::new(Policy { keys, open, leeway: Duration::ZERO, audience: None }, Arc::default()))
}

/// What a pipe between client and server holds: small, so that a client that does not read is noticed.
const PIPE: usize = 4096;

/// How long a client waits for a message or a close, in virtual time.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// A server under test.
pub(super) struct Harness {
    pub(super) room: Arc<ScriptedRoom>,
    pub(super) counters: Arc<ControlPlane>,
    server: Arc<Server<ScriptedRoom>>,
    pipes: mpsc::UnboundedSender<DuplexStream>,
}

impl Harness {
    pub(super) fn new() -> Harness {
        Harness::with(SignalingConfig::default())
    }

    pub(super) fn with(config: SignalingConfig) -> Harness {
        let authority = authority(true);
        let (room, counters) = (Arc::<ScriptedRoom>::default(), Arc::<ControlPlane>::default());
        let server = Arc::new(Server::new(room.clone(), authority, config, counters.clone()));
        let (pipes, incoming) = mpsc::unbounded_channel();
        let address = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 4000));
        let routes = routes(server.clone()).layer(MockConnectInfo(address));
        tokio::spawn(async move { axum::serve(Pipes(incoming), routes).await });
        Harness { room, counters, server, pipes }
    }

    /// A client whose WebSocket is open.
    pub(super) async fn connect(&self) -> Client {
        self.try_connect().await.expect("the WebSocket opens")
    }

    pub(super) async fn try_connect(&self) -> Result<Client, Error> {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        self.pipes.send(theirs).expect("the server runs");
        let (socket, _) = tokio_tungstenite::client_async("ws://sluice.test/ws", ours).await?;
        Ok(Client(socket, None))
    }

    /// A client that has joined the room `daily`, and its `joined`.
    pub(super) async fn joined(&self) -> (Client, Value) {
        let mut client = self.connect().await;
        client.send(join(None)).await;
        let joined = client.next().await;
        assert_eq!(joined["type"], "joined", "{joined}");
        (client, joined)
    }

    /// A client that resumes with the token of `joined`, and its new `joined`.
    pub(super) async fn resume(&self, joined: &Value) -> (Client, Value) {
        let mut client = self.connect().await;
        client.send(join(joined["resumeToken"].as_str())).await;
        let joined = client.next().await;
        (client, joined)
    }

    /// Sessions that the server remembers.
    pub(super) fn sessions(&self) -> usize {
        self.server.sessions.len()
    }
}

pub(super) fn join(resume: Option<&str>) -> Value {
    json!({"type": "join", "version": 1, "room": "daily", "name": "Ada", "resume": resume})
}

/// A WebSocket client that shares no code with the server.
pub(super) struct Client(pub(super) WebSocketStream<DuplexStream>, Option<Instant>);

impl Client {
    pub(super) async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    pub(super) async fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("the WebSocket is open");
    }

    /// The next message.
    pub(super) async fn next(&mut self) -> Value {
        loop {
            match self.frame().await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).expect("JSON"),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("a message was expected, there came {other:?}"),
            }
        }
    }

    /// The code of the next message, which is an error.
    pub(super) async fn next_error(&mut self) -> String {
        let error = self.next().await;
        assert_eq!(error["type"], "error", "{error}");
        error["code"].as_str().expect("a code").to_owned()
    }

    /// Reads to the end and gives the close code; what came before it is dropped.
    pub(super) async fn close_code(&mut self) -> u16 {
        loop {
            match self.frame().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                other => panic!("a close was expected, there came {other:?}"),
            }
        }
    }

    /// The next frame. A server that goes on pinging for ever must not hang the test.
    async fn frame(&mut self) -> Option<Result<Message, Error>> {
        let deadline = *self.1.get_or_insert_with(|| Instant::now() + PATIENCE);
        let frame = timeout_at(deadline, self.0.next()).await.expect("something comes in time");
        if matches!(frame, Some(Ok(Message::Text(_)))) {
            self.1 = None;
        }
        frame
    }

    /// The connection works: a ping is answered, and nothing else comes before that.
    pub(super) async fn assert_alive(&mut self) {
        self.send(json!({"type": "ping", "id": 77})).await;
        assert_eq!(self.next().await, json!({"type": "pong", "id": 77}));
    }
}

/// A service that writes down what it is asked and does what the test says.
#[derive(Default)]
pub(super) struct ScriptedRoom {
    calls: Mutex<Vec<String>>,
    sinks: Mutex<BTreeMap<ParticipantId, EventSink>>,
    /// The answer to every call but `leave`.
    pub(super) failure: Mutex<Option<ServiceError>>,
    /// Sent to a participant after its events are attached and before its state is taken.
    pub(super) meanwhile: Mutex<Option<ServerMessage>>,
}

impl ScriptedRoom {
    /// What was asked since the last look.
    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock())
    }

    /// The way to participant `id`.
    pub(super) fn sink(&self, id: &str) -> EventSink {
        self.sinks.lock().get(&ParticipantId(id.to_owned())).expect("has joined").clone()
    }

    fn asked(&self, call: String) -> Result<(), ServiceError> {
        self.calls.lock().push(call);
        self.failure.lock().clone().map_or(Ok(()), Err)
    }

    fn snapshot(&self, participant: ParticipantId) -> JoinedState {
        if let Some(event) = self.meanwhile.lock().take() {
            self.sink(&participant.0).send(event);
        }
        JoinedState {
            participant,
            room: "daily".to_owned().try_into().expect("valid"),
            name: "Ada".to_owned().try_into().expect("valid"),
            participants: Vec::new(),
            limits: RoomLimits { participants: 50, tracks: 8, sections: 100 },
            slots: Vec::new(),
            speaker: None,
        }
    }
}

impl RoomService for ScriptedRoom {
    async fn join(&self, request: JoinRequest, events: EventSink) -> Result<JoinedState, ServiceError> {
        self.asked(format!("join {} {} {:?}", request.room, request.name, request.grants.identity))?;
        let participant = {
            let mut sinks = self.sinks.lock();
            let participant = ParticipantId(format!("p{}", sinks.len() + 1));
            sinks.insert(participant.clone(), events);
            participant
        };
        Ok(self.snapshot(participant))
    }

    async fn state(&self, participant: &ParticipantId) -> Result<JoinedState, ServiceError> {
        self.asked(format!("state {participant}"))?;
        Ok(self.snapshot(participant.clone()))
    }

    async fn offer(&self, participant: &ParticipantId, request: OfferRequest) -> Result<AnswerReply, ServiceError> {
        self.asked(format!("offer {participant} {}", request.sdp))?;
        // An offer without words about its sections is one of WHIP or WHEP.
        let named = request.tracks.iter().map(|section| section.mid.clone());
        let unnamed = request.sdp.match_indices("a=sendonly").map(|(at, _)| at.to_string());
        let tracks = named
            .chain(unnamed)
            .enumerate()
            .map(|(index, mid)| AnsweredSection { mid, track: TrackId(format!("{participant}t{index}")) });
        Ok(AnswerReply { sdp: "an answer".to_owned(), tracks: tracks.collect(), slots: 1 })
    }

    fn ice_servers(&self, participant: &ParticipantId) -> Vec<IceServer> {
        let username = Some(format!("1700000000:{participant}"));
        vec![IceServer { urls: vec!["turn:turn.example".to_owned()], username, credential: Some("secret".to_owned()) }]
    }

    async fn mute(&self, participant: &ParticipantId, track: &TrackId, muted: bool) -> Result<(), ServiceError> {
        assert_ne!(track.0, "a bug", "asked for by a test");
        self.asked(format!("mute {participant} {track} {muted}"))
    }

    async fn subscribe(&self, participant: &ParticipantId, request: SubscribeRequest) -> Result<(), ServiceError> {
        let tracks: Vec<String> = request.tracks.iter().map(|t| format!("{} {:?}", t.track, t.preference())).collect();
        self.asked(format!("subscribe {participant} [{}] {:?}", tracks.join(", "), request.default))
    }

    async fn request_keyframe(&self, participant: &ParticipantId, track: &TrackId) -> Result<(), ServiceError> {
        self.asked(format!("keyframe {participant} {track}"))
    }

    async fn emulate(&self, participant: &ParticipantId, network: Emulate) -> Result<(), ServiceError> {
        self.asked(format!("emulate {participant} {:?}", network.down.and_then(|down| down.kbps)))
    }

    async fn leave(&self, participant: &ParticipantId, reason: LeaveReason) {
        self.calls.lock().push(format!("leave {participant} {reason:?}"));
    }
}

/// Connections as pipes in memory: with real sockets, virtual time would run ahead of the kernel.
struct Pipes(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for Pipes {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.recv().await {
            Some(pipe) => (pipe, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}
