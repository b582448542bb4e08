//! The front door: a list of services, and messages for them.

use std::sync::Arc;

use ackpost_notify::dispatch::{Job, Run};
use ackpost_notify::{
    Asset, ConnectionPool, Diagnostic, Foreign, Message, Report, ServiceUrl, Status, prepare_shared,
};

use crate::add_error::AddError;
use crate::config::{self, ConfigReport, Loader, Source};
use crate::entry::Entry;
use crate::loaded_urls::LoadedUrls;
use crate::options::Options;
use crate::plan::{Plan, Planned};
use crate::tag::{Tag, TagFilter};
use crate::template::Values;

/// A list of services with tags, and messages for them.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ackpost_apprise::{Message, Notifier};
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
#[derive(Clone, Debug, Default)]
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

    /// Creates an empty list with these options.
    pub fn with_options(options: Options) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Returns the options.
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
    /// # Errors
    /// The text holds no URL, or one of its URLs does not load; the others are added.
    ///
    /// ```
    /// let mut notifier = ackpost_apprise::Notifier::new();
    /// let error = notifier.add("xmpps://u:p@example.org, bogus://x").unwrap_err();
    /// assert_eq!((notifier.len(), error.loaded, error.problems.len()), (1, 1, 1));
    /// ```
    pub fn add(&mut self, urls: &str) -> Result<usize, AddError> {
        self.add_tagged(urls, "")
    }

    /// Adds every URL of a string with these tags (separated by commas or blanks).
    ///
    /// # Errors
    /// As [`add`](Self::add).
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
    pub fn add_service(&mut self, service: ServiceUrl, tags: Vec<Tag>) {
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
            &self.options.connections,
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

    /// Takes those entries out that another program would deliver, unless the rule is to hand them over; with
    /// [`Foreign::Fail`] the chosen ones become a problem. Returns how many were chosen, by schema, the most frequent first.
    /// Entries that the filter does not choose are not part of a run.
    pub fn settle_foreign(&mut self, rule: Foreign, filter: &TagFilter) -> Vec<(String, usize)> {
        let values = self.values();
        let mut counts: Vec<(String, usize)> = Vec::new();
        for schema in self
            .find(filter)
            .filter_map(|entry| entry.foreign_schema_with(&values))
        {
            match counts.iter_mut().find(|(known, _)| *known == schema) {
                Some((_, count)) => *count += 1,
                None => counts.push((schema, 1)),
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        if rule != Foreign::Apprise {
            self.entries
                .retain(|entry| entry.foreign_schema_with(&values).is_none());
        }
        if rule == Foreign::Fail && !counts.is_empty() {
            self.problems.push(Diagnostic::error(
                format!("{} cannot be delivered here", foreign_words(&counts)),
                "use --foreign apprise to hand them to an installed Apprise, or --foreign skip to leave them out",
            ));
        }
        counts
    }

    /// Services that a filter chooses, in order.
    pub fn find<'a>(&'a self, filter: &'a TagFilter) -> impl Iterator<Item = &'a Entry> + 'a {
        self.entries.iter().filter(|entry| filter.matches(&entry.tags))
    }

    /// Every listed service, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    /// Returns the number of listed services.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true if no service is listed.
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

    /// Returns the errors and warnings so far.
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }

    /// Notes a problem found outside, so that it counts in the next report.
    pub fn add_problem(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    /// Returns the settings of the run, as configurations may have changed them.
    pub fn asset(&self) -> &Asset {
        &self.options.context.asset
    }

    /// Returns the message as every chosen service would be handed it, without using the network.
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
        let pool = ConnectionPool::new(
            self.options.connections.clone(),
            self.options.context.asset.clone(),
        );
        let report = self.notify_with(&pool, message, filter).await;
        pool.close().await;
        report
    }

    /// Like [`Notifier::notify_to`], over connections that the caller keeps.
    pub async fn notify_with(&self, pool: &ConnectionPool, message: Message, filter: &TagFilter) -> Report {
        let plan = self.plan(&message, filter);
        let errors = self.problems.iter().filter(|problem| problem.is_error());
        let mut problems: Vec<Diagnostic> = errors.chain(&plan.problems).cloned().collect();
        if plan.services.is_empty() {
            let status = if self.entries.is_empty() || !plan.problems.is_empty() {
                Status::Failure
            } else {
                Status::NoMatch
            };
            return Report::without_targets(status, problems);
        }
        let (mut jobs, mut tags, mut unprepared) = (Vec::new(), Vec::new(), 0);
        for planned in plan.services {
            match planned.prepared {
                Ok(prepared) => {
                    tags.push(planned.entry.tags.as_slice());
                    jobs.push(Job {
                        retry: filter
                            .retry_override(&planned.entry.tags)
                            .unwrap_or(planned.service.common().retry),
                        tags: planned.entry.tag_names(),
                        service: planned.service,
                        prepared,
                    });
                }
                Err(problem) => {
                    unprepared += 1;
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                }
            }
        }
        let run = Run::new(jobs)
            .with_chains(filter.chains(&tags))
            .with_unprepared(unprepared)
            .with_problems(problems);
        run.send(&self.options.of_run(), pool, &message).await
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

/// Returns `5 entries of other services: discord 3, mailto 2`.
pub fn foreign_words(counts: &[(String, usize)]) -> String {
    let total: usize = counts.iter().map(|(_, count)| count).sum();
    let each: Vec<String> = (counts.iter())
        .map(|(schema, count)| format!("{schema} {count}"))
        .collect();
    let what = if total == 1 {
        "entry of another service"
    } else {
        "entries of other services"
    };
    format!("{total} {what}: {}", each.join(", "))
}

impl<'a> IntoIterator for &'a Notifier {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
