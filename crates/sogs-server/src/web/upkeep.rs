//! Background work for the pages: the search index and the small versions of pictures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at};

use super::thumbnail::{self, MAX_BYTES, Small};
use crate::app::App;
use crate::contents::ContentError;
use crate::store::{StoreResult, Thumbnail, Unseen};

/// Time between two checks of the queues.
const LOOK: Duration = Duration::from_secs(1);
/// Messages handled in one transaction.
const MESSAGES: i64 = 200;
/// Shortest and longest pause between two transactions, so that others can write.
const PAUSE: Duration = Duration::from_millis(15);
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// Pause for each moment that a transaction took. A transaction takes longer when others write as well: the index is
/// behind then, and costs them a fifth of the time at most.
const REST: u32 = 4;
/// Files that are looked up together.
const FILES: i64 = 8;

/// Starts the two jobs; they end when `stopped` says so.
pub(crate) fn start(app: &Arc<App>, stopped: &watch::Receiver<bool>) -> [tokio::task::JoinHandle<()>; 2] {
    [
        tokio::spawn(index(Arc::clone(app), stopped.clone())),
        tokio::spawn(thumbnails(Arc::clone(app), stopped.clone())),
    ]
}

fn looks() -> tokio::time::Interval {
    let mut looks = interval_at(tokio::time::Instant::now() + LOOK, LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// The pause after a transaction that took so long.
fn pause(took: Duration) -> Duration {
    (took * REST).clamp(PAUSE, MAX_PAUSE)
}

async fn index(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut looks = looks();
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        if !app.config().web.enabled {
            continue;
        }
        loop {
            let began = Instant::now();
            match app.store.index_messages(MESSAGES).await {
                Ok(MESSAGES..) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "messages were not indexed for the search; it is tried again");
                    break;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause(began.elapsed())) => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        }
    }
}

/// One picture after the other, so that decoding takes the memory of one.
async fn thumbnails(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut looks = looks();
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        if !app.config().web.enabled {
            continue;
        }
        let round = async {
            loop {
                let files = app.store.unseen_files(FILES).await?;
                if files.is_empty() {
                    return Ok(());
                }
                for file in &files {
                    if !make(&app, file).await? {
                        return Ok(());
                    }
                }
            }
        };
        let done: StoreResult<()> = tokio::select! {
            done = round => done,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "small versions of pictures were not made; it is tried again");
        }
    }
}

/// Makes the small version of a file, if it is a picture. False when the files cannot be read or stored now.
async fn make(app: &Arc<App>, file: &Unseen) -> StoreResult<bool> {
    let small = match decode(app, file).await {
        Ok(small) => small,
        Err(ContentError::Missing | ContentError::Damaged(_)) => None,
        Err(error) => {
            tracing::debug!(%error, file = file.id, "a small version waits for the files");
            return Ok(false);
        }
    };
    let Some(small) = small else {
        app.store.note_thumbnail(file.id, None).await?;
        return Ok(true);
    };
    let kept = match app.contents.store(&small.bytes).await {
        Ok(kept) => kept,
        Err(error) => {
            tracing::debug!(%error, file = file.id, "a small version cannot be stored now");
            return Ok(false);
        }
    };
    let made = Thumbnail {
        file_id: file.id,
        content: kept.name.clone(),
        size: i64::try_from(small.bytes.len()).unwrap_or(i64::MAX),
        width: i64::from(small.width),
        height: i64::from(small.height),
    };
    app.store.note_thumbnail(file.id, Some(made)).await?;
    let name = kept.name.clone();
    drop(kept);
    // The file may have gone meanwhile.
    app.contents.remove_unused(&app.store, &[name]).await?;
    Ok(true)
}

async fn decode(app: &Arc<App>, file: &Unseen) -> Result<Option<Small>, ContentError> {
    let (Some(size), Some(content)) = (file.size, &file.content) else {
        return Ok(None);
    };
    let size = u64::try_from(size).unwrap_or(0);
    if size > MAX_BYTES {
        return Ok(None);
    }
    let mut opened = app.contents.open(content, size).await?;
    if super::picture_type(opened.peek().await?).is_none() {
        return Ok(None);
    }
    let mut share = app.memory.permit(0);
    let length = usize::try_from(size).unwrap_or(usize::MAX);
    if share.cover(length).await.is_err() {
        return Err(std::io::Error::from(std::io::ErrorKind::ResourceBusy).into());
    }
    let bytes = share.hold(opened.read().await?);
    // If a decoder panics, the file counts as one without a picture.
    let made = tokio::task::spawn_blocking(move || thumbnail::small(&bytes)).await;
    Ok(made.ok().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_leaves_most_of_the_time_to_others() {
        assert_eq!(pause(Duration::from_millis(2)), PAUSE);
        assert_eq!(pause(Duration::from_millis(30)), Duration::from_millis(120));
        assert_eq!(pause(Duration::from_secs(60)), MAX_PAUSE);
    }
}
