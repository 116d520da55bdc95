//! Errors as clients see them: a code for programs, a message and a hint for developers.

use crate::auth::TokenError;
use crate::protocol::{BadMessage, ErrorMessage, ServerMessage, VERSION};
use stats::ControlPlane;
use std::borrow::Cow;

/// Why a [`crate::RoomService`] could not do what a client asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// The room has as many participants as it may have.
    #[error("the room is full ({limit} participants)")]
    RoomFull {
        /// Participants that the room may have.
        limit: u32,
    },
    /// The server has as many rooms as it may have.
    #[error("the server has no room left for another room (limit {limit})")]
    RoomsLimit {
        /// Rooms that the server may have.
        limit: u32,
    },
    /// There is a room of that name already.
    #[error("there is a room of that name")]
    RoomExists,
    /// A thing that the request names is not there.
    #[error("there is no such {what}")]
    NotFound {
        /// `track`, `participant`, `room`.
        what: &'static str,
    },
    /// The participant may not do this.
    #[error("not allowed to {what}")]
    Forbidden {
        /// What, as a verb: `publish`.
        what: &'static str,
    },
    /// The access token is missing or not good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// More tracks than a participant may publish.
    #[error("more than {limit} tracks")]
    TooManyTracks {
        /// Tracks that a participant may publish.
        limit: u32,
    },
    /// More preferences than a participant may have.
    #[error("more than {limit} subscription preferences")]
    TooManySubscriptions {
        /// Preferences that a participant may have.
        limit: u32,
    },
    /// The SDP offer cannot be answered; the negotiation says why.
    #[error("{message}")]
    BadOffer {
        /// `bad-offer`, or something more exact.
        code: &'static str,
        /// What is wrong with it.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// The codec policy for a room makes no sense.
    #[error("the codec policy: {why}")]
    BadCodecs {
        /// Why.
        why: &'static str,
    },
    /// A message on the data channels is too long.
    #[error("longer than the {limit} bytes that {what} may have")]
    DataTooLarge {
        /// What is too long: `a message`, `a topic`.
        what: &'static str,
        /// Bytes that it may have.
        limit: u32,
    },
    /// The server has too much to do.
    #[error("the server is overloaded")]
    Overloaded,
    /// The server is about to stop and takes nobody in.
    #[error("the server is about to stop")]
    Draining,
    /// A fault of the server's own.
    #[error("the server failed")]
    Internal,
}

impl ServiceError {
    /// The code that clients see: kebab-case, stable.
    pub fn code(&self) -> &'static str {
        match self {
            ServiceError::RoomFull { .. } => "room-full",
            ServiceError::RoomsLimit { .. } => "rooms-limit",
            ServiceError::RoomExists => "room-exists",
            ServiceError::NotFound { .. } => "not-found",
            ServiceError::Forbidden { .. } => "forbidden",
            ServiceError::Token(error) => error.code(),
            ServiceError::TooManyTracks { .. } => "too-many-tracks",
            ServiceError::TooManySubscriptions { .. } => "too-many-subscriptions",
            ServiceError::BadOffer { code, .. } => code,
            ServiceError::BadCodecs { .. } => "bad-codecs",
            ServiceError::DataTooLarge { .. } => "data-too-large",
            ServiceError::Overloaded => "overloaded",
            ServiceError::Draining => "draining",
            ServiceError::Internal => "internal",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Cow<'static, str> {
        let hint = match self {
            ServiceError::RoomFull { .. } => "Join another room, or raise the server's limit of participants per room.",
            ServiceError::RoomsLimit { .. } => "Try later, or raise the server's limit of rooms.",
            ServiceError::RoomExists => "Close it first, or choose another name.",
            ServiceError::NotFound { .. } => "It may have ended already; act on the latest events only.",
            ServiceError::Forbidden { .. } => "Ask for an access token that grants it.",
            ServiceError::Token(error) => return error.hint(),
            ServiceError::TooManyTracks { .. } => "Stop a track before publishing another; see `limits` of `joined`.",
            ServiceError::TooManySubscriptions { .. } => "Use `default` for tracks without a preference of their own.",
            ServiceError::BadOffer { hint, .. } => return hint.clone().into(),
            ServiceError::BadCodecs { .. } => "Name each codec once, as in {\"prefer\": [\"av1\", \"vp9\"]}.",
            ServiceError::DataTooLarge { .. } => "Send it in parts.",
            ServiceError::Overloaded => "Wait a few seconds and try again.",
            ServiceError::Draining => "Connect to another server, or try again after the restart.",
            ServiceError::Internal => "Try again; the server's log says more.",
        };
        hint.into()
    }

