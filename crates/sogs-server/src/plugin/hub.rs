//! The meeting point: who is connected, what they want to hear, and which questions wait.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::protocol::{Decision, FromPlugin, PluginEvent, Question, Verdict};

/// Lines that may wait for a slow plugin.
const QUEUE: usize = 256;
/// Questions that one plugin is asked at a time; further ones wait for their turn.
const MAX_QUESTIONS: usize = 1024;
/// Posts of one person that wait for a decision at a time: nobody alone makes the others wait.
const OWN_QUESTIONS: u32 = 8;

/// All connected plugins.
#[derive(Debug, Default)]
pub struct Hub {
    plugins: Mutex<Parties>,
    next_question: AtomicU64,
    /// People whose posts wait for a decision, and how many of each.
    askers: Mutex<HashMap<String, u32>>,
    /// True if any plugin decides: the fast path of a post without plugins is one load.
    decides: AtomicBool,
    listens: AtomicBool,
}

/// Connected plugins, and configured ones that are missing.
#[derive(Debug, Default)]
struct Parties {
    present: Vec<Arc<Plugin>>,
    /// Configured plugins that decide and are not connected: their default holds meanwhile.
    away: Vec<Terms>,
}

/// Settings of one connection.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) name: String,
    /// True if the configuration names the plugin; a program at the socket connects and leaves as it likes.
    pub(super) configured: bool,
    pub(super) decide: bool,
    /// Kinds of events; empty = all.
    pub(super) events: Vec<String>,
    /// Time limit for an answer.
    pub(super) deadline: Duration,
    /// Decision when no answer arrives in time.
    pub(super) otherwise: Decision,
}

/// Channel to the waiting post: the decision and the text of a refusal.
type Asker = oneshot::Sender<(Decision, Option<String>)>;

#[derive(Debug)]
pub(super) struct Plugin {
    terms: Terms,
    lines: mpsc::Sender<String>,
    questions: Mutex<HashMap<u64, Asker>>,
    places: Semaphore,
    lost: AtomicU64,
    asked: AtomicU64,
    late: AtomicU64,
}

/// Status of one plugin, as `status` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct PluginStatus {
    /// Name of the plugin.
    pub name: String,
    /// True if it decides about posts.
    pub decides: bool,
    /// Questions sent to the plugin.
    pub asked: u64,
    /// Questions that it did not answer in time.
    pub late: u64,
    /// Events lost because it was too slow.
    pub lost: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Creates a hub without connections.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds a connection; lines for it come out of the receiver until it is removed.
    pub(super) fn join(&self, terms: Terms) -> (Arc<Plugin>, mpsc::Receiver<String>) {
        let (lines, receiver) = mpsc::channel(QUEUE);
        let plugin = Arc::new(Plugin {
            terms,
            lines,
            questions: Mutex::default(),
            places: Semaphore::new(MAX_QUESTIONS),
            lost: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            late: AtomicU64::new(0),
        });
        let mut all = lock(&self.plugins);
        all.away
            .retain(|away| !plugin.terms.configured || away.name != plugin.terms.name);
        all.present.push(Arc::clone(&plugin));
        self.note_roles(&all);
        (plugin, receiver)
    }

    /// Removes a connection; questions that wait for it get their default at once.
    pub(super) fn leave(&self, plugin: &Arc<Plugin>) {
        let mut all = lock(&self.plugins);
        all.present.retain(|other| !Arc::ptr_eq(other, plugin));
        if plugin.terms.configured {
            all.expect(plugin.terms.clone());
        }
        self.note_roles(&all);
        drop(all);
        plugin.places.close();
        lock(&plugin.questions).clear();
    }

    /// A configured plugin will connect: until then its default holds.
    pub(super) fn expect(&self, terms: Terms) {
        let mut all = lock(&self.plugins);
        all.expect(terms);
        self.note_roles(&all);
    }

    fn note_roles(&self, all: &Parties) {
        let decides = !all.away.is_empty() || all.present.iter().any(|plugin| plugin.terms.decide);
        self.decides.store(decides, Ordering::Release);
        self.listens.store(!all.present.is_empty(), Ordering::Release);
    }

    /// Returns true if any plugin decides about posts.
    pub fn decides(&self) -> bool {
        self.decides.load(Ordering::Acquire)
    }

    /// Returns true if any plugin listens to events; otherwise they need not be built.
    pub fn listens(&self) -> bool {
        self.listens.load(Ordering::Acquire)
    }

    /// Tells an event to all who want it; never waits.
    pub fn tell(&self, event: &PluginEvent) {
        if !self.listens() {
            return;
        }
        let Ok(line) = serde_json::to_string(event) else {
            return;
        };
        for plugin in &lock(&self.plugins).present {
            let wanted = &plugin.terms.events;
            if wanted.is_empty() || wanted.iter().any(|kind| kind == event.kind()) {
                plugin.send(line.clone());
            }
        }
    }

    /// Asks every deciding plugin at once; the strictest decision holds. Takes no longer than the longest deadline.
    pub async fn ask(&self, mut question: Question) -> Verdict {
        let Some(_own) = OwnQuestion::begin(&self.askers, &question.session_id) else {
            return Verdict {
                decision: Decision::Reject,
                text: Some(
                    "Too many of your messages wait for a decision; please try again later".to_owned(),
                ),
                plugin: String::new(),
            };
        };
        let mut strictest = Verdict::default();
        let deciding: Vec<_> = {
            let all = lock(&self.plugins);
            for away in &all.away {
                if away.otherwise > strictest.decision {
                    strictest = Verdict {
                        decision: away.otherwise,
                        text: None,
                        plugin: away.name.clone(),
                    };
                }
            }
            all.present
                .iter()
                .filter(|plugin| plugin.terms.decide)
                .cloned()
                .collect()
        };
        let mut waiting = Vec::with_capacity(deciding.len());
        for plugin in deciding {
            question.ask = self.next_question.fetch_add(1, Ordering::Relaxed);
            let Ok(line) = serde_json::to_string(&question) else {
                continue;
            };
            waiting.push(plugin.answer_to(question.ask, line));
        }
        for verdict in futures_util::future::join_all(waiting).await {
            if verdict.decision > strictest.decision {
                strictest = verdict;
            }
        }
        strictest
    }

    /// All connections, for `status` and the metrics.
    pub fn status(&self) -> Vec<PluginStatus> {
        lock(&self.plugins)
            .present
            .iter()
            .map(|plugin| PluginStatus {
                name: plugin.terms.name.clone(),
                decides: plugin.terms.decide,
                asked: plugin.asked.load(Ordering::Relaxed),
                late: plugin.late.load(Ordering::Relaxed),
                lost: plugin.lost.load(Ordering::Relaxed),
            })
            .collect()
    }
}

