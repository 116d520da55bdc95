//! What a scenario's parts must have to do with each other, beyond the form of each.

use super::{FlowKind, JitterModel, Loss, LossModel, Participant, Path, Publish, Scenario, Source, Steps};
use std::collections::HashSet;

/// Something that does not fit, and the entry that it is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// `[[path]]` and so on: the kind of entry and which of them, from 0. `None` is the scenario itself.
    pub entry: Option<(&'static str, usize)>,
    /// What is wrong and what would be right.
    pub text: String,
}

type Checked = Result<(), String>;

/// The first thing that does not fit, if any.
pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    let all = |text| Problem { entry: None, text };
    check_whole(scenario).map_err(all)?;
    each("path", &scenario.paths, |index, path| {
        check_path(scenario, path, index).map_err(|text| format!("path {:?}: {text}", path.name))
    })?;
    each("participant", &scenario.participants, |_, participant| {
        check_participant(scenario, participant).map_err(|text| format!("participant {:?}: {text}", participant.name))
    })?;
    each("flow", &scenario.flows, |_, flow| {
        known_path(scenario, &flow.path)?;
        if let FlowKind::Udp { rate } = flow.kind {
            require(rate.finite() > 0, "a udp flow needs a rate above 0, such as rate = \"500k\"")?;
        }
        require(flow.to_s.is_none_or(|to| flow.from_s < to), "a flow must end after it begins: from_s below to_s")
    })?;
    each("expect", &scenario.expectations, |_, expectation| {
        for name in expectation.who.names.iter().filter(|name| *name != "*") {
            known_participant(scenario, name)?;
        }
        let (from, to) = expectation.window(scenario.duration_s);
        let window = format!(
            "the window {from} to {to} s of {} is empty; the run has {} s",
            expectation.metric, scenario.duration_s
        );
        require(from < to, window)
    })
}

fn each<T>(kind: &'static str, entries: &[T], check: impl Fn(usize, &T) -> Checked) -> Result<(), Problem> {
    let checked = |(index, entry)| check(index, entry).map_err(|text| Problem { entry: Some((kind, index)), text });
    entries.iter().enumerate().try_for_each(checked)
}

fn require(holds: bool, otherwise: impl Into<String>) -> Checked {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn check_whole(scenario: &Scenario) -> Checked {
    require(!scenario.participants.is_empty(), "nobody takes part; add a [[participant]]")?;
    require(
        scenario.duration_s > 0.0 && scenario.duration_s <= 86_400.0,
        "duration_s must be above 0 and at most 86400, which is a day",
    )?;
    require(scenario.repeat.seeds > 0, "repeat.seeds must be 1 or more")?;
    let names: Vec<String> = scenario.participants.iter().flat_map(Participant::names).collect();
    require(names.len() <= usize::from(u16::MAX), "more than 65535 participants")?;
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(twice) => Err(format!("two participants are named {twice:?}")),
        None => Ok(()),
    }
}

fn check_path(scenario: &Scenario, path: &Path, index: usize) -> Checked {
    require(scenario.paths[..index].iter().all(|other| other.name != path.name), "another path has the same name")?;
    require(
        path.rate.is_none() || path.opportunities.is_none(),
        "it has both rate and opportunities; one of them is enough",
    )?;
    let rates = path.rate.iter().flat_map(Steps::steps);
    require(rates.clone().all(|(_, rate)| rate.limit() != Some(0)), "a rate of 0; use outage = [[from, to]]")?;
    let positive = |steps: &Steps<f64>| steps.steps().iter().all(|(_, value)| *value >= 0.0);
    require(positive(&path.delay_ms), "delay_ms must not be negative")?;
    match path.jitter.model {
        JitterModel::None => Ok(()),
        JitterModel::Normal => require(path.jitter.sd_ms.is_some(), "normal jitter needs sd_ms"),
        JitterModel::Uniform => require(path.jitter.max_ms.is_some(), "uniform jitter needs max_ms"),
        JitterModel::Trace => require(path.jitter.file.is_some(), "trace jitter needs file"),
    }?;
    for file in path.jitter.file.iter().chain(&path.opportunities) {
        let file = scenario.folder.join(file);
        require(
            file.is_file(),
            format!("there is no file {}; names are relative to the scenario's folder", file.display()),
        )?;
    }
    check_loss(&path.loss)?;
    require((0.0..=1.0).contains(&path.duplicate), "duplicate is a probability, 0 to 1")?;
    require(path.outage.iter().all(|(from, to)| from < to), "an outage is [from, to] with from below to")?;
    require(
        path.pauses.is_none_or(|p| p.for_ms > 0.0 && p.for_ms < p.every_s * 1000.0),
        "pauses must be longer than 0 and shorter than the time from one to the next: for_ms below 1000 x every_s",
    )
}

