//! A picture of panels below each other that share one time axis: curves, or lanes with blocks.

use super::table::number;
use std::fmt::Write;

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 170.0;
/// Height of a panel with curves, of a lane, and between panels.
const PANEL: f64 = 190.0;
const LANE: f64 = 22.0;
const GAP: f64 = 46.0;
const TOP: f64 = 34.0;
/// Height of a line beside a panel, and its distance from it: the last label of the time axis reaches beyond the
/// panel's end.
const LEGEND: f64 = 15.0;
const LEGEND_GAP: f64 = 26.0;
/// Lines of a panel, and of the time axis, at most.
const MOST_LINES: f64 = 5.0;
const MOST_TIMES: f64 = 13.0;
/// A block that is narrower has no words.
const WIDTH_FOR_TEXT: f64 = 34.0;

/// The picture so far.
pub(crate) struct Svg {
    body: String,
    duration: f64,
    /// The current panel.
    top: f64,
    bottom: f64,
    scale: f64,
    legends: usize,
}

impl Svg {
    /// A picture of so many seconds.
    pub(crate) fn new(title: &str, duration: f64) -> Svg {
        let body =
            format!("<text x=\"{LEFT}\" y=\"24\" font-size=\"16\" font-weight=\"bold\">{}</text>\n", escape(title));
        Svg { body, duration, top: 0.0, bottom: TOP - GAP / 2.0, scale: 1.0, legends: 0 }
    }

    /// Begins the next panel, whose axis reaches `most` at least.
    pub(crate) fn panel(&mut self, label: &str, most: f64) {
        let step = round_step(most / MOST_LINES);
        self.begin(label, PANEL, (most / step).ceil() * step);
        let lines = (self.scale / step).round() as usize;
        for value in (0..=lines).map(|line| line as f64 * step) {
            let (y, end) = (self.y(value), self.x(self.duration));
            let _ = writeln!(
                self.body,
                "<path d=\"M{LEFT} {y:.1}H{end:.1}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                number(value)
            );
        }
    }

    /// Begins a panel of lanes.
    pub(crate) fn lanes(&mut self, label: &str, names: &[String]) {
        self.begin(label, LANE * names.len() as f64, names.len() as f64);
        for (lane, name) in names.iter().enumerate() {
            let y = self.top + LANE * (lane as f64 + 0.5) + 4.0;
            let _ = writeln!(
                self.body,
                "<text x=\"{}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                escape(name)
            );
        }
    }

    /// Draws a curve into the panel, with its name beside it.
    pub(crate) fn curve(&mut self, points: &[(f64, f64)], label: &str, colour: &str, width: f64) {
        let mut path = String::new();
        let mut before = None;
        for (at, value) in points {
            // As steps: a straight line between two rates would show what never was.
            let (x, y) = (self.x(*at), self.y(value.min(self.scale)));
            match before {
                None => _ = write!(path, "M{x:.1} {y:.1}"),
                Some(last) if last == y => {}
                Some(_) => _ = write!(path, "H{x:.1}V{y:.1}"),
            }
            before = Some(y);
        }
        let end = self.x(self.duration);
        let _ = writeln!(
            self.body,
            "<path d=\"{path}H{end:.1}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
        );
        self.legend(label, colour);
    }

    /// Fills a stretch of a lane, with a word in it where there is room.
    pub(crate) fn block(&mut self, lane: usize, (from, to): (f64, f64), colour: &str, opacity: f64, text: &str) {
        let (x, y) = (self.x(from), self.top + LANE * lane as f64 + 2.0);
        let (width, height) = ((self.x(to) - x).max(0.8), LANE - 4.0);
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>"
        );
        if width >= WIDTH_FOR_TEXT && !text.is_empty() {
            let (middle, base) = (x + width / 2.0, y + height / 2.0 + 3.5);
            let ink = if opacity < 0.7 { "#333" } else { "#fff" };
            let _ = writeln!(
                self.body,
                "<text x=\"{middle:.1}\" y=\"{base:.1}\" text-anchor=\"middle\" fill=\"{ink}\">{}</text>",
                escape(text)
            );
        }
    }

    /// Writes a name in its colour beside the panel.
    pub(crate) fn legend(&mut self, label: &str, colour: &str) {
        let y = self.top + 10.0 + LEGEND * self.legends as f64;
        let x = self.x(self.duration) + LEGEND_GAP;
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"10\" height=\"4\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
            y - 6.0,
            x + 15.0,
            escape(label)
        );
        self.legends += 1;
    }

    /// The picture as a file.
    pub(crate) fn finish(self) -> String {
        let height = (self.bottom + GAP).max(self.top + LEGEND * (self.legends as f64 + 1.0));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
            self.body
        )
    }

    /// Begins a panel with its name and the time axis below.
    fn begin(&mut self, label: &str, height: f64, scale: f64) {
        self.top = self.bottom + GAP;
        (self.bottom, self.scale, self.legends) = (self.top + height, scale, 0);
        let label = escape(label);
        let _ = writeln!(
            self.body,
            "<text x=\"{LEFT}\" y=\"{:.1}\" font-size=\"12\" font-weight=\"bold\">{label}</text>",
            self.top - 7.0
        );
        let step = round_time(self.duration / MOST_TIMES);
        let lines = (self.duration / step + 1e-9).floor() as usize;
        for second in (0..=lines).map(|line| line as f64 * step) {
            let x = self.x(second);
            let _ = writeln!(
                self.body,
                "<path d=\"M{x:.1} {:.1}V{:.1}\" stroke=\"#eee\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
                self.top,
                self.bottom,
                self.bottom + 14.0,
                number(second)
            );
        }
    }

    fn x(&self, second: f64) -> f64 {
        LEFT + second / self.duration * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - value / self.scale * (self.bottom - self.top)
    }
}

/// The largest value of curves; never 0.
pub(crate) fn peak(curves: &[&Vec<(f64, f64)>]) -> f64 {
    curves.iter().flat_map(|curve| curve.iter()).map(|(_, value)| *value).fold(1e-3, f64::max)
}

/// The least of 1, 2, 5, 10, 20 and so on that is not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// As [`round_step`], in steps that people count seconds in.
fn round_time(least: f64) -> f64 {
    [1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0]
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or_else(|| round_step(least))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers() {
        assert_eq!([0.84, 1.0, 3.0, 270.0, 0.026].map(round_step), [1.0, 1.0, 5.0, 500.0, 0.05]);
        assert_eq!([0.4, 4.6, 6.9, 9.3, 23.0, 100.0].map(round_time), [1.0, 5.0, 10.0, 10.0, 30.0, 100.0]);
    }
}
