//! Ackpost: post that is acknowledged.

use std::alloc::System;
use std::process::ExitCode;

use ackpost_services::SERVICES;
use zeroizing_alloc::ZeroAlloc;

/// Overwrites freed memory, so that no copy of a secret outlives the value that held it: neither in buffers of connections
/// nor in parsers that know nothing of secrets.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    ackpost_cli::run(SERVICES)
}
