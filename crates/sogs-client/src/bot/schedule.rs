//! When something happens without anybody saying so.

use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::Handler;
use super::state::State;
use crate::error::SogsError;

/// A daily time that passed while the bot was down is made up for this long, milliseconds.
const GRACE_MS: u64 = 60 * 60 * 1000;

/// When to run.
#[derive(Debug, Clone)]
pub struct Schedule(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Every(Duration),
    Daily(Time, TimeZone),
}

impl Schedule {
    /// Again and again after this time.
    pub fn every(pause: Duration) -> Self {
        Self(Kind::Every(pause.max(Duration::from_secs(1))))
    }

    /// Each day at this hour (0 to 23) and minute, in a time zone of the system's database (`Europe/Berlin`, `UTC`).
    pub fn daily(hour: u8, minute: u8, time_zone: &str) -> Result<Self, SogsError> {
        let wrong = |error: jiff::Error| SogsError::invalid(format!("not a time of day: {error}"));
        let hour = i8::try_from(hour).map_err(|_| SogsError::invalid("not an hour"))?;
        let minute = i8::try_from(minute).map_err(|_| SogsError::invalid("not a minute"))?;
        let time = Time::new(hour, minute, 0, 0).map_err(wrong)?;
        Ok(Self(Kind::Daily(time, TimeZone::get(time_zone).map_err(wrong)?)))
    }

    /// The first time after `after_ms`, milliseconds since 1970.
    fn next_after(&self, after_ms: u64) -> u64 {
        match &self.0 {
            Kind::Every(pause) => {
                after_ms.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
            }
            Kind::Daily(time, zone) => next_daily(*time, zone, after_ms).unwrap_or(u64::MAX),
        }
    }
}

fn next_daily(time: Time, zone: &TimeZone, after_ms: u64) -> Option<u64> {
    let after = Timestamp::from_millisecond(i64::try_from(after_ms).ok()?).ok()?;
    let today = after.to_zoned(zone.clone()).date();
    // Around a change of the clock a day's time may lie before or behind what one expects, so three days are looked at.
    (0..3).find_map(|days| {
        let date = today.checked_add(i64::from(days).days()).ok()?;
        let at = date.to_datetime(time).to_zoned(zone.clone()).ok()?.timestamp();
        (at > after)
            .then(|| u64::try_from(at.as_millisecond()).ok())
            .flatten()
    })
}

pub(super) struct Scheduled {
    name: String,
    schedule: Schedule,
    pub(super) handler: Handler,
    due_ms: u64,
}

impl Scheduled {
    pub(super) fn new(name: String, schedule: Schedule, handler: Handler) -> Self {
        Self {
            name,
            schedule,
            handler,
            due_ms: u64::MAX,
        }
    }

    /// Finds the first time to run, from when it ran last.
    pub(super) fn begin(&mut self, state: &State, now_ms: u64) {
        let last = state.schedules.get(&self.name).copied();
        let from = match (&self.schedule.0, last) {
            (_, None) => now_ms,
            // What was missed long ago is not made up for.
            (Kind::Daily(..), Some(last)) => last.max(now_ms.saturating_sub(GRACE_MS)),
            (Kind::Every(_), Some(last)) => last.min(now_ms),
        };
        self.due_ms = self.schedule.next_after(from);
    }

    pub(super) fn due_in(&self, now_ms: u64) -> Duration {
        Duration::from_millis(self.due_ms.saturating_sub(now_ms))
    }

    pub(super) fn done(&mut self, state: &mut State, now_ms: u64) {
        state.schedule_ran(&self.name, now_ms);
        self.due_ms = self.schedule.next_after(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    #[test]
    fn daily_times_follow_the_zone_through_a_change_of_the_clock() {
        let nine = Schedule::daily(9, 0, "Europe/Berlin").unwrap();
        assert_eq!(
            nine.next_after(ms("2026-10-24T06:59:00Z")),
            ms("2026-10-24T07:00:00Z")
        );
        // The clock goes back in the night: nine o'clock is 25 hours later.
        assert_eq!(
            nine.next_after(ms("2026-10-24T07:00:00Z")),
            ms("2026-10-25T08:00:00Z")
        );
        assert!(Schedule::daily(24, 0, "UTC").is_err());
        assert!(Schedule::daily(1, 0, "Mars/Olympus").is_err());
    }
}
