//! What is said of a key.

use super::kinds::Kind;

/// The three kinds of sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// `[agent]`.
    Agent,
    /// `[kafka]`.
    Kafka,
    /// `[log:NAME]`.
    Log,
}

/// What holds when a key is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfUnset {
    /// The file is refused; the text is an example.
    Required(&'static str),
    /// As if this were written.
    Text(&'static str),
    /// The `[kafka]` key of the same name holds; the text is an example.
    FromKafka(&'static str),
    /// Nothing; the text is an example.
    Nothing(&'static str),
}

/// One key: where it stands, what it accepts, what it is for.
pub(super) struct Key<K> {
    pub(super) section: Section,
    pub(super) name: &'static str,
    pub(super) kind: K,
    pub(super) if_unset: IfUnset,
    /// One line, for the reference.
    pub(super) about: &'static str,
}

/// A [`Key`] without its type.
pub(super) trait Described: Sync {
    fn section(&self) -> Section;
    fn name(&self) -> &'static str;
    fn if_unset(&self) -> IfUnset;
    fn about(&self) -> &'static str;
    fn accepted(&self) -> String;
}

impl<K: Kind> Described for Key<K> {
    fn section(&self) -> Section {
        self.section
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn if_unset(&self) -> IfUnset {
        self.if_unset
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn accepted(&self) -> String {
        self.kind.accepted()
    }
}
