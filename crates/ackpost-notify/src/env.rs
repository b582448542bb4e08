//! The outside world as far as a URL or a configuration may look at it.

use std::collections::BTreeMap;
use std::env::VarError;
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
    /// URLs may name services that another program delivers ([`ForeignKind`](crate::ForeignKind)), apart from those that act
    /// on this machine.
    #[serde(default)]
    pub foreign: bool,
}

impl Guest {
    /// Returns true if a connection may go to this address.
    pub fn allows(self, address: IpAddr) -> bool {
        self.private_addresses || is_public(address)
    }

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
    guest: Option<Guest>,
}

impl Environment {
    /// The process's own environment. Without `HOME`, as below cron and in services, the home folder is that of the user.
    pub fn system() -> Self {
        let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        let of_user = home.as_ref().and_then(|home| home.to_str().map(str::to_owned));
        Self {
            vars: Arc::new(move |name| match std::env::var(name) {
                Err(VarError::NotPresent) if name == "HOME" => of_user.clone(),
                value => value.ok(),
            }),
            home,
            guest: None,
        }
    }

    /// Exactly these variables; `HOME` among them is the home folder.
    pub fn from_vars<K: Into<String>, V: Into<String>>(vars: impl IntoIterator<Item = (K, V)>) -> Self {
        let map: BTreeMap<String, String> = vars.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let home = map.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Self {
            vars: Arc::new(move |name| map.get(name).cloned()),
            home,
            guest: None,
        }
    }

    /// For URLs and configurations that somebody else handed over (a gateway): no variables, and nothing that looks at
    /// this machine is allowed, neither `{env:}`, `{file:}`, `seed_file=`, `password_file=`, `ca_file=` nor includes.
    /// Connections go to the public internet only, and outcomes do not repeat what servers answer.
    pub fn foreign() -> Self {
        Self::for_guest(Guest::default())
    }

    /// Returns the environment for URLs of a guest with these rules.
    pub fn for_guest(guest: Guest) -> Self {
        Self {
            guest: Some(guest),
            ..Self::empty()
        }
    }

    /// Returns the rules for URLs that somebody else handed over, if there are any.
    pub fn guest(&self) -> Option<Guest> {
        self.guest
    }

    /// True when nothing may look at this machine.
    pub fn is_foreign(&self) -> bool {
        self.guest.is_some()
    }

    /// Refuses something that would look at this machine, and whose value can be written instead.
    ///
    /// # Errors
    /// Somebody else handed the URL or the configuration over.
    pub fn refuse_foreign(&self, what: &str) -> Result<(), crate::Diagnostic> {
        self.refuse_foreign_file(what, "write the value itself")
    }

    /// Refuses something that would look at this machine.
    pub(crate) fn refuse_foreign_file(&self, what: &str, remedy: &str) -> Result<(), crate::Diagnostic> {
        if self.is_foreign() {
            return Err(crate::Diagnostic::error(
                format!("{what} is not allowed here, because this text comes from outside"),
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