/// One of the questions of a person, until it is decided.
struct OwnQuestion<'a> {
    askers: &'a Mutex<HashMap<String, u32>>,
    id: String,
}

impl<'a> OwnQuestion<'a> {
    /// `None` if too many questions of the person wait.
    fn begin(askers: &'a Mutex<HashMap<String, u32>>, id: &str) -> Option<Self> {
        let mut all = lock(askers);
        let count = all.entry(id.to_owned()).or_default();
        if *count == OWN_QUESTIONS {
            return None;
        }
        *count += 1;
        drop(all);
        let id = id.to_owned();
        Some(Self { askers, id })
    }
}

impl Drop for OwnQuestion<'_> {
    fn drop(&mut self) {
        let mut all = lock(self.askers);
        if let Some(count) = all.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.id);
            }
        }
    }
}

impl Parties {
    fn expect(&mut self, terms: Terms) {
        if terms.decide && terms.otherwise != Decision::Accept {
            self.away.push(terms);
        }
    }
}

impl Plugin {
    fn send(&self, line: String) -> bool {
        let lost = self.lost.load(Ordering::Relaxed);
        if self.lines.try_send(line).is_ok() {
            return true;
        }
        self.lost.store(lost + 1, Ordering::Relaxed);
        false
    }

    /// Returns the number of events lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Asks when it is this question's turn; `None` when the plugin leaves before it answers.
    async fn answer(&self, number: u64, line: String) -> Option<(Decision, Option<String>)> {
        let _place = self.places.acquire().await.ok()?;
        let (sender, receiver) = oneshot::channel();
        lock(&self.questions).insert(number, sender);
        // Events may fill the queue: a question waits, so that they do not decide about a post.
        self.lines.send(line).await.ok()?;
        receiver.await.ok()
    }

    async fn answer_to(self: Arc<Self>, number: u64, line: String) -> Verdict {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answered = tokio::time::timeout(self.terms.deadline, self.answer(number, line))
            .await
            .ok()
            .flatten();
        lock(&self.questions).remove(&number);
        let (decision, text) = answered.unwrap_or_else(|| {
            self.late.fetch_add(1, Ordering::Relaxed);
            (self.terms.otherwise, None)
        });
        Verdict {
            decision,
            text,
            plugin: self.terms.name.clone(),
        }
    }

