//! The files of a message: fetched from the XMPP side, and uploaded to the community.

use std::time::Duration;

use sogs_client::{Cause, Room, Upload, UploadedFile};
use tokio::time::Instant;

use super::ToSession;
use super::failed::is_about_this;
use crate::config::Files;
use crate::fetch::fetch;
use crate::job::Post;
use crate::lane::Ended;
use crate::people::OCCUPANT;
use crate::store::{Entry, StoreError};
use crate::text;

/// Time to fetch all files of one message in one attempt. Messages behind it wait meanwhile.
const FILES_WITHIN: Duration = Duration::from_secs(60);
/// Time from which an attempt at the files of a message counts as slow, however it ends.
const SLOW: Duration = Duration::from_secs(10);
/// Time for which the files of a person are not fetched after one that came too slowly.
const SLOW_KEPT: Duration = Duration::from_mins(10);
/// Maximum number of such people that are remembered.
const SLOW_MAX: usize = 1_000;

/// The files of a message that were uploaded, and a line for each that is only named.
pub(super) type Copied = (Vec<UploadedFile>, Vec<String>);

/// The name under which a slow author is remembered. A nick costs nothing, so all people without a permanent id are one.
fn slow_key(author: &str) -> &str {
    if author.starts_with(OCCUPANT) { author } else { "" }
}

impl ToSession<'_> {
    /// Returns true if files of this person came too slowly a short while ago: nobody else's messages may wait for them again.
    fn is_slow(&self, author: &str) -> bool {
        self.slow
            .get(slow_key(author))
            .is_some_and(|at| at.elapsed() < SLOW_KEPT)
    }

    fn note_slow(&mut self, author: &str) {
        self.slow.retain(|_, at| at.elapsed() < SLOW_KEPT);
        if self.slow.len() < SLOW_MAX {
            self.slow.insert(slow_key(author).to_owned(), Instant::now());
        }
    }

    /// The files of a message, uploaded; and a line for each that is only named.
    pub(super) async fn files(
        &mut self,
        entry: &Entry,
        post: &Post,
        person: Option<&Room>,
    ) -> Result<Result<Copied, Ended>, StoreError> {
        let shared = self.shared;
        let room = person.unwrap_or(&shared.room);
        let (mut files, mut remarks) = (Vec::new(), Vec::new());
        let until = Instant::now() + FILES_WITHIN;
        for file in &post.files {
            if shared.options.files == Files::Link || self.is_slow(&entry.author) {
                remarks.push(file.url.clone());
                continue;
            }
            let began = Instant::now();
            let within = until.saturating_duration_since(began);
            let limit = shared.options.max_file;
            let fetched = fetch(&file.url, limit, within, shared.private.as_ref()).await;
            if began.elapsed() > SLOW {
                self.note_slow(&entry.author);
            }
            match fetched {
                Ok(fetched) => {
                    let mut upload = Upload::new(fetched.bytes);
                    if let Some(name) = &file.name {
                        upload = upload.name(text::clean_name(name).replace(['/', '\\'], "_"));
                    }
                    if let Some(media_type) = fetched.media_type {
                        upload = upload.content_type(media_type);
                    }
                    match room.upload(upload).await {
                        Ok(uploaded) => files.push(uploaded),
                        Err(error)
                            if is_about_this(&error)
                                || matches!(error.cause(), Cause::Banned | Cause::Forbidden)
                                || self.is_gone(&error).await.unwrap_or_default() =>
                        {
                            remarks.push(format!("{} (the file was not copied: {error})", file.url));
                        }
                        Err(error) => return Ok(Err(self.failed(entry, &error).await?)),
                    }
                }
                Err(error) if error.may_pass() && entry.tries == 0 && !self.is_slow(&entry.author) => {
                    return Ok(Err(Ended::Later(5_000, error.to_string())));
                }
                Err(error) => {
                    remarks.push(format!("{} (the file was not copied: {error})", file.url));
                }
            }
        }
        Ok(Ok((files, remarks)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_nick_does_not_bring_back_the_patience_with_slow_files() {
        assert_eq!(slow_key("nick:mallory"), slow_key("nick:mallory2"));
        let (one, other) = (format!("{OCCUPANT}one"), format!("{OCCUPANT}other"));
        assert_ne!(slow_key(&one), slow_key(&other));
        assert_ne!(slow_key(&one), slow_key("nick:one"));
    }
}
