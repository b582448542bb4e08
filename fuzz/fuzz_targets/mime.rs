//! Any bytes as a mail: what comes of it is bounded by its size, and nothing of it adds a line to the title.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(mail) = ackpost_gateway::Mail::read(data) else {
        return;
    };
    assert!(!mail.title.contains(['\r', '\n']));
    assert!(!mail.body.trim().is_empty() || !mail.files.is_empty());
    let files: usize = mail.files.iter().map(|file| file.bytes.len()).sum();
    assert!(files <= data.len(), "files only shrink when they are decoded");
    assert!(mail.recipients.len() <= 100);
});
