//! Folders of the user, as the command line has them.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::answer::Failure;

/// Variables of the environment as Python has them: other threads may change the process's own at any time.
pub(crate) type Variables = HashMap<String, String>;

fn set<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
    variables
        .get(name)
        .map(String::as_str)
        .filter(|value| !value.is_empty())
}

/// `$STATE_DIRECTORY` (systemd), else `ackpost` in the state folder of the user.
pub(crate) fn state_folder(variables: &Variables) -> PathBuf {
    if let Some(folders) = variables.get("STATE_DIRECTORY") {
        return PathBuf::from(folders.split(':').next().unwrap_or(folders));
    }
    let base = set(variables, "XDG_STATE_HOME").filter(|folder| folder.starts_with('/'));
    let base = base.map_or_else(
        || PathBuf::from(set(variables, "HOME").unwrap_or("/var/lib")).join(".local/state"),
        PathBuf::from,
    );
    base.join("ackpost")
}

/// A folder of the user's configuration: `$XDG_CONFIG_HOME/ackpost/NAME`, or below `~/.config`.
///
/// # Errors
/// Neither `XDG_CONFIG_HOME` nor `HOME` is set.
pub(crate) fn in_configuration(variables: &Variables, name: &str) -> Result<PathBuf, Failure> {
    set(variables, "XDG_CONFIG_HOME")
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
        .or_else(|| set(variables, "HOME").map(|home| PathBuf::from(home).join(".config")))
        .map(|config| config.join("ackpost").join(name))
        .ok_or_else(|| Failure::config("no configuration folder is known", "set HOME or XDG_CONFIG_HOME"))
}
