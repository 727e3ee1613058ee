//! Empties the log once its objects are durable without it.

use std::sync::Arc;
use std::sync::MutexGuard;

use anyhow::Context;
use anyhow::Result;

use super::CommitLog;
use super::Inner;
use super::disk::Disk;
use super::replay;

impl CommitLog {
    /// Empties the half that takes lines, unless it is empty.
    pub(super) fn empty(&self) -> Result<()> {
        {
            let mut inner = self.lock();
            while inner.leading {
                inner = self.wait(inner);
            }
            if inner.halves[inner.active].used > 0 {
                inner.switch();
            }
        }
        self.checkpoint();
        Ok(())
    }

    /// Empties the other half, unless it is empty. Events can be recorded meanwhile.
    pub(super) fn checkpoint(&self) {
        let Some((disk, mut inner)) = self.begin_emptying() else { return };
        let idle = inner.idle();
        if inner.halves[idle].used > 0 && !inner.broken {
            while inner.halves[idle].unnamed > 0 {
                inner = self.wait(inner);
            }
            drop(inner);
            let synced = disk.sync_objects();
            inner = self.lead_alone(self.lock());
            drop(inner);
            // The kernel reports an error of `fdatasync` once. This call must not take the report
            // that is meant for the writers of other events, so nobody writes meanwhile.
            let cleared = synced.and_then(|()| replay::clear(&*disk, self.half, &[idle]));
            inner = self.lock();
            inner.leading = false;
            match cleared {
                Ok(()) => inner.halves[idle].used = 0,
                Err(error) => {
                    inner.broken = true;
                    inner.complain(format!("cannot empty {}: {error}", self.path.display()));
                }
            }
        }
        inner.emptying = false;
        self.changed.notify_all();
    }

    /// After an error: writes all objects in the log again, and empties it.
    pub(super) fn mend(&self) -> Result<()> {
        let Some((disk, mut inner)) = self.begin_emptying() else { return Ok(()) };
        while inner.halves.iter().any(|half| half.unnamed > 0) {
            inner = self.wait(inner);
        }
        drop(self.lead_alone(inner));
        let mended = replay::rewrite(&*disk, self.half, &self.gateways)
            .with_context(|| format!("cannot empty {}", self.path.display()));
        let mut inner = self.lock();
        if mended.is_ok() {
            inner.halves = Default::default();
            inner.broken = false;
        }
        (inner.leading, inner.emptying) = (false, false);
        self.changed.notify_all();
        mended
    }

    /// `None` while another thread does it.
    fn begin_emptying(&self) -> Option<(Arc<dyn Disk>, MutexGuard<'_, Inner>)> {
        let mut inner = self.lock();
        let disk = inner.disk.clone().filter(|_| !inner.emptying)?;
        inner.emptying = true;
        Some((disk, inner))
    }

    /// Waits until nobody writes to the file, and keeps others from writing.
    fn lead_alone<'a>(&self, mut inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        while inner.leading {
            inner = self.wait(inner);
        }
        inner.leading = true;
        inner
    }
}
