//! The reading half of a WebSocket: frames in, typed messages or explained mistakes out.
//!
//! Enforces size and rate limits and notices silence, so that a session deals with meaning only.

use crate::config::SignalingConfig;
use crate::error::{Fault, Refusal};
use crate::limits::TokenBucket;
use crate::protocol::{ClientMessage, CloseCode};
use axum::extract::ws::{Message, WebSocket, close_code};
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use tokio::time::{Duration, Instant, timeout};

/// After so long, one mistake is forgiven.
const MISTAKE_FORGIVEN: Duration = Duration::from_secs(10);

/// Frames from one client.
pub(crate) struct Inbox {
    frames: SplitStream<WebSocket>,
    message_bytes: usize,
    messages_per_second: u32,
    silence_timeout: Duration,
    rate: TokenBucket,
    mistakes: TokenBucket,
}

/// What came from a client.
#[derive(Debug)]
pub(crate) enum Received {
    Message(ClientMessage),
    Fault(Fault),
    /// Nothing will come any more. The code is none where the client is gone already.
    Lost(Option<CloseCode>),
    /// The page was closed or reloaded: browsers then say so (RFC 6455 section 7.4.1, code 1001).
    GoneAway,
}

impl Inbox {
    pub(crate) fn new(frames: SplitStream<WebSocket>, config: &SignalingConfig) -> Inbox {
        let now = Instant::now();
        let refill = Duration::from_secs(1) / config.messages_per_second.max(1);
        Inbox {
            frames,
            message_bytes: config.message_bytes,
            messages_per_second: config.messages_per_second,
            silence_timeout: config.silence_timeout,
            rate: TokenBucket::new(config.message_burst, refill, now),
            mistakes: TokenBucket::new(config.mistakes, MISTAKE_FORGIVEN, now),
        }
    }

    /// The next message, or what is wrong with it. Control frames are dealt with on the way.
    pub(crate) async fn next(&mut self) -> Received {
        loop {
            let frame = match timeout(self.silence_timeout, self.frames.next()).await {
                Err(_) => return Received::Lost(Some(CloseCode::Silent)),
                Ok(Some(Ok(Message::Close(Some(frame))))) if frame.code == close_code::AWAY => {
                    return Received::GoneAway;
                }
                Ok(None | Some(Ok(Message::Close(_)))) => return Received::Lost(None),
                // Also an abrupt end of TCP: then nobody reads the code.
                Ok(Some(Err(_))) => return Received::Lost(Some(CloseCode::Broken)),
                Ok(Some(Ok(frame))) => frame,
            };
            if !self.rate.take(Instant::now()) {
                return Received::Fault(self.mistake(Refusal::RateLimited { limit: self.messages_per_second }, None));
            }
            match frame {
                Message::Text(text) => return self.read(text.as_str()),
                Message::Binary(_) => return Received::Fault(self.mistake(Refusal::BinaryFrame, None)),
                // The WebSocket library answers pings by itself.
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
            }
        }
    }

    /// A mistake of the client: told, or fatal where there were too many.
    pub(crate) fn mistake(&mut self, refusal: Refusal, id: Option<u64>) -> Fault {
        if self.mistakes.take(Instant::now()) {
            Fault::told(refusal, id)
        } else {
            Fault::fatal(Refusal::TooManyMistakes)
        }
    }

    /// Reads and forgets frames until the client closes.
    pub(crate) async fn drain(&mut self) {
        while let Some(Ok(_)) = self.frames.next().await {}
    }

    fn read(&mut self, text: &str) -> Received {
        if text.len() > self.message_bytes {
            let refusal = Refusal::MessageTooLarge { bytes: text.len(), limit: self.message_bytes };
            return Received::Fault(self.mistake(refusal, None));
        }
        match ClientMessage::parse(text) {
            Ok(message) => Received::Message(message),
            Err(bad) => {
                let id = bad.id;
                Received::Fault(self.mistake(Refusal::BadMessage(bad), id))
            }
        }
    }
}
