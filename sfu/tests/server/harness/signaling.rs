//! The rooms protocol as docs/protocol.md has it, in plain JSON: no type of the server is used.

use super::server::Server;
use super::within;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// One WebSocket. A task reads all along, so that a test may look at other things meanwhile.
pub struct Signaling {
    outlet: futures_util::stream::SplitSink<Socket, Message>,
    log: watch::Receiver<Log>,
    reader: JoinHandle<()>,
}

/// Everything that the server said so far.
#[derive(Clone, Default)]
pub struct Log {
    pub messages: Arc<Vec<Value>>,
    /// The close code, 1006 (RFC 6455) where there was none.
    pub closed: Option<u16>,
}

impl Signaling {
    /// Opens a WebSocket and says nothing yet.
    pub async fn open(server: &Server) -> Signaling {
        let url = format!("ws://{}/ws", server.http);
        let (socket, _) = within("a WebSocket opens", connect_async(url)).await.expect("a WebSocket");
        let (outlet, mut frames) = socket.split();
        let (sender, log) = watch::channel(Log::default());
        let reader = tokio::spawn(async move {
            let mut code = 1006;
            while let Some(Ok(frame)) = frames.next().await {
                match frame {
                    Message::Text(text) => {
                        let message = serde_json::from_str(&text).expect("JSON");
                        sender.send_modify(|log| Arc::make_mut(&mut log.messages).push(message));
                    }
                    Message::Close(close) => code = close.map_or(1005, |close| close.code.into()),
                    _ => {}
                }
            }
            sender.send_modify(|log| log.closed = Some(code));
        });
        Signaling { outlet, log, reader }
    }

    pub async fn send(&mut self, message: Value) {
        self.send_text(message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: String) {
        self.outlet.send(Message::text(text)).await.expect("the WebSocket is open");
    }

    pub async fn send_binary(&mut self, bytes: Vec<u8>) {
        self.outlet.send(Message::binary(bytes)).await.expect("the WebSocket is open");
    }

    /// Asks to join and returns the answer: `joined` or `error`.
    pub async fn join(&mut self, room: &str, name: &str, resume: Option<&str>) -> Value {
        let mut join = json!({"type": "join", "version": 1, "room": room, "name": name});
        if let Some(token) = resume {
            join["resume"] = token.into();
        }
        self.join_by(join).await
    }

    /// Joins with an access token and returns the answer: `joined` or `error`.
    pub async fn join_with(&mut self, room: &str, name: &str, token: &str) -> Value {
        self.join_by(json!({"type": "join", "version": 1, "room": room, "name": name, "token": token})).await
    }

    async fn join_by(&mut self, join: Value) -> Value {
        let before = self.log.borrow().messages.len();
        self.send(join).await;
        self.find("an answer to join", move |log| {
            log.messages[before..].iter().find(|m| m["type"] == "joined" || m["type"] == "error").cloned()
        })
        .await
    }

    /// Sends something that is answered by an error, and returns that.
    pub async fn refused(&mut self, message: Value) -> Value {
        let before = self.count("error");
        self.send(message).await;
        self.nth("error", before).await
    }

    /// What was said so far.
    pub fn log(&self) -> Log {
        self.log.borrow().clone()
    }

    /// How many messages of a type came so far.
    pub fn count(&self, kind: &str) -> usize {
        self.log.borrow().messages.iter().filter(|m| m["type"] == kind).count()
    }

    /// Waits for the message of a type with this number, from 0.
    pub async fn nth(&self, kind: &str, number: usize) -> Value {
        let what = format!("{kind} number {number}");
        self.find(&what, |log| log.messages.iter().filter(|m| m["type"] == kind).nth(number).cloned()).await
    }

    /// Waits until what was said so far has what `look` looks for.
    pub async fn find<T>(&self, what: &str, mut look: impl FnMut(&Log) -> Option<T>) -> T {
        let mut log = self.log.clone();
        let mut found = None;
        let waited = tokio::time::timeout(
            super::PATIENCE,
            log.wait_for(|log| {
                found = look(log);
                found.is_some()
            }),
        )
        .await;
        drop(waited);
        found.unwrap_or_else(|| panic!("did not happen: {what}; said: {:#?}", self.log().messages))
    }

    /// Waits for the server to close, and returns the close code.
    pub async fn closed(&self) -> u16 {
        self.find("the server closes the WebSocket", |log| log.closed).await
    }

    /// A round trip: whatever the server had to say before has been said.
    pub async fn round_trip(&mut self) {
        let pongs = self.count("pong");
        self.send(json!({"type": "ping", "id": pongs})).await;
        self.nth("pong", pongs).await;
    }

    /// Cuts the connection without a word, as a lost network does.
    pub fn cut(self) {
        self.reader.abort();
    }
}
