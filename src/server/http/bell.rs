//! State that requests to `/update-cfg` share.

use std::sync::Arc;
use std::sync::Mutex;

use tokio::sync::Semaphore;

use crate::server::background::Wakers;
use crate::sync::webhook::Hooks;

/// Requests whose bodies are taken at a time.
const AT_A_TIME: usize = 4;

/// State that these requests share.
pub(super) struct Bell {
    pub(super) hooks: Mutex<Hooks>,
    pub(super) room: Semaphore,
    pub(super) wakers: Arc<Wakers>,
}

impl Bell {
    pub(super) fn new(wakers: Arc<Wakers>) -> Self {
        Self { hooks: Mutex::default(), room: Semaphore::new(AT_A_TIME), wakers }
    }
}
