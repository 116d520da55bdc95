//! Every limit and timer of the rooms protocol, with its default.

use std::time::Duration;

/// Settings of the rooms protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalingConfig {
    /// Largest message of a client in bytes. An offer with 100 sections has about 100 KiB.
    pub message_bytes: usize,
    /// Frames per second that a client may send in the long run.
    pub messages_per_second: u32,
    /// Frames that it may send at once after a quiet time.
    pub message_burst: u32,
    /// Mistakes (bad messages, messages over the rate) after which the session ends; one is forgiven every 10 s.
    pub mistakes: u32,
    /// From the opened WebSocket to a valid `join`.
    pub join_timeout: Duration,
    /// Between two WebSocket pings to a client.
    pub ping_interval: Duration,
    /// Without any frame from a client for so long, its WebSocket counts as dead.
    pub silence_timeout: Duration,
    /// How long a session waits for its client after the WebSocket dropped.
    pub resume_window: Duration,
    /// The same where the browser said that its page goes away: long enough for a reload, and a closed page leaves no
    /// frozen picture behind.
    pub reload_window: Duration,
    /// Messages that wait for a slow client; one more closes its WebSocket, and the client resumes with the whole
    /// state.
    pub event_queue: usize,
    /// WebSockets at once, all clients together.
    pub connections: usize,
    /// WebSockets at once from one IPv4 address or one IPv6 /64. Whole offices sit behind one address.
    pub connections_per_address: usize,
    /// Whether clients may have the server emulate a worse network for them: for developers only.
    pub emulation: bool,
}

impl Default for SignalingConfig {
    fn default() -> Self {
        SignalingConfig {
            message_bytes: 256 * 1024,
            messages_per_second: 50,
            message_burst: 100,
            mistakes: 20,
            join_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(30),
            resume_window: Duration::from_secs(30),
            reload_window: Duration::from_secs(5),
            event_queue: 256,
            connections: 20_000,
            connections_per_address: 256,
            emulation: false,
        }
    }
}
