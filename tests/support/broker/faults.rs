//! What the broker is told to do wrong.

use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use super::Cluster;

/// What goes wrong.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Answers with this error code, and nothing is appended.
    Error(i16),
    /// Appends, then answers with this error code.
    ErrorAfterAppend(i16),
    /// Closes the connection without looking at the request.
    HangUpBeforeAppend,
    /// Appends, then closes the connection without an answer.
    HangUpAfterAppend,
    /// Appends, sends half of the answer and closes the connection.
    CutAnswer,
    /// Appends, then answers with a frame of nonsense.
    Garbage,
    /// Appends, then announces a frame of 2 GiB and sends nothing more.
    Oversized,
    /// Appends, and sends nothing more on this connection, which stays open.
    NoAnswer,
    /// Answers later.
    Delay(Duration),
}

impl Fault {
    /// Whether it concerns one partition (or topic) of a request, or else the whole request.
    pub(super) fn is_error_code(&self) -> bool {
        matches!(self, Fault::Error(_) | Fault::ErrorAfterAppend(_))
    }
}

/// When something goes wrong, and what.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) api: ApiKey,
    pub(super) node: Option<i32>,
    pub(super) topic: Option<String>,
    pub(super) partition: Option<i32>,
    /// How many more times; `None` is for ever.
    pub(super) left: Option<usize>,
    pub(super) fault: Fault,
}

impl Rule {
    /// Whether it fits, partitions and topics that the request does not name aside.
    pub(super) fn fits(&self, api: ApiKey, node: i32, target: Option<(&str, i32)>) -> bool {
        let fits_target = match target {
            Some((topic, partition)) => {
                self.topic.as_deref().is_none_or(|wanted| wanted == topic)
                    && self.partition.is_none_or(|wanted| wanted == partition)
            }
            None => self.topic.is_none() && self.partition.is_none(),
        };
        self.left != Some(0)
            && self.api == api
            && self.node.is_none_or(|wanted| wanted == node)
            && fits_target
    }
}

/// A rule in the making: `cluster.on(ApiKey::Produce).topic("logs").times(3).error(6)`.
///
/// Without more it applies once, to any node, topic and partition.
#[must_use = "nothing goes wrong before it is said what"]
pub(crate) struct RuleBuilder<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) rule: Rule,
}

impl RuleBuilder<'_> {
    /// Only requests to this node.
    pub(crate) fn node(mut self, node: i32) -> Self {
        self.rule.node = Some(node);
        self
    }

    /// Only this topic.
    pub(crate) fn topic(mut self, topic: &str) -> Self {
        self.rule.topic = Some(topic.to_owned());
        self
    }

    /// Only this partition.
    pub(crate) fn partition(mut self, partition: i32) -> Self {
        self.rule.partition = Some(partition);
        self
    }

    /// So many times: error codes count per partition (metadata: per topic), all else per request.
    pub(crate) fn times(mut self, times: usize) -> Self {
        self.rule.left = Some(times);
        self
    }

    /// Until [`Cluster::heal`].
    pub(crate) fn forever(mut self) -> Self {
        self.rule.left = None;
        self
    }

    /// Answers with this error code, and nothing is appended.
    pub(crate) fn error(self, code: i16) {
        self.install(Fault::Error(code));
    }

    /// Appends, then answers with this error code.
    pub(crate) fn error_after_append(self, code: i16) {
        self.install(Fault::ErrorAfterAppend(code));
    }

    /// Closes the connection without looking at the request.
    pub(crate) fn hang_up_before_append(self) {
        self.install(Fault::HangUpBeforeAppend);
    }

    /// Appends, then closes the connection without an answer.
    pub(crate) fn hang_up_after_append(self) {
        self.install(Fault::HangUpAfterAppend);
    }

    /// Appends, sends half of the answer and closes the connection.
    pub(crate) fn cut_answer(self) {
        self.install(Fault::CutAnswer);
    }

    /// Appends, then answers with a frame of nonsense.
    pub(crate) fn garbage(self) {
        self.install(Fault::Garbage);
    }

    /// Appends, then announces a frame of 2 GiB and sends nothing more.
    pub(crate) fn oversized_answer(self) {
        self.install(Fault::Oversized);
    }

    /// Appends, and sends nothing more on this connection, which stays open.
    pub(crate) fn no_answer(self) {
        self.install(Fault::NoAnswer);
    }

    /// Answers so much later.
    pub(crate) fn delay(self, delay: Duration) {
        self.install(Fault::Delay(delay));
    }

    fn install(mut self, fault: Fault) {
        self.rule.fault = fault;
        let mut state = self.cluster.shared.state();
        state.note(format!("told: {:?}", self.rule));
        state.rules.push(self.rule);
    }
}
