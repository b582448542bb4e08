//! The first page: keys, and how the outbox is doing.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use maud::html;

use super::{layout, refused, visitor};
use crate::auth::Caller;
use crate::config::Access;
use crate::routes::send::refusal;
use crate::state::Gateway;
use crate::token::Scope;
use crate::units;

pub(super) async fn show(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let caller = match visitor(&gateway, &parts) {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let keys = match gateway.keys() {
        Ok(keys) => keys,
        Err(reply) => return refused(&reply),
    };
    let stats = match gateway.outbox.stats().await {
        Ok(stats) => stats,
        Err(error) => return refused(&refusal(error)),
    };
    let shown: Vec<_> = keys
        .iter()
        .filter(|key| {
            [Scope::Read, Scope::Configure]
                .iter()
                .any(|scope| caller.may(*scope, Some(key)).is_ok())
        })
        .collect();
    // The counts are about all keys.
    let counts = match &caller {
        Caller::Token(grant) => {
            grant.is_unbound() && (grant.allows(Scope::Outbox) || grant.allows(Scope::Metrics))
        }
        Caller::Anyone => true,
    };
    let access = match (gateway.is_open(), gateway.config().access) {
        (true, Access::Open) => "open: everybody who can connect",
        (true, _) => "open to this machine until the first token is made",
        (false, _) => "with tokens",
    };
    let content = html! {
        dl {
            @if counts {
            dt { "Waiting" } dd { (stats.waiting + stats.collecting) }
            dt { "Oldest" }
            dd {
                @match stats.oldest_waiting_seconds {
                    Some(seconds) => (units::show(Duration::from_secs(seconds))),
                    None => "–",
                }
            }
            dt { "Failing targets" } dd { (stats.failing_lanes) }
            dt { "Dead letters" }
            dd { @if stats.dead > 0 { a.bad href="/ui/outbox?state=dead" { (stats.dead) } } @else { "0" } }
            }
            dt { "Access" } dd { (access) }
        }
        h2 { "Keys" }
        @if shown.is_empty() {
            p { "No keys. Add one here or with " code { "POST /add/KEY" } ", or name a file in gateway.toml." }
        } @else {
            table {
                thead { tr { th { "Key" } th { "From" } } }
                tbody {
                    @for key in shown {
                        tr {
                            td.long { a href={ "/ui/keys/" (key) } { (key) } }
                            td { @if gateway.operator_file(key).is_some() { "gateway.toml" } @else { "/add" } }
                        }
                    }
                }
            }
        }
        @if caller.may(Scope::Configure, None).is_ok() && !gateway.config().config_lock {
            h2 { "Add a key" }
            form.row method="get" action="/ui/add" {
                label { "Name" input name="key" required pattern="[A-Za-z0-9_\\-]+" maxlength="128"; }
                button type="submit" { "Add" }
            }
        }
    };
    layout::page("Keys", matches!(caller, Caller::Token(_)), &content)
}
