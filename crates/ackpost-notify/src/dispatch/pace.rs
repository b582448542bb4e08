//! The number of posts that a server takes within a time.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Times of the last posts of one lane.
#[derive(Debug, Default)]
pub(crate) struct Pace(VecDeque<Instant>);

impl Pace {
    /// Takes a place now, or says how long to wait for one.
    pub(crate) fn take(&mut self, now: Instant, posts: u32, window: Duration) -> Option<Duration> {
        while self
            .0
            .front()
            .is_some_and(|first| now.duration_since(*first) >= window)
        {
            self.0.pop_front();
        }
        if self.0.len() < posts as usize {
            self.0.push_back(now);
            return None;
        }
        self.0.front().map(|first| {
            window
                .saturating_sub(now.duration_since(*first))
                .max(Duration::from_millis(1))
        })
    }
}
