//! `farmgate iso make`: the images of gateways, base and seal in one.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;

use super::PRIVATE;
use super::Parts;
use super::Written;
use super::write;
use crate::cli::candidates;
use crate::cli::context::Context;
use crate::cli::selector::Done;
use crate::cli::selector::Row;
use crate::cli::selector::Selected;
use crate::cli::selector::Selector;
use crate::identity::GatewayName;
use crate::identity::Identity;
use crate::identity::usable_client;
use crate::iso;
use crate::store::owner::as_caller;

/// `farmgate iso make`.
#[derive(Args)]
pub(in crate::cli) struct Make {
    /// Gateways to make images for: names, @GROUP for those of a group, @all for all
    #[arg(value_name = "NAME|@GROUP", required_unless_present = "all",
        add = ArgValueCandidates::new(candidates::selectors))]
    selectors: Vec<Selector>,
    /// Make the images of all gateways
    #[arg(long, conflicts_with = "selectors")]
    all: bool,
    /// File to write the image to, for one gateway [default: NAME.iso]
    #[arg(short, long, value_name = "FILE", conflicts_with = "out_dir")]
    output: Option<PathBuf>,
    /// Folder to write the images into, as NAME.iso
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    /// Afterwards, delete the gateways' private keys from the state
    #[arg(long)]
    forget_key: bool,
    #[command(flatten)]
    parts: Parts,
}

impl Make {
    pub(super) fn run(mut self, cx: &Context) -> Result<()> {
        let state = cx.state()?;
        let gateways = state.gateways();
        if self.all {
            self.selectors = vec![Selector::All];
        }
        let selected = Selected::new(&state, &self.selectors)?;
        if self.output.is_some() && selected.names.len() > 1 {
            bail!("-o names one file, but there are several gateways: use --out-dir");
        }
        let identity = |name: &GatewayName| {
            let identity = gateways.identity(name)?;
            usable_client(&identity.certificate)
                .with_context(|| format!("gateway {name} could not boot with its certificate"))?;
            Ok(identity)
        };
        // Checked for all gateways before the base is made, which takes long.
        let identities: Vec<_> = selected.names.iter().map(|name| (name, identity(name))).collect();
        let base = match identities.iter().any(|(_, identity)| identity.is_ok()) {
            true => Some(self.parts.base(cx, &state)?),
            false => None,
        };
        if let Some(dir) = &self.out_dir {
            as_caller(|| std::fs::create_dir_all(dir))
                .with_context(|| format!("cannot make the folder {}", dir.display()))?;
        }
        let make = |name: &GatewayName, identity: Result<Identity>| {
            let (identity, base) = (identity?, base.as_deref().context("no base image")?);
            let image = iso::seal(base, &identity, None)
                .with_context(|| format!("cannot make the image of gateway {name}"))?;
            let file = self.output.clone().unwrap_or_else(|| {
                self.out_dir.clone().unwrap_or_default().join(format!("{name}.iso"))
            });
            write(&file, PRIVATE, &image)?;
            Ok(Written { gateway: Some(name.clone()), file, size: image.len() })
        };
        let progress = cx.progress(identities.len() as u64, "sealing");
        let mut written = Vec::with_capacity(identities.len());
        for (name, identity) in identities {
            written.push((name, make(name, identity)));
            progress.inc(1);
        }
        progress.finish_and_clear();
        if self.forget_key {
            for (name, _) in written.iter().filter(|(_, result)| result.is_ok()) {
                gateways.forget_key(name)?;
            }
        }
        if let (true, 1) = (selected.is_one, written.len())
            && let Some((_, Err(error))) = written.pop_if(|(_, result)| result.is_err())
        {
            return Err(error);
        }
        let mut done = Done::new(cx, written.len());
        for (name, result) in written {
            done.note(name, result)?;
        }
        done.finish_as(selected.unknown, |images| WrittenList { images })
    }
}

/// The images that one call wrote.
#[derive(Serialize)]
struct WrittenList {
    images: Vec<Row<Written>>,
}

impl fmt::Display for WrittenList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.images.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}
