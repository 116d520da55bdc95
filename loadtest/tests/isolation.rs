//! A slow receiver changes nothing for a fast one.

use loadtest::metrics::{Truth, layer_difference};
use loadtest::scenario::Scenario;
use loadtest::sim::run;
use std::path::Path;

/// A fast receiver, and others on ways of their own to the server.
fn call(others: &str) -> Scenario {
    let text = format!(
        r#"
name = "isolation"
duration_s = 30
[[path]]
name = "fast"
rate = "50M"
delay_ms = 20
queue = "300ms"
[[path]]
name = "slow"
rate = [[0, "300k"], [15, "150k"], [22, "800k"]]
delay_ms = 20
queue = "300ms"
loss = 0.02
[[participant]]
name = "publisher"
[[participant.publish]]
source = "camera"
[[participant.publish]]
source = "microphone"
[[participant]]
name = "fast"
down = "fast"
{others}
"#
    );
    Scenario::parse(&text, Path::new("")).unwrap()
}

/// Share of time in which the fast receiver sees other layers than when it is alone.
fn difference(others: &str) -> f64 {
    let (alone, together) = (call(""), call(others));
    let (a, b) = (run(&alone, 1).unwrap(), run(&together, 1).unwrap());
    let (a, b) = (Truth::new(&alone, &a).unwrap(), Truth::new(&together, &b).unwrap());
    layer_difference(&a, &b, "fast", (5.0, 30.0)).unwrap()
}

#[test]
fn slow_receivers_on_their_own_links_change_no_layer_of_a_fast_one() {
    let slow = "[[participant]]\nname = \"slow\"\ncount = 3\njoin_s = 6\ndown = \"slow\"\n";
    assert_eq!(difference(slow), 0.0);
    let beside = "[[participant]]\nname = \"beside\"\ndown = \"fast\"\n[[flow]]\nkind = \"udp\"\nrate = \"49M\"\npath = \"fast\"\nfrom_s = 6\n";
    assert!(difference(beside) > 0.5, "what shares its link does");
}
