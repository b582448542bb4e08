//! Raid mode: while it is on, identities that the server had not seen before it began can only read.
//!
//! It is switched on by command, or by itself when new identities or posts arrive faster than a room's
//! trip rates. People who were known before are not affected, and switching it off undoes all of it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::rules::Rules;

/// The span over which the trip rates are counted, in seconds.
pub const TRIP_WINDOW: f64 = 60.0;
/// The most arrivals remembered per room: a trip rate above it is treated as this many.
const MAX_REMEMBERED: usize = 10_000;

/// Raid mode that is on in a room (or everywhere).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Raid {
    /// Identities first seen at or after this time (Unix seconds) can only read.
    pub since: f64,
    /// Time at which it ends by itself (Unix seconds); `None` = only by command.
    pub until: Option<f64>,
    /// Cause of raid mode, or its author, for the log.
    pub reason: String,
}

impl Raid {
    /// Returns true if it is still on.
    pub fn is_on(&self, now: f64) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Returns true if it prevents this person from writing. Moderators and trusted people are exempt.
    pub fn stops(&self, first_seen: f64, exempt: bool, now: f64) -> bool {
        self.is_on(now) && !exempt && first_seen >= self.since
    }
}

/// The arrivals of one room within the last minute.
#[derive(Debug, Default)]
pub struct TripWatch {
    posts: VecDeque<f64>,
    /// Newcomers who posted or reacted.
    newcomers: VecDeque<(f64, i64)>,
}

impl TripWatch {
    /// Notes a post; returns the raid mode that should now begin, if a trip rate is reached.
    pub fn note(&mut self, rules: &Rules, user: i64, first_seen: f64, now: f64) -> Option<Raid> {
        self.arrived(rules, user, first_seen, true, now)
    }

    /// Notes a reaction, which counts for the new identities alone; as [`Self::note`].
    pub fn note_reaction(&mut self, rules: &Rules, user: i64, first_seen: f64, now: f64) -> Option<Raid> {
        self.arrived(rules, user, first_seen, false, now)
    }

    fn arrived(&mut self, rules: &Rules, user: i64, first_seen: f64, post: bool, now: f64) -> Option<Raid> {
        if rules.raid_new_users.unwrap_or(0) == 0 && rules.raid_posts.unwrap_or(0) == 0 {
            return None;
        }
        let begin = now - TRIP_WINDOW;
        if post {
            push(&mut self.posts, now);
        }
        while self.posts.front().is_some_and(|at| *at < begin) {
            self.posts.pop_front();
        }
        while self.newcomers.front().is_some_and(|(at, _)| *at < begin) {
            self.newcomers.pop_front();
        }
        if first_seen >= begin && !self.newcomers.iter().any(|(_, id)| *id == user) {
            push(&mut self.newcomers, (now, user));
        }
        let reason = tripped(rules.raid_new_users, self.newcomers.len(), "new identities")
            .or_else(|| tripped(rules.raid_posts, self.posts.len(), "posts"))?;
        // Newcomers of the counted window are part of the raid, so raid mode begins at the start of the window.
        let until = rules
            .raid_seconds
            .map_or(Some(now + 3600.0), |s| (s > 0.0).then_some(now + s));
        self.posts.clear();
        self.newcomers.clear();
        Some(Raid {
            since: begin,
            until,
            reason,
        })
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == MAX_REMEMBERED {
        queue.pop_front();
    }
    queue.push_back(item);
}

fn tripped(rate: Option<u32>, seen: usize, what: &str) -> Option<String> {
    let rate = rate.filter(|rate| *rate > 0)?;
    let limit = usize::try_from(rate)
        .unwrap_or(MAX_REMEMBERED)
        .min(MAX_REMEMBERED);
    (seen >= limit).then(|| format!("{seen} {what} within a minute"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newcomers_trip_it_and_reach_back_over_the_window() {
        let rules = Rules {
            raid_new_users: Some(3),
            raid_seconds: Some(100.0),
            ..Rules::default()
        };
        let mut watch = TripWatch::default();
        assert_eq!(watch.note(&rules, 1, 1000.0, 1000.0), None);
        assert_eq!(
            watch.note(&rules, 1, 1000.0, 1001.0),
            None,
            "the same person counts once"
        );
        assert_eq!(
            watch.note(&rules, 9, 5.0, 1002.0),
            None,
            "a known member is not a newcomer"
        );
        assert_eq!(watch.note(&rules, 2, 1003.0, 1003.0), None);
        let raid = watch.note(&rules, 3, 1004.0, 1004.0).expect("tripped");
        assert!(
            raid.stops(1000.0, false, 1005.0),
            "who came with the wave reads only"
        );
        assert!(!raid.stops(5.0, false, 1005.0), "known members write on");
        assert!(!raid.stops(1000.0, true, 1005.0), "moderators write on");
        assert!(!raid.stops(1000.0, false, 1104.0), "it ends by itself");
    }

    #[test]
    fn posts_trip_it_and_slow_arrivals_do_not() {
        let rules = Rules {
            raid_posts: Some(5),
            ..Rules::default()
        };
        let mut watch = TripWatch::default();
        let mut now = 0.0;
        for user in 0..50 {
            now += 20.0;
            assert_eq!(watch.note(&rules, user, 0.0, now), None);
        }
        let trips = (0..5)
            .filter_map(|n| watch.note(&rules, n, 0.0, now + 1.0))
            .count();
        assert_eq!(trips, 1);
    }

    #[test]
    fn memory_is_bounded() {
        let rules = Rules {
            raid_posts: Some(u32::MAX),
            ..Rules::default()
        };
        let mut watch = TripWatch::default();
        for n in 0..30_000 {
            watch.note(&rules, n % 50, -100.0, 1.0);
        }
        assert!(watch.posts.len() <= MAX_REMEMBERED);
    }
}
