//! The time of an outbox. Every stored time is a time of the wall clock; when somebody sets that clock, the stored times
//! move with it, so that what waits goes on waiting for as long as it should.

use std::sync::{Arc, Mutex, PoisonError};

use super::clock::{Clock, Steady};
use super::error::OutboxError;
use super::store::Store;

/// Smallest difference in milliseconds that counts as a jump; slow corrections stay below.
const JUMP_MS: i64 = 5_000;

/// The time of an outbox.
pub(super) struct Time {
    clock: Arc<dyn Clock>,
    /// `None` until the first look.
    state: Mutex<Option<State>>,
}

#[derive(Clone, Copy)]
struct State {
    /// How far the wall clock was ahead of the steady one at the latest look.
    seen: i64,
    /// How far the time of the outbox is ahead of the steady clock.
    ahead: i64,
}

impl Time {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    /// Milliseconds since 1970-01-01 UTC. Does not jump: a wall clock that was set counts only after [`Self::look`] moved
    /// what is stored.
    pub(super) fn now_ms(&self) -> i64 {
        match (self.clock.steady(), *self.state()) {
            (Some(steady), Some(state)) => steady.ms + state.ahead,
            _ => self.clock.now_ms(),
        }
    }

    /// Looks whether the wall clock was set. If so, moves the times in the database by as much, once for all processes.
    pub(super) async fn look(&self, store: &Store) -> Result<(), OutboxError> {
        let (Some(steady), Some(state)) = (self.clock.steady(), *self.state()) else {
            return self.note(store).await;
        };
        let seen = self.clock.now_ms() - steady.ms;
        if (seen - state.seen).abs() < JUMP_MS {
            return Ok(());
        }
        self.note(store).await
    }

    /// Notes the time in the database, so that a machine that starts with a clock of the past is recognised.
    pub(super) async fn note(&self, store: &Store) -> Result<(), OutboxError> {
        let Some(steady) = self.clock.steady() else {
            return Ok(());
        };
        let now = self.clock.now_ms();
        let seen = now - steady.ms;
        let ahead = self.follow(store, now, &steady).await?;
        *self.state() = Some(State { seen, ahead });
        Ok(())
    }

    async fn follow(&self, store: &Store, now: i64, steady: &Steady) -> Result<i64, OutboxError> {
        // Machines that share a database need one clock: that of its server.
        if self.clock.is_machine()
            && let Some(server) = store.server_time().await?
        {
            let after = self.clock.steady().map_or(steady.ms, |steady| steady.ms);
            return Ok(server - after);
        }
        let ahead = now - steady.ms;
        let moved = store.follow_clock(&steady.boot, now, ahead, JUMP_MS).await?;
        if moved != 0 {
            tracing::warn!(
                seconds = moved / 1000,
                "the clock was set; what waits moves with it"
            );
        }
        Ok(ahead)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
