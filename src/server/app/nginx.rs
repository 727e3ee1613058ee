//! Decides whether a request comes from the nginx of this host. Reads the secret that they share.

use std::path::PathBuf;
use std::time::SystemTime;

use super::authenticate::Presented;
use super::error::Reach;
use super::error::Result;
use crate::identity::Fingerprint;
use crate::store::NginxProof;
use crate::store::State;
use crate::store::stamp::Memo;
use crate::store::stamp::Stamp;

/// Certificates whose mark is cached.
const MOST: usize = 16 * 1024;

/// Marks of nginx that were verified with the current secret.
pub(super) struct Nginx {
    state: State,
    secret: PathBuf,
    proved: Memo<Fingerprint, Vec<Vec<u8>>>,
}

impl Nginx {
    pub(super) fn new(state: &State) -> Self {
        let (secret, state) = (state.proxy_mark_file(), state.clone());
        Self { state, secret, proved: Memo::new(MOST) }
    }

    /// Verifies nginx' header values, which prove that the client has the key of the certificate. A
    /// changed secret counts from the next request on.
    pub(super) fn is_known(
        &self,
        presented: &Presented,
        marks: &[Vec<u8>],
        reach: Reach,
    ) -> Result<bool> {
        let now = SystemTime::now();
        let stamp = Stamp::read(&self.secret).ok();
        if let (Some((seen, proved)), Some(stamp)) =
            (self.proved.get(&presented.fingerprint), stamp)
            && seen.is_still(&stamp)
            && proved == marks
        {
            return Ok(true);
        }
        reach.disk()?;
        let values = marks.iter().map(Vec::as_slice);
        let proof = self.state.is_from_nginx(&presented.der, values)?;
        if let (NginxProof::Secret, Some(stamp)) = (proof, stamp) {
            self.proved.keep(presented.fingerprint, stamp, marks.to_vec(), now);
        }
        Ok(proof != NginxProof::None)
    }
}
