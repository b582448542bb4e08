//! Ports on loopback that stay reserved while their owner lives; `tests/servers/common.sh` keeps the same register.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// Below the ports that the system gives to connections and to listeners that ask for any port.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Returns a port of 127.0.0.1 on which nothing listens, and which no other test receives while this process lives.
///
/// For servers that are stopped and started again on the same port, and for addresses at which nobody answers.
///
/// # Panics
///
/// If the register cannot be written, or no port is free.
pub fn reserve_port() -> u16 {
    let register = register();
    std::fs::create_dir_all(&register).expect("the register of ports can be made");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(register.join("lock"))
        .expect("the register of ports can be locked");
    lock.lock().expect("the register of ports can be locked");
    let process = format!("/proc/{}", std::process::id());
    let span = u64::from(PORTS.end - PORTS.start);
    let first = u64::from(std::process::id()) * 7919;
    for step in 0..span {
        let offset = u16::try_from((first + step) % span).expect("less than a port");
        let port = PORTS.start + offset;
        let entry = register.join(port.to_string());
        let is_reserved = std::fs::read_to_string(&entry).is_ok_and(|owner| Path::new(owner.trim()).exists());
        if !is_reserved && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            std::fs::write(&entry, process).expect("the register of ports can be written");
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free; see {}", register.display());
}

/// One folder for all runs on this machine, whatever their `TMPDIR` is.
fn register() -> PathBuf {
    use std::os::unix::fs::MetadataExt as _;
    let user = std::fs::metadata("/proc/self").map_or(0, |process| process.uid());
    PathBuf::from(format!("/tmp/ackpost-ports-{user}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_reserved_twice() {
        let ports: std::collections::HashSet<u16> = (0..50).map(|_| reserve_port()).collect();
        assert_eq!(ports.len(), 50);
    }
}