    /// The HTTP status, where the error answers an HTTP request.
    pub fn http_status(&self) -> u16 {
        match self {
            ServiceError::Token(error) => error.http_status(),
            ServiceError::Forbidden { .. } => 403,
            ServiceError::NotFound { .. } => 404,
            ServiceError::RoomExists => 409,
            ServiceError::DataTooLarge { .. } => 413,
            ServiceError::TooManyTracks { .. }
            | ServiceError::TooManySubscriptions { .. }
            | ServiceError::BadCodecs { .. }
            | ServiceError::BadOffer { .. } => 422,
            ServiceError::Internal => 500,
            ServiceError::RoomFull { .. }
            | ServiceError::RoomsLimit { .. }
            | ServiceError::Overloaded
            | ServiceError::Draining => 503,
        }
    }
}

/// Why a message or a connection was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{}", match &.0.path { Some(path) => format!("{path}: {}", .0.detail), None => .0.detail.clone() })]
    BadMessage(BadMessage),
    #[error("binary frames carry no messages")]
    BinaryFrame,
    #[error("a message of {bytes} bytes; at most {limit} are allowed")]
    MessageTooLarge { bytes: usize, limit: usize },
    #[error("more than {limit} messages per second; this one was ignored")]
    RateLimited { limit: u32 },
    #[error("too many bad or too frequent messages")]
    TooManyMistakes,
    #[error("the first message must be `join`")]
    NotJoined,
    #[error("this session is in a room already")]
    AlreadyJoined,
    #[error("version {version} of the protocol is not supported")]
    UnsupportedVersion { version: u32 },
    #[error("no valid `join` in time")]
    JoinTimeout,
    #[error("too many connections from this address")]
    TooManyConnections,
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl Refusal {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Refusal::BadMessage(_) | Refusal::BinaryFrame => "bad-message",
            Refusal::MessageTooLarge { .. } => "message-too-large",
            Refusal::RateLimited { .. } => "rate-limited",
            Refusal::TooManyMistakes => "too-many-mistakes",
            Refusal::NotJoined => "not-joined",
            Refusal::AlreadyJoined => "already-joined",
            Refusal::UnsupportedVersion { .. } => "unsupported-version",
            Refusal::JoinTimeout => "join-timeout",
            Refusal::TooManyConnections => "too-many-connections",
            Refusal::Service(error) => error.code(),
        }
    }

    pub(crate) fn http_status(&self) -> u16 {
        match self {
            Refusal::TooManyConnections | Refusal::RateLimited { .. } => 429,
            Refusal::Service(error) => error.http_status(),
            _ => 400,
        }
    }

    fn hint(&self) -> Cow<'static, str> {
        let hint = match self {
            Refusal::BadMessage(bad) => return bad.hint.clone().into(),
            Refusal::BinaryFrame => "Send JSON in text frames.",
            Refusal::MessageTooLarge { .. } => "See `messageBytes` in `limits` of `joined`.",
            Refusal::RateLimited { .. } => "Put changes that happen together into one message, and wait between them.",
            Refusal::TooManyMistakes => "Mend what the errors before this one say, then join again.",
            Refusal::NotJoined => "Send `join`, and wait for `joined`.",
            Refusal::AlreadyJoined => "Use another WebSocket for another room.",
            Refusal::UnsupportedVersion { .. } => return format!("This server speaks version {VERSION}.").into(),
            Refusal::JoinTimeout => "Send `join` as soon as the WebSocket is open.",
            Refusal::TooManyConnections => "Close others first, or raise the server's limit per address.",
            Refusal::Service(error) => return error.hint(),
        };
        hint.into()
    }
}

/// A refusal on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) refusal: Refusal,
    /// The message at fault.
    pub(crate) id: Option<u64>,
    /// The WebSocket is closed after it.
    pub(crate) fatal: bool,
}

impl Fault {
    /// The client is told and may go on.
    pub(crate) fn told(refusal: impl Into<Refusal>, id: Option<u64>) -> Fault {
        Fault { refusal: refusal.into(), id, fatal: false }
    }

    /// The client is told and its WebSocket closed.
    pub(crate) fn fatal(refusal: impl Into<Refusal>) -> Fault {
        Fault { refusal: refusal.into(), id: None, fatal: true }
    }

    /// The message, counted as sent.
    pub(crate) fn report(self, counters: &ControlPlane) -> ServerMessage {
        counters.signaling_errors.count(self.refusal.code());
        ServerMessage::Error(self.into_message())
    }

    pub(crate) fn into_message(self) -> ErrorMessage {
        let message = self.refusal.to_string();
        let hint = self.refusal.hint().into_owned();
        let code = self.refusal.code().to_owned();
        let path = match self.refusal {
            Refusal::BadMessage(bad) => bad.path,
            _ => None,
        };
        ErrorMessage { id: self.id, code, message, hint, path, fatal: self.fatal }
    }
}
