//! The lines of a bridge about itself in its rooms.

use crate::clock::now_ms;
use crate::shared::Shared;
use crate::store::StoreError;

/// The last error of each direction, for moderators alone; `None` if there was none.
pub(crate) async fn errors_line(shared: &Shared) -> Result<Option<String>, StoreError> {
    let mut lines = Vec::new();
    for (to_session, side) in [(true, "the community"), (false, "the XMPP room")] {
        if let Some(error) = shared.store.counts(&shared.name, to_session).await?.error {
            lines.push(format!("Last error on the way to {side}: {error}"));
        }
    }
    Ok(Some(lines.join("\n")).filter(|line| !line.is_empty()))
}

/// The answer to `!bridge`.
pub(crate) async fn state_line(shared: &Shared) -> Result<String, StoreError> {
    let mut line = match shared.store.paused(&shared.name).await? {
        Some(why) => format!("The bridge {} is paused ({why}).", shared.name),
        None => format!("The bridge {} is running.", shared.name),
    };
    for (to_session, side) in [(true, "the community"), (false, "the XMPP room")] {
        let counts = shared.store.counts(&shared.name, to_session).await?;
        let delay = counts
            .oldest
            .map_or(0, |oldest| (now_ms() - oldest).max(0) / 1000);
        line.push_str(&format!(
            "\nTo {side}: {} carried in 7 days, {} waiting (for {delay} s), {} refused.",
            counts.carried, counts.waiting, counts.refused
        ));
    }
    Ok(line)
}
