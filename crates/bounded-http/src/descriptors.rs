//! File descriptors: one for each connection, and as many as the system gives.

#[cfg(unix)]
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that databases, listeners, logs and outgoing connections need.
const KEPT: u64 = 128;
/// Maximum number of descriptors that are asked for.
const MOST: u64 = 1 << 20;

/// Raises the soft limit of descriptors to the hard one, and returns how many of `connections` fit when each takes
/// `each` descriptors. Warns when not all of them do.
pub fn fitting(connections: usize, each: u64) -> usize {
    let limit = raised();
    let fit = fit(connections, each, limit);
    if fit < connections {
        tracing::warn!(
            wanted = connections,
            used = fit,
            descriptors = limit,
            "fewer connections than configured: the limit of file descriptors is too low; raise it (`LimitNOFILE=`, \
             `ulimit -Hn`)"
        );
    }
    fit
}

/// Raises the soft limit of descriptors to the hard one, and returns how many connections of `most` that are kept open
/// for later fit into an eighth of it.
pub fn kept(most: usize) -> usize {
    let limit = raised();
    usize::try_from(limit / 8).unwrap_or(most).clamp(1, most.max(1))
}

/// Returns the number of descriptors after the limit was raised. Here the system cannot be asked.
#[cfg(not(unix))]
fn raised() -> u64 {
    MOST
}

/// Returns the number of descriptors after the limit was raised.
#[cfg(unix)]
fn raised() -> u64 {
    raise();
    getrlimit(Resource::Nofile).current.unwrap_or(MOST)
}

#[cfg(unix)]
fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(MOST).min(MOST);
    if limit.current.is_none_or(|current| current >= most) {
        return;
    }
    let raised = Rlimit {
        current: Some(most),
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of file descriptors cannot be raised");
    }
}

fn fit(connections: usize, each: u64, limit: u64) -> usize {
    let kept = KEPT.min(limit / 2);
    let most = usize::try_from((limit - kept) / each.max(1)).unwrap_or(usize::MAX);
    connections.min(most.max(1))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_the_limit() {
        assert_eq!(fit(512, 2, 1 << 20), 512);
        assert_eq!(fit(2_000, 2, 1024), 448);
        assert_eq!(fit(512, 2, 64), 16);
        assert_eq!(fit(512, 2, 0), 1);
    }

    #[test]
    fn the_soft_limit_is_raised() {
        assert_eq!(kept(1), 1);
        assert_eq!(fitting(1, 1), 1);
        let limit = getrlimit(Resource::Nofile);
        assert!(limit.current.unwrap_or(MOST) >= limit.maximum.unwrap_or(MOST).min(MOST));
    }
}
