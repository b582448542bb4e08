//! Search for the default configuration files.

use std::path::PathBuf;

use ackpost_notify::Environment;

/// Extensions tried behind `~/.apprise` and the like; the first is none at all.
const EXTENSIONS: [&str; 4] = ["", ".conf", ".yml", ".yaml"];

/// Every default configuration file that exists, in the order in which they are merged. `APPRISE_CONFIG_PATH` (or the
/// older `APPRISE_CONFIG`) replaces the list; its entries are separated by `;` or line ends.
pub fn default_paths(env: &Environment) -> Vec<PathBuf> {
    candidates(env)
        .into_iter()
        .filter(|path| path.is_file())
        .collect()
}

fn candidates(env: &Environment) -> Vec<PathBuf> {
    if let Some(list) = env
        .var("APPRISE_CONFIG_PATH")
        .or_else(|| env.var("APPRISE_CONFIG"))
    {
        return list
            .split([';', '\r', '\n'])
            .map(str::trim)
            .filter(|path| !path.is_empty())
            .map(|path| expand_home(path, env))
            .collect();
    }
    let mut all = Vec::new();
    let mut every = |stem: PathBuf, extensions: &[&str]| {
        for extension in extensions {
            let mut path = stem.clone().into_os_string();
            path.push(extension);
            all.push(PathBuf::from(path));
        }
    };
    if let Some(home) = env.home() {
        every(home.join(".apprise"), &EXTENSIONS);
        every(home.join(".config/apprise"), &EXTENSIONS);
        every(home.join(".apprise/apprise"), &EXTENSIONS);
        every(home.join(".config/apprise/apprise"), &EXTENSIONS);
    }
    every(PathBuf::from("/etc/apprise"), &["", ".yml", ".yaml"]);
    every(PathBuf::from("/etc/apprise/apprise"), &EXTENSIONS);
    all
}

/// `~` and `~/…` are the home folder.
pub(super) fn expand_home(path: &str, env: &Environment) -> PathBuf {
    match (path.strip_prefix('~'), env.home()) {
        (Some(""), Some(home)) => home.clone(),
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(path),
    }
}
