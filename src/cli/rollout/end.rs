//! `farmgate rollout stop` and `resume`.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::Tail;
use super::meant;
use crate::cli::author::Why;
use crate::cli::context::Context;
use crate::cli::context::now;
use crate::fleet::EventId;
use crate::identity::GatewayName;
use crate::store::rollouts;
use crate::store::rollouts::Rollouts;

/// `farmgate rollout stop`.
#[derive(Args)]
pub(in crate::cli) struct Stop {
    /// The last digits of its id, as `rollout list` shows them [default: the open one]
    #[arg(value_name = "ID")]
    id: Option<Tail>,
    /// Also give the gateways back what they had before, if it worked; possible after the end of
    /// the rollout, too
    #[arg(long)]
    revert: bool,
    #[command(flatten)]
    why: Why,
}

impl Stop {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let rollouts = Rollouts::new(&state);
        let id = match &self.id {
            Some(tail) => rollouts.by_tail(&tail.0)?,
            None => match rollouts.open()?.found.into_keys().collect::<Vec<_>>()[..] {
                [one] => one,
                [] => bail!("there is no open rollout; `farmgate rollout list` shows all of them"),
                [..] => bail!("several rollouts are open: name one; `farmgate rollout list`"),
            },
        };
        let by = self.why.by();
        let open = rollouts.load(id)?.outcome.is_none();
        if open || !self.revert {
            rollouts::stop(&state, id, &by, now())?;
        }
        if !self.revert {
            return context.print(&Stopped::new(id, None, Vec::new()));
        }
        let done = rollouts::take_back(&state, id, &by, now())?;
        context.print(&Stopped::new(id, Some(done.back), done.stuck))?;
        let failed: Vec<_> =
            done.failed.iter().map(|(name, error)| format!("{name}: {error:#}")).collect();
        match &failed[..] {
            [] => Ok(()),
            failed => bail!("some gateways keep the generation (again?): {}", failed.join("; ")),
        }
    }
}

#[derive(Serialize)]
struct Stopped {
    rollout: EventId,
    done: &'static str,
    /// The key that `rollout` had before.
    stopped: EventId,
    /// The generations that gateways got back.
    #[serde(skip_serializing_if = "Option::is_none")]
    back: Option<BTreeMap<GatewayName, u64>>,
    /// Gateways that have no other generation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stuck: Vec<GatewayName>,
}

impl Stopped {
    fn new(
        rollout: EventId,
        back: Option<BTreeMap<GatewayName, u64>>,
        stuck: Vec<GatewayName>,
    ) -> Self {
        Self { rollout, done: "stopped", stopped: rollout, back, stuck }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped rollout {}", self.rollout.short())?;
        let Some(back) = &self.back else { return Ok(()) };
        if back.is_empty() && self.stuck.is_empty() {
            write!(f, "\nno gateway had its generation, or had another one before")?;
        }
        for (gateway, generation) in back {
            write!(f, "\n{gateway} now gets generation {generation} again")?;
        }
        for gateway in &self.stuck {
            write!(f, "\n{gateway} keeps it: it never had another one")?;
        }
        Ok(())
    }
}

/// `farmgate rollout resume`.
#[derive(Args)]
pub(in crate::cli) struct Resume {
    /// The last digits of its id, as `rollout list` shows them [default: the latest]
    #[arg(value_name = "ID")]
    id: Option<Tail>,
    /// Go on without the gateways on which the generation does not work
    #[arg(long)]
    skip_failed: bool,
    #[command(flatten)]
    why: Why,
}

impl Resume {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let id = meant(&Rollouts::new(&state), self.id.as_ref())?;
        let without = rollouts::resume(&state, id, self.skip_failed, &self.why.by(), now())?;
        // A failure now is not the end: the server tries again.
        if let Err(error) = rollouts::advance_only(&state, id, now()) {
            context.warn(&[format!("it goes on when the server looks at it next: {error:#}")]);
        }
        context.print(&Resumed { rollout: id, done: "resumed", resumed: id, without })
    }
}

#[derive(Serialize)]
struct Resumed {
    rollout: EventId,
    done: &'static str,
    /// The key that `rollout` had before.
    resumed: EventId,
    /// Gateways that it goes on without.
    without: Vec<GatewayName>,
}

impl fmt::Display for Resumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "resumed rollout {}", self.rollout.short())?;
        for gateway in &self.without {
            write!(f, "\nwithout {gateway}")?;
        }
        Ok(())
    }
}
