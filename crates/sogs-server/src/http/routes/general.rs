//! Capabilities.

use http::StatusCode;
use serde_json::json;

use crate::http::context::RequestContext;
use crate::http::reply::Reply;

/// `GET /capabilities[?required=a,b]`
pub(crate) fn capabilities(cx: &RequestContext<'_>) -> Reply {
    let mut capabilities = vec!["reactions", "sogs"];
    if cx.app.config().users.require_blind_keys {
        capabilities.insert(0, "blind");
    }
    let Some(required) = cx.req.param("required").filter(|text| !text.is_empty()) else {
        return Reply::json(&json!({ "capabilities": capabilities }));
    };
    let missing: Vec<&str> = required
        .split(',')
        .filter(|name| !capabilities.contains(name))
        .collect();
    if missing.is_empty() {
        return Reply::json(&json!({ "capabilities": capabilities }));
    }
    Reply::json(&json!({ "capabilities": capabilities, "missing": missing }))
        .status(StatusCode::PRECONDITION_FAILED)
}
