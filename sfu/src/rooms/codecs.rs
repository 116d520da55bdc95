//! In which codec each publisher of a room sends its video: one that everybody in the room can receive, then what the
//! room prefers.
//!
//! [`CodecRules`] orders codecs, here and where offers are answered. A codec that more people can receive is changed to
//! at once; one that is only preferred when it has been possible for a while, since whoever lacked it may come back.

use super::convert;
use super::room::Room;
use sfu_engine::event::{Answer, Sendable};
use sfu_engine::ids::{ParticipantId, TrackId};
use sfu_engine::media::Codec;
use sfu_engine::sdp::CodecRules;
use sfu_engine::units::{Mid, PayloadType};
use signaling::protocol::ServerMessage;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a member can receive, and what it sends.
#[derive(Debug, Default)]
pub(super) struct MemberCodecs {
    receivable: Option<Vec<Codec>>,
    published: BTreeMap<TrackId, Published>,
}

/// A published video track.
#[derive(Debug)]
struct Published {
    mid: Mid,
    offered: Vec<(Codec, PayloadType)>,
    current: (Codec, PayloadType),
    /// The publisher was told so, rather than taking the first of the answer.
    told: bool,
    /// Since when it could be sent in a codec that the room prefers.
    better_since: Option<Instant>,
}

impl MemberCodecs {
    /// Forgets a track that ended.
    pub(super) fn track_ended(&mut self, track: TrackId) {
        self.published.remove(&track);
    }

    /// Everything that its tracks were told.
    pub(super) fn told(&self) -> impl Iterator<Item = ServerMessage> + '_ {
        self.published
            .iter()
            .filter(|(_, published)| published.told)
            .map(|(track, published)| published.message(*track))
    }
}

impl Published {
    /// A track as an offer's answer has it. `before`: as the answer before had it.
    fn negotiated(sendable: &Sendable, before: Option<Published>) -> Option<Published> {
        let first = *sendable.codecs.first()?;
        let offered = sendable.codecs.clone();
        Some(match before {
            Some(before) if before.current.0 == first.0 => Published { mid: sendable.mid, offered, ..before },
            before => {
                let told = before.is_some_and(|before| before.told);
                Published { mid: sendable.mid, offered, current: first, told, better_since: None }
            }
        })
    }

    /// Whether the publisher must be told another codec now. Otherwise when to look again, where that may change by
    /// itself.
    fn review(&mut self, now: Instant, rules: &CodecRules, patience: Duration) -> (bool, Option<Instant>) {
        // The first of the best: among equals the publisher's own order decides.
        let Some(best) = self.offered.iter().copied().min_by_key(|(codec, _)| rules.rank(*codec)) else {
            return (false, None);
        };
        let current = self.offered.iter().copied().find(|(codec, _)| *codec == self.current.0);
        let serves_more = rules.receivers_of(best.0) > rules.receivers_of(self.current.0);
        let next = match current {
            Some(same) if best.0 == same.0 => {
                self.better_since = None;
                same
            }
            Some(_) if !serves_more => {
                let due = *self.better_since.get_or_insert(now) + patience;
                if now < due {
                    return (false, Some(due));
                }
                best
            }
            _ => best,
        };
        let changed = next != self.current;
        if changed {
            (self.current, self.told, self.better_since) = (next, true, None);
        }
        (changed, None)
    }

    fn message(&self, track: TrackId) -> ServerMessage {
        let (codec, payload_type) = self.current;
        ServerMessage::Codec {
            track: convert::track_id(track),
            codec: codec.name().to_owned(),
            payload_type: payload_type.0,
        }
    }
}

impl Room {
    /// What an offer of a member must follow. `for_good`: it cannot be told another codec later.
    pub(super) fn codec_rules(&self, id: ParticipantId, for_good: bool) -> CodecRules {
        let told = self.members.get(&id).map(|member| {
            let published = member.codecs.published.values();
            published.map(|published| (published.mid, published.current.0)).collect()
        });
        CodecRules { told: told.unwrap_or_default(), for_good, ..self.rules_for(&self.receivers(), id) }
    }

