//! What is due for one participant: transport timers, reports, feedback, repairs, key frame requests, the choice of
//! layers.

use super::isolate::checkpoint;
use super::keys::ParticipantKey;
use super::{Engine, Owner};
use crate::config::WallClock;
use crate::downlink::DEFAULT_RTT;
use crate::drops::DropReason;
use crate::event::{DisconnectReason, Event};
use crate::net::Protocol;
use crate::participant::{Participant, Service};
use crate::progress::JoinPhase;
use crate::rtcp::{self, RtcpBatch};
use crate::snapshot::{RtcpKind, add};
use crate::transport::{Transport, TransportEvent};
use std::time::{Duration, Instant};

/// Connection quality is told this often, and what is due within some time together: it wakes another thread, which
/// tells the clients.
const QUALITY_INTERVAL: Duration = Duration::from_secs(2);
const QUALITY_TOGETHER: Duration = Duration::from_millis(250);

impl Engine {
    /// Does everything that is due for a participant before its packets are sent.
    pub(super) fn serve(&mut self, now: Instant, key: ParticipantKey) {
        self.serve_transport(now, key);
        self.serve_tracks(now, key);
        self.serve_data(now, key);
        if self.participants.get(key).is_some_and(Participant::can_send) {
            self.serve_rtcp(now, key);
            self.serve_downlink(now, key);
        }
    }

