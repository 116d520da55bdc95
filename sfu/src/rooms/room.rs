//! One room as its members see it: names, tracks, slots. Everything here is called under the room's lock and never
//! waits.

use super::codecs::MemberCodecs;
use super::convert;
use sfu_engine::event::{SlotState, TrackInfo};
use sfu_engine::ids::{EncodingIndex, ParticipantId, RoomId, ShardId, TrackId};
use sfu_engine::units::{Mid, Rid};
use signaling::api::model::CodecPolicy;
use signaling::auth::Grants;
use signaling::protocol::{self as wire, LeaveReason, ServerMessage};
use signaling::webhooks::{Event as WebhookEvent, EventKind, EventParticipant, EventRoom};
use signaling::{EventSink, JoinRequest};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

/// A room and its members.
pub(super) struct Room {
    pub(super) id: RoomId,
    pub(super) name: wire::RoomName,
    pub(super) members: BTreeMap<ParticipantId, Member>,
    pub(super) terms: Terms,
    pub(super) created_at: SystemTime,
    /// How often it has become empty: tells one time without anybody from a later one.
    pub(super) emptied: u64,
    /// The most members that it had at once.
    pub(super) most_members: usize,
    /// When the publishers' codecs are looked at next, where that is planned.
    pub(super) codecs_due: Option<Instant>,
    speaker: Option<ParticipantId>,
    /// Changes of scores so far.
    scored: u64,
}

/// What a room's creator decides.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) max_participants: usize,
    pub(super) metadata: serde_json::Value,
    /// How long it stays while nobody is in it.
    pub(super) empty: Duration,
    /// In which codecs video is sent.
    pub(super) codecs: CodecPolicy,
}

/// Somebody in the room.
pub(super) struct Member {
    /// On which shard it is.
    pub(super) shard: usize,
    pub(super) name: wire::DisplayName,
    pub(super) grants: Grants,
    pub(super) joined_at: SystemTime,
    /// Tallest picture that it is sent, where an operator capped that.
    pub(super) max_height: Option<u16>,
    pub(super) events: EventSink,
    pub(super) tracks: BTreeMap<TrackId, wire::Track>,
    slots: BTreeMap<Mid, wire::Slot>,
    slots_wanted: (u16, u16),
    encodings: BTreeMap<TrackId, Vec<wire::EncodingWanted>>,
    pub(super) codecs: MemberCodecs,
    /// Tracks that it has stated preferences for.
    named: BTreeSet<TrackId>,
    pub(super) connected: bool,
    pub(super) score: f32,
    /// Which change of a score in the room its last one was, and up to which it was told those of others.
    scored: u64,
    told: u64,
}

/// Others learn of a quality score when it has moved by this much, with the message about their own connection: in a
/// room of 500, changes told one by one to everybody took a third of the server.
const SCORE_STEP: f32 = 0.25;

impl Room {
    pub(super) fn new(id: RoomId, name: wire::RoomName, terms: Terms) -> Self {
        let (members, created_at) = (BTreeMap::new(), SystemTime::now());
        Room {
            id,
            name,
            members,
            terms,
            created_at,
            emptied: 0,
            most_members: 0,
            codecs_due: None,
            speaker: None,
            scored: 0,
        }
    }

    /// The room as webhooks name it.
    pub(super) fn named(&self) -> EventRoom {
        EventRoom { id: self.id.to_string(), name: self.name.to_string(), metadata: self.terms.metadata.clone() }
    }

    /// Something that happened to a member, for webhooks.
    pub(super) fn happening(&self, kind: EventKind, id: ParticipantId, member: &Member) -> WebhookEvent {
        let participant = EventParticipant {
            id: id.to_string(),
            name: member.name.to_string(),
            identity: member.grants.identity.clone(),
            metadata: member.grants.metadata.clone(),
            hidden: member.grants.hidden,
        };
        WebhookEvent { participant: Some(participant), ..WebhookEvent::new(kind, self.named()) }
    }

    /// The shard of a member.
    pub(super) fn shard_of(&self, id: ParticipantId) -> Option<usize> {
        Some(self.members.get(&id)?.shard)
    }

    /// The other shards on which it has members.
    pub(super) fn other_shards(&self, shard: usize) -> Vec<ShardId> {
        let others: BTreeSet<_> = self.members.values().map(|m| m.shard).filter(|other| *other != shard).collect();
        others.into_iter().map(|shard| ShardId(shard as u16)).collect()
    }