    /// An offer of a member was answered.
    pub(super) fn codecs_negotiated(&mut self, id: ParticipantId, answer: &Answer) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let mut before = std::mem::take(&mut member.codecs.published);
        let published = answer.sendable.iter().filter_map(|sendable| {
            Some((sendable.track, Published::negotiated(sendable, before.remove(&sendable.track))?))
        });
        member.codecs.published = published.collect();
        member.codecs.receivable.clone_from(&answer.receivable);
    }

    /// Tells every publisher that should change its codec. Returns when to look again, where time alone may change
    /// something.
    pub(super) fn review_codecs(&mut self, now: Instant, patience: Duration) -> Option<Instant> {
        let receivers = self.receivers();
        let publishers: Vec<_> =
            self.members.iter().filter(|(_, member)| !member.codecs.published.is_empty()).map(|(id, _)| *id).collect();
        let mut again: Option<Instant> = None;
        for id in publishers {
            let rules = self.rules_for(&receivers, id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            for (track, published) in &mut member.codecs.published {
                let (changed, later) = published.review(now, &rules, patience);
                if changed {
                    member.events.send(published.message(*track));
                }
                again = [again, later].into_iter().flatten().min();
            }
        }
        again
    }

    /// How many members can receive each codec.
    fn receivers(&self) -> Vec<(Codec, u32)> {
        let mut counts: Vec<(Codec, u32)> = Vec::new();
        for codec in self.members.values().flat_map(|member| member.codecs.receivable.iter().flatten()) {
            match counts.iter_mut().find(|(known, _)| known == codec) {
                Some((_, count)) => *count += 1,
                None => counts.push((*codec, 1)),
            }
        }
        counts
    }

    /// The rules for a publisher, who does not receive itself.
    fn rules_for(&self, receivers: &[(Codec, u32)], publisher: ParticipantId) -> CodecRules {
        let own = self.members.get(&publisher).and_then(|member| member.codecs.receivable.as_ref());
        let is_own = |codec: &Codec| own.is_some_and(|own| own.contains(codec));
        let receivers = receivers.iter().map(|(codec, count)| (*codec, count - u32::from(is_own(codec)))).collect();
        let (list, required) = self.terms.codecs.list();
        let list = list.iter().map(convert::video_format).collect();
        CodecRules { list, required, receivers, ..CodecRules::default() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sfu_engine::media::VideoFormat;

    const AV1: Codec = Codec::Av1 { profile: 0 };
    const VP9: Codec = Codec::Vp9 { profile: 0 };
    const PATIENCE: Duration = Duration::from_secs(10);

    /// A publisher that can send these, and sends the first.
    fn published(codecs: &[Codec]) -> Published {
        let codecs = codecs.iter().zip(96..).map(|(codec, number)| (*codec, PayloadType(number))).collect();
        let track = TrackId { participant: ParticipantId(1), index: 0 };
        Published::negotiated(&Sendable { track, mid: Mid::new("0").unwrap(), codecs }, None).unwrap()
    }

    fn rules(list: &[VideoFormat], receivers: &[(Codec, u32)]) -> CodecRules {
        CodecRules { list: list.to_vec(), receivers: receivers.to_vec(), ..CodecRules::default() }
    }

    #[test]
    fn who_lacks_the_codec_changes_it_at_once_and_when_it_has_left_the_preferred_one_comes_back_later() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut track = published(&[AV1, Codec::Vp8]);
        let prefer = [VideoFormat::Av1];
        let all = rules(&prefer, &[(AV1, 2), (Codec::Vp8, 2)]);
        let one_lacks_it = rules(&prefer, &[(AV1, 2), (Codec::Vp8, 3)]);
        assert_eq!(track.review(at(0), &all, PATIENCE), (false, None));
        assert_eq!(track.review(at(1), &one_lacks_it, PATIENCE), (true, None));
        assert_eq!(track.current, (Codec::Vp8, PayloadType(97)));
        assert_eq!(track.review(at(2), &all, PATIENCE), (false, Some(at(12))), "it may come back");
        assert_eq!(track.review(at(3), &one_lacks_it, PATIENCE), (false, None));
        assert_eq!(track.review(at(20), &all, PATIENCE), (false, Some(at(30))), "the time counts anew");
        assert_eq!(track.review(at(29), &all, PATIENCE), (false, Some(at(30))));
        assert_eq!(track.review(at(30), &all, PATIENCE), (true, None));
        assert_eq!(track.current.0, AV1);
    }

    #[test]
    fn without_preferences_the_publishers_order_decides_among_what_all_can_receive() {
        let now = Instant::now();
        let mut track = published(&[Codec::Vp8, VP9, AV1]);
        assert_eq!(track.review(now, &rules(&[], &[]), PATIENCE), (false, None));
        let only_h264 = Codec::H264 { profile: 0x42e0, packetization_mode: 1 };
        assert_eq!(track.review(now, &rules(&[], &[(only_h264, 1)]), PATIENCE), (false, None), "nobody can be helped");
        let lacks_vp8 = rules(&[], &[(AV1, 2), (VP9, 2), (Codec::Vp8, 1)]);
        assert_eq!(track.review(now, &lacks_vp8, PATIENCE), (true, None));
        assert_eq!(track.current.0, VP9);
    }

    #[test]
    fn a_new_answer_keeps_what_was_told_and_says_it_again_where_the_payload_type_is_another() {
        let now = Instant::now();
        let mut track = published(&[AV1, Codec::Vp8]);
        let one_lacks_it = rules(&[], &[(AV1, 1), (Codec::Vp8, 2)]);
        assert_eq!(track.review(now, &one_lacks_it, PATIENCE), (true, None));
        let (mid, id) = (track.mid, TrackId { participant: ParticipantId(1), index: 0 });
        let codecs = vec![(Codec::Vp8, PayloadType(100)), (AV1, PayloadType(101))];
        let mut track = Published::negotiated(&Sendable { track: id, mid, codecs }, Some(track)).unwrap();
        assert!(track.told);
        assert_eq!(track.review(now, &one_lacks_it, PATIENCE), (true, None));
        assert_eq!(track.current, (Codec::Vp8, PayloadType(100)));
        assert_eq!(track.review(now, &one_lacks_it, PATIENCE), (false, None));
    }
}
