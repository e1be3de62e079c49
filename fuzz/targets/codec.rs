//! libFuzzer's octets for the laws of the codec; `./dev fuzz codec` runs it.

#![no_main]

#[path = "../../crates/bgp/tests/octets/mod.rs"]
mod octets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| octets::codec::holds(input));
