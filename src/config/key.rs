//! What is said of a key.

use super::value_types::ValueType;

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

/// The value of a key that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DefaultValue {
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
    pub(super) value_type: K,
    pub(super) default_value: DefaultValue,
    /// One line, for the reference.
    pub(super) about: &'static str,
}

/// A [`Key`] of any type.
pub(super) trait AnyKey: Sync {
    fn section(&self) -> Section;
    fn name(&self) -> &'static str;
    fn default_value(&self) -> DefaultValue;
    fn about(&self) -> &'static str;
    fn accepted(&self) -> String;
}

impl<K: ValueType> AnyKey for Key<K> {
    fn section(&self) -> Section {
        self.section
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn default_value(&self) -> DefaultValue {
        self.default_value
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn accepted(&self) -> String {
        self.value_type.accepted()
    }
}
