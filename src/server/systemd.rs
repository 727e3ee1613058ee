//! What systemd is told. Without systemd nothing happens.

use std::path::PathBuf;

use sd_notify::NotifyState;

/// Both doors are open.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// No new connections; running downloads finish.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Where systemd puts credentials of this service (`LoadCredential=`).
pub(super) fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("cannot notify systemd: {error}");
    }
}
