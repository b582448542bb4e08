//! Cooldowns: the time after which a person may use a command again.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Maximum number of uses that are remembered; above it, a person who is not known waits like one who is.
const USES_MAX: usize = 50_000;

/// Time when each person used each command last. `P` identifies a person.
#[derive(Debug)]
pub struct Cooldowns<P>(HashMap<(usize, P), Instant>);

impl<P> Default for Cooldowns<P> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<P: Eq + Hash> Cooldowns<P> {
    /// Notes the use of the command with this number. Returns what to say to a person who must wait.
    pub(crate) fn try_use(
        &mut self,
        command: usize,
        person: P,
        wait_of: impl Fn(usize) -> Option<Duration>,
        now: Instant,
    ) -> Option<String> {
        let wait = wait_of(command)?;
        // Memory must not grow without end: what has cooled down is forgotten.
        self.0.retain(|(command, _), last| {
            wait_of(*command).is_some_and(|wait| now.saturating_duration_since(*last) < wait)
        });
        let key = (command, person);
        let left = match self.0.get(&key) {
            Some(last) => wait.saturating_sub(now.saturating_duration_since(*last)),
            None if self.0.len() >= USES_MAX => wait,
            None => {
                self.0.insert(key, now);
                return None;
            }
        };
        let seconds = left.as_secs() + 1;
        let unit = if seconds == 1 { "second" } else { "seconds" };
        Some(format!("Wait {seconds} {unit} before you use this again."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_waits_and_others_do_not() {
        let mut cooldowns = Cooldowns::default();
        let now = Instant::now();
        let wait = |command: usize| (command != 9).then(|| Duration::from_secs(10));
        let at = |secs| now + Duration::from_secs(secs);
        assert_eq!(cooldowns.try_use(0, "a", wait, at(0)), None);
        assert_eq!(
            cooldowns.try_use(0, "a", wait, at(1)).as_deref(),
            Some("Wait 10 seconds before you use this again.")
        );
        assert_eq!(
            cooldowns
                .try_use(0, "a", wait, now + Duration::from_millis(9_500))
                .as_deref(),
            Some("Wait 1 second before you use this again.")
        );
        assert_eq!(cooldowns.try_use(0, "b", wait, at(1)), None);
        assert_eq!(cooldowns.try_use(1, "a", wait, at(1)), None);
        assert_eq!(cooldowns.try_use(9, "a", wait, at(1)), None);
        assert_eq!(cooldowns.try_use(9, "a", wait, at(1)), None, "no cooldown");
        assert_eq!(cooldowns.try_use(0, "a", wait, at(10)), None);
    }

    #[test]
    fn uses_of_many_people_are_bounded() {
        let mut cooldowns = Cooldowns::default();
        let now = Instant::now();
        let wait = |_| Some(Duration::from_secs(10));
        // Filled in one step, because each use looks at all.
        cooldowns.0.extend((0..USES_MAX).map(|person| ((0, person), now)));
        assert!(cooldowns.try_use(0, USES_MAX, wait, now).is_some());
        assert_eq!(cooldowns.0.len(), USES_MAX);
        let later = now + Duration::from_secs(10);
        assert_eq!(cooldowns.try_use(0, USES_MAX, wait, later), None);
        assert_eq!(cooldowns.0.len(), 1);
    }
}
