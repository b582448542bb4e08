//! The time of an outbox. Every stored time is a time of the wall clock; when somebody sets that clock, the stored times
//! move with it, so that what waits goes on waiting for as long as it should.
//!
//! Machines that share a database use the clock of its server. A process compares that clock with its own steady clock, so
//! that it notices when somebody sets it. The first process that notices moves the times; the others see that they moved.

use std::sync::{Arc, Mutex, PoisonError};

use super::clock::{Clock, ServerReading};
use super::error::OutboxError;
use super::store::Store;

/// Smallest difference in milliseconds that counts as a jump; slow corrections stay below.
const JUMP_MS: i64 = 5_000;

/// Longest time for which a change of the server's clock goes unnoticed, in milliseconds.
const SERVER_LOOK_MS: i64 = 250;
/// Number of readings of the server's clock when other processes move the times meanwhile, or the answer is slow.
const READINGS: usize = 5;

/// The time of an outbox.
pub(super) struct Time {
    clock: Arc<dyn Clock>,
    /// `None` until the first look.
    state: Mutex<Option<ClockState>>,
}

#[derive(Clone, Copy)]
struct ClockState {
    /// Time by which the wall clock was ahead of the steady one at the latest look.
    seen: i64,
    /// Time by which the time of the outbox is ahead of the steady clock.
    ahead: i64,
    /// The clock of the database server, where that one counts.
    server: Option<ServerState>,
}

#[derive(Clone, Copy)]
struct ServerState {
    /// Time by which the server's clock is ahead of the steady one, less all moves.
    ahead: i64,
    /// Sum of all moves because that clock was set.
    moved: i64,
    /// Reading of the steady clock at the latest look.
    looked: i64,
}

/// A time of the outbox, for statements that must not use it once the stored times have moved.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// Milliseconds since 1970-01-01 UTC.
    pub(super) now: i64,
    /// The sum of all moves that it takes into account; see [`super::clock::ServerClock::moved`].
    pub(super) moved: Option<i64>,
}

/// A clock that has to be looked at.
enum Look {
    No,
    /// Both, and the result is noted.
    Note,
    Server,
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
        self.reading().now
    }

    /// The same with what is needed to see whether it still holds.
    pub(super) fn reading(&self) -> Reading {
        match (self.clock.steady(), *self.state()) {
            (Some(steady), Some(state)) => Reading {
                now: steady.ms + state.ahead,
                moved: state.server.map(|server| server.moved),
            },
            _ => Reading {
                now: self.clock.now_ms(),
                moved: None,
            },
        }
    }

    /// Looks whether the clock was set. If so, moves the times in the database by as much, once for all processes, and
    /// returns true.
    pub(super) async fn look(&self, store: &Store) -> Result<bool, OutboxError> {
        let Some(steady) = self.clock.steady() else {
            return Ok(false);
        };
        match self.due_look(steady.ms) {
            Look::No => Ok(false),
            Look::Note => self.note(store).await,
            Look::Server => self.follow(store, false).await,
        }
    }

    /// Returns what has to be looked at. One of those who look at the server's clock at the same time is enough.
    fn due_look(&self, steady_ms: i64) -> Look {
        let mut state = self.state();
        let Some(state) = state.as_mut() else {
            return Look::Note;
        };
        if (self.clock.now_ms() - steady_ms - state.seen).abs() >= JUMP_MS {
            return Look::Note;
        }
        match state.server.as_mut() {
            Some(server) if (steady_ms - server.looked).abs() >= SERVER_LOOK_MS => {
                server.looked = steady_ms;
                Look::Server
            }
            _ => Look::No,
        }
    }

    /// Looks at once, also at the clock of a server.
    pub(super) async fn look_now(&self, store: &Store) -> Result<bool, OutboxError> {
        if let Some(server) = self.state().as_mut().and_then(|state| state.server.as_mut()) {
            server.looked = i64::MIN / 2;
        }
        self.look(store).await
    }

    /// Notes the time in the database, so that a machine that starts with a clock of the past is recognised. Returns true
    /// if the clock was set.
    pub(super) async fn note(&self, store: &Store) -> Result<bool, OutboxError> {
        self.follow(store, true).await
    }

    async fn follow(&self, store: &Store, note: bool) -> Result<bool, OutboxError> {
        let Some(steady) = self.clock.steady() else {
            return Ok(false);
        };
        let now = self.clock.now_ms();
        let seen = now - steady.ms;
        // Machines that share a database need one clock: that of its server.
        if self.clock.is_machine()
            && let Some((ahead, server)) = self.follow_server(store, note).await?
        {
            return Ok(self.set(seen, ahead, Some(server)));
        }
        let moved = store.follow_clock(&steady.boot, now, seen, JUMP_MS).await?;
        warn_of(moved);
        Ok(self.set(seen, seen, None))
    }

    /// Returns the time by which the server's clock is ahead of the steady one; `None` if the database has no clock.
    async fn follow_server(
        &self,
        store: &Store,
        note: bool,
    ) -> Result<Option<(i64, ServerState)>, OutboxError> {
        let mut latest = None;
        for _ in 0..READINGS {
            let Some(before) = self.clock.steady() else {
                return Ok(None);
            };
            let Some(clock) = store.server_clock().await? else {
                return Ok(None);
            };
            let steady = self.clock.steady().unwrap_or(before.clone());
            // A slow answer says less about the time.
            let jump = JUMP_MS + (steady.ms - before.ms).abs();
            let ahead = clock.now - steady.ms;
            let mut server = ServerState {
                ahead: ahead - clock.moved,
                moved: clock.moved,
                looked: steady.ms,
            };
            latest = Some((ahead, server));
            let known = self.state().and_then(|state| state.server);
            // Another process moved the times: it has noticed what this one notices now.
            let by_another = known.is_some_and(|known| known.moved != clock.moved);
            let last = if by_another {
                Some(server.ahead)
            } else {
                known.map(|known| known.ahead)
            };
            let is_steady = last.is_some_and(|last| (server.ahead - last).abs() < jump);
            if !note && is_steady {
                return Ok(latest);
            }
            let reading = ServerReading {
                boot: &steady.boot,
                now: clock.now,
                moved: clock.moved,
                ahead: server.ahead,
                last,
                jump,
            };
            if let Some(moved) = store.follow_server(&reading).await? {
                warn_of(moved);
                server.ahead -= moved;
                server.moved += moved;
                return Ok(Some((ahead, server)));
            }
        }
        Ok(latest)
    }

    /// Keeps what was found. Returns true if the time of the outbox jumped.
    fn set(&self, seen: i64, ahead: i64, server: Option<ServerState>) -> bool {
        let before = self.state().replace(ClockState { seen, ahead, server });
        before.is_some_and(|before| (before.ahead - ahead).abs() >= JUMP_MS)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Option<ClockState>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn warn_of(moved: i64) {
    if moved != 0 {
        tracing::warn!(
            seconds = moved / 1000,
            "the clock was set; due times move with it"
        );
    }
}
