//! Checks that a script fetches secrets only if there is a secrets template.

use super::Context;
use super::Options;
use super::assets;
use super::codes;
use super::expand::references;
use super::fact::Fact;
use super::report::Report;

const NAME: &[u8] = b"secrets_url";

pub(super) fn check(context: &Context<'_>, options: &Options<'_>, report: &mut Report) {
    // A script that tests for the setting works with and without secrets.
    let looks = |fact: &Fact<'_>| fact.name() == "isset" && fact.words.iter().any(|w| names_it(w));
    if options.template != Some(false) || context.facts.iter().any(looks) {
        return;
    }
    for fact in context.facts {
        let Some((at, _)) = assets::target(fact).filter(|(_, uri)| names_it(uri)) else { continue };
        let what = "secrets are fetched, but the folder has no template `secrets`".to_owned();
        let help = "add the file `secrets`; or put `isset ${secrets_url} && ` before the command \
                    and `||` after it, if only some gateways have secrets";
        report.warn(codes::NO_TEMPLATE, context.word(fact, at), what, help);
    }
}

fn names_it(word: &[u8]) -> bool {
    let found = references(word);
    found.all.iter().any(|reference| word[reference.name.clone()].ends_with(NAME))
}
