//! Whether a scenario needs no more than WHIP and WHEP can say: connections that publish, and connections that play one
//! publisher.

use crate::scenario::{Publish, Scenario, Source, Subscribe};
use crate::sim::{Member, cast};

/// The first thing that needs rooms, by its key, and what to do about it.
pub(super) fn check(scenario: &Scenario) -> Result<(), String> {
    let cast = cast(scenario);
    cast.iter().try_for_each(|member| check_member(member, &cast).map_err(|problem| {
        format!(
            "participant {:?}: {problem}. WHIP and WHEP only publish and play; without --whip and --whep the scenario runs by \
             the rooms protocol",
            member.name
        )
    }))
}

fn check_member(member: &Member, cast: &[Member]) -> Result<(), String> {
    let others = cast.iter().filter(|other| other.name != member.name);
    let played: Vec<_> =
        others.map(|other| (other, member.wanted_of(other))).filter(|(_, tracks)| !tracks.is_empty()).collect();
    match &played[..] {
        [] => {}
        [_] if !member.spec.publish.is_empty() => {
            return Err("it publishes and plays; remove its [[participant.publish]], or write subscribe = []".into());
        }
        [(_, tracks)] => {
            let videos = tracks.iter().filter(|(_, source)| *source != Source::Microphone).count();
            if videos > 1 || tracks.len() - videos > 1 {
                return Err(
                    "it plays several tracks of a kind; name one source in its [[participant.subscribe]]".into()
                );
            }
        }
        [(first, _), (second, _), ..] => {
            return Err(format!(
                "it plays {:?} and {:?}; name one of them as `from` in its [[participant.subscribe]]",
                first.name, second.name
            ));
        }
    }
    if member.spec.publish.iter().any(|publish: &Publish| !publish.mute_s.is_empty()) {
        return Err("remove mute_s: nobody can be told that a track is muted".into());
    }
    let usual = Subscribe::everything();
    for rule in member.spec.subscribe.iter().flatten() {
        if rule.tile.steps() != usual.tile.steps() {
            return Err("remove tile: a player cannot say how large its picture is".into());
        }
        if rule.priority.steps() != usual.priority.steps() {
            return Err("remove priority: a player cannot say what comes first, or that it is hidden".into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn told(participants: &str) -> String {
        let text = format!("name = \"x\"\nduration_s = 5\n{participants}");
        let scenario = Scenario::parse(&text, Path::new("x.toml")).unwrap();
        check(&scenario).err().unwrap_or_default()
    }

    const BOB: &str = "[[participant]]\nname = \"bob\"\n[[participant.publish]]\nsource = \"camera\"\n";
    const ALICE: &str = "[[participant]]\nname = \"alice\"\n";

    #[test]
    fn what_needs_rooms_is_refused_by_its_key() {
        let both = |more: &str| told(&format!("{BOB}{ALICE}{more}"));
        assert_eq!(both(""), "");
        assert!(both("[[participant.publish]]\nsource = \"microphone\"").contains("subscribe = []"));
        let subscribes = |key: &str| both(&format!("[[participant.subscribe]]\nfrom = \"bob\"\n{key}"));
        assert_eq!(subscribes(""), "");
        assert!(subscribes("tile = \"640x360\"").contains("remove tile"));
        assert!(subscribes("priority = \"hidden\"").contains("remove priority"));
        assert!(both(&BOB.replace("bob", "carol")).contains("\"bob\": it publishes and plays"));
        let carol =
            BOB.replace("bob", "carol").replace("[[participant.publish]]", "subscribe = []\n[[participant.publish]]");
        let bob = BOB.replace("[[participant.publish]]", "subscribe = []\n[[participant.publish]]");
        assert!(told(&format!("{bob}{carol}{ALICE}")).contains("plays \"bob\" and \"carol\""));
        assert!(told(&format!("{BOB}mute_s = [[1, 2]]\n{ALICE}")).contains("remove mute_s"));
    }
}
