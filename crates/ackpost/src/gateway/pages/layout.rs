//! The frame of every page.

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use maud::{DOCTYPE, Markup, html};

use crate::gateway::reply::Reply;

/// Nothing but our own style sheet and our own forms.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// A whole page.
pub(super) fn page(title: &str, logged_in: bool, content: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " – Ackpost gateway" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/ui/style.css";
            }
            body {
                header {
                    a.brand href="/ui" { "Ackpost gateway" }
                    nav {
                        a href="/ui" { "Keys" }
                        a href="/ui/outbox" { "Outbox" }
                        a href="/metrics" { "Metrics" }
                        @if logged_in {
                            form method="post" action="/ui/logout" { button.link type="submit" { "Log out" } }
                        }
                    }
                }
                main {
                    h1 { (title) }
                    (content)
                }
            }
        }
    };
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, markup.into_string()).into_response()
}

/// A refusal as a page.
pub(crate) fn problem(reply: &Reply) -> Response {
    let content = html! { p.bad role="alert" { (reply.sentence()) } p { a href="/ui" { "Back" } } };
    let mut response = page("This did not work", false, &content);
    *response.status_mut() = reply.status();
    response
}

/// An answer of the API for somebody who tries it in a browser.
pub(crate) fn log(status: axum::http::StatusCode, text: &str) -> Response {
    let title = if status.is_success() {
        "Done"
    } else {
        "This did not work"
    };
    let mut response = page(title, false, &html! { pre { (text) } });
    *response.status_mut() = status;
    response
}

/// The style sheet.
pub(super) async fn style() -> Response {
    let headers = [
        ("content-type", "text/css; charset=utf-8"),
        ("cache-control", "max-age=3600"),
    ];
    (headers, include_str!("style.css")).into_response()
}
