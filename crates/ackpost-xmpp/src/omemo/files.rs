//! Encrypted files (XEP-0454): uploaded without their name and kind, and linked as `aesgcm://`.

use std::sync::Arc;

use bytes::Bytes;

use super::error::OmemoError;
use super::system::rng;
use crate::connect::Connector;
use crate::error::XmppError;
use crate::id;
use crate::message::Attachment;
use crate::upload::{self, Ask};

/// The longest name ending that is kept, in characters.
const ENDING_MAX: usize = 8;

/// Encrypts files and uploads them. The links hold the keys: they must not be logged.
pub(super) async fn upload(
    server: &mut impl Ask,
    connector: &Connector,
    files: &[Arc<Attachment>],
) -> Result<Vec<(Arc<Attachment>, String)>, XmppError> {
    let mut sealed = Vec::new();
    let mut keys = Vec::new();
    for file in files {
        let mut data = file.data.to_vec();
        keys.push((file.clone(), ::omemo::Attachment::encrypt(&mut data, &mut rng())));
        sealed.push(Arc::new(Attachment::new(
            neutral_name(&file.name),
            "application/octet-stream",
            Bytes::from(data),
        )));
    }
    let uploaded = upload::all(server, connector, &sealed).await?;
    keys.into_iter()
        .zip(uploaded)
        .map(|((file, key), (_, address))| {
            let link = key.link(&address).map_err(OmemoError::from)?;
            Ok((file, link.to_string()))
        })
        .collect()
}

/// A random name. The ending stays, so that clients show a picture as one.
fn neutral_name(name: &str) -> String {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    let ending = ending
        .filter(|ending| {
            ending.len() <= ENDING_MAX && ending.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
        .filter(|ending| !ending.is_empty());
    match ending {
        Some(ending) => format!("{}.{}", id::short(), ending.to_ascii_lowercase()),
        None => id::short(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_stay_with_us() {
        for (name, ending) in [
            ("Holiday.JPG", Some("jpg")),
            ("a.b/c", None),
            ("secret", None),
            ("x.averylongending", None),
            ("x.", None),
        ] {
            let neutral = neutral_name(name);
            assert_eq!(
                neutral.split_once('.').map(|(_, ending)| ending),
                ending,
                "{name}"
            );
            assert!(!neutral.contains(name));
        }
    }
}
