//! Generational keys: a key of something that is gone finds nothing, never something else.

slotmap::new_key_type! {
    /// A participant of this engine.
    pub struct ParticipantKey;
    /// A track published on this engine.
    pub struct TrackKey;
    /// A room with members on this engine.
    pub struct RoomKey;
}
