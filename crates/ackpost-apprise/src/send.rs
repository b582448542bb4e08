//! One message for some URLs.

use ackpost_notify::{Message, Report};

use crate::notifier::Notifier;

/// Sends one message to every target of some URLs (separated by commas or blanks), with default options.
///
/// URLs that do not load are problems of the report, and make it a failure.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// ackpost_apprise::send("xmpps://bot:secret@example.org/jane", "backup done").await.into_result()?;
/// # Ok(()) }
/// ```
pub async fn send(urls: &str, message: impl Into<Message>) -> Report {
    let mut notifier = Notifier::new();
    // The report repeats the problems.
    let _ = notifier.add(urls);
    notifier.notify(message.into()).await
}

#[cfg(test)]
mod tests {
    use super::send;

    #[tokio::test]
    async fn urls_that_do_not_load_are_an_error_that_names_them() {
        let error = send("bogus://x", "hello")
            .await
            .into_result()
            .expect_err("no such service");
        assert!(error.is_permanent());
        assert!(error.to_string().contains("bogus"), "{error}");
    }
}
