//! Finds loops that never end when something fails for good.
//!
//! The check assumes that each command that depends on the network always fails: first all of them
//! together, then each one alone. A state from which no path leads to an end of the script is then
//! a loop that runs until somebody switches the machine off.

use std::collections::HashSet;

use super::Context;
use super::codes;
use super::fact::Effect;
use super::flow::State;
use super::grammar::Joined;
use super::paths::NETWORK;
use super::report::Report;

/// Commands that hand the machine over, or keep failing until what they need is there.
const BOOTS: &[&str] = &["autoboot", "sanboot", "sanhook"];

/// Commands that succeed whatever happens outside the machine.
const LOCAL: &[&str] = &[
    "clear", "colour", "console", "cpair", "form", "ifclose", "ifstat", "imgargs", "imgfree",
    "imgstat", "inc", "item", "menu", "param", "params", "route", "set", "sleep",
];

/// Limit of steps for all commands together: each command alone is checked in short scripts only.
const MOST_STEPS: usize = 100_000;

/// An assumption about a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Succeeds,
    Fails,
    Either,
}

pub(super) fn check(context: &Context<'_>, report: &mut Report) {
    let depends = |number: usize| {
        let fact = &context.facts[number];
        let may_fail = matches!(fact.effect, Effect::MayFail | Effect::Boot | Effect::Chain);
        may_fail && (NETWORK.contains(&fact.name()) || BOOTS.contains(&fact.name()))
    };
    let loops = context.flow.loops(&|_| false);
    let mut reported = HashSet::new();
    let mut report_loops = |stuck: &[bool]| {
        let numbers = || 0..context.facts.len();
        // For a loop without a network command, report its first command.
        for number in numbers().filter(|number| depends(*number)).chain(numbers()) {
            let round = [true, false].into_iter().find_map(|ok| {
                let state = context.flow.before(number, ok);
                let turns = stuck[state] && loops[state] != 0 && runs(context, number, ok);
                turns.then_some(loops[state])
            });
            let fact = &context.facts[number];
            if fact.words.is_empty() || !round.is_some_and(|round| reported.insert(round)) {
                continue;
            }
            let what = match depends(number) {
                true => format!("if `{}` fails for good, it is retried forever", fact.name()),
                false => "this is repeated forever".to_owned(),
            };
            let help = "count the rounds (`inc tries`, and `iseq ${tries} 5 && reboot ||`), or \
                        leave the loop for a label that sleeps and does `reboot`";
            report.warn(codes::ENDLESS, context.word(fact, 0), what, help);
        }
    };
    let failing = |number: usize| match depends(number) {
        true => Outcome::Fails,
        false => unattended(context, number),
    };
    report_loops(&Graph::new(context, &failing).stuck(context));
    let most = MOST_STEPS / (1 + context.facts.len());
    for alone in (0..context.facts.len()).filter(|number| depends(*number)).take(most) {
        let failing = |number: usize| match depends(number) {
            true if number == alone => Outcome::Fails,
            true => Outcome::Succeeds,
            false => unattended(context, number),
        };
        report_loops(&Graph::new(context, &failing).stuck(context));
    }
}

/// The outcome of a command when nobody is there to press a key.
fn unattended(context: &Context<'_>, number: usize) -> Outcome {
    match context.facts[number].name() {
        "prompt" => Outcome::Fails,
        name if LOCAL.contains(&name) => Outcome::Succeeds,
        _ => Outcome::Either,
    }
}

fn runs(context: &Context<'_>, number: usize, ok: bool) -> bool {
    match context.facts[number].command.joined {
        Joined::First | Joined::Then => true,
        Joined::And => ok,
        Joined::Or => !ok,
    }
}

/// The paths that remain under an assumption.
struct Graph {
    /// Index into `next` of each state's first successor.
    starts: Vec<usize>,
    next: Vec<State>,
}

impl Graph {
    fn new(context: &Context<'_>, outcome: &dyn Fn(usize) -> Outcome) -> Self {
        let flow = context.flow;
        let lines = flow.lines(context.script);
        let mut graph = Self { starts: Vec::with_capacity(flow.states() + 1), next: Vec::new() };
        for state in 0..flow.states() {
            graph.starts.push(graph.next.len());
            let (number, ok) = (state / 2, state % 2 == 0);
            let assumed = context.facts.get(number).filter(|fact| {
                matches!(fact.effect, Effect::MayFail | Effect::Boot | Effect::Chain)
                    && runs(context, number, ok)
            });
            let Some(fact) = assumed else {
                graph.next.extend(flow.certain(state));
                continue;
            };
            let outcome = outcome(number);
            if outcome != Outcome::Fails {
                let gone = fact.effect != Effect::MayFail;
                let success = if gone { flow.booted() } else { flow.success(number, fact, &lines) };
                graph.next.push(success);
            }
            if outcome != Outcome::Succeeds {
                graph.next.push(flow.failure(number, fact));
            }
        }
        graph.starts.push(graph.next.len());
        graph
    }

    fn next(&self, state: State) -> &[State] {
        &self.next[self.starts[state]..self.starts[state + 1]]
    }

    /// States that the script reaches and from which it never ends.
    fn stuck(&self, context: &Context<'_>) -> Vec<bool> {
        let states = self.starts.len() - 1;
        let mut reached = vec![false; states];
        let mut todo = vec![context.flow.first()];
        reached[context.flow.first()] = true;
        while let Some(state) = todo.pop() {
            for next in self.next(state) {
                if !std::mem::replace(&mut reached[*next], true) {
                    todo.push(*next);
                }
            }
        }
        // Incoming edges, sorted by target.
        let mut into: Vec<(State, State)> = (0..states)
            .filter(|state| reached[*state])
            .flat_map(|from| self.next(from).iter().map(move |to| (*to, from)))
            .collect();
        into.sort_unstable();
        let mut ends = vec![false; states];
        todo.extend((context.flow.over()..states).filter(|state| reached[*state]));
        for state in &todo {
            ends[*state] = true;
        }
        while let Some(state) = todo.pop() {
            let begin = into.partition_point(|(to, _)| *to < state);
            for (_, from) in into[begin..].iter().take_while(|(to, _)| *to == state) {
                if !std::mem::replace(&mut ends[*from], true) {
                    todo.push(*from);
                }
            }
        }
        (0..states).map(|state| reached[state] && !ends[state]).collect()
    }
}
