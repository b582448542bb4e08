//! Damaged messages: the exit codes of the commands that find them.

use super::*;

/// Copies the sample of a pysogs folder and changes the text of a message in its database, so that its signature is bad.
fn damaged_sample(to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/sogs/pysogs-sample");
    std::fs::create_dir(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the sample").flatten() {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
    let database = to.join("sogs.db");
    let mut bytes = std::fs::read(&database).expect("the database");
    let text = b"unpadded text";
    let places: Vec<usize> = (0..bytes.len() - text.len())
        .filter(|at| bytes[*at..].starts_with(text))
        .collect();
    assert!(!places.is_empty(), "the sample has the message");
    for at in places {
        bytes[at] = b'U';
    }
    std::fs::write(&database, bytes).expect("written");
}

#[test]
fn import_verify_and_restore_fail_with_1_when_signatures_are_bad() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (old, new, backup, restored) = (path("old"), path("new"), path("backup"), path("restored"));
    damaged_sample(Path::new(&old));
    let import = ["server", "import", "--from", "pysogs", &old, "--dir", &new];
    for words in [
        &[&import[..], &["--dry-run"]].concat()[..],
        &import,
        &["server", "verify", "--dir", &new],
    ] {
        let ran = ackpost(words);
        let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{words:?}: {said}");
        assert!(
            said.contains("their signatures are not valid"),
            "{words:?}: {said}"
        );
    }
    good(&["server", "backup", "--dir", &new, &backup]);
    let ran = ackpost(&["server", "restore", &backup, &restored]);
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains("their signatures are not valid"), "{said}");
    let ran = ackpost(&["server", "verify", "--dir", &restored]);
    assert_eq!(ran.status.code(), Some(1), "what was restored is as damaged");
}
