//! Offers: what becomes of the transport, the published tracks and the slots of the participant that offers.

use super::Engine;
use super::isolate::checkpoint;
use super::keys::{ParticipantKey, TrackKey};
use crate::command::PublishHint;
use crate::downlink::SlotFate;
use crate::downlink::slot::Slot;
use crate::event::{Answer, Event, Sendable, TrackInfo};
use crate::ids::TrackId;
use crate::media::{Codec, MediaKind, Source};
use crate::relay::Message;
use crate::sdp::{
    self, CodecRules, IceParameters, LocalParameters, Negotiation, NegotiationError, PublishSection, Section,
    SectionRole, Setup,
};
use crate::transport::Transport;
use crate::transport::dtls::{DtlsRole, Fingerprint};
use crate::transport::ice::IceCredentials;
use crate::units::Mid;
use crate::uplink::track::Track;
use rand::RngCore;
use std::time::Instant;

/// What an offer means for the transport.
enum TransportPlan {
    /// The same ICE and DTLS go on.
    Keep(IceCredentials),
    /// New ICE credentials, the same DTLS (RFC 8445 section 9).
    Restart(IceCredentials),
    /// A new peer connection: everything starts over.
    Replace(IceCredentials),
}

impl Engine {
    /// Answers an offer. On an error nothing has changed.
    pub(super) fn negotiate(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        offer: &str,
        published: &[PublishHint],
        codecs: &CodecRules,
    ) -> Result<Answer, NegotiationError> {
        let (remote_ice, fingerprints) = self.remote_transport(key, offer)?;
        let plan = self.plan_transport(key, &remote_ice, &fingerprints);
        let Some(participant) = self.participants.get(key) else { return Err(NegotiationError::NothingOffered) };
        let mut negotiation = match plan {
            TransportPlan::Replace(_) => Negotiation::new(self.rng.next_u64()),
            _ => participant.negotiation.clone(),
        };
        let (TransportPlan::Keep(credentials)
        | TransportPlan::Restart(credentials)
        | TransportPlan::Replace(credentials)) = &plan;
        let local = LocalParameters {
            ice: &IceParameters { ufrag: credentials.ufrag.clone(), pwd: credentials.pwd.clone() },
            fingerprint: &self.certificate.fingerprint().to_string(),
            candidates: &self.config.candidates,
            max_sections: self.config.limits.sections_per_offer,
            max_tracks: self.config.limits.tracks_per_participant,
            published,
            may_publish: participant.permissions.publish,
            can_subscribe: participant.permissions.subscribe,
            codecs,
        };
        let negotiated = negotiation.handle_offer(offer, &local, &mut self.rng)?;

        self.apply_transport(now, key, plan, remote_ice, negotiated.setup, fingerprints);
        checkpoint("negotiating");
        if let Some(participant) = self.participants.get_mut(key) {
            participant.negotiation = negotiation;
            participant.data.negotiate(negotiated.sections.iter().any(|s| s.role == SectionRole::Data));
        }
        let tracks = self.apply_published(key, &negotiated.sections, published);
        self.apply_slots(now, key, &negotiated.sections);
        self.touch(key);
        let slots =
            negotiated.sections.iter().filter(|s| matches!(s.role, SectionRole::Slot(_))).map(|s| s.mid).collect();
        let (sendable, receivable) = video_codecs(&negotiated.sections, &tracks);
        Ok(Answer { sdp: negotiated.answer, tracks, slots, sendable, receivable })
    }

    /// Ends everything that hangs on a participant's transport, and the transport.
    pub(super) fn drop_transport(&mut self, now: Instant, key: ParticipantKey) {
        let Some(mut transport) = self.take_transport(key) else { return };
        transport.close(now);
        checkpoint("closing");
        while let Some(goodbye) = transport.poll_control() {
            self.farewells.push_back(goodbye);
        }
    }

    /// Takes a participant's transport out: nothing leads to it any more.
    pub(super) fn take_transport(&mut self, key: ParticipantKey) -> Option<Transport> {
        let participant = self.participants.get_mut(key)?;
        let transport = participant.transport.take()?;
        participant.carried.bytes.clear();
        self.counters.never_connected += u64::from(transport.validated().next().is_none() && !transport.has_keys());
        for fragment in transport.local_ufrags() {
            self.demux.remove_ufrag(fragment);
        }
        for tuple in transport.validated() {
            self.forget_tuple(key, tuple);
        }
        Some(transport)
    }

