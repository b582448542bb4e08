//! The frame of every page.

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use maud::{DOCTYPE, Markup, html};

use crate::reply::Reply;
use ackpost_platform::text::misleads;

/// Nothing but our own style sheet and our own forms.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// Links at the top of a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Menu {
    /// The page is for somebody whom every link would send back to the login.
    None,
    Open,
    /// With the button that ends the session.
    LoggedIn,
}

/// A whole page.
pub(super) fn page(title: &str, logged_in: bool, content: &Markup) -> Response {
    frame(
        title,
        if logged_in { Menu::LoggedIn } else { Menu::Open },
        content,
    )
}

/// A whole page for somebody who has to log in.
pub(super) fn page_before_login(title: &str, content: &Markup) -> Response {
    frame(title, Menu::None, content)
}

fn frame(title: &str, menu: Menu, content: &Markup) -> Response {
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
                    @if menu != Menu::None {
                        nav {
                            a href="/ui" { "Keys" }
                            a href="/ui/outbox" { "Outbox" }
                            a href="/metrics" { "Metrics" }
                            @if menu == Menu::LoggedIn {
                                form method="post" action="/ui/logout" { button.link type="submit" { "Log out" } }
                            }
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
    (headers, legible(&markup.into_string())).into_response()
}

/// The page with every character that misleads replaced: it holds names, texts and answers of others.
fn legible(page: &str) -> String {
    let replace = |c: char| misleads(c) && !matches!(c, '\n' | '\r' | '\t');
    page.chars()
        .map(|c| if replace(c) { '\u{fffd}' } else { c })
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn texts_of_others_turn_nothing_on_a_page() {
        let text = "a\u{1b}[2J\u{9b}b\u{202e}txt\u{2066}\u{2028}\nline\t\u{5e9}\u{200f}";
        let response = log(axum::http::StatusCode::OK, text);
        let body = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .expect("a page");
        let body = std::str::from_utf8(&body).expect("UTF-8");
        assert!(
            body.contains("a\u{fffd}[2J\u{fffd}b\u{fffd}txt\u{fffd}\u{fffd}\nline\t\u{5e9}\u{200f}"),
            "{body}"
        );
        assert!(
            !body.chars().any(|c| misleads(c) && !matches!(c, '\n' | '\t')),
            "{body}"
        );
    }
}
