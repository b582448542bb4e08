//! A look at `[operate]` for the doctor: can alerts be answered?

use std::time::{Duration, Instant};

use ackpost_operate::calls::Alerting;

use crate::config::Config;

/// One fact about answers to alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fact {
    /// The part of the configuration: `people`, `source` or `key`.
    pub step: &'static str,
    /// Name of the source or key.
    pub name: Option<String>,
    /// Observation, in words.
    pub seen: String,
    /// Remedy, as an imperative; `None` if everything is as it should be.
    pub remedy: Option<String>,
    /// Time that it took to find out.
    pub elapsed: Duration,
}

impl Fact {
    fn new(
        step: &'static str,
        name: Option<&str>,
        found: Result<String, (String, String)>,
        began: Instant,
    ) -> Self {
        let (seen, remedy) = match found {
            Ok(seen) => (seen, None),
            Err((cause, remedy)) => (cause, Some(remedy)),
        };
        Self {
            step,
            name: name.map(str::to_owned),
            seen,
            remedy,
            elapsed: began.elapsed(),
        }
    }
}

/// Looks at everything that answers to alerts need: people who may answer, the alerting programs, and the keys whose
/// messages can be answered. Calls the programs, and changes nothing there.
pub async fn answers(config: &Config) -> Vec<Fact> {
    let operate = &config.operate;
    let mut facts = Vec::new();
    let began = Instant::now();
    let people = if operate.is_on() {
        Ok("somebody may answer".to_owned())
    } else {
        Err((
            "nobody may answer, or no alerting program is named: answers are off".to_owned(),
            "write `allow` and a source into [operate]".to_owned(),
        ))
    };
    facts.push(Fact::new("people", None, people, began));
    for (name, source) in operate.named_sources() {
        let began = Instant::now();
        let found = match source.and_then(Alerting::new) {
            Err(error) => Err((error.to_string(), "correct the source in [operate]".to_owned())),
            Ok(alerting) => match alerting.look().await {
                Ok(()) => Ok(
                    "it answers; whether the token may write silences shows with the first one".to_owned(),
                ),
                Err(error) => Err((error.to_string(), error.remedy().to_owned())),
            },
        };
        facts.push(Fact::new("source", Some(name), found, began));
    }
    for key in operate.keys() {
        let began = Instant::now();
        let found = match config.keys.get(key) {
            Some(file) if file.is_file() => Ok(format!("{}", file.display())),
            Some(file) => Err((
                format!("its file is missing: {}", file.display()),
                "write the file, or remove the key".to_owned(),
            )),
            // Keys may also be stored over HTTP.
            None => Ok("not in the configuration: stored over HTTP, or nobody gets its alerts".to_owned()),
        };
        facts.push(Fact::new("key", Some(key), found, began));
    }
    facts
}
