//! Keys of an S3-compatible store, from a file or from the environment, never from the configuration.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusty_s3::Credentials;

use super::error::ContentError;
use crate::config::Config;

/// Time after which keys are read again, so that new ones take effect without a restart.
const FRESH: Duration = Duration::from_secs(60);
/// Largest file of keys.
const MAX_FILE: u64 = 64 * 1024;

/// Source of the keys, and the keys that were read last. Neither is printed.
pub(super) struct CredentialSource {
    file: Option<PathBuf>,
    last: Mutex<Option<(Instant, Arc<Credentials>)>>,
}

impl std::fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialSource")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl CredentialSource {
    pub(super) fn new(config: &Config) -> Self {
        let file = &config.files.s3_credentials_file;
        Self {
            file: (!file.as_os_str().is_empty()).then(|| config.dir.join(file)),
            last: Mutex::default(),
        }
    }

    /// The keys, at most a minute old.
    pub(super) async fn get(&self) -> Result<Arc<Credentials>, ContentError> {
        let known = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((read, credentials)) = known
            && read.elapsed() < FRESH
        {
            return Ok(credentials);
        }
        let credentials = Arc::new(self.read().await?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), Arc::clone(&credentials)));
        Ok(credentials)
    }

    /// Notes that the store refused: the next call reads the keys again.
    pub(super) fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn read(&self) -> Result<Credentials, ContentError> {
        let Some(path) = &self.file else {
            return Credentials::from_env().ok_or_else(|| {
                ContentError::Store(
                    "no access keys are set: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                     files.s3_credentials_file"
                        .to_owned(),
                )
            });
        };
        let failed = |cause: &dyn std::fmt::Display| {
            ContentError::Store(format!(
                "its keys cannot be read from {}: {cause}",
                path.display()
            ))
        };
        let length = tokio::fs::metadata(path)
            .await
            .map_err(|error| failed(&error))?
            .len();
        if length > MAX_FILE {
            return Err(failed(&"the file is too large"));
        }
        let text = tokio::fs::read_to_string(path)
            .await
            .map_err(|error| failed(&error))?;
        let text = zeroize::Zeroizing::new(text);
        parse(&text).ok_or_else(|| {
            failed(&"it has no lines `aws_access_key_id = …` and `aws_secret_access_key = …`, in [default] or no section")
        })
    }
}

/// Reads the format of `~/.aws/credentials`: the section `[default]`, or no section.
fn parse(text: &str) -> Option<Credentials> {
    let (mut key, mut secret, mut token) = (None, None, None);
    let mut ours = true;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            ours = section.trim_end_matches(']').trim() == "default";
            continue;
        }
        let Some((name, value)) = line
            .split_once('=')
            .filter(|_| ours && !line.starts_with(['#', ';']))
        else {
            continue;
        };
        let value = value.trim().trim_matches('"');
        let place = match name.trim() {
            "aws_access_key_id" => &mut key,
            "aws_secret_access_key" => &mut secret,
            "aws_session_token" => &mut token,
            _ => continue,
        };
        *place = Some(value).filter(|value| !value.is_empty());
    }
    Some(match token {
        Some(token) => Credentials::new_with_token(key?, secret?, token),
        None => Credentials::new(key?, secret?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_the_common_format() {
        let plain = parse("aws_access_key_id=AK\naws_secret_access_key = s=3c/ret\n").expect("keys");
        assert_eq!(
            (plain.key(), plain.secret(), plain.token()),
            ("AK", "s=3c/ret", None)
        );
        let text = "# keys\n[other]\naws_access_key_id = NO\naws_secret_access_key = NO\n\n[default]\nregion = x\n\
                    aws_access_key_id = \"AK\"\naws_secret_access_key = s3cret\naws_session_token = t0ken\n";
        let sections = parse(text).expect("keys");
        assert_eq!(
            (sections.key(), sections.secret(), sections.token()),
            ("AK", "s3cret", Some("t0ken"))
        );
        for none in [
            "",
            "[x]\naws_access_key_id = A\naws_secret_access_key = B",
            "aws_access_key_id = A",
            "#aws_access_key_id = A\naws_secret_access_key = B",
        ] {
            assert!(parse(none).is_none(), "{none}");
        }
    }

    #[tokio::test]
    async fn neither_source_nor_keys_print_a_secret() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(
            folder.path().join("keys"),
            "aws_access_key_id=AK\naws_secret_access_key=hidden-secret\naws_session_token=hidden-token\n",
        )
        .expect("written");
        let mut config = Config::for_dir(folder.path());
        config.files.s3_credentials_file = "keys".into();
        let source = CredentialSource::new(&config);
        let keys = source.get().await.expect("keys");
        assert_eq!(keys.secret(), "hidden-secret");
        let printed = format!("{source:?} {keys:?} {config:?}");
        assert!(!printed.contains("hidden"), "{printed}");
        config.files.s3_credentials_file = "absent".into();
        let error = CredentialSource::new(&config).get().await.expect_err("no file");
        assert!(error.to_string().contains("absent"), "{error}");
    }
}
