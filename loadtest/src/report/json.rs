//! Outcomes for programs.

use crate::sweep::Outcome;
use serde_json::{Value, json};

/// All outcomes as one JSON document, keys in a fixed order, so that the same runs give the same bytes.
pub fn json(outcomes: &[Outcome]) -> String {
    let scenarios: Vec<Value> = outcomes.iter().map(scenario).collect();
    let document = json!({ "holds": outcomes.iter().all(Outcome::holds), "scenarios": scenarios });
    format!("{document:#}\n")
}

fn scenario(outcome: &Outcome) -> Value {
    let rows = outcome.rows.iter().map(|row| {
        json!({
            "who": row.expectation.who.to_string(),
            "metric": row.expectation.metric.name(),
            "from_s": row.window.0,
            "to_s": row.window.1,
            "over": row.expectation.over.to_string(),
            "bound": row.expectation.bound.to_string(),
            "value": row.summary.value,
            "holds": row.summary.holds,
            "values": row.values,
        })
    });
    json!({
        "scenario": outcome.scenario,
        "seeds": outcome.seeds,
        "holds": outcome.holds(),
        "expectations": rows.collect::<Vec<Value>>(),
    })
}
