//! A service as it is listed: with its tags, where it was written, and perhaps still a template.

use ackpost_notify::{Diagnostic, ServiceUrl};

use crate::tag::Tag;
use crate::template::Template;

/// One listed service.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its tags, sorted.
    pub tags: Vec<Tag>,
    /// The configuration file or address it was written in.
    pub file: Option<String>,
    /// Line in that file, counted from 1.
    pub line: Option<u32>,
    /// The service, or what is to become one.
    pub body: EntryBody,
}

/// The service of an entry, or what is to become one.
#[derive(Clone, Debug)]
pub enum EntryBody {
    /// A loaded URL.
    Service(ServiceUrl),
    /// A URL with `${NAME}` in it, resolved when something is sent.
    Template(Template),
}

impl Entry {
    /// An entry for a loaded service.
    pub fn new(service: ServiceUrl) -> Self {
        Self {
            tags: Vec::new(),
            file: None,
            line: None,
            body: EntryBody::Service(service),
        }
    }

    /// The service, unless it is a template.
    pub fn service(&self) -> Option<&ServiceUrl> {
        match &self.body {
            EntryBody::Service(service) => Some(service),
            EntryBody::Template(_) => None,
        }
    }

    /// Returns the URL with its secrets masked and without parameters that have their default (of a template: its masked
    /// text).
    pub fn short_url(&self) -> String {
        match &self.body {
            EntryBody::Service(service) => service.short_url(),
            EntryBody::Template(template) => template.masked_url().to_owned(),
        }
    }

    /// The canonical URL with its secrets masked (of a template: its masked text).
    pub fn masked_url(&self) -> String {
        match &self.body {
            EntryBody::Service(service) => service.masked_url(),
            EntryBody::Template(template) => template.masked_url().to_owned(),
        }
    }

    /// The canonical URL as Apprise masks it: the first and the last digit of a seed are shown. Only for output that must be
    /// the same as Apprise's.
    pub fn apprise_masked_url(&self) -> String {
        match &self.body {
            EntryBody::Service(service) => service.apprise_masked_url(),
            EntryBody::Template(template) => template.apprise_masked_url().to_owned(),
        }
    }

    /// The canonical URL **with its secrets** (of a template: its text).
    pub fn expose_url(&self) -> String {
        match &self.body {
            EntryBody::Service(service) => service.expose_url(),
            EntryBody::Template(template) => template.expose_url().to_owned(),
        }
    }

    /// Returns the schema if another program delivers the service ([`ForeignKind`](ackpost_notify::ForeignKind)).
    pub fn foreign_schema(&self) -> Option<String> {
        match &self.body {
            EntryBody::Service(service) => service.foreign_schema(),
            EntryBody::Template(template) => template.foreign_schema().map(str::to_owned),
        }
    }

    /// Like [`foreign_schema`](Self::foreign_schema), also for a template that another program delivers only once it is
    /// filled in with these values: a parameter that the service here lacks may be in one of them.
    pub fn foreign_schema_with(&self, values: &crate::template::Values) -> Option<String> {
        self.foreign_schema().or_else(|| match &self.body {
            EntryBody::Service(_) => None,
            EntryBody::Template(template) => template.resolve(values).ok()?.foreign_schema(),
        })
    }

    /// The words of its tags, sorted.
    pub fn tag_names(&self) -> Vec<String> {
        self.tags.iter().map(|tag| tag.name.clone()).collect()
    }

    /// The service, a template resolved with these values.
    ///
    /// # Errors
    /// A template lacks a value, or the URL that it becomes does not load.
    pub fn resolve(&self, values: &crate::template::Values) -> Result<ServiceUrl, Diagnostic> {
        match &self.body {
            EntryBody::Service(service) => Ok(service.clone()),
            EntryBody::Template(template) => template
                .resolve(values)
                .map_err(|problem| problem.at(self.file.as_deref(), self.line, None)),
        }
    }
}
