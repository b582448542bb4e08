//! Any bytes as what a network keeps between runs, and as a seed.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| session_network::fuzzing::read(data));
