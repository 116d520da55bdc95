//! How many instructions the parts of the engine take, against a committed baseline: `cargo bench --workspace --bench
//! counts`. Counted by Valgrind's callgrind, so the figures are the same however busy the machine is, and on any x86-64
//! that has AES and AVX2 (Valgrind shows programs the same processor on all of these, so cipher and C library take the
//! same paths). Fails where a part takes 3 % more than in `counts.txt`; `-- --renew` writes that file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(unreachable_pub, dead_code, unused_imports, reason = "the harness is that of the calls")]

mod cases;
#[path = "../tests/harness/mod.rs"]
mod harness;

use harness::World;
use sfu_engine::transport::srtp::SrtpProfile;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

const SHARDS: u16 = 1;
/// What a part may take more than in the baseline, in per cent.
const TOLERANCE: f64 = 3.0;
/// The same where another compiler made the baseline.
const OTHER_COMPILER: f64 = 10.0;
/// Instructions are collected within functions of this name.
const COUNTED: &str = "counted_calls";
const HOW_TO_RENEW: &str = "cargo bench --workspace --bench counts -- --renew";

/// A case's name, and what does something so many times in [`counted_calls`] and returns how often.
type Case = (&'static str, fn() -> u64);

const CASES: &[Case] = &[
    ("write-and-seal", || repeat(1000, cases::seal(SrtpProfile::AeadAes128Gcm))),
    ("open", open),
    ("find-among-10000", || repeat(1000, cases::demux(10_000))),
    ("parse", || repeat(1000, cases::parse())),
    ("store-and-rewrite", || repeat(3000, cases::rewrite())),
    ("allocate-26", || repeat(60, cases::allocate(26))),
    ("estimate", || repeat(5000, cases::estimate(cases::NONE_LOST))),
    ("estimate-losing", || repeat(5000, cases::estimate(50))),
    ("wake-one-of-1000", || repeat(10_000, cases::wake(1000))),
    ("fan-out-to-20", fan_out),
];

#[inline(never)]
fn counted_calls(times: u64, call: &mut dyn FnMut()) {
    (0..times).for_each(|_| call());
}

/// Once for nothing, so that memory and tables are there, then counted.
fn repeat<T>(times: u64, mut call: impl FnMut() -> T) -> u64 {
    let mut call = || {
        std::hint::black_box(call());
    };
    (0..times / 2).for_each(|_| call());
    counted_calls(times, &mut call);
    times
}

fn open() -> u64 {
    let (mut seal, mut open) = (cases::seal(SrtpProfile::AeadAes128Gcm), cases::open(SrtpProfile::AeadAes128Gcm));
    let mut sealed: Vec<_> = (0..1000).map(|_| seal()).collect();
    let mut next = 0;
    counted_calls(1000, &mut || {
        std::hint::black_box(open(&mut sealed[next]));
        next += 1;
    });
    1000
}

/// Everything that the engine does in two seconds of a room, for each packet that it sends.
fn fan_out() -> u64 {
    let mut world = cases::room(20);
    let before = cases::sent(&world);
    world.around = |call| {
        counted_calls(1, &mut || {
            call();
        });
    };
    world.run(Duration::from_secs(2));
    cases::sent(&world) - before
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).filter(|argument| *argument != "--bench").collect();
    match arguments[..] {
        ["case", name] => {
            let (_, case) = CASES.iter().find(|(case, _)| *case == name).expect("a case of this name");
            println!("{}", case());
            ExitCode::SUCCESS
        }
        [] => compare(false),
        ["--renew"] => compare(true),
        _ => {
            eprintln!("usage: counts [--renew]");
            ExitCode::from(2)
        }
    }
}

fn compare(renew: bool) -> ExitCode {
    if !has_features() {
        println!("Not counted: the baseline is for x86-64 with AES and AVX2.");
        return ExitCode::SUCCESS;
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/counts.txt");
    let (compiler, baseline) = if renew { Default::default() } else { read(&file) };
    let tolerance = if compiler == self::compiler() { TOLERANCE } else { OTHER_COMPILER };
    let (mut worse, mut written) = (false, format!("# {HOW_TO_RENEW}\n{}\n", self::compiler()));
    for (name, _) in CASES {
        let count = count(name);
        written += &format!("{name} {count}\n");
        let before = baseline.get(*name).copied();
        let change = before.map_or(0.0, |before| (count as f64 / before as f64 - 1.0) * 100.0);
        let verdict = match before {
            None if renew => "",
            None => "not in the baseline",
            Some(_) if change > tolerance => "WORSE",
            Some(_) if change < -TOLERANCE => "better: renew the baseline, to keep it",
            Some(_) => "",
        };
        worse |= !renew && (before.is_none() || change > tolerance);
        println!("{name:<20} {count:>9} instructions {change:>+7.1} %  {verdict}");
    }
    if renew {
        std::fs::write(&file, written).expect("the baseline is written");
        println!("{} is written.", file.display());
    } else if worse {
        println!("More than {tolerance} % above {}. Where that is meant: {HOW_TO_RENEW}", file.display());
    }
    if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The compiler and the counts of a baseline.
fn read(file: &Path) -> (String, BTreeMap<String, u64>) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let compiler = lines.next().unwrap_or_default().to_owned();
    let counts = lines.filter_map(|line| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    (compiler, counts.collect())
}

/// Instructions of one case, for each time that it does what it does.
fn count(name: &str) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*{COUNTED}*"))
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["case", name])
        .output()
        .expect("valgrind can be started: on Debian it is in the package of that name");
    let (times, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let collected = log.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
    match (collected, times.trim().parse::<u64>()) {
        (Some(collected @ 1..), Ok(times @ 1..)) if output.status.success() => collected / times,
        _ => panic!("{name} was not counted:\n{log}"),
    }
}

fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().expect("rustc can be started");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[cfg(target_arch = "x86_64")]
fn has_features() -> bool {
    std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_features() -> bool {
    false
}
