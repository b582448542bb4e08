//! The XMPP room as a member has it, and the program of the bridge.

use std::collections::BTreeMap;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ackpost_xmpp::Event;

/// A running bridge, which a test that fails does not leave behind.
pub(crate) struct Process(pub(crate) Child);

impl std::ops::Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A message that crossed, as a member of the other side has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// Somebody reacted to it.
    pub(crate) reacted: bool,
}

/// The XMPP room as Carol has it: what the bridge wrote there, in order, with its changes.
#[derive(Default)]
pub(crate) struct View {
    /// The ids that the room gave.
    order: Vec<String>,
    lines: BTreeMap<String, Line>,
    /// The ids of the room by the ids of the author.
    by_origin: BTreeMap<String, String>,
    /// Times at which the notes arrived, in order.
    pub(crate) arrived: Vec<Instant>,
}

impl View {
    /// The lines that were not taken back, in order.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.order
            .iter()
            .filter_map(|id| self.lines.get(id).cloned())
            .filter(|line| line.text.contains("note "))
            .collect()
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        self.lines.values().any(|line| line.text.contains(text))
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Room(received) if received.bridge.is_some() => {
                let id = received.archive.expect("an id of the room").id;
                let line = Line {
                    text: received.body,
                    reacted: false,
                };
                if line.text.contains("note ") {
                    self.arrived.push(Instant::now());
                }
                self.by_origin.insert(received.id.expect("an id"), id.clone());
                self.lines.insert(id.clone(), line);
                self.order.push(id);
            }
            Event::Correction(received) if received.bridge.is_some() => {
                let first = received.replaces.and_then(|id| self.by_origin.get(&id));
                if let Some(line) = first.and_then(|id| self.lines.get_mut(id)) {
                    line.text = received.body;
                }
            }
            Event::Reaction { from, to, emoji, .. }
                if from.resource().is_some_and(|nick| nick.starts_with("Session")) =>
            {
                if let Some(line) = self.lines.get_mut(&to) {
                    line.reacted = !emoji.is_empty();
                }
            }
            Event::Retracted(retraction) => drop(self.lines.remove(&retraction.id)),
            _ => {}
        }
    }
}

pub(crate) fn collect(mut events: ackpost_xmpp::Events) -> Arc<Mutex<View>> {
    let seen = Arc::new(Mutex::new(View::default()));
    let into = seen.clone();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            into.lock().expect("no panic").take(event);
        }
    });
    seen
}
