//! Checks the boot scripts and templates of a fleet folder, each once for all gateways that get
//! the same. Reads the folder.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use super::content::Content;
use super::fault::Placed;
use super::fault::SourceFile;
use super::folder::Described;
use super::folder::FleetFolder;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::BlobId;
use crate::fleet::MAX_SCRIPT_LEN;
use crate::fleet::SECRETS;
use crate::fleet::VariableName;
use crate::identity::GatewayName;
use crate::ipxe::contents::HEAD_LEN;
use crate::ipxe::script::Finding;
use crate::ipxe::script::KnownVariables;
use crate::ipxe::script::codes;
use crate::ipxe::script::unused;
use crate::ipxe::script::unused_variable;
use crate::publish;
use crate::publish::Checked;
use crate::publish::Heads;
use crate::publish::Subject;

/// Gateways that get the same script and files, and variables of the same names.
type Key = (String, BTreeMap<String, BlobId>, BTreeSet<String>);

impl FleetFolder {
    /// Findings of all scripts, templates and variables. `elsewhere` says that templates may be
    /// in `[secrets] dir` of the boot host; `heads` knows files that were fetched.
    pub fn check(&self, elsewhere: bool, heads: Heads<'_>) -> Result<Vec<Checked>> {
        let mut alike: BTreeMap<Key, Vec<(&GatewayName, &Described)>> = BTreeMap::new();
        for (name, gateway) in &self.gateways {
            let path = match (gateway.files.get(BOOT_SCRIPT), &gateway.made) {
                (Some(Content::InTree { path, .. }), _) => path.clone(),
                (Some(Content::Made { .. }), Some(made)) => made.script(),
                _ => continue,
            };
            let digests =
                gateway.files.iter().map(|(path, content)| (path.clone(), content.sha256()));
            let variables = gateway.variables.keys().map(ToString::to_string).collect();
            let key = (path, digests.collect(), variables);
            alike.entry(key).or_default().push((name, gateway));
        }
        let mut with_script: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (script, _, set) in alike.keys() {
            with_script.entry(script).or_default().extend(set.iter().map(String::as_str));
        }
        let mut found = Findings::default();
        let mut used = BTreeSet::new();
        for ((script, _, set), gateways) in &alike {
            let Some((_, gateway)) = gateways.first() else { continue };
            let source = match gateway.files.get(BOOT_SCRIPT) {
                Some(Content::Made { bytes, .. }) => bytes.to_vec(),
                _ => self.tree.head(script, MAX_SCRIPT_LEN + 1)?,
            };
            let others = with_script.get(script.as_str()).into_iter().flatten();
            let others = others.filter(|name| !set.contains(**name));
            let others = others.map(|name| (*name).to_owned()).collect();
            let subject = self.subject(script, gateway, heads, elsewhere)?;
            let known = KnownVariables { set: set.clone(), elsewhere: others };
            let mut findings = subject.check(&source, &known)?;
            let lacks = |finding: &Finding| finding.code == codes::UNSET_VARIABLE;
            let who = names(gateways);
            for finding in findings.iter_mut().filter(|finding| lacks(finding)) {
                finding.what =
                    finding.what.replacen("this gateway has", &format!("{who}: there is"), 1);
            }
            found.add(script, &source, findings, false);
            let idle: BTreeSet<&str> =
                unused(&source, set.iter().map(String::as_str)).into_iter().collect();
            for (_, gateway) in gateways {
                let places = gateway.variables.iter();
                let places = places.filter(|(name, _)| !idle.contains(name.as_str()));
                used.extend(places.map(|(name, value)| place(name, value)));
            }
            let (file, operators);
            let template = match (gateway.files.get(SECRETS), &gateway.made) {
                (_, Some(made)) => made.secrets(),
                (Some(Content::InTree { path, .. }), None) => {
                    (file, operators) =
                        (path, self.tree.head(path, publish::MAX_TEMPLATE as u64 + 1)?);
                    Some((file.as_str(), operators.as_slice()))
                }
                _ => None,
            };
            if let Some((path, template)) = template {
                let findings = publish::check_template(&self.tree.shown().join(path), template)?;
                found.add(path, template, findings, true);
            }
            for (path, source, findings, secret) in
                gateway.made.iter().flat_map(|made| made.findings(elsewhere))
            {
                found.add(path, source, findings, secret);
            }
        }
        // A default may be for some gateways alone: it is unused only if none of them uses it.
        for (name, value) in self.gateways.values().flat_map(|gateway| &gateway.variables) {
            if !used.contains(&place(name, value)) {
                let Placed { source, span, .. } = value;
                let text = source.text.as_bytes();
                let finding = unused_variable(name.as_str(), text, span.clone());
                found.add(&source.path, text, vec![finding], false);
            }
        }
        Ok(found.all(self))
    }

    fn subject(
        &self,
        script: &str,
        gateway: &Described,
        heads: Heads<'_>,
        elsewhere: bool,
    ) -> Result<Subject> {
        let mut subject = Subject {
            shown: self.tree.shown().join(script),
            files: BTreeMap::new(),
            heads: BTreeMap::new(),
            template: gateway.files.contains_key(SECRETS) || elsewhere,
        };
        for (path, content) in gateway.files.iter().filter(|(path, _)| *path != SECRETS) {
            let (size, head) = match content {
                Content::InTree { path, asset } => {
                    (asset.size, Some(self.tree.head(path, HEAD_LEN as u64)?))
                }
                Content::Made { bytes, asset } => {
                    (asset.size, Some(bytes[..bytes.len().min(HEAD_LEN)].to_vec()))
                }
                Content::Image(asset) => (asset.size, None),
                Content::Download(download) => match heads(download.sha256) {
                    Some((size, head)) => (size, Some(head)),
                    None => (0, None),
                },
            };
            subject.files.insert(path.clone(), size);
            subject.heads.extend(head.map(|head| (path.clone(), head)));
        }
        Ok(subject)
    }
}

type Place = (String, usize, String);

/// The place where a variable is written.
fn place(name: &VariableName, value: &Placed<String>) -> Place {
    let source: &Arc<SourceFile> = &value.source;
    (source.path.clone(), value.span.start, name.to_string())
}

/// The first few gateways, by name.
fn names(gateways: &[(&GatewayName, &Described)]) -> String {
    let first: Vec<&str> = gateways.iter().take(3).map(|(name, _)| name.as_str()).collect();
    match gateways.len() {
        1..=3 => first.join(", "),
        more => format!("{} and {} more", first.join(", "), more - 3),
    }
}

/// Findings by file, each once.
#[derive(Default)]
struct Findings(BTreeMap<String, (Vec<u8>, bool, Vec<Finding>)>);

impl Findings {
    fn add(&mut self, path: &str, source: &[u8], findings: Vec<Finding>, secret: bool) {
        let file = || (source.to_vec(), secret, Vec::new());
        let (_, _, all) = self.0.entry(path.to_owned()).or_insert_with(file);
        for finding in findings {
            let same = |other: &Finding| {
                (other.code, &other.span, &other.what)
                    == (finding.code, &finding.span, &finding.what)
            };
            if !all.iter().any(same) {
                all.push(finding);
            }
        }
    }

    fn all(self, folder: &FleetFolder) -> Vec<Checked> {
        let shown = |path: String| -> PathBuf { folder.shown().join(path) };
        self.0
            .into_iter()
            .map(|(path, (source, secret, mut findings))| {
                findings.sort_by_key(|finding| (finding.span.start, finding.code.id));
                Checked { path: shown(path), source, findings, secret }
            })
            .collect()
    }
}