    /// Lets somebody in, on a shard, and tells the others.
    pub(super) fn enter(&mut self, id: ParticipantId, shard: usize, request: &JoinRequest, events: EventSink) {
        let member = Member {
            shard,
            name: request.name.clone(),
            grants: request.grants.clone(),
            joined_at: SystemTime::now(),
            max_height: None,
            events,
            tracks: BTreeMap::new(),
            slots: BTreeMap::new(),
            slots_wanted: (0, 0),
            encodings: BTreeMap::new(),
            codecs: MemberCodecs::default(),
            named: BTreeSet::new(),
            connected: false,
            score: 0.0,
            scored: 0,
            told: 0,
        };
        let participant = member.info(id);
        self.members.insert(id, member);
        self.most_members = self.most_members.max(self.members.len());
        self.tell_others(id, &ServerMessage::ParticipantJoined { participant });
    }

    /// Lets somebody out and tells the others. None if it was not there.
    pub(super) fn exit(&mut self, id: ParticipantId, reason: LeaveReason) -> Option<Member> {
        let member = self.members.remove(&id)?;
        if !member.grants.hidden {
            let participant = convert::participant_id(id);
            self.tell_all(&ServerMessage::ParticipantLeft { participant, reason });
        }
        Some(member)
    }

    /// Everything that a member must know.
    pub(super) fn state(&self, id: ParticipantId, limits: wire::RoomLimits) -> Option<signaling::JoinedState> {
        let member = self.members.get(&id)?;
        Some(signaling::JoinedState {
            room: self.name.clone(),
            participant: convert::participant_id(id),
            name: member.name.clone(),
            participants: self
                .members
                .iter()
                .filter(|(other, m)| **other != id && !m.grants.hidden)
                .map(|(other, m)| m.info(*other))
                .collect(),
            limits,
            slots: member.slots.values().cloned().collect(),
            speaker: self.speaker.map(convert::participant_id),
        })
    }

    /// Says again what a member may have missed and what its state does not contain.
    pub(super) fn repeat_requests(&self, id: ParticipantId) {
        let Some(member) = self.members.get(&id) else { return };
        let (audio, video) = member.slots_wanted;
        if (audio, video) != (0, 0) {
            member.events.send(ServerMessage::SlotsWanted { audio, video });
        }
        for (track, encodings) in &member.encodings {
            member
                .events
                .send(ServerMessage::Encodings { track: convert::track_id(*track), encodings: encodings.clone() });
        }
        member.codecs.told().for_each(|message| member.events.send(message));
        if member.connected {
            member.events.send(ServerMessage::Connection { state: wire::ConnectionState::Connected, reason: None });
        }
    }

    pub(super) fn track_published(&mut self, info: &TrackInfo) -> Option<WebhookEvent> {
        let owner = info.id.participant;
        let track = convert::track(info);
        self.members.get_mut(&owner)?.tracks.insert(info.id, track.clone());
        self.tell_others(owner, &ServerMessage::TrackPublished { track: track.clone() });
        let event = self.happening(EventKind::TrackPublished, owner, self.members.get(&owner)?);
        Some(WebhookEvent { track: Some(track), ..event })
    }

    pub(super) fn track_ended(&mut self, id: TrackId) -> Option<WebhookEvent> {
        let member = self.members.get_mut(&id.participant)?;
        let track = member.tracks.remove(&id);
        member.encodings.remove(&id);
        member.codecs.track_ended(id);
        self.tell_others(id.participant, &ServerMessage::TrackEnded { track: convert::track_id(id) });
        let event = self.happening(EventKind::TrackUnpublished, id.participant, self.members.get(&id.participant)?);
        track.map(|track| WebhookEvent { track: Some(track), ..event })
    }

    pub(super) fn track_muted(&mut self, id: TrackId, muted: bool) {
        if let Some(track) = self.members.get_mut(&id.participant).and_then(|m| m.tracks.get_mut(&id)) {
            track.muted = muted;
            self.tell_others(id.participant, &ServerMessage::TrackMuted { track: convert::track_id(id), muted });
        }
    }

