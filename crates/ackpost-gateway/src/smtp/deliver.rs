//! Storing of a mail in the outbox, and the answer to the client.

use ackpost_apprise::TagFilter;
use ackpost_outbox::Accepted;
use ackpost_platform::text::is_media_type;
use axum::http::StatusCode;

use crate::auth::Caller;
use crate::hook::{IncomingMessage, add_note};
use crate::mail::Mail;
use crate::memory::Share;
use crate::payload::{Given, GivenFile, safe_name};
use crate::recipient::Recipient;
use crate::reply::Reply;
use crate::routes::hooks::{self, KeyServices, Resolved};
use crate::routes::notify::{key_services, next_hop};
use crate::routes::send::{self, SendRequest};
use crate::state::Gateway;
use crate::token::Scope;

/// Maximum number of mail servers that a mail went through (RFC 5321, 6.3): more are a loop.
const MAX_HOPS: usize = 100;
/// Longest text of an answer.
const MAX_LINE: usize = 400;
/// Maximum number of ids that an answer names.
const SHOWN_IDS: usize = 8;
/// Largest text of all recipients together, bytes.
const MAX_TEXTS: usize = 4 << 20;
/// Memory for the text of one recipient, in lengths of the text.
const COPIES: usize = 4;
/// Length of `450 4.7.1`.
const CODES: usize = 9;

/// Checks that a recipient may be written to and reaches somebody.
pub(super) async fn services(gateway: &Gateway, caller: &Caller, recipient: &Recipient) -> Result<(), Reply> {
    caller.may(Scope::Notify, Some(&recipient.key))?;
    crate::signature::require(gateway, &recipient.key, false)?;
    let found = key_services(gateway, &recipient.key).await?;
    let found =
        found.ok_or_else(|| Reply::not_found("unknown recipient").remedy("write to KEY@… or TAG+KEY@…"))?;
    let filter = recipient.filter.clone().unwrap_or(TagFilter::All);
    if caller.choose(found.iter(), &filter).is_empty() {
        return Err(Reply::new(
            StatusCode::FAILED_DEPENDENCY,
            "no service of this key has these tags",
        )
        .remedy("check the address"));
    }
    Ok(())
}

/// Stores a mail for all of its recipients or for none of them; returns the answer to its data.
pub(super) async fn accept(
    gateway: &Gateway,
    caller: &Caller,
    recipients: &[Recipient],
    bytes: Vec<u8>,
    mut share: Share,
) -> String {
    if let Err(reply) = share.cover_memory(Mail::memory(bytes.len())).await {
        return refusal(&reply);
    }
    let permit = gateway.memory.permit(bytes.len()).await;
    let mail = match Mail::read(&bytes) {
        Ok(mail) => mail,
        Err(error) => return format!("554 5.6.0 {error}; {}", error.remedy()),
    };
    let size = bytes.len();
    drop((bytes, permit));
    if mail.hops > MAX_HOPS {
        return format!("554 5.4.6 the mail went through more than {MAX_HOPS} mail servers; look for a loop");
    }
    let Some(hops) = next_hop(gateway, mail.gateways) else {
        return "554 5.4.6 the mail went through too many gateways, perhaps in a loop; see max_recursion in gateway.toml"
            .to_owned();
    };
    // Every recipient has a copy of the text, as a message and as it is stored.
    let texts = mail.body.len().saturating_mul(recipients.len());
    if recipients.len() > 1 && texts > MAX_TEXTS {
        let count = recipients.len();
        return format!("552 5.3.4 the text is too long for {count} recipients; send it in several mails");
    }
    // The mail itself is gone, its files are not.
    let copies = size.saturating_add(texts * COPIES);
    if let Err(reply) = share.cover_memory(copies).await {
        return refusal(&reply);
    }
    let resolved = match hooks::resolve(gateway, message(mail), &mut share).await {
        Ok(resolved) => resolved,
        Err(reply) => return refusal(&reply),
    };
    let (mut orders, mut refused) = (Vec::with_capacity(recipients.len()), Vec::new());
    for recipient in recipients {
        match order(gateway, caller, recipient, hops, &resolved).await {
            Ok(order) => orders.push(order),
            Err(reply) => refused.push((recipient, reply)),
        }
    }
    if !refused.is_empty() {
        return refusal_of(&refused, recipients.len());
    }
    // The share is held until everything is stored.
    let stored = send::accept_copies(gateway, &resolved.attachments, &orders).await;
    drop(share);
    match stored {
        Ok(stored) => accepted(&stored, &orders),
        Err(reply) => refusal(&reply),
    }
}

/// Returns the copy of a mail for one recipient. It names the services of the recipient that cannot be used.
async fn order(
    gateway: &Gateway,
    caller: &Caller,
    recipient: &Recipient,
    hops: u32,
    resolved: &Resolved,
) -> Result<SendRequest, Reply> {
    caller.may(Scope::Notify, Some(&recipient.key))?;
    let to = KeyServices {
        services: hooks::services(gateway, &recipient.key, false).await?,
        key: recipient.key.clone(),
        filter: recipient.filter.clone(),
        hops,
    };
    let mut order = hooks::compose(gateway, caller, to, resolved.clone()).await?;
    let unusable = order.problems.len();
    if unusable > 0 {
        let problems: Vec<String> = order.problems.iter().map(send::told).collect();
        tracing::warn!(key = %recipient.key, problems = problems.join(" | "), "a mail does not go to every service");
        // The people who read it do not see the configuration.
        let services = if unusable == 1 { "service" } else { "services" };
        let note = format!(
            "(not sent to {unusable} {services} that cannot be used; the log of the gateway names the cause)"
        );
        add_note(&mut order.message.body, resolved.incoming.format, &note);
    }
    Ok(order)
}

