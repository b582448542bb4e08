//! Decisions after a call to the community failed.

use sogs_client::{Cause, SogsError};

use super::ToSession;
use crate::lane::Ended;
use crate::limits::{millis, spoken};
use crate::store::{Entry, Side, StoreError};

/// Attempts, each after a longer pause, before this direction pauses because of an answer that does not pass by itself. A proxy
/// in front of a server that restarts gives such answers for some seconds.
const ATTEMPTS: i64 = 4;
/// Attempts at a change whose answers leave open if it was made.
const OPEN_ATTEMPTS: i64 = 3;

/// Returns true if the community refuses this very message or change. Every other cause is about the connection, the room or the
/// bridge: what waits must be kept then.
pub(super) fn is_about_this(error: &SogsError) -> bool {
    matches!(
        error.cause(),
        Cause::BadRequest
            | Cause::NotAcceptable
            | Cause::AlreadyDecided
            | Cause::TooLarge
            | Cause::Rejected
            | Cause::InvalidInput { .. }
            | Cause::DirectMessage(_)
            | Cause::Content(_)
    )
}

/// Returns true if the server may have stored a message, and will not give a better answer.
pub(super) fn is_left_open(error: &SogsError) -> bool {
    error.is_ambiguous() && error.is_permanent()
}

/// Pause before the next attempt, milliseconds.
fn pause(entry: &Entry) -> i64 {
    1_000 * (1_i64 << entry.tries.clamp(0, 6))
}

impl ToSession<'_> {
    /// Returns true if the community still takes posts of the bridge itself.
    ///
    /// # Errors
    /// The community does not answer now.
    async fn may_write(&self) -> Result<bool, SogsError> {
        match self.shared.room.info().await {
            Ok(info) => Ok(info.write),
            Err(error)
                if error.is_permanent() || matches!(error.cause(), Cause::Banned | Cause::Forbidden) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns true if a 404 is about the message: the community shows the room.
    ///
    /// # Errors
    /// The community does not answer now, or does not show the room either: a proxy on the way gives such answers too.
    pub(super) async fn is_gone(&self, error: &SogsError) -> Result<bool, SogsError> {
        if !matches!(error.cause(), Cause::NotFound) {
            return Ok(false);
        }
        self.shared.room.info().await.map(|_| true)
    }

    /// Decides what becomes of an entry after a call failed.
    pub(super) async fn failed(&mut self, entry: &Entry, error: &SogsError) -> Result<Ended, StoreError> {
        let why = error.to_string();
        let wait = error.retry_after().map(millis);
        Ok(match error.cause() {
            Cause::RateLimited => Ended::Later(wait.unwrap_or(4_000), why),
            Cause::Banned | Cause::Forbidden => match self.may_write().await {
                // One person is banned, or one message is against the rules there; the others go on. A ban may have
                // ended between the post and the question: only the second refusal counts.
                Ok(true) if self.doubted.replace(entry.id) == Some(entry.id) => {
                    Ended::refused(why, "ask a moderator of the community")
                }
                Ok(true) => Ended::Later(1_000, why),
                Ok(false) => self.refused_us(entry, &why).await?,
                Err(error) => Ended::Later(error.retry_after().map_or(1_000, millis), why),
            },
            Cause::BlindingRequired | Cause::WrongServerKey => self.refused_us(entry, &why).await?,
            _ if is_about_this(error) => Ended::refused(why, error.remedy()),
            _ if is_left_open(error) && entry.tries >= OPEN_ATTEMPTS => Ended::refused(why, error.remedy()),
            _ if error.is_permanent() && !is_left_open(error) && entry.tries >= ATTEMPTS => {
                self.refused_us(entry, &why).await?
            }
            _ => Ended::Later(wait.unwrap_or(0).max(pause(entry)), why),
        })
    }

    /// The community refuses the bridge itself: this direction pauses, and the XMPP room is told once.
    async fn refused_us(&mut self, entry: &Entry, why: &str) -> Result<Ended, StoreError> {
        let pauses = &self.shared.limits.refused;
        let pause = pauses[self.refused.min(pauses.len() - 1)];
        if self.refused == 0 {
            let text = format!(
                "The community refuses the bridge: {why}. It tries again in {}; what is written here waits.",
                spoken(pause)
            );
            let key = format!("refused-{}", entry.id);
            self.shared.tell(Side::Xmpp, &key, text).await?;
        }
        self.refused += 1;
        Ok(Ended::Later(millis(pause), why.to_owned()))
    }
}
