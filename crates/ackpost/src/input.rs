//! Input from standard input and files: never more than a limit.

use std::io::{IsTerminal as _, Read as _};

use crate::exit::Failure;
use crate::output;

/// The longest message on standard input, bytes.
const MESSAGE_BYTES: u64 = 64 << 20;

/// Reads a message from standard input. Bytes that are not UTF-8 become U+FFFD, because an alert is worth more than a
/// byte.
pub(crate) fn message() -> Result<String, Failure> {
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        output::note("Type the message, then Ctrl-D.");
    }
    let mut bytes = Vec::new();
    (&mut stdin)
        .take(MESSAGE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| {
            Failure::new(
                format!("cannot read the message from standard input: {e}"),
                "give it with -b",
            )
        })?;
    if bytes.len() as u64 > MESSAGE_BYTES {
        return Err(Failure::new(
            "the message on standard input is longer than 64 MiB",
            "send it as a file with -a",
        ));
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| {
        output::remark(
            "the message on standard input is not UTF-8; invalid bytes are sent as U+FFFD. Convert the text, or send \
             it as a file with -a",
        );
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    }))
}
