//! The parts of a post that filters and plugins see.

use crate::model::filter::Inspected;

/// Extracts the parts of a post that filters and plugins check.
///
/// Content that cannot be decoded is checked as its bytes, so that filters cannot be bypassed.
pub fn inspect(data: &[u8]) -> Inspected {
    let Ok(content) = session_protocol::content::Content::decode_bounded(data) else {
        return Inspected {
            body: String::from_utf8_lossy(data).into_owned(),
            ..Inspected::default()
        };
    };
    let Some(message) = content.data_message else {
        return Inspected::default();
    };
    Inspected {
        body: message.body.unwrap_or_default(),
        name: message
            .profile
            .and_then(|profile| profile.display_name)
            .unwrap_or_default(),
        previews: message
            .previews
            .into_iter()
            .flat_map(|preview| [preview.url, preview.title])
            .flatten()
            .chain(
                message
                    .attachments
                    .iter()
                    .flat_map(|file| [file.caption.clone(), file.file_name.clone()])
                    .flatten(),
            )
            .chain(
                message
                    .invitation
                    .into_iter()
                    .flat_map(|invitation| [invitation.url, invitation.name])
                    .flatten(),
            )
            .collect(),
        quotes: message
            .quote
            .into_iter()
            .flat_map(|quote| {
                let names = quote.attachments.into_iter().map(|file| file.file_name);
                std::iter::once(quote.text).chain(names)
            })
            .flatten()
            .collect(),
        attachments: message
            .attachments
            .into_iter()
            .map(|file| file.content_type.unwrap_or_default())
            .collect(),
    }
}
