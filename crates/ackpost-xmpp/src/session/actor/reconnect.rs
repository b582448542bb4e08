//! The time between two connections: reconnecting, and the commands that come in meanwhile.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Actor, End, maybe_sleep};
use crate::error::{Step, XmppError};
use crate::login::{self, Online, Plan, Resumption};
use crate::session::command::{Closing, Command};
use crate::session::event::Event;

impl Actor {
    /// Connects while commands keep coming in.
    pub(super) async fn connect(&mut self) -> Result<Online, End> {
        let resumption = match &self.sm {
            Some(sm) => Resumption::Resume {
                id: sm.id.clone(),
                handled: sm.handled,
            },
            None if self.options.resume => Resumption::Wanted,
            None => Resumption::Unwanted,
        };
        let plan = Plan {
            resumption,
            ..Plan::default()
        };
        let connector = self.connector.clone();
        let mut opening = std::pin::pin!(login::open(&connector, &plan));
        loop {
            let until = self.next_give_up();
            tokio::select! {
                opened = &mut opening => return opened.map_err(End::Broken),
                command = self.commands.recv() => {
                    if let Some(done) = self.queue_up(command) {
                        return Err(End::Closed(done));
                    }
                }
                () = maybe_sleep(until) => self.give_up(),
            }
        }
    }

    /// Waits before the next attempt. `Some` when the session is to be closed.
    pub(super) async fn rest(&mut self, error: XmppError, pause: Duration) -> Option<Closing> {
        // Many clients lose a server at the same moment; they should not come back at the same moment.
        let jitter = getrandom::u64().unwrap_or_default() % 1000;
        let pause =
            pause.mul_f64(0.75 + 0.5 * (f64::from(u32::try_from(jitter).unwrap_or_default()) / 1000.0));
        tracing::debug!(%error, ?pause, "session lost");
        for (_, pending) in self.asked.drain() {
            pending.reply.send(Err(error.clone()));
        }
        self.last_error = Some(error.clone());
        self.emit(Event::Offline {
            reason: error,
            retry_in: pause,
        });
        let until = Instant::now() + pause;
        loop {
            let give_up = self.next_give_up();
            tokio::select! {
                () = sleep_until(until) => return None,
                command = self.commands.recv() => {
                    if let Some(done) = self.queue_up(command) {
                        return Some(done);
                    }
                }
                () = maybe_sleep(give_up) => self.give_up(),
            }
        }
    }

    /// Takes a command while there is no connection. `Some` when the session is to be closed.
    pub(super) fn queue_up(&mut self, command: Option<Command>) -> Option<Closing> {
        match command {
            None => return Some(None),
            Some(Command::Close(done)) => return Some(Some(done)),
            Some(Command::Send(parts)) => {
                self.accept_all(parts);
                self.tracker.add_barrier();
            }
            Some(Command::Join(room)) => self.keep_room(room),
            Some(Command::Leave(room)) => self.leave_room(&room),
            Some(Command::Ask { reply, .. }) => {
                let error = self
                    .last_error
                    .clone()
                    .unwrap_or(XmppError::ConnectionLost { step: Step::Query });
                let _ = reply.send(Err(error));
            }
            #[cfg(feature = "omemo")]
            Some(Command::Question { reply, .. }) => {
                let error = self
                    .last_error
                    .clone()
                    .unwrap_or(XmppError::ConnectionLost { step: Step::Query });
                let _ = reply.send(Err(error));
            }
            // The message is still in the state of the device.
            #[cfg(feature = "omemo")]
            Some(Command::SendUnconfirmed(_)) => {}
        }
        None
    }
}
