//! A result as one HTML page that needs nothing else: the table, and plots of the run.

use super::figures::FIGURES;
use super::monitor::Point;
use super::outcome::Outcome;
use crate::report::{Svg, peak};
use std::fmt::Write;

const STYLE: &str = "body{font:14px sans-serif;margin:2em auto;max-width:1200px;padding:0 1em}\
    td{padding:2px 12px 2px 0}td:nth-child(2){text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
    td:nth-child(3){color:#666}pre{white-space:pre-wrap}";

/// The page.
pub(crate) fn page(outcome: &Outcome) -> String {
    let Outcome { server, machine, load, figures, .. } = outcome;
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Load on {0}</title><style>{STYLE}</style>\n\
         <h1>Load on {0}</h1>\n<p>{1}</p>\n<table>\n",
        escape(server),
        escape(machine)
    );
    for figure in FIGURES {
        if let Some(value) = figures.get(figure.name) {
            let (name, shown, about) = (figure.name, figure.unit.show(value), escape(figure.about));
            let _ = writeln!(html, "<tr><td>{name}<td>{shown}<td>{about}");
        }
    }
    let load = serde_json::to_string_pretty(load).expect("a map with string keys");
    let _ = write!(html, "</table>\n{}\n<h2>Load</h2>\n<pre>{}</pre>\n</html>\n", plots(outcome), escape(&load));
    html
}

fn plots(outcome: &Outcome) -> String {
    let points = &outcome.timeline;
    let curve =
        |value: &dyn Fn(&Point) -> f64| points.iter().map(|point| (point.second, value(point))).collect::<Vec<_>>();
    let rates = [curve(&|point| point.rate_in / 1e6), curve(&|point| point.rate_out / 1e6)];
    let latency = [
        curve(&|point| point.latency_p50.unwrap_or(0.0) * 1e3),
        curve(&|point| point.latency_p99.unwrap_or(0.0) * 1e3),
    ];
    let cpu = [curve(&|point| point.server_cpu.unwrap_or(0.0) * 100.0), curve(&|point| point.own_cpu * 100.0)];
    let (joined, loss) = (curve(&|point| point.joined as f64), curve(&|point| point.loss * 100.0));
    let end = points.last().map_or(1.0, |point| point.second);
    let mut svg = Svg::new("The run, second by second", end);
    svg.panel("Mb/s", peak(&[&rates[0], &rates[1]]));
    svg.curve(&rates[0], "received", "#2ca02c", 1.5);
    svg.curve(&rates[1], "sent", "#1f77b4", 1.5);
    svg.panel("one-way latency, ms", peak(&[&latency[0], &latency[1]]));
    svg.curve(&latency[1], "p99", "#d62728", 1.5);
    svg.curve(&latency[0], "p50", "#ff7f0e", 1.5);
    svg.panel("CPU, % of one core", peak(&[&cpu[0], &cpu[1]]));
    svg.curve(&cpu[0], "server", "#9467bd", 1.5);
    svg.curve(&cpu[1], "load generator", "#8c564b", 1.5);
    svg.panel("joined", peak(&[&joined]));
    svg.curve(&joined, "joined", "#1f77b4", 1.5);
    svg.panel("loss, %", peak(&[&loss]));
    svg.curve(&loss, "loss", "#d62728", 1.5);
    svg.finish()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
