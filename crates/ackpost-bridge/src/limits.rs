//! Limits and pauses of a bridge.

use std::time::Duration;

/// Limits and pauses of a bridge. The defaults are those that the guide states.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum number of entries that wait in one direction. Messages beyond that do not cross.
    pub waiting: u32,
    /// Maximum number of them by one person: nobody may fill the queue alone.
    pub waiting_each: u32,
    /// Time after which a waiting entry is given up.
    pub expiry: Duration,
    /// Maximum number of missed messages that are carried after a pause; a line counts the rest.
    pub backlog: usize,
    /// Delay after which the room where the messages were written is told.
    pub delay_told: Duration,
    /// Pauses before a room that sent the bridge out is entered again. The last one repeats.
    pub back_after: [Duration; 2],
    /// Pauses after the community refused the bridge. The last one repeats.
    pub refused: [Duration; 3],
    /// Minimum time between two private lines to one author.
    pub private_line_every: Duration,
    /// Number of starts for which the bridge waits for an archive of the XMPP room that cannot be read. Their pauses grow from 2
    /// seconds to 5 minutes.
    pub archive_tries: u32,
    /// Age of a signature from which a post that waits is signed anew: apps do not show older ones.
    pub signed_for: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting: 10_000,
            waiting_each: 2_500,
            expiry: Duration::from_hours(24),
            backlog: 200,
            delay_told: Duration::from_mins(1),
            back_after: [Duration::from_mins(5), Duration::from_mins(30)],
            refused: [
                Duration::from_mins(10),
                Duration::from_hours(1),
                Duration::from_hours(6),
            ],
            private_line_every: Duration::from_mins(10),
            archive_tries: 8,
            signed_for: Duration::from_hours(5),
        }
    }
}

/// Milliseconds of a duration.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A duration as people write it: in the largest unit that fits.
pub(crate) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        3600.. => (seconds / 3600, "hour"),
        60.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_in_the_largest_unit() {
        for (seconds, expected) in [
            (1, "1 second"),
            (59, "59 seconds"),
            (300, "5 minutes"),
            (3600, "1 hour"),
            (21_600, "6 hours"),
        ] {
            assert_eq!(spoken(Duration::from_secs(seconds)), expected);
        }
    }
}
