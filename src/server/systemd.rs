//! What systemd is told. Without systemd nothing happens.

use sd_notify::NotifyState;

/// Both doors are open.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// No new connections; running downloads finish.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("cannot notify systemd: {error}");
    }
}
