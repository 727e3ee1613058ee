//! `mounts` of a container.

use std::collections::BTreeMap;

use super::Reader;
use super::SHARED;
use crate::foreign::Foreign;
use crate::ipxe::script::codes;
use crate::near::meant;
use crate::profile::agent::Mount;
use crate::profile::agent::Source;
use crate::profile::agent::Volume;
use crate::profile::description::problem::Placed;
use crate::profile::description::raw::Text;

impl Reader {
    pub(super) fn mounts(
        &mut self,
        raw: &[Text],
        volumes: &BTreeMap<String, Placed<Volume>>,
    ) -> Vec<Placed<Mount>> {
        let mut mounts: Vec<Placed<Mount>> = Vec::new();
        self.at_most(raw, "mounts");
        for text in raw {
            let Some(mount) = self.mount(text, volumes) else { continue };
            if mounts.iter().any(|other| other.value.target == mount.target) {
                let what = format!("`{}` is mounted already", mount.target);
                self.error(codes::TWICE, &text.span(), what, "remove one of the two");
            }
            mounts.push(Placed { value: mount, span: text.span() });
        }
        mounts
    }

    fn mount(&mut self, text: &Text, volumes: &BTreeMap<String, Placed<Volume>>) -> Option<Mount> {
        let span = text.span();
        let help = "write `NAME:/path`, `cache:/path` or `/path:/path`, with `:ro` behind it if it is only read";
        let parts: Vec<&str> = text.get_ref().split(':').collect();
        let (source, target, read_only) = match parts[..] {
            [source, target] | [source, target, "rw"] => (source, target, false),
            [source, target, "ro"] => (source, target, true),
            _ => {
                self.error(codes::WRONG_VALUE, &span, "this is not a mount", help);
                return None;
            }
        };
        if !is_absolute(target) || target == "/" {
            let what = format!("`{}` is not a path in the container", Foreign::shorter(target, 64));
            self.error(codes::WRONG_VALUE, &span, what, help);
            return None;
        }
        let source = match source {
            SHARED => Source::Cache,
            path if path.starts_with('/') => {
                if !is_absolute(path) {
                    let what =
                        format!("`{}` is not a path of the gateway", Foreign::shorter(path, 64));
                    self.error(codes::WRONG_VALUE, &span, what, help);
                    return None;
                }
                Source::Path(path.to_owned())
            }
            name if volumes.contains_key(name) => Source::Volume(name.to_owned()),
            name => {
                let what = format!("there is no volume `{}`", Foreign::shorter(name, 64));
                let known = volumes.keys().map(String::as_str).chain([SHARED]);
                self.error(codes::UNKNOWN_NAME, &span, what, meant(name, known));
                return None;
            }
        };
        Some(Mount { source, target: target.to_owned(), read_only })
    }
}

/// An absolute path without detours.
fn is_absolute(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let straight = rest.is_empty() || !rest.split('/').any(|part| matches!(part, "" | "." | ".."));
    straight && path.len() <= 255 && !path.contains(char::is_control)
}
