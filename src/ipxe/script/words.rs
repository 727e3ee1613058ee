//! Checks each command, option and word by itself.

use super::Context;
use super::Severity;
use super::codes;
use super::commands;
use super::commands::On;
use super::expand::is_literal;
use super::expand::references;
use super::fact::Effect;
use super::fact::Fact;
use super::grammar::Line;
use super::grammar::shown;
use super::options::Wrong;
use super::report::Report;

pub(super) fn check(context: &Context<'_>, report: &mut Report) {
    for line in &context.script.lines {
        line_itself(line, report);
    }
    for (number, fact) in context.facts.iter().enumerate() {
        let Some(name) = fact.words.first() else { continue };
        match fact.spec {
            Some(_) => known(context, number, fact, report),
            None if is_literal(name) => unknown(context, number, fact, name, report),
            None => {}
        }
        for (at, word) in fact.words.iter().enumerate() {
            if let Some(open) = references(word).unclosed {
                let range = fact.range(at);
                let span = context.line(fact).locate(&(range.start + open..range.end));
                let what = "`${` has no `}` in this word".to_owned();
                report.warn(
                    codes::UNCLOSED,
                    span,
                    what,
                    "close it; names cannot contain white space",
                );
            }
        }
    }
}

fn line_itself(line: &Line<'_>, report: &mut Report) {
    if let Some(nul) = line.nul {
        let what = "a NUL byte hides the rest of this line from iPXE".to_owned();
        report.warn(codes::NUL, line.locate(&(nul..nul + 1)), what, "delete the byte");
    }
    if let Some(comment) = &line.comment {
        let span = line.locate(comment);
        // The continuation itself has two bytes that the text no longer contains.
        if span.len() > comment.len() {
            let what = "this comment continues on the next line of the file".to_owned();
            let help = "delete the backslash at its end";
            report.warn(codes::CONTINUED_COMMENT, span, what, help);
        }
    }
}

fn unknown(
    context: &Context<'_>,
    number: usize,
    fact: &Fact<'_>,
    name: &[u8],
    report: &mut Report,
) {
    if let Some(operator) = glued(name) {
        let what = format!("`{operator}` is part of the word `{}`", shown(name));
        return report.add(
            codes::GLUED_OPERATOR,
            context.severity_of_failure(number),
            context.word(fact, 0),
            what,
            &format!("put white space on both sides of `{operator}`"),
        );
    }
    // A file that is not a script at all needs no long search for similar names.
    let few = report.findings.len() < super::MOST;
    let help = match few.then(|| commands::similar(name)).flatten() {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => "correct it, or delete the line".to_owned(),
    };
    let what = format!("iPXE has no command `{}`", shown(name));
    let severity = context.severity_of_failure(number);
    report.add(codes::UNKNOWN_COMMAND, severity, context.word(fact, 0), what, &help);
}

fn glued(word: &[u8]) -> Option<&'static str> {
    ["&&", "||", ";"].into_iter().find(|operator| match *operator {
        ";" => word.len() > 1 && word.ends_with(b";"),
        operator => memchr::memmem::find(word, operator.as_bytes()).is_some(),
    })
}

fn known(context: &Context<'_>, number: usize, fact: &Fact<'_>, report: &mut Report) {
    let Some(spec) = fact.spec else { return };
    let missing = match spec.on {
        On::All => None,
        On::Efi2 => Some("of Debian's packages only iPXE 2.0.0 for UEFI has it"),
        On::Optional => Some("Debian's packages are built without it"),
        On::Newer => Some("it is newer than iPXE 2.0.0"),
    };
    if let Some(why) = missing {
        let what = format!("`{}` may be missing from the iPXE on the images: {why}", spec.name);
        let help =
            "do without it, or put `||` after the command, or make the images from iPXE's source";
        if !fact_is_guarded(context, number, fact) {
            report.warn(codes::NOT_ON_IMAGE, context.word(fact, 0), what, help);
        }
    }
    match &fact.arguments {
        Err(wrong) => bad(context, number, fact, wrong, report),
        Ok(arguments) => {
            for given in arguments.options.iter().filter(|given| given.option.on == On::Newer) {
                let what = format!("`--{}` is newer than iPXE 2.0.0", given.option.long);
                let help = "do without it, or make the images from iPXE's source";
                let span = context.word(fact, given.word);
                report.warn(codes::NOT_ON_IMAGE, span, what, help);
            }
        }
    }
    if fact.effect == Effect::Fails && fact.name() == "goto" && fact.arguments.is_ok() {
        no_label(context, number, fact, report);
    }
    if !matches!(spec.name, "echo" | "item" | "menu" | "form" | "prompt") {
        for (at, word) in fact.words.iter().enumerate().skip(1) {
            let Some(operator) = glued(word).filter(|operator| *operator != ";") else { continue };
            let what = format!("`{operator}` is part of the word `{}`", shown(word));
            let help = format!("put white space on both sides of `{operator}`");
            report.warn(codes::GLUED_OPERATOR, context.word(fact, at), what, &help);
        }
    }
    quotes(context, fact, report);
}

