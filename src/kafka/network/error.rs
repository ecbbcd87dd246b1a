//! Why a connection could not be made or is over.

use std::io;

use crate::kafka::protocol::wire::WireError;

/// Why a connection could not be made or is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// The system says so.
    #[error("{0}")]
    Io(io::Error),
    /// No answer within `request_timeout`.
    #[error("no answer within request_timeout")]
    Overdue,
    /// The length of a frame is out of bounds.
    #[error("not a Kafka broker, or not on this port: an answer of {0} bytes")]
    FrameSize(i32),
    /// The answer is to something that was not asked.
    #[error("not a Kafka broker, or out of step: wrong correlation id")]
    CorrelationId,
    /// The answer cannot be read.
    #[error("malformed answer: {0}")]
    Malformed(WireError),
    /// The broker answered the first request with an error code.
    #[error("refused with error {0}")]
    Refused(i16),
    /// The TLS handshake failed, or the broker ended the session with a reason.
    #[error("{0}")]
    Tls(String),
    /// The broker does not let us in, or something about SASL cannot work.
    #[error("{0}")]
    Sasl(String),
    /// There is no token to log in with at present.
    #[error("{0}")]
    NoToken(String),
    /// The broker cannot take what we send.
    #[error("{0}")]
    Unsuitable(&'static str),
    /// The connection thread panicked.
    #[error("the connection thread panicked")]
    Panicked,
}

impl ConnectionError {
    /// Whether it stays as it is until a person changes something here or there.
    pub(crate) fn needs_a_person(&self) -> bool {
        matches!(
            self,
            ConnectionError::Tls(_) | ConnectionError::Sasl(_) | ConnectionError::Unsuitable(_)
        )
    }
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A read or write came to the end of its time.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ConnectionError::Overdue,
            _ => ConnectionError::Io(error),
        }
    }
}
