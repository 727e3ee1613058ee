//! The generations of a gateway, with their files and what changed. Pure.

use maud::Markup;
use maud::html;
use time::OffsetDateTime;

use super::diff;
use super::level::Level;
use super::model::Changes;
use super::model::Details;
use super::model::Generation;
use super::model::Script;
use super::row::mark;
use super::table::table;
use super::words;
use crate::foreign::Foreign;

pub(super) fn section(details: &Details, now: OffsetDateTime) -> Markup {
    html! {
        section aria-labelledby="generations" {
            h2 #generations { "Generations" }
            @if details.generations.is_empty() { p { "Nothing is published." } }
            @for generation in &details.generations { (one(generation, now)) }
            @if details.older > 0 {
                p { "And " (details.older) " older: "
                    code { "farmgate generations " (details.gateway.name) } " lists them." }
            }
        }
    }
}

fn one(generation: &Generation, now: OffsetDateTime) -> Markup {
    html! {
        details.generation {
            summary {
                strong { "Generation " (generation.number) } " "
                @for word in &generation.marks { span.label { (word) } " " }
                @match generation.works {
                    Some(true) => (mark(Level::Good, "acknowledged")),
                    Some(false) => (mark(Level::Bad, "gave no word")),
                    None => {}
                }
                " published " (words::ago(generation.published, now))
                @if let Some(changes) = &generation.changes { span.sub { (in_short(changes)) } }
            }
            @if let Some(changes) = &generation.changes { (self::changes(changes)) }
            (files(generation))
        }
    }
}

fn files(generation: &Generation) -> Markup {
    let rows = html! {
        @for file in &generation.files {
            tr {
                td { (file.path) }
                td.number { (words::size(file.size)) }
                td {
                    @match &file.sha256 {
                        Some(digits) => code { (digits.chars().take(12).collect::<String>()) },
                        None => span.none { "private" },
                    }
                }
            }
        }
    };
    let name = format!("Files of generation {}", generation.number);
    table("files", &name, &["File", "Size", "SHA-256"], &rows)
}

fn in_short(changes: &Changes) -> String {
    let parts =
        [("changed", &changes.changed), ("added", &changes.added), ("removed", &changes.removed)];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(_, paths)| !paths.is_empty())
        .map(|(word, paths)| format!("{word}: {}", paths.join(", ")))
        .collect();
    let names: Vec<&str> = changes.variables.iter().map(|variable| &*variable.name).collect();
    let named = (!names.is_empty()).then(|| format!("variables: {}", names.join(", ")));
    let parts: Vec<String> = parts.into_iter().chain(named).collect();
    if parts.is_empty() {
        format!("the same files as generation {}", changes.before)
    } else {
        parts.join("; ")
    }
}

fn changes(changes: &Changes) -> Markup {
    html! {
        @if !changes.variables.is_empty() { (variables(changes)) }
        @match &changes.script {
            Script::Same => {}
            Script::Unreadable(error) => { p.none { "The boot scripts cannot be compared: " (error) } }
            Script::Texts { old, new } => {
                h3 { "Boot script since generation " (changes.before) }
                (diff::of(old, new))
            }
        }
    }
}

fn variables(changes: &Changes) -> Markup {
    let value = |value: &Option<Foreign>| {
        html! {
            @match value {
                Some(value) => code { (value) },
                None => span.none { "not set" },
            }
        }
    };
    let rows = html! {
        @for variable in &changes.variables {
            tr {
                td { code { (variable.name) } }
                td { (value(&variable.before)) }
                td { (value(&variable.after)) }
            }
        }
    };
    let name = format!("Variables since generation {}", changes.before);
    html! {
        h3 { (name) }
        (table("files", &name, &["Variable", "Before", "Now"], &rows))
    }
}
