//! Messages to systemd, and the sockets it passes. Does nothing without systemd.

use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use sd_notify::NotifyState;

/// Reports that all listeners are open and the settings are in force.
pub(in crate::server) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reports a reload. [`ready`] must follow, even if the old settings stay.
pub(in crate::server) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("cannot tell the time to systemd: {error}"),
    }
}

/// Reports a stop: no new connections, running downloads finish.
pub(in crate::server) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Asks for `more` time before systemd kills the stopping service.
pub(in crate::server) fn still_stopping(more: Duration, status: &str) {
    let micros = more.as_micros().try_into().unwrap_or(u32::MAX);
    notify(&[NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status(status)]);
}

/// Sets the line in `systemctl status`.
pub(in crate::server) fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// Reports that the server answers.
pub(in crate::server) fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// The time that systemd waits for [`alive`] before it ends the service (`WatchdogSec=`).
pub(in crate::server) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Takes the sockets that systemd listens on for this service, with their names
/// (`FileDescriptorName=`). systemd passes them once: a second call returns none.
pub(in crate::server) fn sockets() -> Result<Vec<(String, OwnedFd)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names().context("cannot take systemd's sockets")?;
    let owned = passed.map(|(descriptor, name)| {
        // SAFETY: systemd opened it for this process alone (LISTEN_PID), and the flag above
        // excludes a second owner.
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
