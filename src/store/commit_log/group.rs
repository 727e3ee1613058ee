//! Group commit. It needs no thread: a writer that finds no other at work becomes the leader, and
//! writes the lines of all waiting writers with one write and one sync. Later writers form the next
//! group.

use std::io;
use std::io::Write;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::thread;

use super::CommitLog;
use super::Inner;
use super::disk::Disk;
use super::line::Line;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::ObjectName;
use crate::store::files;

/// An event that waits to be written.
#[derive(Debug)]
pub(super) struct Entry {
    gateway: GatewayId,
    event: EventId,
    object: Vec<u8>,
}

/// Events that share a write.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The half that their lines are in; `None` if they could not be written.
    half: OnceLock<Option<usize>>,
}

/// An event whose line is durable. The line stays until this is dropped.
pub(super) struct Logged {
    log: Arc<CommitLog>,
    half: usize,
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.log.lock().halves[self.half].unnamed -= 1;
        self.log.changed.notify_all();
    }
}

/// Bytes of a group, and where they go.
struct Placed {
    disk: Arc<dyn Disk>,
    half: usize,
    at: usize,
    bytes: Vec<u8>,
}

impl CommitLog {
    /// Writes an event of a gateway, whose lock the caller holds. If this returns true, the event
    /// is durable and has its name. If it returns false, nothing was written, and the caller must
    /// write it without the log.
    pub(in crate::store) fn record(
        self: &Arc<Self>,
        gateway: &GatewayId,
        event: EventId,
        object: &[u8],
    ) -> bool {
        if self.lock().is_unusable() {
            return false;
        }
        let dir = self.gateways.join(gateway);
        self.record_in(&dir, gateway, event, object).unwrap_or_else(|error| {
            tracing::debug!(gateway_id = %gateway, "written without the log: {error}");
            false
        })
    }

    fn record_in(
        self: &Arc<Self>,
        dir: &Path,
        gateway: &GatewayId,
        event: EventId,
        object: &[u8],
    ) -> io::Result<bool> {
        // A full disk fails here, before the log holds an event that did not happen.
        let mut file = files::unnamed(dir, 0o600)?;
        file.write_all(object)?;
        let Some(_logged) = self.commit(gateway, event, object) else { return Ok(false) };
        files::name(&file, &dir.join(ObjectName::Event(event).to_string()))?;
        Ok(true)
    }

    /// Waits until the line of an event is durable; `None` if the log cannot take it.
    pub(super) fn commit(
        self: &Arc<Self>,
        gateway: &GatewayId,
        event: EventId,
        object: &[u8],
    ) -> Option<Logged> {
        let mut inner = self.lock();
        inner.waiting.push(Entry { gateway: gateway.clone(), event, object: object.to_vec() });
        let group = inner.group.clone();
        loop {
            if let Some(half) = group.half.get() {
                return half.map(|half| Logged { log: self.clone(), half });
            }
            // Without a leader, the forming group is this one.
            inner = if inner.leading { self.wait(inner) } else { self.lead(inner) };
        }
    }

    fn lead<'a>(self: &'a Arc<Self>, mut inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        let entries = mem::take(&mut inner.waiting);
        let group = mem::take(&mut inner.group);
        let placed = self.place(&mut inner, &entries);
        inner.leading = true;
        drop(inner);
        let written = placed.map(|Placed { disk, half, at, bytes }| {
            disk.write(&bytes, at).and_then(|()| disk.sync()).map(|()| (half, bytes.len()))
        });
        let mut inner = self.lock();
        let half = match written {
            Some(Ok((half, len))) => {
                inner.halves[half].used += len;
                inner.halves[half].unnamed += entries.len();
                Some(half)
            }
            Some(Err(error)) => {
                inner.broken = true;
                inner.complain(format!("cannot write {}: {error}", self.path.display()));
                None
            }
            None => None,
        };
        // No other writer leads this group.
        let _ = group.half.set(half);
        inner.leading = false;
        self.changed.notify_all();
        inner
    }

    /// `None` without space, or without a log.
    fn place(self: &Arc<Self>, inner: &mut Inner, entries: &[Entry]) -> Option<Placed> {
        let disk = inner.disk.clone().filter(|_| !inner.is_unusable())?;
        let mut bytes = lines(entries, inner.halves[inner.active].epoch);
        if inner.halves[inner.active].used + bytes.len() > self.half {
            if bytes.len() > self.half || !inner.switch() {
                return None;
            }
            bytes = lines(entries, inner.halves[inner.active].epoch);
            let log = self.clone();
            // If no thread can be started, the next `tend` does it.
            let _ = thread::Builder::new().name("checkpoint".into()).spawn(move || {
                log.checkpoint();
            });
        }
        let (half, used) = (inner.active, inner.halves[inner.active].used);
        Some(Placed { disk, half, at: half * self.half + used, bytes })
    }
}

fn lines(entries: &[Entry], epoch: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Entry { gateway, event, object } in entries {
        Line { gateway: gateway.clone(), event: *event, object }.write(epoch, &mut bytes);
    }
    bytes
}
