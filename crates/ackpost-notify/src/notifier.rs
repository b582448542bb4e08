//! The front door: a list of services, and messages for them.

use std::sync::Arc;
use std::time::Duration;

use crate::asset::Asset;
use crate::config::{self, ConfigReport, Loader, Source};
use crate::dispatch::{self, ConnectionOptions, ConnectionPool, Plan, Planned, prepare_shared};
use crate::entry::Entry;
use crate::message::Message;
use crate::problem::{AddError, Diagnostic};
use crate::report::{Report, Status};
use crate::service::{Context, LoadedUrls, Param, SERVICES, Service};
use crate::tag::{Tag, TagFilter};
use crate::template::Values;

/// How a [`Notifier`] behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Environment, defaults and identity that URLs may refer to.
    pub context: Context,
    /// Values for templates (`-tv`), name and value.
    pub template_values: Vec<(String, String)>,
    /// How deep configuration files may include others; 0 forbids it.
    pub recursion: u32,
    /// Time for a whole run; `None` is no limit.
    pub limit: Option<Duration>,
    /// Time for one service, retries and waits included; `None` is no limit.
    pub service_limit: Option<Duration>,
    /// One service after another instead of all at once.
    pub sequential: bool,
    /// Connections: trust, proxies, progress.
    pub courier: ConnectionOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            context: Context::default(),
            template_values: Vec::new(),
            recursion: 1,
            limit: None,
            service_limit: Some(Duration::from_mins(1)),
            sequential: false,
            courier: ConnectionOptions::default(),
        }
    }
}

/// A list of services with tags, and messages for them.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ackpost_notify::{Message, Notifier};
///
/// let mut notifier = Notifier::new();
/// notifier.add("xmpps://bot:secret@example.org/jane")?;
/// let report = notifier.notify(Message::new("The backup is done.").title("db1")).await;
/// for target in &report.targets {
///     println!("{} {} {:?}", target.target, target.outcome.word(), target.elapsed);
/// }
/// assert!(report.is_success());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Notifier {
    options: Options,
    entries: Vec<Entry>,
    problems: Vec<Diagnostic>,
}

impl Notifier {
    /// An empty list with default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty list.
    pub fn with_options(options: Options) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Its options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Its options, to change.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// Adds every URL of a string, without tags. The good ones stay loaded even if others do not load; what is wrong is
    /// in the error and in [`Notifier::problems`].
    ///
    /// ```
    /// let mut notifier = ackpost_notify::Notifier::new();
    /// let error = notifier.add("xmpps://u:p@example.org, bogus://x").unwrap_err();
    /// assert_eq!((notifier.len(), error.loaded, error.problems.len()), (1, 1, 1));
    /// ```
    pub fn add(&mut self, urls: &str) -> Result<usize, AddError> {
        self.add_tagged(urls, "")
    }

    /// Adds every URL of a string with these tags (separated by commas or blanks).
    pub fn add_tagged(&mut self, urls: &str, tags: &str) -> Result<usize, AddError> {
        let tags = crate::tag::parse_tags(tags);
        let LoadedUrls { services, problems } = LoadedUrls::from_text(urls, &self.options.context);
        let loaded = services.len();
        for service in services {
            self.add_service(service, tags.clone());
        }
        self.problems.extend(problems.iter().cloned());
        if problems.is_empty() {
            Ok(loaded)
        } else {
            Err(AddError { loaded, problems })
        }
    }

    /// Adds a loaded service.
    pub fn add_service(&mut self, service: Service, tags: Vec<Tag>) {
        self.problems.extend(service.warnings().iter().cloned());
        self.entries.push(Entry {
            tags,
            ..Entry::new(service)
        });
    }

    /// Adds what a configuration holds: a path, `file://…` or `http(s)://…` (fetched with GET, D27).
    pub async fn add_config(&mut self, location: &str) -> ConfigReport {
        self.add_source(Source::from_location(location)).await
    }

    /// Adds what a configuration in memory holds.
    pub async fn add_config_text(&mut self, text: &str, syntax: Option<config::Syntax>) -> ConfigReport {
        self.add_source(Source::Text {
            text: text.to_owned(),
            syntax,
        })
        .await
    }

    /// Adds a configuration from any source.
    pub async fn add_source(&mut self, source: Source) -> ConfigReport {
        let mut loader = Loader::new(
            &mut self.options.context,
            self.options.recursion,
            &self.options.courier,
        );
        let loaded = loader.load(source).await;
        let report = ConfigReport {
            services: loaded.entries.len(),
            problems: loaded.problems.clone(),
        };
        self.entries.extend(loaded.entries);
        self.problems.extend(loaded.problems);
        report
    }

