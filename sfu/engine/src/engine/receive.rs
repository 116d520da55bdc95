//! A datagram's way in: to its participant, through the transport, to its track, and on to the subscribers' downlinks.

use super::Engine;
use super::keys::{ParticipantKey, TrackKey};
use crate::drops::DropReason;
use crate::event::Event;
use crate::media::MediaKind;
use crate::net::{Protocol, Tuple};
use crate::participant::Service;
use crate::progress::JoinPhase;
use crate::rtcp::{self, Rtcp};
use crate::rtp::extension::ReceivedExtensions;
use crate::rtp::packet::RtpPacket;
use crate::snapshot::{RtcpKind, add};
use crate::transport::demux::{PacketClass, classify};
use crate::transport::ice::username_fragment;
use crate::uplink::track::Track;
use std::time::Instant;

impl Engine {
    /// Takes one datagram, which reached the machine at `arrival`, at or before `now`: congestion control judges by
    /// that. Whatever is wrong with a datagram is counted and changes nothing.
    pub fn handle_datagram(&mut self, now: Instant, arrival: Instant, tuple: Tuple, datagram: &mut [u8]) {
        // When what comes on TCP has reached the machine is not known.
        if tuple.protocol == Protocol::Udp {
            self.load.note(now, now.saturating_duration_since(arrival));
        }
        let outcome = self.isolate(None, |engine| match classify(datagram) {
            Some(PacketClass::Stun) => engine.receive_stun(now, tuple, datagram),
            Some(PacketClass::Dtls) => engine.receive_dtls(now, tuple, datagram),
            Some(PacketClass::Rtp) => engine.receive_srtp(now, arrival, tuple, datagram),
            Some(PacketClass::Rtcp) => engine.receive_srtcp(now, tuple, datagram),
            None => Err(DropReason::Unclassified),
        });
        if let Some(Err(reason)) = outcome {
            self.drops.count(reason);
        }
        self.recover(now);
    }

    fn receive_stun(&mut self, now: Instant, tuple: Tuple, message: &[u8]) -> Result<(), DropReason> {
        let fragment = username_fragment(message).ok_or(DropReason::StunMalformed)?;
        let key = self.demux.by_ufrag(fragment).ok_or(DropReason::StunUnknownUser)?;
        self.work_for(key);
        let transport = self.transport(key).ok_or(DropReason::StunUnknownUser)?;
        let outcome = transport.handle_stun(now, tuple, message)?;
        if outcome.newly_validated {
            if let Some(previous) = self.demux.insert_tuple(tuple, key).and_then(|previous| self.transport(previous)) {
                previous.forget(&tuple);
            }
            self.events.push_back(Event::TupleValidated { tuple });
            if let Some(participant) = self.participants.get_mut(key) {
                self.counters.distributions.note_phase(now, &mut participant.progress, JoinPhase::Ice);
            }
        }
        if let Some(removed) = outcome.removed {
            self.forget_tuple(key, removed);
        }
        if let Some(fragment) = outcome.retired_ufrag {
            self.demux.remove_ufrag(&fragment);
        }
        self.touch(key);
        Ok(())
    }

    fn receive_dtls(&mut self, now: Instant, tuple: Tuple, datagram: &[u8]) -> Result<(), DropReason> {
        let key = self.demux.by_tuple(&tuple).ok_or(DropReason::UnknownTuple)?;
        self.work_for(key);
        let outcome = self.transport(key).ok_or(DropReason::UnknownTuple)?.handle_dtls(now, &tuple, datagram);
        self.receive_data(now, key);
        self.touch(key);
        outcome
    }

    fn receive_srtp(
        &mut self,
        now: Instant,
        arrival: Instant,
        tuple: Tuple,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        let key = self.demux.by_tuple(&tuple).ok_or(DropReason::UnknownTuple)?;
        self.work_for(key);
        let length = self.transport(key).ok_or(DropReason::UnknownTuple)?.unprotect_rtp(now, &tuple, datagram)?;
        self.touch(key);
        self.receive_rtp(now, arrival, key, datagram.get(..length).unwrap_or_default())
    }

