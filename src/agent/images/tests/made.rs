//! Layers that tests make, good ones and evil ones.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::geteuid;
use serde_json::json;
use tar::Builder;
use tar::EntryType;
use tar::Header;

use super::super::Body;
use super::super::Source;
use super::super::SourceError;
use super::super::Wanted;
use crate::profile::oci::ARCHITECTURE;
use crate::profile::reference::Digest;

/// True for root, who alone can unpack layers. Says what is skipped otherwise.
pub(crate) fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("skipped: layers are unpacked by root");
        assert!(std::env::var_os("CI").is_none(), "CI runs as root");
    }
    root
}

/// An archive in the making.
pub(crate) struct Layer(Builder<Vec<u8>>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub(crate) fn tar(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    pub(crate) fn gzip(self) -> Vec<u8> {
        gzip(&self.tar())
    }

    /// An entry whose name nobody looks at.
    pub(crate) fn entry(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let header = header(kind, name, link, content.len() as u64);
        self.0.append(&header, content).unwrap();
        self
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name, "", content.as_bytes())
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, b"")
    }

    pub(crate) fn device(self, name: &str, major: u32, minor: u32) -> Self {
        self.with(EntryType::Char, name, |header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        })
    }

    pub(crate) fn with(
        mut self,
        kind: EntryType,
        name: &str,
        change: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = header(kind, name, "", 0);
        change(&mut header);
        header.set_cksum();
        self.0.append(&header, &b""[..]).unwrap();
        self
    }

    pub(crate) fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    /// Any bytes, in the middle.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.get_mut().extend_from_slice(bytes);
        self
    }
}

/// A header with any name, 100 bytes of it.
pub(crate) fn header(kind: EntryType, name: &str, link: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_cksum();
    header
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image and everything that a source has of it.
#[derive(Clone)]
pub(crate) struct Image {
    pub digest: Digest,
    pub layers: Vec<Digest>,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

impl Image {
    pub(crate) fn new(layers: &[Vec<u8>]) -> Self {
        Self::of(layers, ARCHITECTURE)
    }

    pub(crate) fn of(layers: &[Vec<u8>], architecture: &str) -> Self {
        let ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": { "Env": ["PATH=/bin"], "Cmd": ["/bin/true"] },
            "rootfs": { "type": "layers", "diff_ids": ids },
        });
        let config = config.to_string().into_bytes();
        let blob = |bytes: &[u8], media_type: &str| json!({ "mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len() });
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        let manifest = json!({
            "schemaVersion": 2,
            "config": blob(&config, "application/vnd.oci.image.config.v1+json"),
            "layers": layers.iter().map(|layer| blob(layer, media_type)).collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string().into_bytes();
        let digest = Digest::of(&manifest);
        let blobs = layers.iter().cloned().chain([config, manifest]);
        let blobs = blobs.map(|blob| (Digest::of(&blob), blob)).collect();
        Self { digest, layers: ids, blobs }
    }

    /// The same image by the digest of an index, in which it is the variant for `architecture`.
    pub(crate) fn in_index(mut self, architecture: &str) -> Self {
        let variant = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": self.digest, "size": self.blobs[&self.digest].len(),
            "platform": { "os": "linux", "architecture": architecture },
        });
        let index = json!({ "schemaVersion": 2, "manifests": [variant] }).to_string().into_bytes();
        self.digest = Digest::of(&index);
        self.blobs.insert(self.digest, index);
        self
    }

    pub(crate) fn wanted(&self) -> Wanted {
        Wanted { reference: "registry.example.org/farm/gateway:v1".to_owned(), digest: self.digest }
    }
}

/// A fault of the next answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The body ends after so many bytes.
    Cut(usize),
    /// The body fails after so many bytes.
    Broken(usize),
    /// Other bytes, of the same length.
    Lie,
    /// No answer but this.
    No(SourceError),
}

/// A source in memory.
#[derive(Default)]
pub(crate) struct Shelf {
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// True for a server that knows no ranges.
    pub no_ranges: bool,
    /// For the next answers with layers, in their order.
    pub faults: Mutex<Vec<Fault>>,
    /// Bytes of layers that were sent.
    pub sent: Arc<AtomicU64>,
}

impl Shelf {
    pub(crate) fn with(images: &[&Image]) -> Self {
        let blobs = images.iter().flat_map(|image| image.blobs.clone()).collect();
        Self { blobs, ..Self::default() }
    }

    pub(crate) fn failing(self, faults: &[Fault]) -> Self {
        *self.faults.lock().unwrap() = faults.to_vec();
        self
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.swap(0, Ordering::Relaxed)
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, SourceError> {
        let found = self.blobs.get(digest).cloned();
        found.ok_or_else(|| SourceError::Missing(format!("there is no {digest}")))
    }
}

impl Source for Shelf {
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, SourceError> {
        self.get(digest)
    }

    fn blob(&self, digest: &Digest, from: u64) -> Result<Body, SourceError> {
        let mut bytes = self.get(digest)?;
        let from = if self.no_ranges { 0 } else { from as usize };
        // Configurations are small, and no layer.
        let is_layer = !bytes.starts_with(b"{");
        let fault = (is_layer && !self.faults.lock().unwrap().is_empty())
            .then(|| self.faults.lock().unwrap().remove(0));
        let mut broken = false;
        match fault {
            None => {}
            Some(Fault::No(error)) => return Err(error),
            Some(Fault::Lie) => bytes.iter_mut().for_each(|byte| *byte ^= 1),
            Some(Fault::Cut(after)) => bytes.truncate(from + after),
            Some(Fault::Broken(after)) => {
                bytes.truncate(from + after);
                broken = true;
            }
        }
        let bytes = bytes.split_off(from.min(bytes.len()));
        let sent = if is_layer { Arc::clone(&self.sent) } else { Arc::default() };
        Ok(Body { from: from as u64, bytes: Box::new(Sending { bytes, broken, sent }) })
    }
}

/// A source that nobody may ask.
pub(crate) struct Nobody;

impl Source for Nobody {
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, SourceError> {
        panic!("asked for manifest {digest}");
    }

    fn blob(&self, digest: &Digest, from: u64) -> Result<Body, SourceError> {
        panic!("asked for {digest} from {from}");
    }
}

struct Sending {
    bytes: Vec<u8>,
    broken: bool,
    sent: Arc<AtomicU64>,
}

impl Read for Sending {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Small pieces, so that there are many moments between them.
        let most = buffer.len().min(self.bytes.len()).min(400);
        if most == 0 && self.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        buffer[..most].copy_from_slice(&self.bytes[..most]);
        self.bytes.drain(..most);
        self.sent.fetch_add(most as u64, Ordering::Relaxed);
        Ok(most)
    }
}

/// Everything in a directory, to compare.
pub(crate) fn seen(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = path.symlink_metadata().unwrap();
        let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let (mode, uid, gid, device) = (meta.mode(), meta.uid(), meta.gid(), meta.rdev());
        let facts = format!("{mode:o} {uid} {gid} {device} {}", Digest::of(&content));
        seen.insert(path.strip_prefix(root).unwrap().to_owned(), facts);
        if meta.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    seen
}
