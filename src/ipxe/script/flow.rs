//! The paths through a script, as a graph. A state is a command together with the result of the
//! command that ran before it (`system` in `src/core/exec.c`). A line that ends in failure ends the
//! script (`src/image/script.c`).

mod loops;

use super::fact::Effect;
use super::fact::Fact;
use super::grammar::Joined;
use super::grammar::Script;
use loops::Loops;

/// Number of a state.
pub(super) type State = usize;

/// An assumption about commands that hand the machine over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Returns {
    /// They never return successfully.
    Never,
    /// An image that may be a script may return.
    Scripts,
}

#[derive(Debug)]
pub(super) struct Flow {
    /// Number of commands.
    commands: usize,
    /// Index into `edges` of each state's first edge.
    starts: Vec<usize>,
    edges: Vec<Edge>,
    first: State,
    /// For each state: something may be booted from here.
    can_boot: Vec<bool>,
    /// For each command: a failure before it reaches the end of the line without another command
    /// running in between.
    passes_failure: Vec<bool>,
}

/// The condition under which a path is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    /// A booted script returns.
    Returned,
    /// A command that is certain to fail was corrected. The lines after it deserve a check too.
    Corrected,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    to: State,
    when: When,
}

impl Flow {
    pub(super) fn new(script: &Script<'_>, facts: &[Fact<'_>]) -> Self {
        let mut flow = Self {
            commands: facts.len(),
            starts: Vec::with_capacity(2 * facts.len() + 7),
            edges: Vec::new(),
            first: 0,
            can_boot: Vec::new(),
            passes_failure: vec![false; facts.len()],
        };
        for (number, fact) in facts.iter().enumerate().rev() {
            flow.passes_failure[number] = fact.command.joined == Joined::And
                && (fact.last || flow.passes_failure[number + 1]);
        }
        let lines = flow.line_starts(script);
        flow.first = lines[0];
        for (number, fact) in facts.iter().enumerate() {
            for ok in [true, false] {
                flow.starts.push(flow.edges.len());
                flow.outcomes(number, ok, fact, &lines);
            }
        }
        // Then come the labels, and the five end states, which have no successors.
        flow.starts.push(flow.edges.len());
        let mut seen = std::collections::HashSet::new();
        for (line, start) in script.lines.iter().zip(&lines) {
            if line.label.as_ref().is_some_and(|label| seen.insert(line.get(label))) {
                flow.edges.push(Edge { to: *start, when: When::Always });
            }
        }
        for _ in 0..6 {
            flow.starts.push(flow.edges.len());
        }
        flow.can_boot = flow.backward(&[flow.booted()], &|_| false);
        flow
    }

    /// The state before a command when the last command succeeded or failed.
    pub(super) fn before(&self, command: usize, ok: bool) -> State {
        2 * command + usize::from(!ok)
    }

    fn any_label(&self) -> State {
        2 * self.commands
    }
    /// The script reached its end: its last line succeeded.
    pub(super) fn over(&self) -> State {
        2 * self.commands + 1
    }
    fn failed(&self) -> State {
        2 * self.commands + 2
    }
    /// The script reached its unfinished last line.
    pub(super) fn unfinished(&self) -> State {
        2 * self.commands + 3
    }
    /// Something was booted.
    pub(super) fn booted(&self) -> State {
        2 * self.commands + 4
    }
    /// The script ended by `exit` or a restart.
    fn gone(&self) -> State {
        2 * self.commands + 5
    }

    /// The states in which the lines begin, and the state after the last line.
    fn line_starts(&self, script: &Script<'_>) -> Vec<State> {
        let mut lines = Vec::with_capacity(script.lines.len() + 1);
        let mut command = 0;
        for line in &script.lines {
            let start =
                if line.unfinished { self.unfinished() } else { self.before(command, true) };
            lines.push(start);
            command += line.commands.len();
        }
        lines.push(self.over());
        lines
    }

    fn outcomes(&mut self, number: usize, ok: bool, fact: &Fact<'_>, lines: &[State]) {
        let after = |ok: bool| match (fact.last, ok) {
            (false, ok) => self.before(number + 1, ok),
            (true, true) => lines[fact.line + 1],
            (true, false) => self.failed(),
        };
        let runs = match fact.command.joined {
            Joined::First | Joined::Then => true,
            Joined::And => ok,
            Joined::Or => !ok,
        };
        let (success, failure) = (after(true), after(false));
        let next: &[State] = match fact.effect {
            _ if !runs => &[after(ok)],
            Effect::Succeeds => &[success],
            Effect::MayFail => &[success, failure],
            Effect::Fails => &[failure],
            Effect::Goto(line) => &[lines[line]],
            Effect::GotoAny => &[self.any_label(), failure],
            Effect::Exit => &[self.gone()],
            Effect::Restart => &[self.gone(), failure],
            Effect::Boot | Effect::Chain => &[self.booted(), failure],
            Effect::Unknown => &[success, failure, self.any_label(), self.booted(), self.gone()],
        };
        let also = match fact.effect {
            Effect::Chain if runs => Some(When::Returned),
            Effect::Fails if runs => Some(When::Corrected),
            _ => None,
        };
        self.edges.extend(next.iter().map(|to| Edge { to: *to, when: When::Always }));
        self.edges.extend(also.map(|when| Edge { to: success, when }));
    }

    fn next(&self, state: State) -> &[Edge] {
        &self.edges[self.starts[state]..self.starts[state + 1]]
    }

    pub(super) fn first(&self) -> State {
        self.first
    }

    /// The next states, if nothing that was booted returns.
    pub(super) fn certain(&self, state: State) -> impl Iterator<Item = State> {
        self.next(state).iter().filter(|edge| edge.when == When::Always).map(|edge| edge.to)
    }

    /// Number of states. Those from [`Self::over`] on are end states.
    pub(super) fn states(&self) -> usize {
        self.starts.len() - 1
    }

    /// All states that the script can reach.
    pub(super) fn reachable(&self, returns: Returns) -> Vec<bool> {
        let mut seen = vec![false; self.states()];
        let mut todo = vec![self.first];
        seen[self.first] = true;
        while let Some(state) = todo.pop() {
            for edge in self.next(state) {
                let follow = edge.when != When::Returned || returns >= Returns::Scripts;
                if follow && !std::mem::replace(&mut seen[edge.to], true) {
                    todo.push(edge.to);
                }
            }
        }
        seen
    }

    /// All states that can be reached from these. A path ends at a command for which `ends` is
    /// true.
    pub(super) fn forward(&self, from: Vec<State>, ends: &dyn Fn(usize) -> bool) -> Vec<bool> {
        let mut seen = vec![false; self.states()];
        let mut todo = from;
        for state in &todo {
            seen[*state] = true;
        }
        while let Some(state) = todo.pop() {
            if state < self.any_label() && ends(state / 2) {
                continue;
            }
            for edge in self.next(state) {
                if !std::mem::replace(&mut seen[edge.to], true) {
                    todo.push(edge.to);
                }
            }
        }
        seen
    }

    /// All states from which one of `targets` can be reached without a command for which `without`
    /// is true.
    pub(super) fn backward(&self, targets: &[State], without: &dyn Fn(usize) -> bool) -> Vec<bool> {
        // Incoming edges, sorted by target.
        let mut into: Vec<(State, State)> = (0..self.states())
            .flat_map(|from| self.next(from).iter().map(move |edge| (edge, from)))
            .filter(|(edge, _)| edge.when != When::Corrected)
            .map(|(edge, from)| (edge.to, from))
            .collect();
        into.sort_unstable();
        let mut seen = vec![false; self.states()];
        let mut todo = targets.to_vec();
        for state in &todo {
            seen[*state] = true;
        }
        while let Some(state) = todo.pop() {
            let begin = into.partition_point(|(to, _)| *to < state);
            for (_, from) in into[begin..].iter().take_while(|(to, _)| *to == state) {
                let blocked = *from < self.any_label() && without(from / 2);
                if !blocked && !std::mem::replace(&mut seen[*from], true) {
                    todo.push(*from);
                }
            }
        }
        seen
    }

    /// True if something may still be booted after this command failed.
    pub(super) fn may_boot_after_failure(&self, number: usize, fact: &Fact<'_>) -> bool {
        !fact.last && self.can_boot[self.before(number + 1, false)]
    }

    /// True if the script may boot anything at all.
    pub(super) fn may_boot(&self) -> bool {
        self.can_boot[self.first]
    }

    /// The state after this command succeeded.
    pub(super) fn success(&self, number: usize, fact: &Fact<'_>, lines: &[State]) -> State {
        if fact.last { lines[fact.line + 1] } else { self.before(number + 1, true) }
    }

    /// The state after this command failed.
    pub(super) fn failure(&self, number: usize, fact: &Fact<'_>) -> State {
        if fact.last { self.failed() } else { self.before(number + 1, false) }
    }

    /// See [`Self::line_starts`].
    pub(super) fn lines(&self, script: &Script<'_>) -> Vec<State> {
        self.line_starts(script)
    }

    /// True if the script ends in failure when this command fails.
    pub(super) fn failure_ends(&self, number: usize, fact: &Fact<'_>) -> bool {
        fact.last || self.passes_failure[number + 1]
    }

    /// Numbers the loops: states on a common cycle get the same number, all others 0. Labels that
    /// only iPXE knows and commands for which `without` is true are left out.
    pub(super) fn loops(&self, without: &dyn Fn(usize) -> bool) -> Vec<usize> {
        Loops::find(self, without)
    }
}