    /// Tells what changed while the packets were sent, and notes when the participant wants to be woken.
    pub(super) fn finish(&mut self, now: Instant, key: ParticipantKey, service: Option<Service>) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        // For all whose times have not changed a wake-up is noted.
        let at = match service {
            Some(Service::Packets) if !participant.downlink.was_looked_at(now) => None,
            Some(Service::Packets | Service::Feedback) => participant.downlink.poll_timeout(),
            Some(Service::Everything) | None => self.poll_timeout_of(key),
        };
        let Some(participant) = self.participants.get_mut(key) else { return };
        let pace_at = participant.downlink.poll_pace_timeout().filter(|_| participant.can_send());
        for (noted, at) in [(&mut participant.wake_at, at), (&mut participant.pace_at, pace_at)] {
            let at = at.map(|at| at.max(now));
            if let Some(at) = at.filter(|at| noted.is_none_or(|noted| *at < noted)) {
                *noted = Some(at);
                self.timers.add(at, Owner::Participant(key));
            }
        }
        if !matches!(service, Some(Service::Packets | Service::Feedback)) || participant.downlink.has_news() {
            self.take_news(key);
        }
    }

    /// Takes over what a downlink has counted, and tells the states of its slots.
    fn take_news(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let counts = participant.downlink.take_counts();
        self.drops.add(DropReason::PacerOverflow, counts.overflows);
        let all = self.counters.layer_switches.as_flattened_mut().iter_mut();
        all.zip(counts.switches.as_flattened()).for_each(|(all, new)| *all += new);
        self.counters.ce_marks += counts.ce_marks;
        self.counters.probes.iter_mut().zip(counts.probes).for_each(|(all, new)| *all += new);
        for wait in counts.keyframe_waits {
            self.counters.distributions.keyframe_wait.observe_time(wait);
        }
        for (kind, lost) in counts.lost.into_iter().enumerate() {
            add(&mut self.counters.rtp_lost_out, kind, lost);
        }
        let slots = participant.downlink.poll_states(&self.tracks);
        if !slots.is_empty() {
            self.events.push_back(Event::Slots { participant: participant.id, slots });
        }
    }

    /// When something of a participant is due, beside what its pacer holds.
    fn poll_timeout_of(&self, key: ParticipantKey) -> Option<Instant> {
        let participant = self.participants.get(key)?;
        let tracks = || participant.uplink.tracks().filter_map(|track| self.tracks.get(track));
        let always = tracks().filter_map(|track| track.poll_timeout()).min();
        let wanted = [always, participant.transport.as_ref().and_then(|t| t.poll_timeout())];
        let at = wanted.into_iter().flatten().min();
        if !participant.can_send() {
            // Nothing of the rest can be sent while media cannot flow, so nothing of it is due.
            return at;
        }
        let connected = [
            tracks().filter_map(|track| track.poll_request_timeout()).min(),
            participant.uplink.poll_timeout(),
            participant.downlink.poll_timeout(),
            participant.quality_at,
            participant.data.poll_timeout(),
        ];
        at.into_iter().chain(connected.into_iter().flatten()).min()
    }

    /// Runs the timers of a participant's transport and handles its events.
    fn serve_transport(&mut self, now: Instant, key: ParticipantKey) {
        let Some(transport) = self.participants.get_mut(key).and_then(|p| p.transport.as_mut()) else { return };
        if transport.poll_timeout().is_some_and(|at| at <= now) {
            transport.handle_timeout(now);
        }
        let mut lost = Vec::new();
        while let Some(event) = self.poll_transport_event(key) {
            match event {
                TransportEvent::HandshakeCompleted => self.on_handshake_completed(now, key),
                TransportEvent::Disconnected(reason) => self.on_disconnected(key, reason),
                TransportEvent::TupleLost(tuple) => lost.push(tuple),
            }
        }
        self.note_connected(now, key);
        self.note_path(now, key);
        for tuple in lost {
            self.forget_tuple(key, tuple);
        }
    }

    #[inline]
    fn poll_transport_event(&mut self, key: ParticipantKey) -> Option<TransportEvent> {
        self.participants.get_mut(key)?.transport.as_mut()?.poll_event()
    }

    fn on_handshake_completed(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        self.counters.handshakes_completed += 1;
        self.counters.distributions.note_phase(now, &mut participant.progress, JoinPhase::Dtls);
    }

    /// A transport carries no media any more: its participant's slots are suspended.
    fn on_disconnected(&mut self, key: ParticipantKey, reason: DisconnectReason) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        self.counters.count_disconnect(reason);
        participant.connected = false;
        participant.quality_at = None;
        participant.downlink.suspend(key, &mut self.tracks);
        self.events.push_back(Event::Disconnected { participant: participant.id, reason });
        let room_key = participant.room;
        if let Some(room) = self.rooms.get_mut(room_key) {
            room.bottlenecks.remove(key);
        }
        self.touch_mirrors(room_key);
    }

    /// Notes that a transport has begun to carry media, where it has: for the first time, or again after an ICE restart
    /// that followed the loss of consent.
    fn note_connected(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key).filter(|participant| !participant.connected) else {
            return;
        };
        let Some(transport) = participant.transport.as_ref().filter(|transport| transport.is_ready()) else { return };
        participant.connected = true;
        let is_tcp = transport.selected().is_some_and(|tuple| tuple.protocol == Protocol::Tcp);
        let is_ipv6 = transport.selected().is_some_and(|tuple| tuple.remote.ip().to_canonical().is_ipv6());
        if let Some(by_family) = self.counters.connected.get_mut(usize::from(is_tcp)) {
            add(by_family, usize::from(is_ipv6), 1);
        }
        participant.quality_at = Some(next_quality(now, &self.config.wall_clock));
        participant.downlink.allocate_soon();
        self.events.push_back(Event::Connected { participant: participant.id });
    }

    /// What was measured on one path says nothing about another.
    fn note_path(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        if participant.transport.as_mut().is_some_and(Transport::has_changed_path) {
            participant.downlink.estimator().on_path_change(now);
        }
    }

    /// Notices encodings that stopped, and tells the publisher which ones somebody takes.
    fn serve_tracks(&mut self, now: Instant, key: ParticipantKey) {
        let mut next = 0;
        while let Some(track_key) = self.participants.get(key).and_then(|p| p.uplink.tracks().nth(next)) {
            next += 1;
            let Some(track) = self.tracks.get_mut(track_key) else { continue };
            let stopped = track.handle_timeout(now);
            if let Some(encodings) = track.poll_wanted(now) {
                self.events.push_back(Event::EncodingsWanted { track: track.id, encodings });
            }
            self.tell_layers(now, track_key, stopped);
            if stopped {
                self.refresh_subscribers(track_key);
            }
        }
    }

    /// Sends the feedback, requests and reports that are due.
    fn serve_rtcp(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let rtt = participant.downlink.estimator().rtt().or(participant.uplink.rtt()).unwrap_or(DEFAULT_RTT);
        let mut rtcp = RtcpBatch::default();
        participant.uplink.write_feedback(now, &mut rtcp);
        let mut other_layers = Vec::new();
        for key in participant.uplink.tracks() {
            let Some(track) = self.tracks.get_mut(key) else { continue };
            let asked = track.write_requests(now, rtt, participant.uplink.ssrc, &mut rtcp);
            self.counters.nacks.sent += asked.packets as u64;
            add(&mut self.counters.rtp_lost_in, track.kind as usize, asked.given_up);
            other_layers.extend(asked.review.changed.then_some(key));
            if let Some(cause) = asked.review.fell {
                add(&mut self.counters.shortfalls, cause as usize, 1);
            }
        }
        if participant.uplink.report_is_due(now) {
            participant.downlink.write_sender_reports(now, &self.config.wall_clock, &self.tracks, &mut rtcp);
            participant.uplink.write_report(now, &mut self.tracks, &mut rtcp);
        }
        let Some(transport) = participant.transport.as_mut() else { return };
        for packet in rtcp.into_packets() {
            rtcp::parse(&packet, |part| {
                if let Some(counter) = self.counters.rtcp.get_mut(RtcpKind::of(&part) as usize) {
                    counter.sent += 1;
                }
            });
            transport.send_rtcp(packet);
        }
        if !other_layers.is_empty() {
            // The publisher is told, too.
            self.touch(key);
        }
        for track in other_layers {
            self.tell_layers(now, track, true);
            self.refresh_subscribers(track);
        }
    }

    /// Sets the pace and chooses layers where that is due. Needed now and then also where only packets are sent: a
    /// probe begins with media, and what is sent now may be more than the budget carries.
    pub(super) fn serve_downlink(&mut self, now: Instant, key: ParticipantKey) {
        self.share_bottleneck(now, key);
        let Some(participant) = self.participants.get_mut(key) else { return };
        participant.downlink.relieve(self.load.relief(key), self.load.allows_probes(now));
        participant.downlink.handle_timeout(now);
        participant.downlink.set_memories(key, &mut self.tracks);
        if participant.quality_at.is_some_and(|at| at <= now) {
            participant.quality_at = Some(next_quality(now, &self.config.wall_clock));
            let quality = participant.quality(now, &self.tracks);
            self.counters.distributions.note(&quality);
            self.events.push_back(Event::Quality { participant: participant.id, quality });
        }
        if participant.downlink.allocation_is_due(now) {
            self.choose_layers(now, key);
        }
    }

    /// Chooses the layers of one participant now.
    pub(super) fn choose_layers(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key).filter(|p| p.connected) else { return };
        let Some(room) = self.rooms.get(participant.room) else { return };
        let asked_by = self.at_work.replace(Owner::Participant(key));
        checkpoint("choosing");
        let began = self.config.stopwatch.map(|clock| (clock, clock()));
        let concerned = participant.downlink.allocate(now, key, room, &mut self.tracks, &mut self.allocator);
        if let Some((clock, began)) = began {
            self.counters.distributions.allocation.observe_time(clock().saturating_duration_since(began));
        }
        self.at_work = asked_by;
        for track in concerned {
            self.touch_track(track);
        }
        // What was started from a stored keyframe waits in the pacer.
        self.touch(key);
    }
}

fn next_quality(now: Instant, clock: &WallClock) -> Instant {
    let past = clock.micros(now).unsigned_abs() % QUALITY_TOGETHER.as_micros() as u64;
    now + QUALITY_INTERVAL - Duration::from_micros(past)
}