    /// The client's ICE credentials and certificates. A client that stopped everything describes none any more: the old
    /// ones hold.
    fn remote_transport(
        &self,
        key: ParticipantKey,
        offer: &str,
    ) -> Result<(IceCredentials, Vec<Fingerprint>), NegotiationError> {
        let old = self.participants.get(key).and_then(|p| p.transport.as_ref());
        match (sdp::peek_transport(offer), old.and_then(|t| Some((t.remote_credentials()?, t.fingerprints())))) {
            (Err(NegotiationError::NothingOffered), Some((ice, fingerprints))) => {
                Ok((ice.clone(), fingerprints.to_vec()))
            }
            (remote, _) => {
                let remote = remote?;
                // The parser has checked their form, so each of them reads.
                let fingerprints = remote.fingerprints.iter().filter_map(|text| text.parse().ok()).collect();
                Ok((IceCredentials { ufrag: remote.ufrag, pwd: remote.pwd }, fingerprints))
            }
        }
    }

    fn plan_transport(
        &mut self,
        key: ParticipantKey,
        remote: &IceCredentials,
        fingerprints: &[Fingerprint],
    ) -> TransportPlan {
        let old = self.participants.get(key).and_then(|p| p.transport.as_ref());
        match old {
            Some(transport) if transport.remote_credentials() == Some(remote) => {
                TransportPlan::Keep(transport.local_credentials().clone())
            }
            Some(transport) if transport.fingerprints() == fingerprints => {
                TransportPlan::Restart(self.new_credentials())
            }
            _ => TransportPlan::Replace(self.new_credentials()),
        }
    }

    fn new_credentials(&mut self) -> IceCredentials {
        IceCredentials::generate(&mut self.rng, &self.config.ufrag_prefix)
    }

    fn apply_transport(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        plan: TransportPlan,
        remote: IceCredentials,
        setup: Setup,
        fingerprints: Vec<Fingerprint>,
    ) {
        match plan {
            TransportPlan::Keep(_) => {}
            TransportPlan::Restart(local) => {
                self.demux.register_ufrag(&local.ufrag, key);
                let transport = self.participants.get_mut(key).and_then(|p| p.transport.as_mut());
                for retired in transport.map(|t| t.restart_ice(local, remote)).unwrap_or_default() {
                    self.demux.remove_ufrag(&retired);
                }
            }
            TransportPlan::Replace(local) => {
                self.start_over(now, key);
                self.demux.register_ufrag(&local.ufrag, key);
                let role = if setup == Setup::Passive { DtlsRole::Server } else { DtlsRole::Client };
                let provider = self.provider.clone();
                if let Some(participant) = self.participants.get_mut(key) {
                    participant.transport =
                        Some(Transport::new(local, remote, &self.certificate, role, fingerprints, provider));
                }
            }
        }
    }

    /// Forgets the old peer connection of a participant that made a new one.
    fn start_over(&mut self, now: Instant, key: ParticipantKey) {
        self.drop_transport(now, key);
        let tracks: Vec<TrackKey> = self.participants.get(key).map(|p| p.uplink.tracks().collect()).unwrap_or_default();
        for track in tracks {
            self.end_track(track);
        }
        if let Some(room) = self.participants.get(key).map(|p| p.room) {
            self.unsubscribe_all(room, key);
        }
        let rates = self.config.rates;
        if let Some(participant) = self.participants.get_mut(key) {
            participant.data.start_over(now);
            participant.uplink.start_over(self.config.wall_clock.at);
            participant.downlink.start_over(now, rates);
        }
    }

    /// Begins, keeps and ends tracks so that they match the sections on which the client sends.
    fn apply_published(
        &mut self,
        key: ParticipantKey,
        sections: &[Section],
        published: &[PublishHint],
    ) -> Vec<(Mid, TrackId)> {
        let mut tracks = Vec::new();
        let mut ended: Vec<TrackKey> =
            self.participants.get(key).map(|p| p.uplink.tracks().collect()).unwrap_or_default();
        ended.retain(|track| {
            let mid = self.tracks.get(*track).map(|t| t.mid);
            !sections.iter().any(|s| Some(s.mid) == mid && matches!(s.role, SectionRole::Publish(_)))
        });
        for track in ended {
            self.end_track(track);
        }
        for section in sections {
            let (SectionRole::Publish(role), Some(kind)) = (&section.role, section.kind) else { continue };
            let existing = self.participants.get(key).and_then(|p| {
                p.uplink.tracks().find(|track| self.tracks.get(*track).is_some_and(|t| t.mid == section.mid))
            });
            let id = match existing {
                Some(track) => {
                    let id = self.tracks.get_mut(track).map(|t| {
                        t.renegotiate(section, role);
                        t.id
                    });
                    self.describe_track(track);
                    id
                }
                None => self.begin_track(key, section, role, PublishHint::of_section(section.mid, kind, published)),
            };
            tracks.extend(id.map(|id| (section.mid, id)));
        }
        if let Some(participant) = self.participants.get_mut(key) {
            participant.uplink.configure(sections);
        }
        tracks
    }

