//! BGP-4 (RFC 4271) without input and output: bytes and the time go in, bytes and changes of best paths come out.
//!
//! Pure: no clock, socket, file or task; of the workspace it sees only `model`'s values.

pub mod wire;
