//! Checks that the chosen kernel still exists when `boot` runs.

use super::Context;
use super::codes;
use super::fact::Effect;
use super::fact::Fact;
use super::report::Report;

pub(super) fn check(context: &Context<'_>, report: &mut Report) {
    let flow = context.flow;
    let lines = flow.lines(context.script);
    let runs = |number: usize| context.runs(number);
    let of = |wanted: &dyn Fn(&Fact<'_>) -> bool| -> Vec<usize> {
        let facts = context.facts.iter().enumerate();
        facts.filter(|(number, fact)| wanted(fact) && runs(*number)).map(|(n, _)| n).collect()
    };
    let frees = of(&frees_all);
    if frees.is_empty() {
        return;
    }
    let after = |number: &usize| flow.success(*number, &context.facts[*number], &lines);
    let before = |number: &usize| [true, false].map(|ok| flow.before(*number, ok));
    let chosen: Vec<_> = of(&chooses).iter().map(after).collect();
    let with_kernel = flow.forward(chosen, &|number| frees_all(&context.facts[number]));
    let boots: Vec<_> = of(&boots_what_is_chosen).iter().flat_map(before).collect();
    let to_boot = flow.backward(&boots, &|number| chooses(&context.facts[number]));
    for number in frees {
        let freed = before(&number).iter().any(|state| with_kernel[*state]);
        if freed && to_boot[after(&number)] {
            let fact = &context.facts[number];
            let what = "this frees the kernel that `boot` should start".to_owned();
            let help = "put `imgfree` before the `kernel`, at the start of the loop";
            report.warn(codes::FREED, context.word(fact, 0), what, help);
        }
    }
}

fn frees_all(fact: &Fact<'_>) -> bool {
    fact.name() == "imgfree" && fact.words.len() == 1
}

/// Scripts and unknown commands may choose an image too.
fn chooses(fact: &Fact<'_>) -> bool {
    matches!(fact.name(), "kernel" | "imgselect" | "imgload")
        || matches!(fact.effect, Effect::Unknown)
        || (fact.name() == "chain" && !boots_what_is_chosen(fact))
}

fn boots_what_is_chosen(fact: &Fact<'_>) -> bool {
    matches!(fact.name(), "boot" | "imgexec" | "chain")
        && fact.arguments.as_ref().is_ok_and(|found| fact.words.len() == found.first)
}
