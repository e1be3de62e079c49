//! The forms in which answers are printed, each byte for byte as Calico's tools print it.

pub mod boxed;
pub mod json;
pub mod number;
pub mod safe;
pub mod table;
pub mod template;
pub mod yaml;
