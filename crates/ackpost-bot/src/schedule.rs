//! Handlers that run at a time, without a message.

use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::command::Handler;
use crate::memory::Memory;

/// A daily time that passed while the bot was down is made up for this long, milliseconds.
const GRACE_MS: u64 = 60 * 60 * 1000;

/// A time of day that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time of day: {0}")]
pub struct ScheduleError(String);

/// Times at which a handler runs.
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
    ///
    /// # Errors
    /// There is no such hour, minute or time zone.
    pub fn daily(hour: u8, minute: u8, time_zone: &str) -> Result<Self, ScheduleError> {
        let wrong = |error: jiff::Error| ScheduleError(error.to_string());
        let hour = i8::try_from(hour).map_err(|_| ScheduleError("the hour is above 23".to_owned()))?;
        let minute = i8::try_from(minute).map_err(|_| ScheduleError("the minute is above 59".to_owned()))?;
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

/// A handler with its schedule.
pub struct Scheduled<C, O> {
    name: String,
    schedule: Schedule,
    handler: Handler<C, O>,
    due_ms: u64,
}

impl<C, O> Scheduled<C, O> {
    /// Makes a handler that is not due before [`Scheduled::begin`]. `name` tells schedules apart in the memory.
    pub fn new(name: String, schedule: Schedule, handler: Handler<C, O>) -> Self {
        Self {
            name,
            schedule,
            handler,
            due_ms: u64::MAX,
        }
    }

    /// Finds the first time to run, from when it ran last.
    pub fn begin(&mut self, memory: &Memory, now_ms: u64) {
        let last = memory.schedule_ran_at(&self.name);
        let from = match (&self.schedule.0, last) {
            (_, None) => now_ms,
            // A run that was missed long ago is not made up for.
            (Kind::Daily(..), Some(last)) => last.max(now_ms.saturating_sub(GRACE_MS)),
            (Kind::Every(_), Some(last)) => last.min(now_ms),
        };
        self.due_ms = self.schedule.next_after(from);
    }

    /// Time until it is due; zero when it is.
    pub fn due_in(&self, now_ms: u64) -> Duration {
        Duration::from_millis(self.due_ms.saturating_sub(now_ms))
    }

    /// Notes that it ran, and returns its handler.
    pub fn done(&mut self, memory: &mut Memory, now_ms: u64) -> Handler<C, O> {
        memory.schedule_ran(&self.name, now_ms);
        self.due_ms = self.schedule.next_after(now_ms);
        self.handler.clone()
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

    #[test]
    fn a_schedule_does_not_run_twice_and_makes_up_for_an_hour_at_most() {
        let mut memory = Memory::load(Box::<crate::MemoryStore>::default()).unwrap();
        let nine = || {
            let schedule = Schedule::daily(9, 0, "UTC").unwrap();
            Scheduled::<(), ()>::new("nine".into(), schedule, crate::handler(|()| async {}))
        };
        let mut first = nine();
        first.begin(&memory, ms("2026-10-24T08:59:00Z"));
        assert_eq!(first.due_in(ms("2026-10-24T08:59:00Z")), Duration::from_secs(60));
        let _ = first.done(&mut memory, ms("2026-10-24T09:00:00Z"));
        // A restart at once, one half an hour late, and one two hours late.
        for (now, due_in) in [
            ("2026-10-24T09:00:01Z", 24 * 3600 - 1),
            ("2026-10-25T09:30:00Z", 0),
            ("2026-10-25T11:00:00Z", 22 * 3600),
        ] {
            let mut again = nine();
            again.begin(&memory, ms(now));
            assert_eq!(again.due_in(ms(now)), Duration::from_secs(due_in), "{now}");
        }
    }
}
