//! What there is to count of transactions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::counters::{Counter, lock};
use super::{Metrics, TransactionStatus};

/// Of one transactional id.
#[derive(Debug, Default)]
pub struct TransactionCounters {
    /// Transactions that are in Kafka for good.
    pub committed: Counter,
    /// Transactions that were sent again.
    pub aborted: Counter,
    /// Since when one is open, in ms since 1970; 0 if none is.
    open_since_ms: AtomicU64,
}

impl TransactionCounters {
    /// Whether one is open now.
    pub fn is_open(&self, is_open: bool) {
        if !is_open {
            return self.open_since_ms.store(0, Ordering::Relaxed);
        }
        if self.open_since_ms.load(Ordering::Relaxed) == 0 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now_ms = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(0);
            self.open_since_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    fn status(&self, id: &str) -> TransactionStatus {
        TransactionStatus {
            id: id.to_owned(),
            committed: self.committed.value(),
            aborted: self.aborted.value(),
            open_since: match self.open_since_ms.load(Ordering::Relaxed) {
                0 => None,
                ms => UNIX_EPOCH.checked_add(Duration::from_millis(ms)),
            },
        }
    }
}

impl Metrics {
    /// Those of a transactional id.
    pub fn transactions(&self, id: &str) -> std::sync::Arc<TransactionCounters> {
        self.transactions.named(id)
    }

    /// How the transactions of each transactional id stand.
    pub fn transaction_statuses(&self) -> Vec<TransactionStatus> {
        self.transactions.map(|id, counters| counters.status(id))
    }

    /// The agent delivers exactly once, in this way.
    pub fn delivers(&self, how: &str) {
        how.clone_into(&mut lock(&self.exactly_once));
    }

    /// How it delivers exactly once; empty if it does not.
    pub fn exactly_once(&self) -> String {
        lock(&self.exactly_once).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_open_since_it_was_first_seen_open() {
        let metrics = Metrics::default();
        let counters = metrics.transactions("logagent-web1-0");
        let since = || metrics.transaction_statuses()[0].open_since;
        assert_eq!(since(), None);
        counters.is_open(true);
        let first = since();
        assert!(first.is_some());
        std::thread::sleep(Duration::from_millis(5));
        counters.is_open(true);
        assert_eq!(since(), first);
        counters.is_open(false);
        assert_eq!(since(), None);
    }
}