    fn begin_track(
        &mut self,
        key: ParticipantKey,
        section: &Section,
        role: &PublishSection,
        hint: PublishHint,
    ) -> Option<TrackId> {
        let participant = self.participants.get_mut(key)?;
        let id = TrackId { participant: participant.id, index: participant.uplink.next_track_index() };
        let room_key = participant.room;
        let kind = hint.source.kind();
        let track = self.tracks.insert(Track::new(id, key, room_key, hint, section, role));
        participant.uplink.add_track(section.index, track);
        self.rooms.get_mut(room_key)?.tracks.push(track);
        if hint.source == Source::Microphone {
            self.rank(room_key, |room| room.add_microphone(track, hint.muted));
        }
        let room = self.rooms.get(room_key)?;
        let (mid, source, muted) = (hint.mid, hint.source, hint.muted);
        self.events.push_back(Event::TrackPublished(TrackInfo { room: room.id, id, mid, kind, source, muted }));
        self.rebind_room(room_key);
        self.describe_track(track);
        self.serve_speakers(room_key);
        Some(id)
    }

    /// Ends a track: its subscribers' slots become free.
    pub(super) fn end_track(&mut self, key: TrackKey) {
        let Some(track) = self.tracks.remove(key) else { return };
        let owner = track.owner();
        if let Some(owner) = owner.and_then(|owner| self.participants.get_mut(owner)) {
            owner.uplink.remove_track(key);
        }
        if let Some(room) = self.rooms.get_mut(track.room) {
            room.tracks.retain(|t| *t != key);
        }
        self.rank(track.room, |room| room.speakers.remove(key));
        if let Some(room) = self.rooms.get(track.room) {
            if owner.is_some() {
                self.events.push_back(Event::TrackEnded { room: room.id, track: track.id });
                self.outbox.say_all(&room.peers, &Message::Ended { track: track.id });
            } else {
                self.mirrors.remove(&track.id);
            }
        }
        for subscriber in &track.subscribers {
            self.isolate(None, |engine| {
                engine.work_for(subscriber.participant);
                if let Some(receiver) = engine.participants.get_mut(subscriber.participant) {
                    receiver.downlink.forget_track(subscriber.slot, key);
                }
            });
        }
        for member in self.rooms.get(track.room).map(|room| room.members.clone()).unwrap_or_default() {
            self.isolate(None, |engine| {
                engine.work_for(member);
                if let Some(member) = engine.participants.get_mut(member) {
                    member.downlink.forget_preference(track.id);
                }
            });
        }
        self.rebind_room(track.room);
        self.serve_speakers(track.room);
    }

    /// Adds, keeps and removes slots so that they match the sections on which the client receives.
    fn apply_slots(&mut self, now: Instant, key: ParticipantKey, sections: &[Section]) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let (room, downlink) = (participant.room, &mut participant.downlink);
        let fate = |slot: &Slot| {
            let section = sections.iter().find(|s| s.mid == slot.mid);
            section.map_or(SlotFate::Go, |section| match section.role {
                SectionRole::Slot(_) => SlotFate::Stay,
                SectionRole::Inactive => SlotFate::Rest,
                SectionRole::Publish(_) | SectionRole::Data | SectionRole::Rejected => SlotFate::Go,
            })
        };
        for freed in downlink.review_slots(fate) {
            if let Some(track) = self.tracks.get_mut(freed) {
                track.unsubscribe(key);
            }
        }
        self.touch_mirrors(room);
        let Some(participant) = self.participants.get_mut(key) else { return };
        let downlink = &mut participant.downlink;
        for section in sections {
            let (SectionRole::Slot(role), Some(kind)) = (&section.role, section.kind) else { continue };
            downlink.negotiate_slot(section, role, kind, &mut self.rng);
            participant.uplink.start_reports(now);
        }
        downlink.expect_feedback();
        // A client ignores what it is told while it waits for an answer, so it hears again what is missing now.
        downlink.forget_reported_missing();
        self.rebind(key);
    }
}

/// What the client can send on each video track, and what it can receive on every video slot, if it has one.
fn video_codecs(sections: &[Section], tracks: &[(Mid, TrackId)]) -> (Vec<Sendable>, Option<Vec<Codec>>) {
    let mut sendable = Vec::new();
    let mut receivable: Option<Vec<Codec>> = None;
    for section in sections.iter().filter(|section| section.kind == Some(MediaKind::Video)) {
        let codecs = section.codecs.iter().map(|mapping| mapping.codec);
        match section.role {
            SectionRole::Publish(_) => {
                let codecs = section.codecs.iter().map(|mapping| (mapping.codec, mapping.payload_type)).collect();
                let track = tracks.iter().find(|(mid, _)| *mid == section.mid);
                sendable.extend(track.map(|(mid, track)| Sendable { track: *track, mid: *mid, codecs }));
            }
            SectionRole::Slot(_) => match &mut receivable {
                None => receivable = Some(codecs.collect()),
                Some(known) => known.retain(|codec| codecs.clone().any(|other| other == *codec)),
            },
            SectionRole::Data | SectionRole::Inactive | SectionRole::Rejected => {}
        }
    }
    (sendable, receivable)
}
