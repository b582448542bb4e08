//! Core dumps: none, because the memory of these programs holds keys.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// One byte. A limit of 0 stops files alone: Linux does not apply it when `core_pattern` pipes the dump to a program
/// (systemd-coredump, apport). With a limit of 1 Linux writes neither a file nor to a program.
const NONE: u64 = 1;

/// Forbids core dumps of this process. An operator who needs one raises the soft limit again (`prlimit --core`).
pub fn forbid() {
    let limit = getrlimit(Resource::Core);
    let current = limit.maximum.map_or(NONE, |most| most.min(NONE));
    // Lowering a soft limit is always allowed.
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(current),
            maximum: limit.maximum,
        },
    );
}