    fn receive_srtcp(&mut self, now: Instant, tuple: Tuple, datagram: &mut [u8]) -> Result<(), DropReason> {
        let key = self.demux.by_tuple(&tuple).ok_or(DropReason::UnknownTuple)?;
        self.work_for(key);
        let participant = self.participants.get_mut(key).ok_or(DropReason::UnknownTuple)?;
        // Feedback is most of it, and concerns who has left the cache since its last packets: what it takes comes while
        // it is decrypted.
        participant.prefetch();
        participant.prefetch_for_feedback();
        let transport = participant.transport.as_mut().ok_or(DropReason::UnknownTuple)?;
        let length = transport.unprotect_rtcp(now, &tuple, datagram)?;
        let malformed = rtcp::parse(datagram.get(..length).unwrap_or_default(), |part| {
            self.receive_rtcp(now, key, &part);
            match part {
                // Most of what comes, and of no concern to anything but the downlink.
                Rtcp::TransportFeedback(_) | Rtcp::Ccfb(_) => self.queue_for(key, Service::Feedback),
                _ => self.touch(key),
            }
        });
        for _ in 0..malformed {
            self.drops.count(DropReason::RtcpMalformed);
        }
        Ok(())
    }

    /// A plain RTP packet of a participant.
    fn receive_rtp(
        &mut self,
        now: Instant,
        arrival: Instant,
        key: ParticipantKey,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        let packet = RtpPacket::parse(bytes).ok_or(DropReason::RtpMalformed)?;
        let participant = self.participants.get_mut(key).ok_or(DropReason::RtpUnknownSource)?;
        let uplink = &mut participant.uplink;
        let extensions = ReceivedExtensions::read(&packet, &uplink.extensions);
        uplink.note_packet(arrival, bytes.len(), extensions.transport_cc);
        let stream = uplink.stream_of(now, &packet, &extensions).ok_or(DropReason::RtpUnknownSource)?;
        let track_key = uplink.track_of(stream).ok_or(DropReason::RtpUnknownSource)?;
        let track = self.tracks.get_mut(track_key).ok_or(DropReason::RtpUnknownSource)?;
        let kind = track.kind as usize;
        self.counters.distributions.note_phase(now, &mut participant.progress, JoinPhase::FirstMedia);
        add(&mut self.counters.rtp_packets_in, kind, 1);
        add(&mut self.counters.rtp_bytes_in, kind, bytes.len() as u64);
        self.counters.retransmissions.received += u64::from(stream.is_rtx);

        let received = track.receive(arrival, stream, &packet, &uplink.extensions, &extensions, &mut uplink.clock)?;
        if let Some(rtt) = received.round_trip {
            uplink.note_round_trip(rtt);
        }
        if received.codec_changed || received.started {
            // What came before is handed on under the state of that time.
            self.fan_out(now);
        }
        if received.codec_changed {
            self.codec_changed(track_key);
            self.describe_track(track_key);
        }
        if received.codec_changed || received.started {
            // Before the packet is handed on: it may be the first of a key frame.
            self.choose_layers_of(now, track_key);
            self.tell_layers(now, track_key, true);
        }
        if received.parameters_changed {
            // Behind the news of another codec, which makes mirrors forget those of the codec before.
            self.tell_parameters(track_key, stream.encoding);
        }
        let Some(seq) = received.seq else { return Ok(()) };
        if let Some(level) = extensions.audio_level.filter(|_| kind == MediaKind::Audio as usize) {
            self.note_level(now, track_key, level.level);
        }
        self.arrived(now, track_key, stream.encoding, seq);
        self.relay(track_key, stream.encoding, seq, stream.is_rtx);
        Ok(())
    }

    /// A microphone's level, for the shard that ranks the room's.
    pub(super) fn note_level(&mut self, now: Instant, key: TrackKey, level: u8) {
        let Some(track) = self.tracks.get(key).filter(|t| !t.muted) else { return };
        let (room_key, id, is_mirror) = (track.room, track.id, track.mirror().is_some());
        let Some(room) = self.rooms.get_mut(room_key) else { return };
        let lead = room.lead(self.config.shard);
        if lead != self.config.shard {
            // A level that another shard sent has come too late to be of use.
            if !is_mirror {
                self.outbox.add(lead, |batch| batch.levels.push((id, level)));
            }
            return;
        }
        self.rank(room_key, |room| {
            room.speakers.on_level(now, key, level);
        });
        self.serve_speakers(room_key);
        self.wake_room(room_key);
    }

