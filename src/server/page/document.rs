//! The frame of all pages. Pure.

use maud::DOCTYPE;
use maud::Markup;
use maud::html;
use time::OffsetDateTime;

use super::assets;
use super::words;
use crate::foreign::harmless_lines;

/// The page that a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Fleet,
    Rollouts,
    Gateway,
}

impl Place {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Rollouts => "rollouts",
            Self::Gateway => "gateway",
        }
    }
}

/// The text of a document or of a part of one. Control and bidirectional characters are replaced,
/// wherever they came from.
pub(in crate::server) fn finish(markup: Markup) -> String {
    let text = markup.into_string();
    match harmless_lines(&text) {
        std::borrow::Cow::Borrowed(_) => text,
        std::borrow::Cow::Owned(cleaned) => cleaned,
    }
}

/// A whole page. `name` is the gateway that it is about, if any.
pub(super) fn page(
    place: Place,
    title: &str,
    name: Option<&str>,
    now: OffsetDateTime,
    content: Markup,
) -> String {
    let version = assets::version();
    let link = |to: Place, address: &str, text: &str| {
        html! {
            a href=(address) aria-current=[(to == place).then_some("page")] { (text) }
        }
    };
    finish(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" type="image/svg+xml" href={ "/assets/sign.svg?" (version) };
                link rel="stylesheet" href={ "/assets/page.css?" (version) };
                script src={ "/assets/page.js?" (version) } defer {}
            }
            body data-page=(place.as_str()) data-gateway=[name] {
                a.skip href="#main" { "Skip to content" }
                header.top {
                    a.home href="/" { "farmgate" }
                    nav aria-label="Pages" {
                        (link(Place::Fleet, "/", "Fleet"))
                        (link(Place::Rollouts, "/rollouts", "Rollouts"))
                    }
                    p.live #live { "as of " time datetime=(words::machine(now)) { (words::exact(now)) } }
                }
                main #main tabindex="-1" { (content) }
                footer {
                    p { "This page only shows. Commands of " code { "farmgate" } " change things." }
                }
            }
        }
    })
}

/// A page for an address that does not exist.
pub(in crate::server) fn not_found(now: OffsetDateTime) -> String {
    let content = html! {
        h1 { "There is nothing here" }
        p { "No gateway has this name now. " a href="/" { "The fleet" } " lists all of them." }
    };
    page(Place::Gateway, "Not found - farmgate", None, now, content)
}
