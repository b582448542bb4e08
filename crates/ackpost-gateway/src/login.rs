//! Sessions of the pages: a cookie stands for a token that was typed once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;

use super::token::Grant;

/// How long a page stays logged in without being used.
const LIFETIME: Duration = Duration::from_secs(8 * 3600);
const MAX_SESSIONS: usize = 1_000;

/// The sessions of the pages. They live in memory: a restart logs everybody out.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    sessions: Mutex<HashMap<String, (Arc<Grant>, Instant)>>,
}

impl Logins {
    /// Makes a session; the text is the value of the cookie.
    pub(crate) fn open(&self, grant: Arc<Grant>, now: Instant) -> Result<String, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let name = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, (_, used)| now.saturating_duration_since(*used) < LIFETIME);
        if sessions.len() >= MAX_SESSIONS {
            sessions.clear();
        }
        sessions.insert(name.clone(), (grant, now));
        Ok(name)
    }

    /// The grant that a session was opened with. Whether its token is still valid is for the caller to check.
    pub(crate) fn grant(&self, session: &str, now: Instant) -> Option<Arc<Grant>> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let (grant, used) = sessions.get_mut(session)?;
        if now.saturating_duration_since(*used) >= LIFETIME {
            sessions.remove(session);
            return None;
        }
        *used = now;
        Some(Arc::clone(grant))
    }

    /// Ends one session.
    pub(crate) fn close(&self, session: &str) {
        self.sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(session);
    }
}
