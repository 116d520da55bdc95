#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;

/// A room in virtual time: each member sends a packet every 20 ms.
struct Room {
    ranking: SpeakerRanking<u32>,
    now: Instant,
    changes: Vec<Option<u32>>,
}

const SILENT: u8 = 127;
const SPEECH: u8 = 30;
const QUIET_SPEECH: u8 = 45;

impl Room {
    fn new(members: u32, limit: usize) -> Room {
        let mut ranking = SpeakerRanking::new(limit);
        (0..members).for_each(|key| ranking.add(key));
        ranking.poll_talkers_changed();
        Room { ranking, now: Instant::now(), changes: Vec::new() }
    }

    /// Lets the given members speak at a level for some time, all others being silent.
    fn run(&mut self, ms: u64, levels: &[(u32, u8)]) -> &mut Room {
        for _ in 0..ms / 20 {
            let keys: Vec<u32> = self.ranking.members.iter().map(|m| m.key).collect();
            for key in keys {
                let level = levels.iter().find(|(k, _)| *k == key).map_or(SILENT, |(_, level)| *level);
                self.ranking.on_level(self.now, key, level);
            }
            self.now += Duration::from_millis(20);
            self.ranking.handle_timeout(self.now);
            self.changes.extend(self.ranking.poll_change());
        }
        self
    }

    fn talkers(&self) -> Vec<u32> {
        (0..100).filter(|key| self.ranking.is_talking(*key)).collect()
    }
}

#[test]
fn whoever_speaks_alone_becomes_dominant_within_a_second_and_stays_in_silence() {
    for level in [SPEECH, QUIET_SPEECH] {
        let mut room = Room::new(3, 8);
        room.run(300, &[(1, level)]);
        assert_eq!(room.ranking.dominant(), None, "not after one syllable");
        room.run(700, &[(1, level)]).run(20_000, &[]);
        assert_eq!(room.ranking.dominant(), Some(1));
        assert_eq!(room.changes, [Some(1)]);
    }
}

#[test]
fn the_next_speaker_takes_over_within_one_and_a_half_seconds() {
    let mut room = Room::new(3, 8);
    room.run(5000, &[(1, SPEECH)]).run(1500, &[(2, SPEECH)]);
    assert_eq!(room.changes, [Some(1), Some(2)]);
}

#[test]
fn a_cough_or_a_door_takes_nothing_over() {
    let mut room = Room::new(3, 8);
    room.run(3000, &[(1, SPEECH)]);
    for _ in 0..5 {
        room.run(300, &[(2, 5)]).run(1000, &[(1, SPEECH)]);
        room.run(300, &[(2, 5)]).run(2000, &[]);
    }
    assert_eq!(room.changes, [Some(1)]);
}

#[test]
fn pauses_between_words_do_not_lose_the_floor_to_somebody_who_agrees() {
    let mut room = Room::new(3, 8);
    for _ in 0..20 {
        room.run(600, &[(1, SPEECH)]).run(200, &[(2, SPEECH)]).run(100, &[]);
    }
    assert_eq!(room.changes, [Some(1)]);
}

#[test]
fn a_quieter_voice_in_the_pauses_does_not_take_the_floor() {
    let mut room = Room::new(3, 8);
    room.run(2000, &[(1, SPEECH)]);
    for _ in 0..20 {
        room.run(500, &[(2, QUIET_SPEECH)]).run(300, &[(1, SPEECH)]);
    }
    assert_eq!(room.changes, [Some(1)]);
}

#[test]
fn two_who_speak_at_once_do_not_alternate() {
    let mut room = Room::new(3, 8);
    room.run(1000, &[(1, SPEECH)]);
    for _ in 0..50 {
        room.run(200, &[(1, SPEECH), (2, SPEECH - 3)]).run(200, &[(1, SPEECH - 3), (2, SPEECH)]);
    }
    assert_eq!(room.changes, [Some(1)]);
}

#[test]
fn constant_noise_is_learned_and_neither_dominates_nor_keeps_the_timer_running() {
    let mut room = Room::new(3, 8);
    room.run(30_000, &[(2, 50)]);
    room.run(3000, &[(1, SPEECH), (2, 50)]).run(10_000, &[(2, 50)]);
    assert_eq!(room.ranking.dominant(), Some(1));
    assert_eq!(room.ranking.poll_timeout(), None);
}

#[test]
fn silence_costs_no_timer() {
    let mut room = Room::new(3, 2);
    room.run(200, &[]);
    assert_eq!(room.ranking.poll_timeout(), None);
    room.run(1000, &[(1, SPEECH)]);
    assert!(room.ranking.poll_timeout().is_some());
    room.run(10_000, &[]);
    assert_eq!(room.ranking.poll_timeout(), None);
}

#[test]
fn a_speaker_without_packets_fades_like_a_silent_one() {
    let mut room = Room::new(2, 8);
    room.run(2000, &[(1, SPEECH)]);
    while let Some(due) = room.ranking.poll_timeout() {
        assert!(due < room.now + Duration::from_secs(10));
        room.ranking.handle_timeout(due);
    }
    assert_eq!(room.ranking.dominant(), Some(1));
}

#[test]
fn a_muted_member_is_not_heard_and_a_removed_one_is_not_dominant() {
    let mut room = Room::new(3, 8);
    room.ranking.set_muted(1, true);
    room.run(2000, &[(1, SPEECH)]);
    assert_eq!(room.ranking.dominant(), None);
    room.ranking.set_muted(1, false);
    room.run(2000, &[(1, SPEECH)]);
    room.ranking.remove(1);
    assert_eq!(room.ranking.poll_change(), Some(None));
    assert!(!room.ranking.is_talking(1) && !room.ranking.on_level(room.now, 1, SPEECH));
}

#[test]
fn all_members_talk_while_there_are_no_more_than_the_limit() {
    let mut room = Room::new(3, 3);
    room.run(3000, &[(0, SPEECH), (1, 5)]);
    assert_eq!(room.talkers(), [0, 1, 2]);
    assert!(!room.ranking.poll_talkers_changed());
}

#[test]
fn the_first_syllable_of_a_new_talker_is_forwarded_when_a_place_is_silent() {
    let mut room = Room::new(5, 2);
    assert_eq!(room.talkers(), [0, 1]);
    room.run(1000, &[(0, SPEECH)]);
    assert!(room.ranking.on_level(room.now, 4, SPEECH), "the very packet");
    assert!(room.ranking.poll_talkers_changed());
    assert_eq!(room.talkers(), [0, 4]);
}

#[test]
fn of_more_talkers_than_places_the_loudest_have_them_and_keep_them() {
    let mut room = Room::new(6, 2);
    room.run(2000, &[(2, 40), (3, 42), (4, 25), (5, 26)]);
    assert_eq!(room.talkers(), [4, 5]);
    room.ranking.poll_talkers_changed();
    for _ in 0..20 {
        room.run(500, &[(2, 24), (3, 28), (4, 26), (5, 27)]).run(300, &[(2, 27), (3, 24), (4, 27), (5, 25)]);
    }
    assert!(!room.ranking.poll_talkers_changed(), "hysteresis");
    room.run(3000, &[(2, 24), (4, 26)]);
    assert_eq!(room.talkers(), [2, 4], "who has fallen silent gives way");
}

#[test]
fn places_are_filled_when_a_talker_leaves() {
    let mut room = Room::new(4, 2);
    room.ranking.remove(0);
    assert_eq!(room.talkers().len(), 2);
    assert!(room.ranking.poll_talkers_changed());
}