    /// Takes a line of the plugin.
    pub(super) fn hear(&self, line: FromPlugin) {
        if let Some(number) = line.answer
            && let Some(waiting) = lock(&self.questions).remove(&number)
        {
            // The asker may have given up in this very moment.
            let _ = waiting.send((line.decision, line.text));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    fn terms(name: &str, otherwise: Decision) -> Terms {
        Terms {
            name: name.into(),
            configured: false,
            decide: true,
            events: vec!["posted".into()],
            deadline: Duration::from_millis(50),
            otherwise,
        }
    }

    fn question() -> Question {
        Question {
            ask: 0,
            room: "test".into(),
            session_id: "15".into(),
            first_seen: 0.0,
            moderator: false,
            text: "hi".into(),
            name: String::new(),
            attachments: Vec::new(),
            size: 160,
        }
    }

    #[tokio::test]
    async fn the_strictest_answer_holds_and_silence_gets_the_default() {
        let hub = Hub::default();
        assert_eq!(
            hub.ask(question()).await.decision,
            Decision::Accept,
            "nobody to ask"
        );
        let (quick, mut lines) = hub.join(terms("quick", Decision::Accept));
        let (_silent, _kept) = hub.join(terms("silent", Decision::Hide));
        let answer = tokio::spawn(async move {
            let line = lines.recv().await.expect("a question");
            let asked: Question = serde_json::from_str(&line).expect("json");
            quick.hear(
                serde_json::from_str(&format!(
                    r#"{{"answer":{},"decision":"reject","text":"no"}}"#,
                    asked.ask
                ))
                .expect("json"),
            );
        });
        let verdict = hub.ask(question()).await;
        answer.await.expect("task");
        assert_eq!(
            (verdict.decision, verdict.text.as_deref(), verdict.plugin.as_str()),
            (Decision::Reject, Some("no"), "quick")
        );
        assert_eq!(hub.status().iter().map(|s| s.late).collect::<Vec<_>>(), [0, 1]);
    }

    #[tokio::test]
    async fn the_default_of_a_configured_plugin_holds_while_it_is_away() {
        let hub = Hub::default();
        let configured = Terms {
            configured: true,
            ..terms("strict", Decision::Reject)
        };
        hub.expect(configured.clone());
        assert!(hub.decides() && !hub.listens());
        let verdict = hub.ask(question()).await;
        assert_eq!(
            (verdict.decision, verdict.plugin.as_str()),
            (Decision::Reject, "strict")
        );
        let (here, mut lines) = hub.join(configured);
        let answer = async {
            let line = lines.recv().await.expect("a question");
            let asked: Question = serde_json::from_str(&line).expect("json");
            here.hear(serde_json::from_str(&format!(r#"{{"answer":{}}}"#, asked.ask)).expect("json"));
        };
        let (verdict, ()) = tokio::join!(hub.ask(question()), answer);
        assert_eq!(verdict.decision, Decision::Accept, "it is asked now");
        hub.leave(&here);
        assert_eq!(hub.ask(question()).await.decision, Decision::Reject, "gone again");
    }

    #[tokio::test]
    async fn a_flood_of_one_person_and_a_full_queue_do_not_decide_for_others() {
        let hub = Hub::new();
        let slow = Terms {
            deadline: Duration::from_secs(10),
            ..terms("slow", Decision::Accept)
        };
        let (plugin, mut lines) = hub.join(slow);
        // A queue full of events, and a thousand posts of one person that nobody has answered yet.
        for id in 0..300 {
            hub.tell(&PluginEvent::Posted {
                room: "t".into(),
                id,
                session_id: "15".into(),
                posted: 0.0,
                text: "x".into(),
                files: 0,
                hidden: false,
            });
        }
        let mut flood = futures_util::stream::FuturesUnordered::new();
        for _ in 0..2000 {
            let hub = Arc::clone(&hub);
            flood.push(async move { hub.ask(question()).await.decision });
        }
        let refused = async {
            for _ in 0..2000 - OWN_QUESTIONS {
                assert_eq!(flood.next().await, Some(Decision::Reject), "over the limit");
            }
        };
        tokio::time::timeout(Duration::from_secs(5), refused)
            .await
            .expect("at once");
        let other = Question {
            session_id: "15other".into(),
            ..question()
        };
        let answer = async {
            while let Some(line) = lines.recv().await {
                let Ok(asked) = serde_json::from_str::<Question>(&line) else {
                    continue;
                };
                let decision = if asked.session_id == "15other" {
                    "hide"
                } else {
                    "accept"
                };
                let line = format!(r#"{{"answer":{},"decision":"{decision}"}}"#, asked.ask);
                plugin.hear(serde_json::from_str(&line).expect("json"));
                if decision == "hide" {
                    break;
                }
            }
        };
        let (verdict, ()) = tokio::join!(hub.ask(other), answer);
        assert_eq!(verdict.decision, Decision::Hide, "the plugin decides");
    }

    #[tokio::test]
    async fn a_full_queue_loses_events_and_counts_them() {
        let hub = Hub::default();
        let (plugin, lines) = hub.join(terms("slow", Decision::Accept));
        for id in 0..300 {
            hub.tell(&PluginEvent::Deleted { room: "t".into(), id });
            hub.tell(&PluginEvent::Posted {
                room: "t".into(),
                id,
                session_id: "15".into(),
                posted: 0.0,
                text: "x".into(),
                files: 0,
                hidden: false,
            });
        }
        assert_eq!(lines.len(), QUEUE);
        assert_eq!(plugin.lost(), 300 - QUEUE as u64, "only wanted kinds count");
        hub.leave(&plugin);
        assert!(!hub.listens() && !hub.decides());
    }
}
