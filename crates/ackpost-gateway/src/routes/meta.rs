//! `/status`, `/details`, `/healthz`, `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::open;
use super::send::refusal;
use crate::metrics;
use crate::reply::Reply;
use crate::state::Gateway;
use crate::token::Scope;

/// Apprise API's health check: 200, or 417 when a message cannot be accepted or a configuration not be saved.
pub(crate) async fn status(State(gateway): State<Arc<Gateway>>) -> Reply {
    let config = gateway.config();
    let status = gateway
        .health
        .status(&gateway.outbox, gateway.catalog.store())
        .await;
    let (accepting, writable) = (status.outbox.is_none(), status.configurations);
    let mut details = Vec::new();
    if !accepting {
        details.push("STORE_PERMISSION_ISSUE");
    }
    if !writable {
        details.push("CONFIG_PERMISSION_ISSUE");
    }
    if details.is_empty() {
        details.push("OK");
    }
    let good = accepting && (writable || config.config_lock);
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
            json!({"persistent_storage": accepting, "can_write_config": writable && !config.config_lock,
                   "can_write_attach": accepting, "details": details}),
        )
}

/// Answers with the list of services.
pub(crate) async fn details(State(gateway): State<Arc<Gateway>>) -> Response {
    let services = gateway.catalog.known();
    let schemas: Vec<_> = services
        .iter()
        .map(|one| {
            json!({
                "service_name": one.title,
                "service_url": one.setup_url,
                "setup_url": one.setup_url,
                "enabled": true,
                "attachment_support": true,
                "category": "native",
                "protocols": one.plain_schemas,
                "secure_protocols": one.secure_schemas,
                "details": {"args": one.parameters.iter().map(|param| param.name).collect::<Vec<_>>()},
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

/// For load balancers and systemd: 200 while messages are accepted and delivered.
pub(crate) async fn healthz(State(gateway): State<Arc<Gateway>>) -> Reply {
    if !gateway.is_healthy() {
        return Reply::unavailable("the gateway is starting or stopping", Duration::from_secs(5));
    }
    let status = gateway
        .health
        .status(&gateway.outbox, gateway.catalog.store())
        .await;
    match status.outbox {
        None => Reply::ok("ok"),
        Some(reason) => {
            // The reason names folders of this machine.
            tracing::error!(reason, "the outbox accepts no messages");
            Reply::unavailable("the outbox accepts no messages", Duration::from_secs(5))
                .remedy("see the log of the gateway; most likely its disk is full")
        }
    }
}

/// Answers with the metrics for Prometheus.
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
    let mut text = metrics::page(&gateway.counters, &stats, failing, uptime);
    if let Some(desk) = gateway.desk() {
        text.push_str(&metrics::acts(&desk.counts()));
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
