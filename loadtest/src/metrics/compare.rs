//! Two runs beside each other: whether a participant was shown the same layers.

use super::Truth;

/// Between two looks.
const STEP_S: f64 = 0.05;

/// Share of a window in which the participant called `name` saw other layers in one run than in the other. `None` where
/// it is not in both.
pub fn layer_difference(a: &Truth<'_>, b: &Truth<'_>, name: &str, (from, to): (f64, f64)) -> Option<f64> {
    let (a, b) = (shown(a, name)?, shown(b, name)?);
    let steps = ((to - from) / STEP_S).floor().max(1.0) as usize;
    let differs = |step: &usize| {
        let at = from + (*step as f64 + 0.5) * STEP_S;
        layers_at(&a, at) != layers_at(&b, at)
    };
    Some((0..steps).filter(differs).count() as f64 / steps as f64)
}

/// For each track the publisher's name, the number of the track, and the layers shown.
type Shown<'a> = Vec<(&'a str, usize, Vec<super::LayerSpan>)>;

fn shown<'a>(truth: &'a Truth<'_>, name: &str) -> Option<Shown<'a>> {
    let participants = &truth.record.participants;
    let place = participants.iter().position(|participant| participant.name == name)?;
    let layers = truth.layers(place).into_iter();
    Some(layers.map(|(publisher, track, spans)| (participants[publisher].name.as_str(), track, spans)).collect())
}

fn layers_at<'a>(shown: &Shown<'a>, second: f64) -> Vec<(&'a str, usize, u8, u8)> {
    let at = |(publisher, track, spans): &(&'a str, usize, Vec<super::LayerSpan>)| {
        let span = spans.iter().find(|span| (span.from..span.to).contains(&second))?;
        Some((*publisher, *track, span.encoding, span.temporal))
    };
    let mut layers: Vec<_> = shown.iter().filter_map(at).collect();
    layers.sort_unstable();
    layers
}
