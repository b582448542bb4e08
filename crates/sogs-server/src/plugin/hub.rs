//! The meeting point: who is connected, what they want to hear, and which questions wait.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::protocol::{Decision, FromPlugin, PluginEvent, Question, Verdict};

/// Lines that may wait for a slow plugin.
const QUEUE: usize = 256;
/// Questions that may wait for one plugin.
const MAX_QUESTIONS: usize = 1024;

/// All connected plugins.
#[derive(Debug, Default)]
pub struct Hub {
    plugins: Mutex<Parties>,
    next_question: AtomicU64,
    /// Whether any plugin decides: the fast path of a post without plugins is one load.
    decides: AtomicBool,
    listens: AtomicBool,
}

/// Who is here, and who should be.
#[derive(Debug, Default)]
struct Parties {
    present: Vec<Arc<Plugin>>,
    /// Configured plugins that decide and are not connected: their default holds meanwhile.
    away: Vec<Terms>,
}

/// How one connection behaves.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) name: String,
    /// Whether the configuration names it; a program at the socket comes and goes as it likes.
    pub(super) configured: bool,
    pub(super) decide: bool,
    /// Kinds of events; empty = all.
    pub(super) events: Vec<String>,
    /// How long an answer may take.
    pub(super) deadline: Duration,
    /// What holds when no answer comes in time.
    pub(super) otherwise: Decision,
}

/// Who waits for an answer: the decision and the text of a refusal.
type Asker = oneshot::Sender<(Decision, Option<String>)>;

#[derive(Debug)]
pub(super) struct Plugin {
    terms: Terms,
    lines: mpsc::Sender<String>,
    questions: Mutex<HashMap<u64, Asker>>,
    lost: AtomicU64,
    asked: AtomicU64,
    late: AtomicU64,
}

/// What `status` says about one plugin.
#[derive(Debug, Clone, Serialize)]
pub struct PluginStatus {
    /// Name of the plugin.
    pub name: String,
    /// Whether it decides about posts.
    pub decides: bool,
    /// Questions put to it.
    pub asked: u64,
    /// Questions it did not answer in time.
    pub late: u64,
    /// Events it was too slow for.
    pub lost: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Nobody connected yet.
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

    /// Whether anybody decides about posts.
    pub fn decides(&self) -> bool {
        self.decides.load(Ordering::Acquire)
    }

    /// Whether anybody listens: events need not be built otherwise.
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

    /// How many events were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    async fn answer_to(self: Arc<Self>, number: u64, line: String) -> Verdict {
        let (sender, receiver) = oneshot::channel();
        let room = {
            let mut questions = lock(&self.questions);
            let room = questions.len() < MAX_QUESTIONS;
            if room {
                questions.insert(number, sender);
            }
            room
        };
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answered = if room && self.send(line) {
            tokio::time::timeout(self.terms.deadline, receiver)
                .await
                .ok()
                .and_then(Result::ok)
        } else {
            None
        };
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
