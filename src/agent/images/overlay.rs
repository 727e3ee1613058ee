//! Roots of containers: the layers of an image, stacked by overlayfs, and a directory for what the
//! container changes, which is fresh each time.

use std::ffi::CString;
use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;
use rustix::mount::mount;
use rustix::mount::unmount;

use super::ensure::Ready;
use super::error::Error;
use super::error::Result;
use super::inherit;
use super::store::Store;
use crate::foreign::Foreign;

/// The root of a container. It stays mounted until [`Rootfs::unmount`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    pub path: PathBuf,
}

impl Rootfs {
    /// Takes the root away, also when something still uses it.
    pub fn unmount(self) -> io::Result<()> {
        Ok(unmount(&self.path, UnmountFlags::DETACH)?)
    }
}

impl Store {
    /// Mounts the root of a container. What it changes is gone with the next mount of the same
    /// name, and with the next boot.
    pub fn mount(&self, image: &Ready, container: &str) -> Result<Rootfs> {
        let fail = |why: String| Error::Mount { container: Foreign::new(container), why };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if container.is_empty() || container.starts_with('.') || !container.bytes().all(plain) {
            return Err(fail("its name cannot be that of a directory".to_owned()));
        }
        let own = self.containers().join(container);
        let layers = self.visible_layers(image)?;
        self.spend_reserve(|| {
            // Mounted still if the container failed before.
            let _ = unmount(own.join("root"), UnmountFlags::DETACH);
            self.remove(&own)?;
            self.step("create", &own)?;
            self.make_directories(&own, &layers)
                .map_err(|error| Error::drive("create", &own, error))
        })?;
        inherit::prepare(&layers, &own.join("upper"))
            .map_err(|e| Error::drive("create", &own, e))?;
        let directory = File::open(&own).map_err(|error| Error::drive("open", &own, error))?;
        let root = own.join("root");
        // Through the descriptor, names are short: those of 127 layers fit into a page, which is
        // all that the kernel takes, and none has a colon or a comma.
        let here = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let lower: Vec<_> = (0..layers.len()).rev().map(|n| format!("{here}/{n}")).collect();
        let lower = lower.join(":");
        let options = format!("lowerdir={lower},upperdir={here}/upper,workdir={here}/work");
        // What a container writes outside of its volumes is not kept, so it need not be synced.
        // Kernels before 5.10 do not know this.
        let mounted = match mount_overlay(&root, &format!("{options},volatile")) {
            Err(Errno::INVAL) => mount_overlay(&root, &options),
            result => result,
        };
        match mounted {
            Ok(()) => Ok(Rootfs { path: root }),
            Err(Errno::NODEV) => {
                Err(fail("the kernel has no overlayfs (module overlay)".to_owned()))
            }
            Err(error) => Err(fail(io::Error::from(error).to_string())),
        }
    }

    /// Directories of the layers, from the bottom up, without those that an upper one hides.
    fn visible_layers(&self, image: &Ready) -> Result<Vec<PathBuf>> {
        let mut layers = Vec::new();
        for digest in image.layers.iter().rev() {
            let path = self.layer(digest);
            let Some(record) = self.layer_record(digest)? else {
                let gone = io::Error::from(io::ErrorKind::NotFound);
                return Err(Error::drive("open", &path, gone));
            };
            layers.push(path);
            if record.opaque {
                break;
            }
        }
        layers.reverse();
        Ok(layers)
    }

    fn make_directories(&self, own: &Path, layers: &[PathBuf]) -> io::Result<()> {
        fs::create_dir_all(own)?;
        for name in ["upper", "work", "root"] {
            fs::create_dir(own.join(name))?;
        }
        for (number, layer) in layers.iter().enumerate() {
            symlink(fs::canonicalize(layer.join("fs"))?, own.join(number.to_string()))?;
        }
        Ok(())
    }
}

fn mount_overlay(root: &Path, options: &str) -> Result<(), Errno> {
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    // Device nodes of a layer are made as the image has them, and nobody can open them.
    mount("overlay", root, "overlay", MountFlags::NODEV, Some(options.as_c_str()))
}
