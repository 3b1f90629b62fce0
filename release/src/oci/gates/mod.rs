//! Gates: what must hold of a layout, checked on its bytes alone.
//!
//! Each one returns what is wrong as sentences; none means passed. `Err` is for what cannot be read at all.

mod blobs;
mod image;
mod root;

pub use blobs::{archive, layout, referrers};
pub use image::images;
