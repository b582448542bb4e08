//! Processes that answer as a script says, in place of an Apprise.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{WorkerPool, WorkerRequest};
use crate::find::Candidate;

/// Names a script as the interpreter of the pool. It runs once it has greeted; `$line` is a request, `$id` its number.
pub(crate) fn pool(folder: &Path, for_each_line: &str) -> WorkerPool {
    starting(folder, "", for_each_line)
}

/// The same, with commands before the greeting.
pub(crate) fn starting(folder: &Path, before: &str, for_each_line: &str) -> WorkerPool {
    let python = folder.join("python3");
    let script = format!(
        "#!/bin/sh\necho $$ >>{0}/pids\n{before}\necho '{{\"version\":\"2.3.0\"}}'\nwhile read -r line; do\nid=${{line#*\\\"id\\\":}}\n\
         id=${{id%%,*}}\n{for_each_line}\ndone\n",
        folder.display()
    );
    std::fs::write(&python, script).expect("written");
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o700)).expect("executable");
    let pool = WorkerPool::default();
    pool.0.lock().known = Some(Candidate { python });
    pool
}

/// The answer of success.
pub(crate) const OK: &str = r#"echo '{"id":'$id',"loaded":true,"ok":true,"service":"x","kib":1}'"#;

pub(crate) fn request<'a>() -> WorkerRequest<'a> {
    WorkerRequest {
        url: "discord://a/b",
        keys: Vec::new(),
        title: "",
        body: "x",
        kind: "info",
        format: None,
        recursion: 0,
        files: Vec::new(),
        app_id: "Ackpost",
        probe: false,
        seconds: 70,
    }
}