    pub(super) fn slots_changed(&mut self, id: ParticipantId, slots: &[SlotState]) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let changed: Vec<wire::Slot> = slots.iter().map(convert::slot).collect();
        for (slot, said) in slots.iter().zip(&changed) {
            member.slots.insert(slot.mid, said.clone());
        }
        member.events.send(ServerMessage::Slots { slots: changed });
    }

    pub(super) fn slots_wanted(&mut self, id: ParticipantId, audio: u16, video: u16) {
        if let Some(member) = self.members.get_mut(&id) {
            member.slots_wanted = (audio, video);
            if (audio, video) != (0, 0) {
                member.events.send(ServerMessage::SlotsWanted { audio, video });
            }
        }
    }

    /// An offer was answered: what it left out will be asked for again, and its slots are these.
    pub(super) fn offer_answered(&mut self, id: ParticipantId, slots: &[Mid]) {
        if let Some(member) = self.members.get_mut(&id) {
            member.slots_wanted = (0, 0);
            member.slots.retain(|mid, _| slots.contains(mid));
        }
    }

    /// Whether a track is published here now.
    pub(super) fn has_track(&self, track: TrackId) -> bool {
        self.members.get(&track.participant).is_some_and(|owner| owner.tracks.contains_key(&track))
    }

    /// Notes which tracks a member has stated preferences for. False, and nothing noted, where those that still are
    /// here would be more than `limit`.
    pub(super) fn note_preferences(
        &mut self,
        id: ParticipantId,
        tracks: impl Iterator<Item = TrackId>,
        limit: usize,
    ) -> bool {
        let Some(member) = self.members.get(&id) else { return false };
        let named: BTreeSet<_> =
            member.named.iter().copied().chain(tracks).filter(|track| self.has_track(*track)).collect();
        if named.len() > limit {
            return false;
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.named = named;
        }
        true
    }

    pub(super) fn encodings_wanted(&mut self, track: TrackId, encodings: &[(EncodingIndex, Option<Rid>, bool)]) {
        if let Some(member) = self.members.get_mut(&track.participant) {
            let said: Vec<_> = encodings
                .iter()
                .map(|(_, rid, wanted)| wire::EncodingWanted { rid: rid.map(|r| r.to_string()), wanted: *wanted })
                .collect();
            member.encodings.insert(track, said.clone());
            member.events.send(ServerMessage::Encodings { track: convert::track_id(track), encodings: said });
        }
    }

    pub(super) fn speaker_changed(&mut self, speaker: Option<ParticipantId>) {
        self.speaker = speaker;
        let message = ServerMessage::Speaker { participant: speaker.map(convert::participant_id) };
        for member in self.members.values() {
            member.events.send(message.clone());
        }
    }

    pub(super) fn connection_changed(&mut self, id: ParticipantId, reason: Option<wire::DisconnectReason>) {
        if let Some(member) = self.members.get_mut(&id) {
            member.connected = reason.is_none();
            let state = match reason {
                None => wire::ConnectionState::Connected,
                Some(_) => wire::ConnectionState::Disconnected,
            };
            member.events.send(ServerMessage::Connection { state, reason });
        }
    }

    pub(super) fn quality_measured(&mut self, id: ParticipantId, score: f32, details: wire::QualityDetails) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if (member.score - score).abs() >= SCORE_STEP {
            self.scored += 1;
            (member.score, member.scored) = (score, self.scored);
        }
        let told = std::mem::replace(&mut member.told, self.scored);
        // In most calls nobody's has moved, and a room may have hundreds of members.
        let all = Some(&self.members).filter(|_| told < self.scored).into_iter().flatten();
        let others = all.filter(|(other, m)| **other != id && !m.grants.hidden && m.scored > told);
        let others = others
            .map(|(other, m)| wire::OthersQuality { participant: convert::participant_id(*other), score: m.score })
            .collect();
        if let Some(member) = self.members.get(&id) {
            member.events.send(ServerMessage::Quality {
                participant: convert::participant_id(id),
                score,
                details,
                others,
            });
        }
    }

    /// Tells everybody something.
    pub(super) fn tell_all(&self, message: &ServerMessage) {
        for member in self.members.values() {
            member.events.send(message.clone());
        }
    }

    /// Tells the others something about a member, unless that one is hidden from them.
    fn tell_others(&self, id: ParticipantId, message: &ServerMessage) {
        if self.members.get(&id).is_some_and(|member| member.grants.hidden) {
            return;
        }
        for (_, member) in self.members.iter().filter(|(other, _)| **other != id) {
            member.events.send(message.clone());
        }
    }
}

impl Member {
    pub(super) fn info(&self, id: ParticipantId) -> wire::ParticipantInfo {
        wire::ParticipantInfo {
            id: convert::participant_id(id),
            name: self.name.clone(),
            tracks: self.tracks.values().cloned().collect(),
            identity: self.grants.identity.clone(),
            metadata: self.grants.metadata.clone(),
        }
    }
}
