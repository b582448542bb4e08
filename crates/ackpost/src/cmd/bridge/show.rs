//! The work of a bridge, shown to people, programs and Prometheus.

use std::fmt::Write as _;

use ackpost_bridge::{Counts, Store, StoreError};
use ackpost_platform::text::masked as safe;
use serde_json::{Value, json};

use super::place::{self, Place};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;

/// Both directions, under their names.
const DIRECTIONS: [(&str, bool); 2] = [("to_session", true), ("to_xmpp", false)];

pub(super) async fn status(place: &Place, names: &[String], as_metrics: bool, context: Context) -> Done {
    let chosen = place.chosen(names)?;
    let store = place.open().await?;
    let failed = |error: StoreError| place::store_failure(&error);
    if as_metrics {
        let names: Vec<&str> = chosen.iter().map(|bridge| bridge.name.as_str()).collect();
        output::raw(metrics(&store, &names).await.map_err(failed)?.as_bytes());
        return Ok(Exit::Success);
    }
    for bridge in &chosen {
        let paused = store.paused(&bridge.name).await.map_err(failed)?;
        let mut value = json!({ "name": bridge.name, "paused": paused });
        let mut lines = match &paused {
            Some(why) => format!("{}: paused ({})", bridge.name, safe(why)),
            None => bridge.name.clone(),
        };
        for (direction, to_session) in DIRECTIONS {
            let counts = store.counts(&bridge.name, to_session).await.map_err(failed)?;
            value[direction] = counts_json(&counts);
            let _ = write!(
                lines,
                "\n  {direction}: {} carried in 7 days, {} waiting, {} refused, delay {} s",
                counts.carried,
                counts.waiting,
                counts.refused,
                delay(&counts)
            );
            if let Some(error) = &counts.error {
                let _ = write!(lines, "\n    last error: {}", safe(error));
            }
        }
        if context.json {
            output::json(&value);
        } else {
            output::line(&lines);
        }
    }
    if chosen.is_empty() {
        output::none("bridges", context);
    }
    Ok(Exit::Success)
}

fn counts_json(counts: &Counts) -> Value {
    json!({
        "carried": counts.carried,
        "waiting": counts.waiting,
        "refused": counts.refused,
        "delay_secs": delay(counts),
        "error": counts.error,
    })
}

/// Returns the waiting time of the oldest waiting message, seconds.
fn delay(counts: &Counts) -> u64 {
    let now = jiff::Timestamp::now().as_millisecond();
    counts.oldest.map_or(0, |oldest| {
        u64::try_from((now - oldest) / 1000).unwrap_or_default()
    })
}

/// The text format of Prometheus.
pub(super) async fn metrics(store: &Store, names: &[&str]) -> Result<String, StoreError> {
    let mut rows: [Vec<String>; 4] = Default::default();
    let mut paused = Vec::new();
    for name in names {
        let is_paused = store.paused(name).await?.is_some();
        paused.push(format!(
            "ackpost_bridge_paused{{bridge=\"{name}\"}} {}\n",
            u8::from(is_paused)
        ));
        for (direction, to_session) in DIRECTIONS {
            let counts = store.counts(name, to_session).await?;
            let labels = format!("{{bridge=\"{name}\",direction=\"{direction}\"}}");
            let values = [counts.carried, counts.waiting, counts.refused, delay(&counts)];
            for (row, value) in rows.iter_mut().zip(values) {
                row.push(format!("{labels} {value}\n"));
            }
        }
    }
    let mut text = String::new();
    let heads = [
        ("carried", "Entries that crossed in the last seven days."),
        ("waiting", "Entries that have yet to cross."),
        ("refused", "Entries that could not cross in the last seven days."),
        ("delay_seconds", "Age of the oldest entry that has yet to cross."),
    ];
    for ((name, help), rows) in heads.iter().zip(&rows) {
        let _ = writeln!(
            text,
            "# HELP ackpost_bridge_{name} {help}\n# TYPE ackpost_bridge_{name} gauge"
        );
        for row in rows {
            let _ = write!(text, "ackpost_bridge_{name}{row}");
        }
    }
    text.push_str("# HELP ackpost_bridge_paused 1 while the bridge carries nothing.\n# TYPE ackpost_bridge_paused gauge\n");
    text.extend(paused);
    Ok(text)
}

pub(super) async fn map(place: &Place, name: &str, id: &str, context: Context) -> Done {
    place.chosen(&[name.to_owned()])?;
    let store = place.open().await?;
    let found = store
        .mapped(name, id)
        .await
        .map_err(|error| place::store_failure(&error))?;
    if found.is_empty() {
        return Err(Failure::new(
            format!(
                "no message `{}` crossed in the last seven days",
                id.escape_debug()
            ),
            "give its number in the community, or its id in the XMPP room",
        ));
    }
    for part in found {
        if context.json {
            output::json(&json!({
                "bridge": name,
                "xmpp": Some(&part.xmpp).filter(|id| !id.is_empty()),
                "session": part.session,
                "part": part.part,
                "from": if part.from_xmpp { "xmpp" } else { "session" },
                "excerpt": part.excerpt,
            }));
        } else {
            let (from, arrow) = if part.from_xmpp {
                ("XMPP", "→")
            } else {
                ("Session", "←")
            };
            output::line(&format!(
                "{} {arrow} #{}  (from {from}) {}",
                safe(&part.xmpp),
                part.session,
                safe(&part.excerpt)
            ));
        }
    }
    Ok(Exit::Success)
}
