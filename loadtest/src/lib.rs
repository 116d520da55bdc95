//! Load generator and scenario runner.
//!
//! [`run`] loads a server in real time with thousands of clients. The scenario runner has whole calls in virtual time
//! against the engine, measured against ground truth.
//!
//! A [`scenario`] file says what the world is like; [`sim`] runs it with simulated [`client`]s, links and competing
//! [`flow`]s and leaves a record; [`metrics`] reads the record; [`report`] shows what came out. [`sweep`] puts them
//! together, and [`scoreboard`] keeps what was reached.

pub mod client;
pub mod flow;
pub mod metrics;
pub mod report;
pub mod run;
pub mod scenario;
pub mod scoreboard;
pub mod sim;
pub mod sweep;
