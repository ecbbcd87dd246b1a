//! Why a connection could not be made or is over.

use std::io;
use std::time::Duration;

use crate::kafka::protocol::wire::WireError;

/// Why a connection could not be made or is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// The system says so.
    #[error("{0}")]
    Io(io::Error),
    /// Something took too long.
    #[error("no {what} within {after:?}{setting}")]
    Overdue {
        /// What was waited for.
        what: &'static str,
        after: Duration,
        /// The setting that says so, if it is one.
        setting: &'static str,
    },
    /// The length of a frame is out of bounds.
    #[error("not a Kafka broker, or not on this port: an answer of {0} bytes")]
    FrameSize(i32),
    /// The first bytes are those of TLS.
    #[error("this port speaks TLS: set tls = on, or use the port of the broker that does not")]
    SpeaksTls,
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
    /// No `what` within `after`, which is the bound of the whole step; `limit` is request_timeout.
    pub(crate) fn overdue(what: &'static str, after: Duration, limit: Duration) -> Self {
        ConnectionError::Overdue {
            what,
            after,
            setting: match after < limit {
                true => "",
                false => " (request_timeout)",
            },
        }
    }

    /// Names what was waited for, if it is a time-out.
    pub(crate) fn waiting_for(
        self,
        what: &'static str,
        after: Duration,
        limit: Duration,
    ) -> ConnectionError {
        match self {
            ConnectionError::Overdue { .. } => Self::overdue(what, after, limit),
            error => error,
        }
    }

    /// Whether it stays as it is until a person changes something here or there.
    pub(crate) fn needs_a_person(&self) -> bool {
        matches!(
            self,
            ConnectionError::Tls(_)
                | ConnectionError::Sasl(_)
                | ConnectionError::SpeaksTls
                | ConnectionError::Unsuitable(_)
        )
    }

    /// Whether the other side ended the connection in the middle of something and without a word.
    pub(crate) fn is_hang_up(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let ConnectionError::Io(error) = self else {
            return false;
        };
        matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
        )
    }
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A read or write came to the end of its time; whoever knows which names it.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ConnectionError::Overdue {
                what: "answer",
                after: Duration::ZERO,
                setting: "",
            },
            _ => ConnectionError::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_names_what_was_waited_for_and_how_long_and_the_setting_where_it_is_one() {
        let limit = Duration::from_secs(60);
        let late = || ConnectionError::from(io::Error::from(io::ErrorKind::TimedOut));
        let named = late().waiting_for("connection", Duration::from_secs(10), limit);
        assert_eq!(named.to_string(), "no connection within 10s");
        let named = late().waiting_for("answer", limit, limit);
        assert_eq!(named.to_string(), "no answer within 60s (request_timeout)");
        let other = ConnectionError::CorrelationId.waiting_for("answer", limit, limit);
        assert!(matches!(other, ConnectionError::CorrelationId));
    }
}
