//! Why the server closed a WebSocket: the close code tells a client whether to come back.

/// Close codes of the server. Up to 4009 the session is over; from 4010 on it waits to be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// The client left.
    Left = 1000,
    /// A fatal `error` came before.
    Refused = 4000,
    /// Another WebSocket resumed this session.
    TakenOver = 4001,
    /// `kicked` came before.
    Removed = 4002,
    /// The client reads too slowly; resume.
    TooSlow = 4010,
    /// Nothing came from the client for too long; resume.
    Silent = 4011,
    /// A frame that breaks RFC 6455 or is far over the size limit; resume.
    Broken = 4012,
}

impl CloseCode {
    /// The reason that goes with the code.
    pub const fn reason(self) -> &'static str {
        match self {
            CloseCode::Left => "left",
            CloseCode::Refused => "refused, see the error before",
            CloseCode::TakenOver => "resumed by another connection",
            CloseCode::Removed => "removed from the room",
            CloseCode::TooSlow => "too slow, resume",
            CloseCode::Silent => "nothing heard, resume",
            CloseCode::Broken => "broken or oversized frame, resume",
        }
    }

    /// Whether the session waits to be resumed.
    pub const fn can_resume(self) -> bool {
        self as u16 >= 4010
    }
}
