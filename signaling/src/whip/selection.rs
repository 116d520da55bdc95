//! What a player of one participant or one track receives, kept up to date while people come and go.

use crate::protocol::{
    ParticipantId, ParticipantInfo, Preference, Priority, ServerMessage, Track, TrackId, TrackPreference,
};
use crate::service::SubscribeRequest;
use std::collections::BTreeSet;

/// The wish of a player, and what it comes to now.
///
/// A name may have several bearers, for example a publisher that lost its network and came back before its old session
/// was found dead: of those that publish anything the newest is played.
pub(super) struct Selection {
    wanted: String,
    /// Who bears the name, oldest first, with what they publish.
    bearers: Vec<(ParticipantId, BTreeSet<TrackId>)>,
    playing: BTreeSet<TrackId>,
}

impl Selection {
    /// `wanted` is a display name, a participant's id or a track's id.
    pub(super) fn new(wanted: String) -> Selection {
        Selection { wanted, bearers: Vec::new(), playing: BTreeSet::new() }
    }

    /// The first request of the player: nothing but what is selected.
    pub(super) fn nothing_else() -> SubscribeRequest {
        let default = Preference { enabled: false, max_height: None, priority: Priority::default() };
        SubscribeRequest { tracks: Vec::new(), default: Some(default) }
    }

    /// Takes the whole state of the room, and says what to change.
    pub(super) fn begin(&mut self, participants: &[ParticipantInfo]) -> Option<SubscribeRequest> {
        self.bearers.clear();
        participants.iter().for_each(|participant| self.add(participant));
        self.change()
    }

    /// Takes an event of the room, and says what to change.
    pub(super) fn follow(&mut self, event: &ServerMessage) -> Option<SubscribeRequest> {
        match event {
            ServerMessage::ParticipantJoined { participant } => self.add(participant),
            ServerMessage::TrackPublished { track } => self.add_track(track),
            ServerMessage::ParticipantLeft { participant, .. } => self.bearers.retain(|(id, _)| id != participant),
            ServerMessage::TrackEnded { track } => {
                self.bearers.iter_mut().for_each(|(_, tracks)| tracks.retain(|known| known != track));
                self.playing.remove(track);
            }
            _ => return None,
        }
        self.change()
    }

    fn add(&mut self, participant: &ParticipantInfo) {
        let named = participant.name.as_str() == self.wanted || participant.id.0 == self.wanted;
        if named && !self.bearers.iter().any(|(id, _)| *id == participant.id) {
            self.bearers.push((participant.id.clone(), BTreeSet::new()));
        }
        participant.tracks.iter().for_each(|track| self.add_track(track));
    }

    fn add_track(&mut self, track: &Track) {
        let named = track.id.0 == self.wanted;
        let bearer = self.bearers.iter_mut().find(|(id, _)| *id == track.participant);
        match bearer {
            // Whoever is here for one track is not played as a whole.
            Some((_, tracks)) if named || !tracks.iter().any(|known| known.0 == self.wanted) => {
                tracks.insert(track.id.clone());
            }
            None if named => self.bearers.push((track.participant.clone(), BTreeSet::from([track.id.clone()]))),
            _ => {}
        }
    }

    /// From what is played to what should be.
    fn change(&mut self) -> Option<SubscribeRequest> {
        let newest = self.bearers.iter().rev().map(|(_, tracks)| tracks).find(|tracks| !tracks.is_empty());
        let wanted = newest.cloned().unwrap_or_default();
        let preference = |track: &TrackId, enabled| {
            let (track, priority) = (track.clone(), Priority::default());
            TrackPreference { track, enabled, max_height: None, priority }
        };
        let begun = wanted.difference(&self.playing).map(|track| preference(track, true));
        let ended = self.playing.difference(&wanted).map(|track| preference(track, false));
        let tracks: Vec<_> = begun.chain(ended).collect();
        self.playing = wanted;
        (!tracks.is_empty()).then_some(SubscribeRequest { tracks, default: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Kind, LeaveReason, Source};

    fn participant(id: &str, name: &str, tracks: &[&str]) -> ParticipantInfo {
        let tracks = tracks.iter().map(|track| self::track(id, track)).collect();
        let name = name.to_owned().try_into().expect("a name");
        ParticipantInfo { id: ParticipantId(id.into()), name, tracks, identity: None, metadata: None }
    }

    fn track(participant: &str, id: &str) -> Track {
        let (id, participant) = (TrackId(id.into()), ParticipantId(participant.into()));
        Track { id, participant, kind: Kind::Video, source: Source::Camera, muted: false }
    }

    fn published(participant: &str, id: &str) -> ServerMessage {
        ServerMessage::TrackPublished { track: track(participant, id) }
    }

    /// Tracks with `+` or `-`.
    fn said(change: Option<SubscribeRequest>) -> Vec<String> {
        let tracks = change.map(|change| change.tracks).unwrap_or_default();
        tracks.iter().map(|t| format!("{}{}", if t.enabled { '+' } else { '-' }, t.track)).collect()
    }

    #[test]
    fn a_name_is_played_from_when_its_bearer_publishes() {
        let mut selection = Selection::new("obs".into());
        assert!(said(selection.begin(&[participant("p1", "ada", &["p1t0"])])).is_empty());
        let joined = ServerMessage::ParticipantJoined { participant: participant("p2", "obs", &[]) };
        assert!(said(selection.follow(&joined)).is_empty());
        assert_eq!(said(selection.follow(&published("p2", "p2t0"))), ["+p2t0"]);
        assert!(said(selection.follow(&published("p2", "p2t0"))).is_empty(), "events bear repetition");
        assert!(said(selection.follow(&published("p1", "p1t1"))).is_empty());
    }

    #[test]
    fn of_two_bearers_of_a_name_the_newest_that_publishes_is_played() {
        let mut selection = Selection::new("obs".into());
        assert_eq!(
            said(selection.begin(&[participant("p1", "obs", &["p1t0"]), participant("p2", "obs", &[])])),
            ["+p1t0"]
        );
        assert_eq!(said(selection.follow(&published("p2", "p2t0"))), ["+p2t0", "-p1t0"]);
        let left = |id: &str| ServerMessage::ParticipantLeft {
            participant: ParticipantId(id.into()),
            reason: LeaveReason::Left,
        };
        assert!(said(selection.follow(&left("p1"))).is_empty());
        assert!(said(selection.follow(&ServerMessage::TrackEnded { track: TrackId("p2t0".into()) })).is_empty());
        assert_eq!(said(selection.follow(&published("p2", "p2t1"))), ["+p2t1"]);
    }

    #[test]
    fn a_track_is_played_alone() {
        let mut selection = Selection::new("p1t1".into());
        assert_eq!(said(selection.begin(&[participant("p1", "ada", &["p1t0", "p1t1"])])), ["+p1t1"]);
        assert!(said(selection.follow(&published("p1", "p1t2"))).is_empty());
    }
}
