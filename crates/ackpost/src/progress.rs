//! Progress of file transfers: a bar on standard error for transfers that take longer than a second, if it is a
//! terminal.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::context::{Context, Invocation};

/// Time after which a bar is shown.
const PATIENCE: Duration = Duration::from_secs(1);
/// Interval between two checks of the files, so that a bar appears and moves also while nothing is reported.
const TICK: Duration = Duration::from_millis(100);

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
    done: u64,
    total: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Shows nothing with `--json`, without a terminal, and under Apprise's name.
    pub(crate) fn new(context: Context) -> Self {
        let seen = !context.json && context.name == Invocation::Ackpost && std::io::stderr().is_terminal();
        Self(seen.then(Arc::default))
    }

    /// Returns the callback for the transfer of one file: bytes so far, bytes in all.
    pub(crate) fn file(&self, name: &str) -> impl Fn(u64, u64) + Send + Sync + 'static {
        let (bars, name) = (self.0.clone(), name.to_owned());
        move |done, total| {
            if let Some(bars) = &bars {
                bars.tell(&name, done, total);
            }
        }
    }

    /// Returns the callback for deliveries.
    pub(crate) fn of_deliveries(&self) -> Option<ackpost_notify::Progress> {
        let bars = self.0.clone()?;
        Some(ackpost_notify::Progress(Arc::new(move |name, done, total| {
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
    fn files(&self) -> MutexGuard<'_, HashMap<String, File>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(self: &Arc<Self>, name: &str, done: u64, total: u64) {
        let mut files = self.files();
        if files.is_empty() {
            let bars = Arc::downgrade(self);
            std::thread::spawn(move || tick(&bars));
        }
        let file = files.entry(name.to_owned()).or_insert_with(|| File {
            since: Instant::now(),
            done,
            total,
            bar: None,
        });
        (file.done, file.total) = (done, total);
    }

    /// Draws the running transfers; returns `false` if there are none.
    fn draw(&self) -> bool {
        let mut files = self.files();
        for (name, file) in files.iter_mut() {
            if file.bar.is_none() && file.since.elapsed() >= PATIENCE {
                file.bar = Some(self.screen.add(bar(name)));
            }
            let Some(bar) = &file.bar else { continue };
            bar.set_length(file.total);
            bar.set_position(file.done);
            if file.done >= file.total {
                // The system has taken it all; that it has arrived, only the answer tells.
                bar.set_prefix("sent");
            }
            bar.tick();
        }
        !files.is_empty()
    }

    fn clear(&self) {
        for (_, file) in self.files().drain() {
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

fn tick(bars: &Weak<Bars>) {
    loop {
        std::thread::sleep(TICK);
        let Some(bars) = bars.upgrade() else { return };
        if !bars.draw() {
            return;
        }
    }
}

fn bar(name: &str) -> ProgressBar {
    let clean = crate::output::one_line(name);
    let style = ProgressStyle::with_template("{msg:30!}  [{bar:30}] {bytes}/{total_bytes}  {prefix}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::no_length().with_style(style).with_message(clean)
}
