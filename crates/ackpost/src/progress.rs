//! How far files are on their way: a bar on standard error, where somebody looks at it, for what takes longer than a
//! second.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::context::{Context, Name};

/// What is done sooner shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// The bars of one command. Clones share them; the last one that goes takes them off the screen.
#[derive(Clone, Default)]
pub(crate) struct Progress(Option<Arc<Bars>>);

#[derive(Default)]
struct Bars {
    screen: MultiProgress,
    files: Mutex<HashMap<String, File>>,
}

struct File {
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Shows nothing where nobody looks: with `--json`, without a terminal, and under Apprise's name.
    pub(crate) fn new(context: Context) -> Self {
        let seen = !context.json && context.name == Name::Ackpost && std::io::stderr().is_terminal();
        Self(seen.then(Arc::default))
    }

    /// What a transfer of one file reports to: bytes so far, bytes in all.
    pub(crate) fn file(&self, name: &str) -> impl Fn(u64, u64) + Send + Sync + 'static {
        let (bars, name) = (self.0.clone(), name.to_owned());
        move |done, total| {
            if let Some(bars) = &bars {
                bars.tell(&name, done, total);
            }
        }
    }

    /// What deliveries report to.
    pub(crate) fn of_deliveries(&self) -> Option<notify::Progress> {
        let bars = self.0.clone()?;
        Some(notify::Progress(Arc::new(move |name, done, total| {
            bars.tell(name, done, total);
        })))
    }

    /// Takes all bars off the screen, before something else is printed.
    pub(crate) fn clear(&self) {
        if let Some(bars) = &self.0 {
            bars.clear();
        }
    }
}

impl Bars {
    fn tell(&self, name: &str, done: u64, total: u64) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let file = files.entry(name.to_owned()).or_insert_with(|| File {
            since: Instant::now(),
            bar: None,
        });
        if file.bar.is_none() && file.since.elapsed() >= PATIENCE {
            file.bar = Some(self.screen.add(bar(name)));
        }
        let Some(bar) = &file.bar else { return };
        bar.set_length(total);
        bar.set_position(done);
    }

    fn clear(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, file) in files.drain() {
            if let Some(bar) = file.bar {
                bar.finish_and_clear();
            }
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.clear();
    }
}

fn bar(name: &str) -> ProgressBar {
    let clean = name
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>();
    let style = ProgressStyle::with_template("{msg:30!}  [{bar:30}] {bytes}/{total_bytes}  {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::no_length().with_style(style).with_message(clean)
}
