//! Parameters as they are written, and where each comes from.

/// Most parameters of one URL, and keys of one configuration entry. Few are ever written, so they are kept as a list.
pub const PARAMETERS: usize = 1_000;

/// Source of the effective value of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Nothing was written (or nothing usable).
    Default,
    /// The URL.
    Url,
    /// A key of a configuration entry or its `asset:`.
    Config,
}

impl Origin {
    /// `default`, `url` or `config`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Url => "url",
            Self::Config => "config",
        }
    }
}

/// The query of a URL together with the keys a configuration entry put over it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    values: Vec<Written>,
    /// Names that the URL holds more than once.
    repeated: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Written {
    name: String,
    pub(crate) value: String,
    from_config: bool,
}

impl Query {
    pub(crate) fn set(&mut self, name: String, value: String, from_config: bool) {
        let new = Written {
            name,
            value,
            from_config,
        };
        match self.values.iter_mut().find(|known| known.name == new.name) {
            Some(known) => *known = new,
            None => self.values.push(new),
        }
    }

    /// Sets a parameter as it is written in the URL; the last value of a repeated one counts.
    pub(crate) fn read(&mut self, name: String, value: String) {
        if self.find(&name).is_some() && !self.repeated.contains(&name) {
            self.repeated.push(name.clone());
        }
        self.set(name, value, false);
    }

    /// Returns the names that the URL holds more than once.
    pub(crate) fn repeated(&self) -> &[String] {
        &self.repeated
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Written> {
        self.values.iter().find(|written| written.name == name)
    }

    /// Returns the number of written parameters.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.find(name).map(|written| written.value.as_str())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|written| (written.name.as_str(), written.value.as_str()))
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<(String, bool)> {
        let at = self.values.iter().position(|written| written.name == name)?;
        let written = self.values.remove(at);
        Some((written.value, written.from_config))
    }

    pub(crate) fn origin(&self, name: &str) -> Option<Origin> {
        self.find(name).map(Written::origin)
    }
}

impl Written {
    pub(crate) fn origin(&self) -> Origin {
        if self.from_config {
            Origin::Config
        } else {
            Origin::Url
        }
    }
}

/// Source of each parameter that is not at its default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Origins(Vec<(&'static str, Origin)>);

impl Origins {
    pub(crate) fn get(&self, name: &str) -> Origin {
        let known = self.0.iter().find(|(known, _)| *known == name);
        known.map_or(Origin::Default, |(_, origin)| *origin)
    }

    pub(crate) fn set(&mut self, name: &'static str, origin: Origin) {
        self.remove(name);
        self.0.push((name, origin));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| *known != name);
    }
}
