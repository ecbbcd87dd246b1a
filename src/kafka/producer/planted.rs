//! Bugs that a test can plant in the machine, to see that the model finds them.

/// A bug that was made once, or could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    #[cfg_attr(not(test), expect(dead_code, reason = "only a test counts so"))]
    /// Batches are counted per partition, and keep their numbers when partitions are merged.
    AbsorbKeepsIds,
    /// Metadata of an older leader epoch is believed.
    EpochIgnored,
    /// After a failure the partition does not wait for what is in flight.
    DrainingLost,
    /// After a refused record the later batches keep their sequence numbers.
    SequenceNotMoved,
    /// An answer finds its batch by the number alone, whichever attempt it answers.
    AnswerByIdAlone,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether `bug` is planted; never outside of tests.
#[cfg(test)]
pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(test))]
pub(crate) const fn has(_: Bug) -> bool {
    false
}

/// Plants `bug` in the machines of this thread.
#[cfg(test)]
pub(crate) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
