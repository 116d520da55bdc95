//! What a scenario's parts must have to do with each other, beyond the form of each.

use super::{
    FlowKind, Jitter, JitterModel, Loss, LossModel, Participant, Path, Publish, Scenario, Source, Steps, traces,
};
use std::path::PathBuf;

/// Bits per second that one encoder or flow sends at most: more would be no call, and take for ever.
const MOST_SENT: u64 = 1_000_000_000;

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
    each("participant", &scenario.participants, |index, participant| {
        check_participant(scenario, participant, index)
            .map_err(|text| format!("participant {:?}: {text}", participant.name))
    })?;
    each("flow", &scenario.flows, |_, flow| {
        known_path(scenario, &flow.path)?;
        match flow.kind {
            FlowKind::Udp { rate } => {
                let fits = (1..=MOST_SENT).contains(&rate.finite());
                require(fits, "a udp flow needs a rate above 0 and at most \"1G\", such as rate = \"500k\"")?;
            }
            FlowKind::Web { size: (least, most), .. } => {
                let fits = least.0 > 0 && least.0 <= most.0;
                require(fits, "size is the smallest and the largest thing fetched, such as [\"30KB\", \"50KB\"]")?;
            }
            FlowKind::Tcp => {}
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
    require(scenario.duration_s > 0.0, "duration_s must be above 0 and at most 86400, which is a day")?;
    let many: usize = scenario.participants.iter().map(|participant| participant.count).sum();
    require(many <= usize::from(u16::MAX), "more than 65535 participants")
}

fn check_path(scenario: &Scenario, path: &Path, index: usize) -> Checked {
    require(scenario.paths[..index].iter().all(|other| other.name != path.name), "another path has the same name")?;
    require(
        path.rate.is_none() || path.opportunities.is_none(),
        "it has both rate and opportunities; one of them is enough",
    )?;
    let rates = path.rate.iter().flat_map(Steps::steps);
    require(rates.clone().all(|(_, rate)| rate.limit() != Some(0)), "a rate of 0; use outage = [[from, to]]")?;
    check_jitter(&path.jitter)?;
    let file = |name: &PathBuf| {
        let file = scenario.folder.join(name);
        let missing = format!("there is no file {}; names are relative to the scenario's folder", file.display());
        require(file.is_file(), missing).map(|()| file)
    };
    if let Some(name) = &path.jitter.file {
        traces::delays(&file(name)?)?;
    }
    if let Some(name) = &path.opportunities {
        traces::opportunities(&file(name)?)?;
    }
    check_loss(&path.loss)?;
    require((0.0..=1.0).contains(&path.duplicate), "duplicate is a probability, 0 to 1")?;
    require(path.outage.iter().all(|(from, to)| from < to), "an outage is [from, to] with from below to")?;
    require(
        path.pauses.is_none_or(|p| p.for_ms > 0.0 && p.for_ms < p.every_s * 1000.0),
        "pauses must be longer than 0 and shorter than the time from one to the next: for_ms below 1000 x every_s",
    )
}

/// Each model has the parameter that it needs, and no other.
fn check_jitter(jitter: &Jitter) -> Checked {
    let given =
        [("sd_ms", jitter.sd_ms.is_some()), ("max_ms", jitter.max_ms.is_some()), ("file", jitter.file.is_some())];
    let (model, own) = match jitter.model {
        JitterModel::None => ("none", None),
        JitterModel::Normal => ("normal", Some("sd_ms")),
        JitterModel::Uniform => ("uniform", Some("max_ms")),
        JitterModel::Trace => ("trace", Some("file")),
    };
    check_parameters(&format!("{model} jitter"), own.as_slice(), &given)
}

fn check_parameters(of: &str, own: &[&str], given: &[(&str, bool)]) -> Checked {
    for (name, is_given) in given {
        let (needed, list) = (own.contains(name), own.join(" and "));
        require(*is_given || !needed, format!("{of} needs {name}"))?;
        let others = if own.is_empty() { "no parameters".into() } else { format!("{list} only") };
        require(!is_given || needed, format!("{of} has {others}, no {name}"))?;
    }
    Ok(())
}

fn check_loss(loss: &Loss) -> Checked {
    let share = |value: f64| (0.0..1.0).contains(&value);
    match loss {
        Loss::Random(steps) => {
            require(steps.steps().iter().all(|(_, p)| (0.0..=1.0).contains(p)), "loss is a probability, 0 to 1")
        }
        Loss::Model(model) => {
            let given = [
                ("mean", model.mean.is_some()),
                ("burst", model.burst.is_some()),
                ("rate", model.rate.is_some()),
                ("bucket", model.bucket.is_some()),
            ];
            match model.model {
                LossModel::GilbertElliott => {
                    check_parameters("gilbert-elliott loss", &["mean", "burst"], &given)?;
                    require(model.mean.is_some_and(share), "mean is a share, from 0 to below 1")?;
                    let burst = model.burst.is_some_and(|burst| (1.0..=1e6).contains(&burst));
                    require(burst, "burst is a number of packets from 1 to 1000000")
                }
                LossModel::Policer => {
                    check_parameters("a policer", &["rate", "bucket"], &given)?;
                    require(model.rate.is_some_and(|r| r.finite() > 0), "a policer needs a rate such as \"256k\"")?;
                    require(model.bucket.is_some_and(|b| b.0 > 0), "a policer needs a bucket such as \"16KB\"")
                }
            }
        }
    }
}

fn check_participant(scenario: &Scenario, participant: &Participant, index: usize) -> Checked {
    let name = participant.name.trim();
    let speaks_of_nobody = name.is_empty() || name == "*" || name.contains(',') || name.starts_with("publisher ");
    require(
        !speaks_of_nobody,
        "an expectation cannot mean it by this name; take one without comma, \"*\" and \"publisher\"",
    )?;
    let others = &scenario.participants[..index];
    let taken = participant.names().into_iter().chain([participant.name.clone()]);
    let twice = taken
        .into_iter()
        .find(|name| others.iter().any(|other| other.answers_to(name)))
        .or_else(|| others.iter().map(|other| other.name.clone()).find(|name| participant.answers_to(name)));
    if let Some(twice) = twice {
        return Err(format!("two participants are named {twice:?}"));
    }
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
    let factor = publish.rate_schedule.iter().map(|(_, factor)| *factor).fold(1.0, f64::max);
    let fits = |rate: u64| rate > 0 && rate as f64 * factor <= MOST_SENT as f64;
    require(
        ladder.iter().all(|encoding| fits(encoding.rate.finite())),
        "an encoding needs a rate above 0 and at most \"1G\", rate_schedule included",
    )?;
    let seen = publish.source == Source::Microphone || ladder.iter().all(|encoding| encoding.height > 0);
    require(seen, "an encoding needs a height above 0")?;
    require(publish.source != Source::Microphone || ladder.len() == 1, "a microphone has one encoding")?;
    require(publish.temporal_layers.is_none_or(|layers| (1..=3).contains(&layers)), "temporal_layers must be 1 to 3")?;
    require(
        publish.rate_schedule.is_sorted_by(|(a, _), (b, _)| a < b),
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
        let number = |text: &str| text.parse().ok().filter(|number: &usize| number.to_string() == text);
        let numbered = name.strip_prefix(&self.name).and_then(|rest| number(rest.strip_prefix('-')?));
        self.name == name || numbered.is_some_and(|number| self.count > 1 && (1..=self.count).contains(&number))
    }
}
