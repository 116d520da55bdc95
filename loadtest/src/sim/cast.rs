//! Everybody who takes part, one entry for each: scenario entries with a count are written out.

use crate::scenario::{Participant, Priority, Scenario, Source, Subscribe, Tile};

/// One participant of a run.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its entry in the scenario.
    pub spec: Participant,
    /// When it begins to join.
    pub join_s: f64,
    /// When it leaves, or the run ends.
    pub leave_s: f64,
    /// Index of its path to the server.
    pub up: Option<usize>,
    /// Index of its path from the server.
    pub down: Option<usize>,
}

/// What a receiver wants of a track at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// Size on screen.
    pub tile: Tile,
    /// What comes first.
    pub priority: Priority,
}

/// Everybody in the order of the scenario.
pub fn cast(scenario: &Scenario) -> Vec<Member> {
    let mut members = Vec::new();
    for spec in &scenario.participants {
        for (number, name) in spec.names().into_iter().enumerate() {
            members.push(Member {
                name,
                spec: spec.clone(),
                join_s: spec.join_s + number as f64 * spec.join_every_ms / 1000.0,
                leave_s: spec.leave_s.unwrap_or(scenario.duration_s).min(scenario.duration_s),
                up: spec.up.as_ref().and_then(|name| scenario.path(name)),
                down: spec.down.as_ref().and_then(|name| scenario.path(name)),
            });
        }
    }
    members
}

impl Member {
    /// Whether it is there at a second.
    pub fn present(&self, second: f64) -> bool {
        (self.join_s..self.leave_s).contains(&second)
    }

    /// What it wants of another member's track; `None` where it does not want it.
    pub fn wish(&self, publisher: &Member, source: Source, second: f64) -> Option<Wish> {
        let everything = [Subscribe::everything()];
        let rules = self.spec.subscribe.as_deref().unwrap_or(&everything);
        let rule = rules.iter().find(|rule| {
            let meant = rule.from == "*" || rule.from == publisher.name || rule.from == publisher.spec.name;
            meant && rule.source.is_none_or(|wanted| wanted == source)
        })?;
        Some(Wish { tile: rule.tile.at(second), priority: rule.priority.at(second) })
    }

    /// The seconds at which its wishes change.
    pub fn wish_changes(&self) -> Vec<f64> {
        let rules = self.spec.subscribe.iter().flatten();
        let steps = rules.flat_map(|rule| {
            let tiles = rule.tile.steps().iter().map(|(from, _)| *from);
            tiles.chain(rule.priority.steps().iter().map(|(from, _)| *from)).collect::<Vec<_>>()
        });
        let mut changes: Vec<f64> = steps.filter(|second| *second > self.join_s).collect();
        changes.sort_by(f64::total_cmp);
        changes.dedup();
        changes
    }

    /// The tracks of another member that it wants as it joins: their places among the tracks, and their sources.
    pub fn wanted_of(&self, publisher: &Member) -> Vec<(usize, Source)> {
        let tracks = publisher.spec.publish.iter().map(|publish| publish.source).enumerate();
        tracks.filter(|(_, source)| self.wish(publisher, *source, self.join_s).is_some()).collect()
    }

    /// Audio and video tracks of the others that it will ever want.
    pub fn wanted_tracks(&self, cast: &[Member]) -> (usize, usize) {
        let others = cast.iter().filter(|other| other.name != self.name);
        let wanted = others.flat_map(|other| self.wanted_of(other));
        wanted.fold((0, 0), |(audio, video), (_, source)| match source {
            Source::Microphone => (audio + 1, video),
            Source::Camera | Source::Screen => (audio, video + 1),
        })
    }
}
