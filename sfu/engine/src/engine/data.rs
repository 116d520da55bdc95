//! Data channels: what a participant sends goes to the members of its room that it is for, here and on the room's other
//! shards.

use super::Engine;
use super::keys::ParticipantKey;
use crate::data::{DataMessage, Framed, Lane, MAX_LOSSY_MESSAGE, MAX_MESSAGE, MAX_TOPIC, Recipients};
use crate::drops::DropReason;
use crate::ids::RoomId;
use crate::relay::Message;
use std::time::Instant;

impl Engine {
    /// Takes the SCTP packets that a datagram brought.
    pub(super) fn receive_data(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let Some(transport) = participant.transport.as_mut() else { return };
        let mut came = false;
        while let Some(packet) = transport.poll_data() {
            came = true;
            if let Err(reason) = participant.data.handle_packet(now, packet) {
                self.drops.count(reason);
            }
        }
        if came {
            self.deliver_data(now, key);
        }
    }

    /// Timers of data channels, and the packets that they want to send.
    pub(super) fn serve_data(&mut self, now: Instant, key: ParticipantKey) {
        if let Some(participant) = self.participants.get_mut(key).filter(|p| p.can_send())
            && participant.data.poll_timeout().is_some_and(|at| at <= now)
        {
            participant.data.handle_timeout(now);
            self.deliver_data(now, key);
        }
        let Some(participant) = self.participants.get_mut(key).filter(|p| p.can_send()) else { return };
        if let Some(transport) = participant.transport.as_mut() {
            while let Some(packet) = participant.data.poll_packet(now) {
                transport.send_data(now, &packet);
            }
        }
        let counts = participant.data.take_counts();
        self.counters.data_messages.sent += counts.sent;
        self.counters.data_bytes.sent += counts.sent_bytes;
        self.drops.add(DropReason::DataMalformed, counts.malformed);
        self.drops.add(DropReason::DataNotAllowed, counts.not_allowed);
        self.drops.add(DropReason::DataOverRate, counts.over_rate);
        self.drops.add(DropReason::DataOverflow, counts.overflows);
    }

    /// Queues a message for those members of a room on this shard that it is for.
    pub(super) fn send_data(&mut self, id: RoomId, message: &DataMessage) {
        let limit = if message.lane == Lane::Lossy { MAX_LOSSY_MESSAGE } else { MAX_MESSAGE };
        if message.payload.len() > limit || message.topic.len() > MAX_TOPIC {
            return;
        }
        let Some(room_key) = self.room_keys.get(&id).copied() else { return };
        let members = match &message.to {
            Recipients::Everybody => self.rooms.get(room_key).map(|room| room.members.clone()).unwrap_or_default(),
            Recipients::Only(ids) => ids.iter().filter_map(|id| self.key(*id)).collect(),
        };
        let framed = Framed::new(message);
        for key in members {
            self.isolate(None, |engine| {
                engine.work_for(key);
                if let Some(member) = engine.participants.get_mut(key)
                    && member.room == room_key
                    && Some(member.id) != message.from
                {
                    member.data.send(&framed);
                    engine.touch(key);
                }
            });
        }
    }

    /// Hands on what a participant has sent.
    fn deliver_data(&mut self, now: Instant, key: ParticipantKey) {
        while let Some(participant) = self.participants.get_mut(key) {
            let Some((lane, message)) = participant.data.poll_message(now) else { return };
            let message = DataMessage {
                from: Some(participant.id),
                to: message.to,
                lane,
                is_text: message.is_text,
                topic: message.topic,
                payload: message.payload,
            };
            let Some(room) = self.rooms.get(participant.room) else { return };
            self.counters.data_messages.received += 1;
            self.counters.data_bytes.received += message.payload.len() as u64;
            let id = room.id;
            if !room.peers.is_empty() {
                self.outbox.say_all(&room.peers, &Message::Data { room: id, message: message.clone() });
            }
            self.send_data(id, &message);
        }
    }
}
