//! What the control plane asks of the engine: plain values, taken by [`crate::Engine::handle_command`].

use crate::data::DataMessage;
use crate::ids::{ParticipantId, RequestId, RoomId, ShardId, TrackId};
use crate::media::{MediaKind, Source, Sources};
use crate::sdp::CodecRules;
use crate::units::Mid;

/// A request of the control plane. Commands for a participant that is gone are ignored.
#[derive(Clone, Debug)]
pub enum Command {
    /// A participant enters a room; the room comes into being with its first participant and ends with its last.
    Join {
        /// Which room.
        room: RoomId,
        /// Who; must be new.
        participant: ParticipantId,
        /// What it may do.
        permissions: Permissions,
        /// The other shards on which the room has members.
        others: Vec<ShardId>,
    },
    /// An SDP offer; answered by [`crate::Event::Answer`] with the same request id.
    Offer {
        /// Who offers.
        participant: ParticipantId,
        /// Comes back in the answer.
        request: RequestId,
        /// The offer's text.
        sdp: String,
        /// What the sections that the client sends on carry; sections not named here take the kind's usual source.
        published: Vec<PublishHint>,
        /// Which video codec it shall send.
        codecs: CodecRules,
    },
    /// The publisher muted or unmuted a track of its own. The caller checks that the track is the publisher's.
    SetMuted {
        /// Which track. A track that the engine does not know is ignored.
        track: TrackId,
        /// New state.
        muted: bool,
    },
    /// What a participant wants to receive.
    Prefer {
        /// The receiver.
        participant: ParticipantId,
        /// What it wants of tracks that it never named, where that changes. [`Preference::default`] at first.
        default: Option<Preference>,
        /// What it wants of these tracks; each replaces what it wanted of the track before.
        tracks: Vec<(TrackId, Preference)>,
    },
    /// A participant asks for a key frame of what it receives of a track; ignored where it receives nothing of it.
    /// However many ask, an encoding's publisher gets about one request a second
    /// ([`crate::uplink::keyframe::KeyframeRequester::THROTTLE`]).
    RequestKeyframe {
        /// The receiver.
        participant: ParticipantId,
        /// Of which track.
        track: TrackId,
    },
    /// Caps the pictures that a participant is sent, whatever it prefers.
    Cap {
        /// The receiver.
        participant: ParticipantId,
        /// Tallest picture in pixels; encodings above the next larger one are not sent. `u16::MAX`: no cap.
        max_height: u16,
    },
    /// Asks how the members of a room do; answered by [`crate::Event::Report`] with the same request id, whether there
    /// is such a room or not.
    Report {
        /// Which room.
        room: RoomId,
        /// Comes back in the report.
        request: RequestId,
    },
    /// Sends data to members of a room that are on this engine. What is longer than a message may be is ignored.
    SendData {
        /// Which room.
        room: RoomId,
        /// What, and to whom.
        message: DataMessage,
    },
    /// A participant leaves; its tracks end.
    Leave {
        /// Who.
        participant: ParticipantId,
    },
}

/// What a client says about a section that it sends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishHint {
    /// The section.
    pub mid: Mid,
    /// What it shows.
    pub source: Source,
    /// Muted for now.
    pub muted: bool,
}

impl PublishHint {
    /// What the client said of a section, or else the usual for its kind.
    pub fn of_section(mid: Mid, kind: MediaKind, said: &[PublishHint]) -> PublishHint {
        let source = match kind {
            MediaKind::Audio => Source::Microphone,
            MediaKind::Video => Source::Camera,
        };
        let usual = PublishHint { mid, source, muted: false };
        said.iter().copied().find(|hint| hint.mid == mid && hint.source.kind() == kind).unwrap_or(usual)
    }
}

/// What a participant may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Send media of these sources.
    pub publish: Sources,
    /// Receive media.
    pub subscribe: bool,
    /// Send data to others. Whoever has data channels receives it.
    pub data: bool,
}

impl Default for Permissions {
    fn default() -> Self {
        Permissions { publish: Sources::ALL, subscribe: true, data: true }
    }
}

/// What one receiver wants of one track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preference {
    /// Whether it wants the track at all; `false` frees the slot.
    pub enabled: bool,
    /// Tallest useful picture in pixels; encodings above the next larger one are not sent. `u16::MAX`: no limit.
    pub max_height: u16,
    /// What comes first when there is not enough for all.
    pub priority: Priority,
}

impl Default for Preference {
    fn default() -> Self {
        Preference { enabled: true, max_height: u16::MAX, priority: Priority::Visible }
    }
}

/// Priority class of a subscription; a higher class is served completely before a lower one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Not on screen: nothing is sent, the slot stays.
    Hidden,
    /// A tile like any other.
    #[default]
    Visible,
    /// The dominant speaker's tile. The server raises visible cameras of the speaker to this class by itself.
    Speaker,
    /// A shared screen. The server raises visible screens to this class by itself.
    Screen,
    /// Pinned by the user.
    Pinned,
}
