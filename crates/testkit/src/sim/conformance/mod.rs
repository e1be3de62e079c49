//! What keeps the fakes honest: cases that a fake passes here and the real thing in its own suite. What nodes rely on and no
//! case says, a fake may tell wrong.

pub mod api;
pub mod kernel;
