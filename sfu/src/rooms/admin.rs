//! The rooms as an operator sees and changes them: [`RoomAdmin`], which the admin API of `signaling` talks to.

use super::room::{Member, Room, Terms};
use super::{GONE, Rooms, clamp, convert, figures};
use dashmap::mapref::entry::Entry;
use parking_lot::Mutex;
use sfu_engine::Command;
use sfu_engine::data::{DataMessage, Lane, MAX_LOSSY_MESSAGE, MAX_MESSAGE, MAX_TOPIC, Recipients};
use sfu_engine::ids::{ParticipantId, RequestId};
use signaling::ServiceError;
use signaling::api::model::{self, CreateRoom, RoomStats};
use signaling::api::{Data, RoomAdmin};
use signaling::protocol::{self as wire, LeaveReason, ServerMessage};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use tokio::time::timeout;

const NO_ROOM: ServiceError = ServiceError::NotFound { what: "room" };
/// Seconds that a room stays while nobody is in it, unless its creator says something else.
const EMPTY_SECONDS: u64 = 300;
/// At most.
const MOST_EMPTY_SECONDS: u64 = 24 * 3600;
/// For a shard's report; of one that takes longer nothing is said.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

impl Rooms {
    fn find(&self, name: &wire::RoomName) -> Result<Arc<Mutex<Room>>, ServiceError> {
        self.directory.get(name).map(|room| room.clone()).ok_or(NO_ROOM)
    }

    /// A member of this very room.
    fn find_member(
        &self,
        room: &wire::RoomName,
        participant: &wire::ParticipantId,
    ) -> Result<(Arc<Mutex<Room>>, ParticipantId), ServiceError> {
        let id = convert::parse_participant(participant).ok_or(GONE)?;
        let room = self.find(room)?;
        let is_here = room.lock().members.contains_key(&id);
        if is_here { Ok((room, id)) } else { Err(GONE) }
    }

    /// Removes somebody, who is told why.
    async fn remove(&self, id: ParticipantId, why: LeaveReason, reason: String) {
        if let Some((member, shard)) = self.exit(id, why) {
            tracing::info!(participant = %id, reason, "removed");
            member.events.finish(ServerMessage::Kicked { reason });
            shard.command(Command::Leave { participant: id }).await;
        }
    }
}

impl RoomAdmin for Rooms {
    fn rooms(&self) -> Vec<model::Room> {
        let mut rooms: Vec<_> = self.directory.iter().map(|room| describe(&room.lock())).collect();
        rooms.sort_by(|a, b| a.name.cmp(&b.name));
        rooms
    }

    fn room(&self, room: &wire::RoomName) -> Result<model::Room, ServiceError> {
        Ok(describe(&self.find(room)?.lock()))
    }

    fn create_room(&self, name: wire::RoomName, request: CreateRoom) -> Result<model::Room, ServiceError> {
        let limit = self.limits.participants_per_room;
        let asked = request.max_participants.map_or(limit, |asked| asked as usize);
        let empty = request.empty_seconds.unwrap_or(EMPTY_SECONDS).min(MOST_EMPTY_SECONDS);
        let terms = Terms {
            max_participants: asked.min(limit),
            metadata: request.metadata,
            // A room that goes at once could never be joined.
            empty: Duration::from_secs(empty.max(1)),
            codecs: request.codecs.unwrap_or_else(|| self.codecs.clone()),
        };
        if let Some(why) = terms.codecs.fault() {
            return Err(ServiceError::BadCodecs { why });
        }
        let rooms = self.directory.len();
        let (room, stays) = match self.directory.entry(name.clone()) {
            Entry::Occupied(_) => return Err(ServiceError::RoomExists),
            Entry::Vacant(entry) => {
                let stays = terms.empty;
                let room = self.begin_room(rooms, name.clone(), terms)?;
                entry.insert(room.clone());
                (room, stays)
            }
        };
        let room = room.lock();
        self.end_empty(name, room.id, room.emptied, stays);
        Ok(describe(&room))
    }

    async fn close_room(&self, name: &wire::RoomName, reason: String) -> Result<(), ServiceError> {
        let room = self.find(name)?;
        // Whoever is removed last takes the room along.
        let (members, id) = {
            let mut room = room.lock();
            room.terms.empty = Duration::ZERO;
            room.terms.max_participants = 0;
            (room.members.keys().copied().collect::<Vec<_>>(), room.id)
        };
        for member in members {
            self.remove(member, LeaveReason::RoomClosed, reason.clone()).await;
        }
        self.remove_room(name, |room| room.id == id && room.members.is_empty());
        Ok(())
    }

    fn participants(&self, room: &wire::RoomName) -> Result<Vec<model::Participant>, ServiceError> {
        let room = self.find(room)?;
        let room = room.lock();
        Ok(room.members.iter().map(|(id, member)| describe_member(*id, member)).collect())
    }

