//! `[cache]` and `[volume.NAME]`.

use std::collections::BTreeMap;

use toml::Spanned;

use super::Reader;
use super::SHARED;
use super::value::WORD;
use super::value::is_word;
use crate::config::Size;
use crate::foreign::Foreign;
use crate::ipxe::script::codes;
use crate::profile::agent::Cache;
use crate::profile::agent::Drive;
use crate::profile::agent::Format;
use crate::profile::agent::Missing;
use crate::profile::agent::Pull;
use crate::profile::agent::Push;
use crate::profile::agent::Volume;
use crate::profile::description::problem::Placed;
use crate::profile::description::raw::RawCache;
use crate::profile::description::raw::RawVolume;
use crate::profile::description::raw::Text;

/// Label of the cache drive, unless another one is named. ext4 has room for 16 bytes.
const LABEL: &str = "FARMGATE_CACHE";
const MAX_LABEL: usize = 16;

impl Reader {
    pub(super) fn cache(
        &mut self,
        raw: Option<&Spanned<RawCache>>,
        is_agent: bool,
    ) -> Placed<Cache> {
        let (none, nowhere) = (RawCache::default(), 0..0);
        let (raw, span) = raw.map_or((&none, nowhere), |raw| (raw.get_ref(), raw.span()));
        if let (Some(_), Some(device)) = (&raw.label, &raw.device) {
            let what = "the cache drive has a `label` and a `device`";
            self.error(codes::WRONG_VALUE, &device.span(), what, "remove one of the two");
        }
        let drive = match (&raw.device, &raw.label) {
            (Some(device), _) => Drive::Device(self.device(device, is_agent)),
            (None, Some(label)) => {
                let name = label.get_ref();
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
                if name.is_empty() || name.len() > MAX_LABEL || !name.chars().all(plain) {
                    let what = "this cannot be the label of a file system";
                    let help = "use 1 to 16 letters, digits, `_`, `-` and `.`";
                    self.error(codes::WRONG_VALUE, &label.span(), what, help);
                }
                Drive::Label(name.clone())
            }
            (None, None) => Drive::Label(LABEL.to_owned()),
        };
        let formats = [("never", Format::Never), ("if-blank", Format::IfBlank)];
        let missing = [("run-in-memory", Missing::RunInMemory), ("reboot", Missing::Reboot)];
        let swap = raw.swap.as_ref().and_then(|text| self.value(text, str::parse::<Size>));
        let value = Cache {
            drive,
            format: self
                .choice(raw.format.as_ref(), "format", &formats)
                .map_or(Format::Never, |f| f.value),
            swap: swap.map_or(0, |swap| swap.value.bytes()),
            missing: self
                .choice(raw.missing.as_ref(), "way to go on without the drive", &missing)
                .map_or(Missing::RunInMemory, |missing| missing.value),
        };
        Placed { value, span }
    }

    fn device(&mut self, text: &Text, is_agent: bool) -> String {
        let path = text.get_ref();
        let plain = |c: char| {
            c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.' | ':' | '+' | '@' | '=')
        };
        let dots = |part: &str| matches!(part, "" | "." | "..");
        let name = path.strip_prefix("/dev/");
        if name.is_none_or(|name| name.split('/').any(dots))
            || !path.chars().all(plain)
            || path.len() > 255
        {
            let what = format!("`{}` is not the path of a drive", Foreign::shorter(path, 64));
            let help = "write it like \"/dev/disk/by-id/...\"; farmgate never takes the first disk that it finds";
            self.error(codes::WRONG_VALUE, &text.span(), what, help);
        } else if is_agent
            && name.is_some_and(|name| name.starts_with("sd") || name.starts_with("hd"))
        {
            let what = format!("`{path}` may be another drive at the next boot");
            let help = "the kernel counts these in the order in which it finds them: write /dev/disk/by-id/..., or a `label`";
            self.warn(codes::FLOATING_DRIVE, &text.span(), what, help);
        }
        path.clone()
    }

    pub(super) fn volumes(
        &mut self,
        raw: &BTreeMap<Text, RawVolume>,
    ) -> BTreeMap<String, Placed<Volume>> {
        let mut volumes = BTreeMap::new();
        let mut bucket: Option<&str> = None;
        self.at_most(raw.keys(), "volumes");
        for (name, table) in raw {
            let span = name.span();
            if name.get_ref() == SHARED {
                let what = format!("no volume can be called `{SHARED}`");
                let help = "mounts have this name for the directory that all containers share";
                self.error(codes::TWICE, &span, what, help);
            } else if !is_word(name.get_ref()) {
                self.error(codes::WRONG_VALUE, &span, "this is not the name of a volume", WORD);
            }
            let volume = self.volume(table);
            if volume.bucket
                && let Some(other) = bucket.replace(name.get_ref())
            {
                let what = format!("the volume `{other}` mirrors the gateway's bucket already");
                let help = "two would overwrite each other's files there: put both into one volume";
                self.error(codes::TWICE, &span, what, help);
            }
            volumes.insert(name.get_ref().clone(), Placed { value: volume, span });
        }
        volumes
    }

    fn volume(&mut self, raw: &RawVolume) -> Volume {
        let bucket = raw.bucket.as_ref().is_some_and(|bucket| *bucket.get_ref());
        let pull = self.choice(
            raw.pull.as_ref(),
            "pull",
            &[("never", Pull::Never), ("start", Pull::Start)],
        );
        let pushes = [("never", Push::Never), ("changes", Push::Changes), ("end", Push::End)];
        let push = self.choice(raw.push.as_ref(), "push", &pushes);
        let deletes = raw.delete_remote.as_ref().filter(|delete| *delete.get_ref());
        if !bucket {
            let pull = raw.pull.as_ref().map(Spanned::span);
            let push = raw.push.as_ref().map(Spanned::span);
            for span in [pull, push, deletes.map(Spanned::span)].into_iter().flatten() {
                let what = "this volume does not mirror the bucket";
                self.error(
                    codes::WRONG_VALUE,
                    &span,
                    what,
                    "write `bucket = true`, or remove the key",
                );
            }
        }
        let default_pull = if bucket { Pull::Start } else { Pull::Never };
        let default_push = if bucket { Push::Changes } else { Push::Never };
        let volume = Volume {
            bucket,
            pull: pull.map_or(default_pull, |pull| pull.value),
            push: push.map_or(default_push, |push| push.value),
            delete_remote: deletes.is_some(),
            encrypt: raw
                .encrypt
                .as_ref()
                .and_then(|text| self.secret(text, "a key"))
                .map(|name| name.value),
        };
        if let Some(deletes) = deletes.filter(|_| bucket) {
            if volume.pull == Pull::Never {
                let what =
                    "without a pull, `delete-remote` empties the bucket when the drive is lost";
                self.error(
                    codes::WRONG_VALUE,
                    &deletes.span(),
                    what,
                    "write `pull = \"start\"`, or remove `delete-remote`",
                );
            } else if volume.push == Push::Never {
                let what = "without a push, `delete-remote` has no meaning";
                self.error(codes::WRONG_VALUE, &deletes.span(), what, "remove one of the two");
            }
        }
        volume
    }
}
