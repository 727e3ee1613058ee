//! Tables that scroll by themselves where the screen is too narrow. Pure.

use maud::Markup;
use maud::html;

/// A table of this class, with its name for screen readers, and a heading for each column.
pub(super) fn table(class: &str, name: &str, columns: &[&str], rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(name) {
            table class=(class) {
                thead { tr { @for column in columns { th scope="col" { (column) } } } }
                tbody { (rows) }
            }
        }
    }
}