/// The answer for a mail that is stored.
fn accepted(stored: &[Accepted], orders: &[SendRequest]) -> String {
    let ids: Vec<String> = stored
        .iter()
        .take(SHOWN_IDS)
        .map(|one| one.id.to_string())
        .collect();
    let mut text = format!("stored as {}", ids.join(", "));
    if stored.len() > ids.len() {
        text.push_str(&format!(" and {} more", stored.len() - ids.len()));
    }
    let mut problems = orders.iter().flat_map(|order| &order.problems);
    if let Some(first) = problems.next() {
        text.push_str(&format!(
            "; some of the services could not be used: {}",
            send::told(first)
        ));
        let more = problems.count();
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
    }
    format!("250 2.0.0 {}", line(&text))
}

/// The answer for a mail that some recipients refuse: a temporary refusal if one of them is temporary.
fn refusal_of(refused: &[(&Recipient, Reply)], recipients: usize) -> String {
    let answers = refused.iter().map(|(recipient, reply)| {
        let answer = refusal(reply);
        if recipients == 1 {
            return answer;
        }
        // The code, the class, and then the text.
        let (codes, text) = answer.split_at(CODES);
        let text = format!(
            "nothing is stored, because {} is refused: {}",
            recipient.key,
            text.trim()
        );
        format!("{codes} {}", line(&text))
    });
    let mut answers: Vec<String> = answers.collect();
    answers.sort();
    answers.swap_remove(0)
}

fn message(mail: Mail) -> IncomingMessage {
    let files = mail.files.into_iter().map(|file| GivenFile {
        name: file.name.as_deref().map(safe_name),
        media_type: file.media_type.filter(|kind| is_media_type(kind)),
        given: Given::Bytes(file.bytes),
    });
    IncomingMessage {
        files: files.collect(),
        format: mail.format,
        ..IncomingMessage::new(mail.title, mail.body, mail.kind)
    }
}

/// Returns the SMTP reply for a refusal: 4xx for a temporary one, 5xx for a permanent one.
fn refusal(reply: &Reply) -> String {
    let code = match reply.status() {
        StatusCode::TOO_MANY_REQUESTS => "450 4.7.1",
        StatusCode::INSUFFICIENT_STORAGE => "452 4.3.1",
        status if status.is_server_error() => "451 4.3.0",
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => "550 5.7.1",
        StatusCode::NOT_FOUND | StatusCode::FAILED_DEPENDENCY => "550 5.1.1",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "552 5.3.4",
        _ => "554 5.6.0",
    };
    format!("{code} {}", line(&reply.sentence()))
}

/// One line of plain characters.
pub(super) fn line(text: &str) -> String {
    let letters = text
        .chars()
        .map(|c| if (' '..='~').contains(&c) { c } else { '?' });
    letters.take(MAX_LINE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(key: &str) -> Recipient {
        Recipient::parse(key).expect("a key")
    }

    /// A mail server repeats a mail after 4xx only: one recipient that may accept it later decides.
    #[test]
    fn a_mail_is_refused_for_now_if_one_recipient_refuses_it_for_now() {
        let (one, two) = (recipient("one"), recipient("two"));
        let never = || Reply::new(StatusCode::FORBIDDEN, "the token may not use this key");
        let later = || Reply::new(StatusCode::TOO_MANY_REQUESTS, "too many messages");
        for refused in [
            [(&one, never()), (&two, later())],
            [(&two, later()), (&one, never())],
        ] {
            let answer = refusal_of(&refused, 3);
            assert_eq!(
                answer,
                "450 4.7.1 nothing is stored, because two is refused: too many messages"
            );
        }
        assert_eq!(
            refusal_of(&[(&one, never())], 1),
            "550 5.7.1 the token may not use this key"
        );
    }

    #[test]
    fn each_refusal_says_whether_the_mail_may_come_again() {
        for (status, code) in [
            (StatusCode::TOO_MANY_REQUESTS, "450 4.7.1"),
            (StatusCode::INSUFFICIENT_STORAGE, "452 4.3.1"),
            (StatusCode::SERVICE_UNAVAILABLE, "451 4.3.0"),
            (StatusCode::FORBIDDEN, "550 5.7.1"),
            (StatusCode::UNAUTHORIZED, "550 5.7.1"),
            (StatusCode::NOT_FOUND, "550 5.1.1"),
            (StatusCode::FAILED_DEPENDENCY, "550 5.1.1"),
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "552 5.3.4"),
            (StatusCode::BAD_REQUEST, "554 5.6.0"),
        ] {
            let answer = refusal(&Reply::new(status, "Grüße\r\n250 2.0.0 stored"));
            assert_eq!(answer, format!("{code} Gr??e??250 2.0.0 stored"), "one line");
            assert_eq!(code.len(), CODES);
        }
    }
}
