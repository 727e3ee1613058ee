//! What systemd is told, and what it hands over. Without systemd nothing happens.

use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use sd_notify::NotifyState;

/// All doors are open, and the settings are in force.
pub(in crate::server) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The settings are read anew; [`ready`] follows, also when the old ones stay.
pub(in crate::server) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("cannot tell the time to systemd: {error}"),
    }
}

/// No new connections; running downloads finish.
pub(in crate::server) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Still at it: asks for `more` time before systemd kills the service.
pub(in crate::server) fn still_stopping(more: Duration, status: &str) {
    let micros = more.as_micros().try_into().unwrap_or(u32::MAX);
    notify(&[NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status(status)]);
}

/// A line for `systemctl status`.
pub(in crate::server) fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// The server answers.
pub(in crate::server) fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// How long systemd waits for [`alive`] before it ends the service (`WatchdogSec=`).
pub(in crate::server) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Sockets that systemd listens on for this service, with their names
/// (`FileDescriptorName=`). They are handed over once: a second call has none.
pub(in crate::server) fn sockets() -> Result<Vec<(String, OwnedFd)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names().context("cannot take systemd's sockets")?;
    let owned = passed.map(|(descriptor, name)| {
        // SAFETY: systemd opened it for this process alone (LISTEN_PID), and the
        // flag above keeps a second owner away.
        #[expect(unsafe_code)]
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        (name, descriptor)
    });
    Ok(owned.collect())
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("cannot notify systemd: {error}");
    }
}
