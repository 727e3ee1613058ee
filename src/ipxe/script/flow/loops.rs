//! Finds the loops of a script: the strongly connected components of its graph.

use super::Flow;
use super::State;

/// Tarjan's algorithm with an explicit stack, because scripts can be long.
pub(super) struct Loops {
    order: Vec<usize>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<State>,
    numbers: Vec<usize>,
    found: usize,
    count: usize,
}

impl Loops {
    pub(super) fn find(flow: &Flow, without: &dyn Fn(usize) -> bool) -> Vec<usize> {
        let states = flow.states();
        let mut loops = Self {
            order: vec![0; states],
            low: vec![0; states],
            on_stack: vec![false; states],
            stack: Vec::new(),
            numbers: vec![0; states],
            found: 0,
            count: 0,
        };
        let skip = |state: State| state >= flow.any_label() || without(state / 2);
        for root in 0..flow.any_label() {
            if loops.order[root] == 0 && !skip(root) {
                loops.walk(flow, root, &skip);
            }
        }
        loops.numbers
    }

    fn enter(&mut self, state: State) {
        self.count += 1;
        self.order[state] = self.count;
        self.low[state] = self.count;
        self.on_stack[state] = true;
        self.stack.push(state);
    }

    fn walk(&mut self, flow: &Flow, root: State, skip: &dyn Fn(State) -> bool) {
        let mut calls = vec![(root, 0)];
        self.enter(root);
        while let Some((state, position)) = calls.last_mut() {
            let state = *state;
            if let Some(edge) = flow.next(state).get(*position) {
                *position += 1;
                if skip(edge.to) {
                } else if self.order[edge.to] == 0 {
                    self.enter(edge.to);
                    calls.push((edge.to, 0));
                } else if self.on_stack[edge.to] {
                    self.low[state] = self.low[state].min(self.order[edge.to]);
                }
                continue;
            }
            calls.pop();
            if let Some((caller, _)) = calls.last() {
                self.low[*caller] = self.low[*caller].min(self.low[state]);
            }
            if self.low[state] == self.order[state] {
                self.leave(flow, state);
            }
        }
    }

    fn leave(&mut self, flow: &Flow, root: State) {
        let alone =
            self.stack.last() == Some(&root) && flow.next(root).iter().all(|edge| edge.to != root);
        self.found += 1;
        while let Some(state) = self.stack.pop() {
            self.on_stack[state] = false;
            self.numbers[state] = if alone { 0 } else { self.found };
            if state == root {
                break;
            }
        }
    }
}