/// The line handles the failure.
fn fact_is_guarded(context: &Context<'_>, number: usize, fact: &Fact<'_>) -> bool {
    !context.flow.failure_ends(number, fact)
}

fn bad(context: &Context<'_>, number: usize, fact: &Fact<'_>, wrong: &Wrong, report: &mut Report) {
    let name = fact.name();
    let word = |word: usize| shown(fact.words[word]);
    let (code, at, what, help) = match wrong {
        Wrong::Unknown { word: at } => {
            let given = word(*at);
            let help = if fact.spec.is_some_and(|spec| spec.options.is_empty()) {
                format!("`{name}` has no options; put `--` before an argument that begins with `-`")
            } else {
                let all: Vec<String> = fact
                    .spec
                    .iter()
                    .flat_map(|spec| spec.options)
                    .map(|option| format!("--{}", option.long))
                    .collect();
                format!(
                    "`{name}` has {}; put `--` before an argument that begins with `-`",
                    all.join(", ")
                )
            };
            (codes::BAD_OPTION, *at, format!("`{name}` has no option `{given}`"), help)
        }
        Wrong::NoValue { word: at, option } => {
            let what = format!(
                "`--{option}` of `{name}` needs an argument, which must not begin with `-`"
            );
            (codes::BAD_OPTION, *at, what, "give it one, or write `--option=argument`".to_owned())
        }
        Wrong::Value { word: at, option } => {
            let what = format!("`--{option}` of `{name}` takes no argument");
            (codes::BAD_OPTION, *at, what, "delete the argument".to_owned())
        }
        Wrong::Help { word: at } => {
            let what = format!("`{}` makes `{name}` print its usage and fail", word(*at));
            (codes::BAD_OPTION, *at, what, "delete it".to_owned())
        }
        Wrong::NotANumber { word: at } => {
            let what = format!("`{}` is not a whole number", word(*at));
            let help = "give a number without unit; timeouts are in milliseconds, sleep in seconds";
            (codes::NOT_A_NUMBER, *at, what, help.to_owned())
        }
        Wrong::Count { found } => {
            let Some(spec) = fact.spec else { return };
            let takes = match (spec.min, spec.max) {
                (min, max) if min == max => min.to_string(),
                (min, commands::ANY) => format!("at least {min}"),
                (min, max) => format!("{min} to {max}"),
            };
            let what = format!("`{name}` takes {takes} arguments and has {found}");
            let mut help = "see https://ipxe.org/cmd for its arguments".to_owned();
            if matches!(name, "iseq" | "isset") {
                help = "it counts words: a setting is always one word, text with spaces is several"
                    .to_owned();
            }
            (codes::ARGUMENT_COUNT, 0, what, help)
        }
    };
    report.add(code, context.severity_of_failure(number), context.word(fact, at), what, &help);
}

fn no_label(context: &Context<'_>, number: usize, fact: &Fact<'_>, report: &mut Report) {
    let Some((at, label)) = fact.argument() else { return };
    let what = format!("there is no label `{}`", shown(label));
    let help = match label.strip_prefix(b":") {
        Some(_) => "write the label without its colon".to_owned(),
        None => format!("add a line `:{}`, or correct the name", shown(label)),
    };
    report.add(
        codes::NO_LABEL,
        context.severity_of_failure(number),
        context.word(fact, at),
        what,
        &help,
    );
}

/// Reports quotes that were meant to hold words together. iPXE does not know quotes.
fn quotes(context: &Context<'_>, fact: &Fact<'_>, report: &mut Report) {
    if !matches!(fact.name(), "set" | "isset" | "goto" | "chain" | "initrd" | "imgfetch") {
        return;
    }
    let first = fact.argument().map_or(1, |(at, _)| at);
    let value = match fact.name() {
        "chain" | "initrd" | "imgfetch" => first..first + 1,
        _ => first..fact.words.len(),
    };
    for at in value {
        let Some(word) = fact.words.get(at) else { return };
        if let Some(quote @ (b'"' | b'\'')) = word.first() {
            let what = format!("the `{}` becomes part of the value", char::from(*quote));
            let help = "delete the quotes; `set` takes the rest of the line as it is";
            return report.warn(codes::QUOTES, context.word(fact, at), what, help);
        }
    }
}

impl Severity {
    /// True if the finding must stop a publish.
    pub fn is_error(self) -> bool {
        self == Self::Error
    }
}
