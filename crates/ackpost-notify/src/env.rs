//! The outside world as far as a URL or a configuration may look at it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::address::is_public;

/// Looks a variable up.
type Lookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Rules for URLs that somebody else handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Guest {
    /// Connections may go to addresses that are not on the public internet.
    pub private_addresses: bool,
}

impl Guest {
    /// The rule for the addresses of connections, unless any address is allowed.
    pub(crate) fn address_rule(self) -> Option<fn(IpAddr) -> bool> {
        (!self.private_addresses).then_some(is_public as fn(IpAddr) -> bool)
    }
}

/// Environment variables and the home folder, handed in so that nothing deeper reads a global.
#[derive(Clone)]
pub struct Environment {
    vars: Lookup,
    home: Option<PathBuf>,
    prefixed: Arc<BTreeMap<String, String>>,
    guest: Option<Guest>,
}

impl Environment {
    /// The process's own environment.
    pub fn system() -> Self {
        let templates = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("APPRISE_"))
            .collect();
        Self {
            vars: Arc::new(|name| std::env::var(name).ok()),
            home: std::env::var_os("HOME")
                .filter(|home| !home.is_empty())
                .map(PathBuf::from),
            prefixed: Arc::new(templates),
            guest: None,
        }
    }

    /// Exactly these variables; `HOME` among them is the home folder.
    pub fn from_vars<K: Into<String>, V: Into<String>>(vars: impl IntoIterator<Item = (K, V)>) -> Self {
        let map: BTreeMap<String, String> = vars.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let home = map.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let map = Arc::new(map);
        let lookup = Arc::clone(&map);
        Self {
            vars: Arc::new(move |name| lookup.get(name).cloned()),
            home,
            prefixed: map,
            guest: None,
        }
    }

    /// For URLs and configurations that somebody else handed over (a gateway): no variables, and nothing that looks at
    /// this machine is allowed, neither `{env:}`, `{file:}`, `seed_file=`, `password_file=`, `ca_file=` nor includes.
    /// Connections go to the public internet only, and outcomes do not repeat what servers answer.
    pub fn foreign() -> Self {
        Self::for_guest(Guest::default())
    }

    /// The same with other rules.
    pub fn for_guest(guest: Guest) -> Self {
        Self {
            guest: Some(guest),
            ..Self::empty()
        }
    }

    /// The rules for somebody else's URLs, if there are any.
    pub fn guest(&self) -> Option<Guest> {
        self.guest
    }

    /// True when nothing may look at this machine.
    pub fn is_foreign(&self) -> bool {
        self.guest.is_some()
    }

    /// Refuses something that would look at this machine, and whose value can be written instead.
    pub(crate) fn refuse_foreign(&self, what: &str) -> Result<(), crate::Diagnostic> {
        self.refuse_foreign_file(what, "write the value itself")
    }

    /// Refuses something that would look at this machine.
    pub(crate) fn refuse_foreign_file(&self, what: &str, remedy: &str) -> Result<(), crate::Diagnostic> {
        if self.is_foreign() {
            return Err(crate::Diagnostic::error(
                format!("{what} is not allowed here, because this text was handed over by somebody else"),
                remedy,
            ));
        }
        Ok(())
    }

    /// No variables at all.
    pub fn empty() -> Self {
        Self::from_vars::<String, String>([])
    }

    /// The value of a variable.
    pub fn var(&self, name: &str) -> Option<String> {
        (self.vars)(name)
    }

    /// The home folder.
    pub fn home(&self) -> Option<&PathBuf> {
        self.home.as_ref()
    }

    /// Variables beginning with `prefix`, without it (used for `APPRISE_TEMPLATE_…`).
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.prefixed
            .iter()
            .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Variables hold secrets; the name of the type is all that may be printed.
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}
