//! A run as pictures, one for each receiver: capacity, estimate and what was sent; the queue; for each track the layer
//! shown, freezes and pauses.

use super::svg::{Svg, peak};
use crate::metrics::record::Record;
use crate::metrics::{Truth, freezes};
use crate::scenario::Scenario;
use crate::sim::cast;
use std::path::{Path, PathBuf};

/// Seconds between two points of a curve.
const STEP_S: f64 = 0.2;
/// Window over which the sent rate is taken.
const RATE_WINDOW_S: f64 = 0.4;
/// Encodings, lowest first.
const ENCODINGS: [&str; 3] = ["#6baed6", "#2171b5", "#08306b"];
const CAPACITY: &str = "#000000";
const FREEZE: &str = "#d62728";
const PAUSE: &str = "#999999";

/// A stem of file names for each of several files: the file's own, with a number where others before it have the same.
pub fn stems(files: &[PathBuf]) -> Vec<String> {
    let mut stems: Vec<String> = Vec::new();
    for file in files {
        let own = file.file_stem().map_or("scenario".into(), |stem| stem.to_string_lossy().into_owned());
        let numbered = (2..).map(|number| format!("{own}-{number}"));
        let free = std::iter::once(own.clone()).chain(numbered).find(|stem| !stems.contains(stem));
        stems.push(free.unwrap_or(own));
    }
    stems
}

/// Draws every receiver that saw or heard something, as `FOLDER/STEM-NAME.svg`.
pub fn plot(scenario: &Scenario, truth: &Truth<'_>, folder: &Path, stem: &str) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for (place, record) in truth.record.participants.iter().enumerate() {
        if record.screens.is_empty() && record.sounds.is_empty() {
            continue;
        }
        let to = folder.join(format!("{stem}-{}.svg", record.name.replace(['/', '\\', '\0'], "_")));
        std::fs::write(&to, draw(scenario, truth, place)).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    Ok(())
}

/// The picture of one receiver.
fn draw(scenario: &Scenario, truth: &Truth<'_>, place: usize) -> String {
    let record = &truth.record.participants[place];
    let duration = scenario.duration_s;
    let times: Vec<f64> = (0..(duration / STEP_S) as usize).map(|index| index as f64 * STEP_S).collect();
    let sample = |value: &dyn Fn(f64) -> f64| times.iter().map(|at| (*at, value(*at))).collect::<Vec<_>>();
    // The last window is shorter.
    let rate = |bytes: f64, at: f64| bytes * 8.0 / RATE_WINDOW_S.min(duration - at) / 1e6;
    let sent = sample(&|at| rate(record.sent_bytes.sum(at, at + RATE_WINDOW_S), at));
    let media = sample(&|at| rate(record.media_bytes.sum(at, at + RATE_WINDOW_S), at));
    let estimate = sample(&|at| record.estimate.value(at) / 1e6);
    // Capacity beyond what is used would flatten all else.
    let used = peak(&[&sent, &estimate]).max(0.1);
    let capacity = sample(&|at| truth.capacity(place, at).map_or(used * 1.2, |rate| (rate / 1e6).min(used * 1.2)));
    let unlimited = times.iter().filter(|at| truth.capacity(place, **at).is_none()).count();
    let queue = sample(&|at| record.queue_s.values(at, at + STEP_S).fold(0.0, f32::max) as f64 * 1000.0);

    let mut svg = Svg::new(&format!("{}: {}", scenario.name, record.name), duration);
    let all_unlimited = unlimited == times.len();
    svg.panel("Mb/s", if all_unlimited { used } else { peak(&[&sent, &estimate, &capacity]) });
    svg.curve(&media, "media received", "#2ca02c", 1.0);
    svg.curve(&sent, "sent", "#1f77b4", 1.0);
    svg.curve(&estimate, "estimate", "#ff7f0e", 1.5);
    match unlimited {
        _ if all_unlimited => svg.legend("capacity: no limit", CAPACITY),
        0 => svg.curve(&capacity, "capacity, its part", CAPACITY, 1.5),
        _ => svg.curve(&capacity, "capacity; top: no limit", CAPACITY, 1.5),
    }
    svg.panel("queue, ms", peak(&[&queue]).max(10.0));
    svg.curve(&queue, "queue", "#d62728", 1.0);
    draw_layers(&mut svg, scenario, truth, place, record);
    svg.finish()
}

/// A lane for each track.
fn draw_layers(svg: &mut Svg, scenario: &Scenario, truth: &Truth<'_>, place: usize, record: &Record) {
    let cast = cast(scenario);
    let layers = truth.layers(place);
    let spec = |publisher: usize, track: usize| cast.get(publisher).and_then(|member| member.spec.publish.get(track));
    let name = |(publisher, track, _): &(usize, usize, Vec<_>)| {
        let source = spec(*publisher, *track).map_or(String::new(), |publish| publish.source.to_string());
        format!("{} {source}", truth.record.participants[*publisher].name)
    };
    svg.lanes("layers", &layers.iter().map(name).collect::<Vec<_>>());
    for (lane, (publisher, track, spans)) in layers.iter().enumerate() {
        let Some(publish) = spec(*publisher, *track) else { continue };
        let (ladder, temporal) = (publish.ladder(), publish.temporal_layers(cast[*publisher].spec.codec));
        // The highest encoding is darkest, however many there are.
        let lightest = ENCODINGS.len() - ladder.len().min(ENCODINGS.len());
        for span in spans {
            let colour = ENCODINGS[(lightest + usize::from(span.encoding)).min(ENCODINGS.len() - 1)];
            let height = ladder.get(usize::from(span.encoding)).map_or(0, |encoding| encoding.height);
            let opacity = f64::from(span.temporal + 1 + 3 - temporal.min(3)) / 3.0;
            svg.block(lane, (span.from, span.to), colour, opacity.min(1.0), &format!("{height}p"));
        }
    }
    for (lane, screen) in record.screens.values().enumerate() {
        let open = screen.paused_since.map(|since| (since, record.leave_s));
        for pause in screen.paused.iter().copied().chain(open) {
            svg.block(lane, pause, PAUSE, 0.8, "paused");
        }
        for freeze in freezes(screen, 0.0, record.leave_s) {
            svg.block(lane, freeze, FREEZE, 0.8, "");
        }
    }
    svg.legend("top encoding", ENCODINGS[2]);
    svg.legend("lower ones", ENCODINGS[0]);
    svg.legend("paler: fewer frames", "#ffffff");
    svg.legend("freeze", FREEZE);
    svg.legend("paused", PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_name_in_two_folders_are_drawn_beside_each_other() {
        assert_eq!(stems(&["a/s.toml", "b/s.toml", "b/t.toml"].map(PathBuf::from)), ["s", "s-2", "t"]);
    }
}