fn check_loss(loss: &Loss) -> Checked {
    let share = |value: f64| (0.0..1.0).contains(&value);
    match loss {
        Loss::Random(steps) => {
            require(steps.steps().iter().all(|(_, p)| (0.0..=1.0).contains(p)), "loss is a probability, 0 to 1")
        }
        Loss::Model(model) => match model.model {
            LossModel::GilbertElliott => {
                require(model.mean.is_some_and(share), "gilbert-elliott loss needs mean, from 0 to below 1")?;
                require(
                    model.burst.is_some_and(|burst| burst >= 1.0),
                    "gilbert-elliott loss needs burst, 1 packet or more",
                )
            }
            LossModel::Policer => {
                require(model.rate.is_some_and(|rate| rate.finite() > 0), "a policer needs rate, such as \"256k\"")?;
                require(model.bucket.is_some(), "a policer needs bucket, such as \"16KB\"")
            }
        },
    }
}

fn check_participant(scenario: &Scenario, participant: &Participant) -> Checked {
    require(participant.count > 0, "count must be 1 or more")?;
    require(participant.leave_s.is_none_or(|leave| leave > participant.join_s), "it leaves before it joins")?;
    for name in participant.up.iter().chain(&participant.down) {
        known_path(scenario, name)?;
    }
    for publish in &participant.publish {
        check_publish(publish).map_err(|text| format!("its {}: {text}", publish.source))?;
    }
    for subscribe in participant.subscribe.iter().flatten().filter(|subscribe| subscribe.from != "*") {
        known_participant(scenario, &subscribe.from)?;
    }
    Ok(())
}

fn check_publish(publish: &Publish) -> Checked {
    let ladder = publish.ladder();
    let rids: Vec<_> = ladder.iter().map(|encoding| encoding.rid.as_deref()).collect();
    require((1..=3).contains(&ladder.len()), "a track has one to three encodings")?;
    let distinct = (0..rids.len()).all(|index| rids[index].is_some() && !rids[..index].contains(&rids[index]));
    require(ladder.len() == 1 || distinct, "encodings of one track need a rid each, and no two the same")?;
    require(ladder.iter().all(|e| e.rate.finite() > 0 && e.fps > 0.0), "an encoding needs a rate and an fps above 0")?;
    require(publish.source != Source::Microphone || ladder.len() == 1, "a microphone has one encoding")?;
    require(publish.temporal_layers.is_none_or(|layers| (1..=3).contains(&layers)), "temporal_layers must be 1 to 3")?;
    require(
        publish.keyframe_factor > 0.0 && publish.variation >= 0.0,
        "keyframe_factor must be above 0, variation not below",
    )?;
    require(
        publish.rate_schedule.is_sorted_by(|(a, _), (b, _)| a < b)
            && publish.rate_schedule.iter().all(|(_, f)| *f >= 0.0),
        "rate_schedule is [[second, factor], ...] with seconds that increase",
    )?;
    require(publish.mute_s.iter().all(|(from, to)| from < to), "mute_s is [[from, to], ...] with from below to")?;
    for drop in &publish.drop_encoding_s {
        let known = rids.iter().flatten().copied().collect::<Vec<_>>();
        require(
            known.contains(&drop.rid.as_str()),
            format!("there is no encoding {:?} to drop; {}", drop.rid, choice(&known)),
        )?;
        require(drop.from < drop.to, "drop_encoding_s needs from below to")?;
    }
    Ok(())
}

fn known_path(scenario: &Scenario, name: &str) -> Checked {
    let names: Vec<&str> = scenario.paths.iter().map(|path| path.name.as_str()).collect();
    require(names.contains(&name), format!("there is no path {name:?}; {}", choice(&names)))
}

fn known_participant(scenario: &Scenario, name: &str) -> Checked {
    let names: Vec<&str> = scenario.participants.iter().map(|participant| participant.name.as_str()).collect();
    let known = scenario.participants.iter().any(|participant| participant.answers_to(name));
    require(known, format!("there is no participant {name:?}; {}", choice(&names)))
}

/// Tells what there is instead.
fn choice(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    if quoted.is_empty() { "there is none at all".into() } else { format!("there is {}", quoted.join(", ")) }
}

impl Participant {
    /// The names of all that this entry stands for.
    pub fn names(&self) -> Vec<String> {
        match self.count {
            1 => vec![self.name.clone()],
            count => (1..=count).map(|number| format!("{}-{number}", self.name)).collect(),
        }
    }

    /// Whether `name` means this entry or one of its participants.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.names().iter().any(|own| own == name)
    }
}
