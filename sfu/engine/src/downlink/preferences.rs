//! What a receiver wants of the tracks of its room.

use crate::command::Preference;
use crate::ids::TrackId;
use rustc_hash::FxHashMap;

/// The preferences of one receiver.
#[derive(Debug)]
pub(super) struct Preferences {
    /// Of the tracks that it has named.
    named: FxHashMap<TrackId, Preference>,
    /// Of all other tracks.
    default: Preference,
    /// The tallest picture that it is sent, whatever it prefers.
    max_height: u16,
}

impl Default for Preferences {
    fn default() -> Self {
        Preferences { named: FxHashMap::default(), default: Preference::default(), max_height: u16::MAX }
    }
}

impl Preferences {
    /// What the receiver wants of a track, with the height capped.
    pub(super) fn of(&self, track: TrackId) -> Preference {
        let wanted = self.named.get(&track).copied().unwrap_or(self.default);
        Preference { max_height: wanted.max_height.min(self.max_height), ..wanted }
    }

    /// Takes new preferences. At most `limit` named tracks are remembered.
    pub(super) fn update(&mut self, default: Option<Preference>, tracks: &[(TrackId, Preference)], limit: usize) {
        self.default = default.unwrap_or(self.default);
        for (track, preference) in tracks {
            if self.named.len() < limit || self.named.contains_key(track) {
                self.named.insert(*track, *preference);
            }
        }
    }

    /// Forgets a track that has ended.
    pub(super) fn forget(&mut self, track: TrackId) {
        self.named.remove(&track);
    }

    /// Caps the height of all pictures.
    pub(super) fn cap(&mut self, max_height: u16) {
        self.max_height = max_height;
    }
}
