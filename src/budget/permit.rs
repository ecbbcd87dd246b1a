//! A part of the budget, taken.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Account;

/// Bytes taken from the budget; dropping it gives them back.
#[derive(Debug)]
pub struct Permit {
    pub(super) account: Arc<Account>,
    pub(super) bytes: usize,
}

impl Permit {
    /// How many bytes it stands for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether files wait for memory.
    pub fn is_waited_for(&self) -> bool {
        self.account.budget().entries.load(Ordering::Relaxed) > 0
    }

    /// Counts `bytes` more for the same file, whatever is free: for a copy that exists already. More may be taken
    /// than the limit then, and nobody is served before that is over.
    pub fn with_copy(&self, bytes: usize) -> Permit {
        let account = self.account.clone();
        account.hold(bytes);
        account
            .budget()
            .used_bytes
            .fetch_add(bytes, Ordering::SeqCst);
        Permit { account, bytes }
    }

    /// Divides off `bytes` of it, and counts what it has not as [`Permit::with_copy`] does.
    pub fn split_off(&mut self, bytes: usize) -> Permit {
        let mine = bytes.min(self.bytes);
        self.bytes -= mine;
        let mut permit = self.with_copy(bytes - mine);
        permit.bytes = bytes;
        permit
    }

    /// Whether copies have taken so much beyond the limit that no more should be made than have to be.
    pub fn is_overdrawn(&self) -> bool {
        let budget = self.account.budget();
        let limit_bytes = budget.limit_bytes();
        budget.used_bytes() > limit_bytes + limit_bytes / COPIES_BEYOND
    }

    /// Gives back what is over `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if bytes < self.bytes {
            let back = self.bytes - bytes;
            self.bytes = bytes;
            self.account.release(back);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.account.release(self.bytes);
    }
}

/// Copies may take this part of the limit beyond it before they are kept down.
const COPIES_BEYOND: usize = 8;
