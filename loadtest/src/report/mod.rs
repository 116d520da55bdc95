//! What people and programs read: tables, JSON, plots.

mod json;
mod plot;
mod svg;
mod table;

pub use json::json;
pub use plot::{plot, stems};
pub(crate) use svg::{Svg, peak};
pub use table::table;