    async fn kick(
        &self,
        room: &wire::RoomName,
        participant: &wire::ParticipantId,
        reason: String,
    ) -> Result<(), ServiceError> {
        let (_, id) = self.find_member(room, participant)?;
        self.remove(id, LeaveReason::Kicked, reason).await;
        Ok(())
    }

    async fn cap(
        &self,
        room: &wire::RoomName,
        participant: &wire::ParticipantId,
        max_height: Option<u16>,
    ) -> Result<(), ServiceError> {
        let (room, id) = self.find_member(room, participant)?;
        if let Some(member) = room.lock().members.get_mut(&id) {
            member.max_height = max_height;
        }
        let (_, shard) = self.locate(participant)?;
        shard.command(Command::Cap { participant: id, max_height: max_height.unwrap_or(u16::MAX) }).await;
        Ok(())
    }

    async fn mute_track(&self, name: &wire::RoomName, track: &wire::TrackId, muted: bool) -> Result<(), ServiceError> {
        const NO_TRACK: ServiceError = ServiceError::NotFound { what: "track" };
        let id = convert::parse_track(track).ok_or(NO_TRACK)?;
        let shard = {
            let room = self.find(name)?;
            let room = room.lock();
            let owner =
                room.members.get(&id.participant).filter(|owner| owner.tracks.contains_key(&id)).ok_or(NO_TRACK)?;
            // The engine's news of it goes to the others only.
            owner.events.send(ServerMessage::TrackMuted { track: track.clone(), muted });
            owner.shard
        };
        let shard = self.shards.get(shard).ok_or(ServiceError::Internal)?;
        shard.command(Command::SetMuted { track: id, muted }).await;
        Ok(())
    }

    async fn send_data(&self, name: &wire::RoomName, data: Data) -> Result<(), ServiceError> {
        let room = self.find(name)?;
        let longest = if data.is_lossy { MAX_LOSSY_MESSAGE } else { MAX_MESSAGE };
        for (what, length, limit) in
            [("a message", data.payload.len(), longest), ("a topic", data.topic.len(), MAX_TOPIC)]
        {
            if length > limit {
                return Err(ServiceError::DataTooLarge { what, limit: clamp(limit) });
            }
        }
        let to = match data.to {
            None => Recipients::Everybody,
            // Somebody who is not here gets nothing, as with participants' messages.
            Some(ids) => Recipients::Only(ids.iter().filter_map(convert::parse_participant).collect()),
        };
        let lane = if data.is_lossy { Lane::Lossy } else { Lane::Reliable };
        let payload = data.payload.into();
        let message = DataMessage { from: None, to, lane, is_text: data.is_text, topic: data.topic, payload };
        let id = room.lock().id;
        for shard in &self.shards {
            shard.command(Command::SendData { room: id, message: message.clone() }).await;
        }
        Ok(())
    }

    async fn stats(&self, name: &wire::RoomName) -> Result<RoomStats, ServiceError> {
        let room = self.find(name)?;
        let id = room.lock().id;
        let mut waiting = Vec::new();
        for shard in &self.shards {
            let request = RequestId(self.fresh_id());
            let (report, reported) = oneshot::channel();
            self.reports.insert(request, report);
            shard.command(Command::Report { room: id, request }).await;
            waiting.push((request, reported));
        }
        let mut participants = Vec::new();
        for (request, reported) in waiting {
            match timeout(REPORT_TIMEOUT, reported).await {
                Ok(report) => participants.extend(report.unwrap_or_default()),
                Err(_) => drop(self.reports.remove(&request)),
            }
        }
        participants.sort_by_key(|participant| participant.id);
        let room = room.lock();
        let name_of = |id| room.members.get(&id).map(|member| member.name.to_string()).unwrap_or_default();
        let participants = participants.iter().map(|report| figures::participant(report, name_of(report.id)));
        Ok(RoomStats { name: name.to_string(), participants: participants.collect() })
    }
}

fn describe(room: &Room) -> model::Room {
    model::Room {
        name: room.name.to_string(),
        created_at: seconds(room.created_at),
        participants: clamp(room.members.len()),
        tracks: clamp(room.members.values().map(|member| member.tracks.len()).sum()),
        max_participants: clamp(room.terms.max_participants),
        metadata: room.terms.metadata.clone(),
        empty_seconds: room.terms.empty.as_secs(),
        codecs: room.terms.codecs.clone(),
    }
}

fn describe_member(id: ParticipantId, member: &Member) -> model::Participant {
    let track = |track: &wire::Track| model::Track {
        id: track.id.to_string(),
        kind: track.kind,
        source: track.source,
        muted: track.muted,
    };
    model::Participant {
        id: id.to_string(),
        name: member.name.to_string(),
        identity: member.grants.identity.clone(),
        metadata: member.grants.metadata.clone(),
        joined_at: seconds(member.joined_at),
        connected: member.connected,
        hidden: member.grants.hidden,
        quality: (member.score > 0.0).then_some(member.score),
        max_height: member.max_height,
        tracks: member.tracks.values().map(track).collect(),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
