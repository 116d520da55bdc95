//! A room on this shard: its members, their tracks, and which of them speaks.

use crate::downlink::bottleneck::Bottlenecks;
use crate::engine::keys::{ParticipantKey, TrackKey};
use crate::ids::{ParticipantId, RoomId, ShardId, TrackId};
use crate::media::Source;
use crate::speaker::SpeakerRanking;
use crate::uplink::track::Track;
use slotmap::SlotMap;
use std::time::Instant;

/// A room's members on this shard.
pub struct Room {
    /// Its id.
    pub id: RoomId,
    /// Members, in the order in which they joined.
    pub members: Vec<ParticipantKey>,
    /// Published tracks, in the order in which they began.
    pub tracks: Vec<TrackKey>,
    /// The dominant speaker.
    pub dominant: Option<ParticipantId>,
    /// The bottlenecks of the network that several members share.
    pub bottlenecks: Bottlenecks,
    /// The slots of the members must be bound to tracks again.
    pub rebind: bool,
    /// The earliest wake-up that the engine has noted for it.
    pub wake_at: Option<Instant>,
    /// Ranks the microphones by loudness.
    pub speakers: SpeakerRanking<TrackKey>,
    /// The other shards on which it has members, in ascending order.
    pub peers: Vec<ShardId>,
    /// The microphones that are heard, where another shard ranks them and has told this one.
    pub told_talking: Option<Vec<TrackId>>,
}

impl Room {
    /// An empty room in which at most `talkers` are heard at once.
    pub fn new(id: RoomId, talkers: usize) -> Self {
        Room {
            id,
            members: Vec::new(),
            tracks: Vec::new(),
            dominant: None,
            bottlenecks: Bottlenecks::default(),
            rebind: false,
            wake_at: None,
            speakers: SpeakerRanking::new(talkers),
            peers: Vec::new(),
            told_talking: None,
        }
    }

    /// Forgets the levels of the past and ranks the microphones from the beginning.
    pub fn start_ranking_anew(&mut self, talkers: usize, tracks: &SlotMap<TrackKey, Track>) {
        self.speakers = SpeakerRanking::new(talkers);
        self.rebind = false;
        self.wake_at = None;
        let own = self.tracks.iter().filter_map(|key| Some((*key, tracks.get(*key)?)));
        let microphones = own.filter(|(_, track)| track.source == Source::Microphone);
        for (key, muted) in microphones.map(|(key, track)| (key, track.muted)).collect::<Vec<_>>() {
            self.add_microphone(key, muted);
        }
    }

    /// Adds a microphone to the ranking of speakers.
    pub fn add_microphone(&mut self, key: TrackKey, muted: bool) {
        self.speakers.add(key);
        self.speakers.set_muted(key, muted);
    }

    /// Whether an audio track is heard: it is among the loudest microphones, or the sound of a screen.
    pub fn is_heard(&self, key: TrackKey, track: &Track) -> bool {
        let is_talking = || match &self.told_talking {
            Some(talking) => talking.contains(&track.id),
            None => self.speakers.is_talking(key),
        };
        track.source == Source::ScreenAudio || is_talking()
    }

    /// The shard that ranks the microphones: the lowest one.
    pub fn lead(&self, own: ShardId) -> ShardId {
        self.peers.first().map_or(own, |peer| own.min(*peer))
    }

    /// Whether the room has no members left, on this shard or on another shard that this one knows of.
    pub fn is_deserted(&self) -> bool {
        self.members.is_empty() && self.peers.is_empty()
    }
}
