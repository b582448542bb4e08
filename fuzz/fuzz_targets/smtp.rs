//! Any bytes as the commands of an SMTP client and as the data of a mail.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ackpost_gateway::fuzzing::smtp(data));
