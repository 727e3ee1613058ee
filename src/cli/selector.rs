//! Gateways as arguments: `NAME`, `@GROUP` or `@all`, wherever a command takes a gateway. A call
//! for several says what happened to each, and one that fails does not stop the others.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;

use super::candidates;
use super::context::Context;
use super::groups::Groups;
use crate::fleet::ALL;
use crate::fleet::GroupName;
use crate::fleet::ParseGroupError;
use crate::identity::GatewayName;
use crate::identity::ParseNameError;
use crate::store::State;

/// Failures that the last line of a call names.
const SHOWN: usize = 3;

/// One gateway, a group, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selector {
    Name(GatewayName),
    Group(GroupName),
    All,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ParseSelectorError {
    #[error(transparent)]
    Name(#[from] ParseNameError),
    #[error(transparent)]
    Group(#[from] ParseGroupError),
}

impl FromStr for Selector {
    type Err = ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix('@') {
            Some(ALL) => Ok(Self::All),
            Some(group) => Ok(Self::Group(group.parse()?)),
            None => Ok(Self::Name(text.parse()?)),
        }
    }
}

/// Gateways, as arguments.
#[derive(clap::Args)]
pub(super) struct Gateways {
    /// Names of gateways, @GROUP for those of a group, @all for all
    #[arg(value_name = "NAME|@GROUP", required = true, add = ArgValueCandidates::new(candidates::selectors))]
    pub(super) selectors: Vec<Selector>,
}

impl Gateways {
    /// Says whether each gateway was called by its own name.
    pub(super) fn all_by_name(&self) -> bool {
        self.selectors.iter().all(|selector| matches!(selector, Selector::Name(_)))
    }
}

/// The selected gateways, each once.
pub(super) struct Selected {
    /// In the order of the arguments; a group's in the order of names.
    pub(super) names: Vec<GatewayName>,
    /// Gateways whose record cannot be read, so that nobody knows whether a group has them.
    pub(super) unknown: Vec<(GatewayName, anyhow::Error)>,
    /// One gateway, called by its name: the command answers with one document, not with a list.
    pub(super) is_one: bool,
}

impl Selected {
    /// Finds what `selectors` mean. A group that no gateway is in is an error; whether a named
    /// gateway exists is for the caller.
    pub(super) fn new(state: &State, selectors: &[Selector]) -> Result<Self> {
        let is_one = matches!(selectors, [Selector::Name(_)]);
        let mut selected = Self { names: Vec::new(), unknown: Vec::new(), is_one };
        let mut groups = None;
        for selector in selectors {
            match selector {
                Selector::Name(name) => selected.add(name),
                Selector::All => state.gateways().names()?.iter().for_each(|n| selected.add(n)),
                Selector::Group(group) => {
                    let groups = match &mut groups {
                        Some(groups) => groups,
                        None => groups.insert(Groups::read(state)?),
                    };
                    groups.members(group)?.for_each(|name| selected.add(name));
                }
            }
        }
        if let Some(groups) = groups {
            selected.unknown = groups.unknown;
        }
        if selected.names.is_empty() {
            bail!("no gateways yet; `farmgate gateway add NAME` makes one");
        }
        Ok(selected)
    }

    fn add(&mut self, name: &GatewayName) {
        if !self.names.contains(name) {
            self.names.push(name.clone());
        }
    }

    /// Does `work` for each gateway, and prints what came of it: a line each, or one JSON array.
    /// Fails at the end if any failed.
    pub(super) fn each<T: Serialize + fmt::Display>(
        self,
        context: &Context,
        mut work: impl FnMut(&GatewayName) -> Result<T>,
    ) -> Result<()> {
        if let ([name], true) = (&self.names[..], self.is_one) {
            return context.print(&work(name)?);
        }
        let mut done = Done::new(context, self.names.len());
        for name in &self.names {
            done.note(name, work(name))?;
        }
        done.finish(self.unknown)
    }
}

/// The outcomes of a call for several gateways.
pub(super) struct Done<'a, T> {
    context: &'a Context,
    /// For JSON, which is printed at the end.
    rows: Vec<Row<T>>,
    failed: Vec<String>,
    all: usize,
}

/// The outcome for one gateway.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Row<T> {
    Done(T),
    Failed { gateway: GatewayName, error: String },
}

impl<T: fmt::Display> fmt::Display for Row<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(facts) => facts.fmt(f),
            Self::Failed { gateway, error } => write!(f, "{gateway}: failed: {error}"),
        }
    }
}

/// JSON of many answers.
#[derive(Serialize)]
#[serde(transparent)]
struct List<T>(Vec<T>);

impl<T> fmt::Display for List<T> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl<'a, T: Serialize + fmt::Display> Done<'a, T> {
    pub(super) fn new(context: &'a Context, all: usize) -> Self {
        Self { context, rows: Vec::new(), failed: Vec::new(), all }
    }

    /// Notes the result of one gateway. Text is printed at once.
    pub(super) fn note(&mut self, gateway: &GatewayName, result: Result<T>) -> Result<()> {
        let row = match result {
            Ok(facts) => Row::Done(facts),
            Err(error) => {
                let error = format!("{error:#}");
                self.failed.push(format!("{gateway}: {error}"));
                Row::Failed { gateway: gateway.clone(), error }
            }
        };
        if !self.context.json {
            self.context.print(&row)?;
        }
        self.rows.push(row);
        Ok(())
    }

    /// Prints the JSON. Fails if a gateway failed, or if it is unknown whether it was meant.
    pub(super) fn finish(self, unknown: Vec<(GatewayName, anyhow::Error)>) -> Result<()> {
        self.finish_as(unknown, List)
    }

    /// The same with another JSON document than a plain array.
    pub(super) fn finish_as<D: Serialize + fmt::Display>(
        mut self,
        unknown: Vec<(GatewayName, anyhow::Error)>,
        document: impl FnOnce(Vec<Row<T>>) -> D,
    ) -> Result<()> {
        for (name, error) in unknown {
            self.all += 1;
            self.note(&name, Err(error.context("nobody knows whether the group has it")))?;
        }
        if self.context.json {
            self.context.print(&document(self.rows))?;
        }
        if self.failed.is_empty() {
            return Ok(());
        }
        let more = match self.failed.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let shown = self.failed[..self.failed.len().min(SHOWN)].join("; ");
        Err(anyhow!("{} of {} gateways failed: {shown}{more}", self.failed.len(), self.all))
    }
}
