//! The lines where we differ on purpose, and the check of what is asserted instead.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ackpost_notify::ParamValue;
use serde::Deserialize;
use serde_json::Value;

use super::{config, rendering, same, urls};

/// One line of `known-differences.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Difference {
    pub(crate) id: String,
    /// Its number in `docs/reference/differences-from-apprise.md`.
    #[serde(rename = "difference")]
    pub(crate) number: String,
    refused: Option<String>,
    urls: Option<Vec<String>>,
    problem: Option<String>,
    params: Option<BTreeMap<String, bool>>,
    chunks: Option<Vec<String>>,
    html: Option<String>,
}

#[derive(Deserialize)]
struct File {
    line: Vec<Difference>,
}

/// Returns every known difference.
pub(crate) fn all() -> Vec<Difference> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../vectors/apprise/known-differences.toml");
    let text = std::fs::read_to_string(path).expect("the list belongs to the repository");
    toml::from_str::<File>(&text).expect("the list is TOML").line
}

impl Difference {
    /// Asserts our behaviour for the line.
    pub(crate) fn check(&self, line: &Value) -> Result<(), String> {
        assert!(self.number.starts_with('D'), "a difference has a number");
        let kind = line["kind"].as_str().expect("a kind");
        match kind {
            "url" | "params" => self.check_url(line),
            "format" | "overflow" => self.check_rendering(line),
            _ => self.check_config(line),
        }
    }

    fn check_url(&self, line: &Value) -> Result<(), String> {
        let loaded = urls::load(line);
        if let Some(reason) = &self.refused {
            same("number of services", &loaded.services.len(), &0)?;
            let texts: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
            return holds(&texts, reason);
        }
        if let Some(wanted) = &self.urls {
            let ours: Vec<String> = loaded
                .services
                .iter()
                .map(ackpost_notify::ServiceUrl::expose_url)
                .collect();
            same("urls", &ours, wanted)?;
        }
        let service = loaded.services.first().ok_or("nothing loaded")?;
        for (name, wanted) in self.params.iter().flatten() {
            let value = service
                .parameters()
                .into_iter()
                .find(|one| one.name == name)
                .map(|one| one.value);
            same(name, &value, &Some(ParamValue::Bool(*wanted)))?;
        }
        if let Some(problem) = &self.problem {
            holds(
                &service
                    .warnings()
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>(),
                problem,
            )?;
        }
        Ok(())
    }

    fn check_rendering(&self, line: &Value) -> Result<(), String> {
        let ours = rendering::prepared(line);
        if let Some(reason) = &self.refused {
            return match ours {
                Err(text) => holds(&[text], reason),
                Ok(prepared) => Err(format!("refusal expected, got {prepared:?}")),
            };
        }
        let chunks = ours?.chunks;
        let bodies: Vec<String> = chunks.iter().map(|chunk| chunk.body.to_string()).collect();
        same(
            "chunks",
            &bodies,
            self.chunks.as_ref().ok_or("nothing is asserted")?,
        )?;
        if self.html.is_some() {
            same("html", &chunks[0].xhtml, &self.html)?;
        }
        Ok(())
    }

    fn check_config(&self, line: &Value) -> Result<(), String> {
        let loaded = config::load(line);
        let ours: Vec<String> = loaded
            .notifier
            .iter()
            .map(ackpost_apprise::Entry::expose_url)
            .collect();
        same("urls", &ours, self.urls.as_ref().ok_or("nothing is asserted")?)?;
        if let Some(text) = &self.problem {
            let problems = loaded.notifier.problems();
            holds(
                &problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
                text,
            )?;
            let placed = problems
                .iter()
                .any(|one| one.cause.contains(text) && one.file.is_some() && one.line.is_some());
            same("file and line are named", &placed, &true)?;
        }
        Ok(())
    }
}

fn holds(texts: &[String], wanted: &str) -> Result<(), String> {
    if texts.iter().any(|text| text.contains(wanted)) {
        Ok(())
    } else {
        Err(format!("`{wanted}` is not in {texts:?}"))
    }
}