    /// Services that a filter chooses, in order.
    pub fn find<'a>(&'a self, filter: &'a TagFilter) -> impl Iterator<Item = &'a Entry> + 'a {
        self.entries.iter().filter(|entry| filter.matches(&entry.tags))
    }

    /// Every listed service, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    /// How many services are listed.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets every service and problem.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.problems.clear();
    }

    /// Takes a service out of the list.
    pub fn remove(&mut self, index: usize) -> Option<Entry> {
        (index < self.entries.len()).then(|| self.entries.remove(index))
    }

    /// Takes the last service out of the list.
    pub fn pop(&mut self) -> Option<Entry> {
        self.entries.pop()
    }

    /// The canonical URLs; with `privacy` the secrets are masked.
    pub fn urls(&self, privacy: bool) -> Vec<String> {
        self.entries
            .iter()
            .map(|entry| {
                if privacy {
                    entry.masked_url()
                } else {
                    entry.expose_url()
                }
            })
            .collect()
    }

    /// What did not load, and what was odd, so far.
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }

    /// Notes a problem found outside, so that it counts in the next report.
    pub fn add_problem(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    /// The settings of the run, as configurations may have changed them.
    pub fn asset(&self) -> &Asset {
        &self.options.context.asset
    }

    /// What services there are.
    pub fn details() -> Vec<Details> {
        SERVICES
            .iter()
            .map(|row| Details {
                service: row.name,
                service_name: row.title,
                protocols: row.plain_schemas,
                secure_protocols: row.secure_schemas,
                setup_url: row.setup_url,
                parameters: row.parameters,
            })
            .collect()
    }

    /// What a message would become at every chosen service. No network.
    pub fn plan<'a>(&'a self, message: &Message, filter: &'a TagFilter) -> Plan<'a> {
        let message = Arc::new(self.asset().complete(message));
        let values = self.values();
        let mut plan = Plan {
            services: Vec::new(),
            problems: Vec::new(),
        };
        for entry in self.find(filter) {
            match entry.resolve(&values) {
                Ok(service) => {
                    let prepared = prepare_shared(&service, &message);
                    plan.services.push(Planned {
                        entry,
                        service,
                        prepared,
                    });
                }
                Err(problem) => plan.problems.push(problem),
            }
        }
        plan
    }

    /// Sends a message to every service and says what became of it at each target.
    pub async fn notify(&self, message: Message) -> Report {
        self.notify_to(message, &TagFilter::All).await
    }

    /// Sends a message to the services that a filter chooses. Tags with priorities escalate: the lowest group of a tag
    /// goes first, the next only if a member of it fails.
    pub async fn notify_to(&self, message: Message, filter: &TagFilter) -> Report {
        let courier = ConnectionPool::new(self.options.courier.clone(), self.options.context.asset.clone());
        let report = self.notify_with(&courier, message, filter).await;
        courier.close().await;
        report
    }

    /// Like [`Notifier::notify_to`], over connections that the caller keeps.
    pub async fn notify_with(
        &self,
        courier: &ConnectionPool,
        message: Message,
        filter: &TagFilter,
    ) -> Report {
        let plan = self.plan(&message, filter);
        let mut problems: Vec<Diagnostic> = self
            .problems
            .iter()
            .filter(|problem| problem.is_error())
            .cloned()
            .collect();
        problems.extend(plan.problems.iter().cloned());
        if plan.services.is_empty() {
            let status = if self.entries.is_empty() || !plan.problems.is_empty() {
                Status::Failure
            } else {
                Status::NoMatch
            };
            return Report {
                targets: Vec::new(),
                problems,
                status,
            };
        }
        dispatch::run(&self.options, courier, &message, plan, filter, problems).await
    }

    fn values(&self) -> Values {
        let given = self
            .options
            .template_values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        Values::new(given, &self.options.context.env)
    }
}

impl<'a> IntoIterator for &'a Notifier {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What there is to know about a service before a URL is written.
#[derive(Clone, Copy, Debug)]
pub struct Details {
    /// The short name, `sogs` or `xmpp`.
    pub service: &'static str,
    /// The name Apprise prints.
    pub service_name: &'static str,
    /// Schemas without encryption.
    pub protocols: &'static [&'static str],
    /// Schemas with encryption.
    pub secure_protocols: &'static [&'static str],
    /// Where its set-up is described.
    pub setup_url: &'static str,
    /// Its own parameters; those of every service come on top.
    pub parameters: &'static [Param],
}
