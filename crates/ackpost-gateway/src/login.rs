//! Sessions of the pages: a cookie stands for a token that was typed once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;

use super::token::Grant;

/// Time for which a page stays logged in without being used.
const LIFETIME: Duration = Duration::from_secs(8 * 3600);
const MAX_SESSIONS: usize = 1_000;
/// Maximum number of sessions of one token; a further one ends the one that was not used for longest.
const MAX_PER_TOKEN: usize = 50;

/// The sessions of the pages. They live in memory: a restart logs everybody out.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    sessions: Mutex<HashMap<String, (Arc<Grant>, Instant)>>,
}

/// Ends the session that was not used for longest among those whose grant fits.
fn remove_oldest(sessions: &mut HashMap<String, (Arc<Grant>, Instant)>, fits: impl Fn(&Arc<Grant>) -> bool) {
    let of_token = sessions.iter().filter(|(_, (grant, _))| fits(grant));
    let oldest = of_token
        .min_by_key(|(_, (_, used))| *used)
        .map(|(name, _)| name.clone());
    if let Some(name) = oldest {
        sessions.remove(&name);
    }
}

impl Logins {
    /// Makes a session; the text is the value of the cookie.
    pub(crate) fn open(&self, grant: Arc<Grant>, now: Instant) -> Result<String, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let name = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, (_, used)| now.saturating_duration_since(*used) < LIFETIME);
        // The logins of one token end no session of another.
        let own = |opened: &Arc<Grant>| opened.id == grant.id;
        if sessions.values().filter(|(opened, _)| own(opened)).count() >= MAX_PER_TOKEN {
            remove_oldest(&mut sessions, own);
        } else if sessions.len() >= MAX_SESSIONS {
            remove_oldest(&mut sessions, |_| true);
        }
        sessions.insert(name.clone(), (grant, now));
        Ok(name)
    }

    /// Returns the grant with which a session was opened. The caller must check that its token is still valid.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(id: &str) -> Arc<Grant> {
        let row = format!("name = \"{id}\"\nid = \"{id}\"\nsha256 = \"\"\nallow = []\n");
        Arc::new(toml::from_str(&row).expect("a row"))
    }

    #[test]
    fn many_logins_of_one_token_end_no_session_of_another() {
        let (logins, now) = (Logins::default(), Instant::now());
        let other = logins.open(grant("other"), now).expect("random bytes");
        let first = logins.open(grant("one"), now).expect("random bytes");
        let mut last = String::new();
        for number in 1..=2_000 {
            let later = now + Duration::from_millis(number);
            last = logins.open(grant("one"), later).expect("random bytes");
        }
        let later = now + Duration::from_secs(60);
        assert!(logins.grant(&other, later).is_some());
        assert!(logins.grant(&last, later).is_some());
        assert!(
            logins.grant(&first, later).is_none(),
            "the oldest one of the same token"
        );
        let count = logins.sessions.lock().expect("no panic").len();
        assert_eq!(count, MAX_PER_TOKEN + 1);
    }
}
