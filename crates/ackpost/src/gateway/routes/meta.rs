//! `/status`, `/details`, `/healthz`, `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use notify::Notifier;
use serde_json::json;

use super::open;
use super::send::refusal;
use crate::gateway::metrics;
use crate::gateway::reply::Reply;
use crate::gateway::state::Gateway;
use crate::gateway::token::Scope;

/// Apprise API's health check: 200, or 417 when something that is needed cannot be written.
pub(crate) async fn status(State(gateway): State<Arc<Gateway>>) -> Reply {
    let config = gateway.config();
    let writable = gateway.catalog.store().is_writable();
    let details: &[&str] = if writable {
        &["OK"]
    } else {
        &["CONFIG_PERMISSION_ISSUE"]
    };
    let good = writable || config.config_lock;
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::EXPECTATION_FAILED
    };
    Reply::new(status, details[0])
        .field("config_lock", config.config_lock)
        .field("attach_lock", false)
        .field(
            "status",
            json!({"persistent_storage": true, "can_write_config": writable && !config.config_lock,
                   "can_write_attach": true, "details": details}),
        )
}

/// What services there are.
pub(crate) async fn details() -> Response {
    let schemas: Vec<_> = Notifier::details()
        .iter()
        .map(|one| {
            json!({
                "service_name": one.service_name,
                "service_url": one.setup_url,
                "setup_url": one.setup_url,
                "enabled": true,
                "attachment_support": true,
                "category": "native",
                "protocols": one.protocols,
                "secure_protocols": one.secure_protocols,
                "details": {"args": one.parameters},
            })
        })
        .collect();
    let document = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "asset": {"app_id": "Ackpost", "app_desc": "Ackpost", "theme": "default"},
        "schemas": schemas,
    });
    ([(CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

/// For load balancers and systemd: 200 while messages are taken and delivered.
pub(crate) async fn healthz(State(gateway): State<Arc<Gateway>>) -> Reply {
    if !gateway.is_healthy() {
        return Reply::unavailable("the gateway is starting or stopping", Duration::from_secs(5));
    }
    match tokio::time::timeout(Duration::from_secs(5), gateway.outbox.stats()).await {
        Ok(Ok(_)) => Reply::ok("ok"),
        Ok(Err(error)) => Reply::unavailable(format!("the outbox: {error}"), Duration::from_secs(5)),
        Err(_) => Reply::unavailable("the outbox does not answer", Duration::from_secs(5)),
    }
}

/// Prometheus.
pub(crate) async fn metrics(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Response, Reply> {
    let opened = open(&gateway, request).await?;
    opened.caller.may(Scope::Metrics, None)?;
    let stats = gateway.outbox.stats().await.map_err(refusal)?;
    let uptime = gateway.started.elapsed().as_secs();
    let lanes = gateway.outbox.lanes().await.map_err(refusal)?;
    let failing = lanes.iter().filter_map(|lane| lane.failing_seconds).max();
    let text = metrics::page(&gateway.counters, &stats, failing, uptime);
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
