//! The rights of Kafka that a refusal says are missing.

/// What the principal needs when a broker answers with `code`, to be said after the name of the code.
pub(crate) fn missing(code: i16) -> Option<&'static str> {
    match code {
        TOPIC_AUTHORIZATION_FAILED => Some(
            "; the principal needs the rights WRITE and DESCRIBE on this topic, and CREATE if it is to be made, or set \
             topic to one that it may write",
        ),
        CLUSTER_AUTHORIZATION_FAILED => Some(
            "; the principal needs the right IDEMPOTENT_WRITE on the cluster (before Kafka 2.8), or set \
             idempotence = off",
        ),
        TRANSACTIONAL_ID_AUTHORIZATION_FAILED => Some(
            "; the principal needs the rights WRITE and DESCRIBE on the transactional id, or set idempotence = off",
        ),
        _ => None,
    }
}

pub(crate) const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
pub(crate) const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
pub(crate) const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;