    /// A track shows another codec: its slots start over, and subscribers choose anew.
    pub(super) fn codec_changed(&mut self, key: TrackKey) {
        let Some(track) = self.tracks.get(key) else { return };
        let codec = track.codec;
        let subscribers: Vec<_> = track.subscribers.iter().map(|s| (s.participant, s.slot)).collect();
        for (subscriber, slot) in subscribers {
            self.isolate(None, |engine| {
                engine.work_for(subscriber);
                if let Some(receiver) = engine.participants.get_mut(subscriber) {
                    receiver.downlink.set_codec(slot, codec);
                }
            });
        }
    }

    /// Lets every subscriber of a track choose its layers now.
    pub(super) fn choose_layers_of(&mut self, now: Instant, key: TrackKey) {
        for subscriber in self.subscribers_of(key) {
            self.isolate(None, |engine| engine.choose_layers(now, subscriber));
            self.touch(subscriber);
        }
    }

    /// One part of a compound RTCP packet.
    fn receive_rtcp(&mut self, now: Instant, key: ParticipantKey, part: &Rtcp<'_>) {
        if let Some(counter) = self.counters.rtcp.get_mut(RtcpKind::of(part) as usize) {
            counter.received += 1;
        }
        let Some(participant) = self.participants.get_mut(key) else { return };
        match part {
            Rtcp::SenderReport(report) => {
                participant.uplink.on_sender_report(now, report, &mut self.tracks);
                participant.downlink.on_reports(now, report.reports(), &self.config.wall_clock);
            }
            Rtcp::ReceiverReport(report) => {
                participant.downlink.on_reports(now, report.reports(), &self.config.wall_clock)
            }
            Rtcp::TransportFeedback(feedback) => {
                participant.downlink.on_transport_feedback(now, feedback, &mut self.reports);
            }
            Rtcp::Remb(remb) => participant.downlink.estimator().on_remb(now, remb.bitrate),
            Rtcp::Nack(nack) => {
                let answered = participant.downlink.handle_nack(now, nack, &self.tracks);
                self.counters.nacks.received += answered.queued as u64;
                if answered.beyond_repair {
                    self.receiver_needs_keyframe(now, key, nack.media);
                }
            }
            Rtcp::Pli { media, .. } => self.receiver_needs_keyframe(now, key, *media),
            Rtcp::Fir(fir) => {
                for (media, _) in fir.entries() {
                    self.receiver_needs_keyframe(now, key, media);
                }
            }
            Rtcp::Ccfb(feedback) => participant.downlink.on_ccfb(now, feedback, &mut self.reports),
            Rtcp::Goodbye(_) => {}
        }
    }

    /// A receiver cannot decode: asks the publisher of what flows there now, unless a key frame is on its way.
    fn receiver_needs_keyframe(&mut self, now: Instant, key: ParticipantKey, media: crate::units::Ssrc) {
        let Some(downlink) = self.participants.get(key).map(|p| &p.downlink) else { return };
        let Some((track_key, encoding)) = downlink.playing(media).filter(|_| !downlink.brings_keyframe(now, media))
        else {
            return;
        };
        self.request_keyframe(track_key, |track| track.request_keyframe(now, encoding));
    }

    /// Asks a track's publisher for a key frame. A fault in that is its own, not that of whoever needs the frame.
    pub(super) fn request_keyframe(&mut self, key: TrackKey, ask: impl FnOnce(&mut Track)) {
        self.isolate(None, |engine| {
            engine.work_for_track(key);
            if let Some(track) = engine.tracks.get_mut(key) {
                ask(track);
                engine.touch_track(key);
            }
        });
    }

    fn transport(&mut self, key: ParticipantKey) -> Option<&mut crate::transport::Transport> {
        self.participants.get_mut(key)?.transport.as_mut()
    }
}
