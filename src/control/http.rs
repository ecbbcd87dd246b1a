//! As much of HTTP/1.1 as a scrape and a browser need: a GET or HEAD, one answer, and the end of the connection.

use std::time::{Duration, SystemTime};

use crate::snapshot::Snapshot;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Metrics,
    Health,
    Page,
}

/// A request, or the status that it is refused with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) target: Result<Target, &'static str>,
    pub(super) is_head: bool,
}

/// Reads the head of a request; `None`: it is not complete.
pub(super) fn parse(head: &[u8]) -> Option<Asked> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let refused = |status| Asked {
        target: Err(status),
        is_head: false,
    };
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if head.len() < LONGEST_HEAD => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Some(refused("431 Request Header Fields Too Large"));
        }
        Err(_) => return Some(refused("400 Bad Request")),
    }
    let path = request.path.unwrap_or_default();
    let target = match (request.method, path.split('?').next().unwrap_or_default()) {
        (Some("GET" | "HEAD"), "/metrics") => Ok(Target::Metrics),
        (Some("GET" | "HEAD"), "/healthz") => Ok(Target::Health),
        (Some("GET" | "HEAD"), "/") => Ok(Target::Page),
        (Some("GET" | "HEAD"), _) => Err("404 Not Found"),
        _ => Err("405 Method Not Allowed"),
    };
    Some(Asked {
        target,
        is_head: request.method == Some("HEAD"),
    })
}

/// A whole answer; without its body for HEAD.
pub(super) fn response(status: &str, kind: &str, body: &str, is_head: bool) -> Vec<u8> {
    let length = body.len().to_string();
    let parts = [
        "HTTP/1.1 ",
        status,
        "\r\nContent-Type: ",
        kind,
        "; charset=utf-8\r\nContent-Length: ",
        &length,
        "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nContent-Security-Policy: default-src 'none'; \
         style-src 'unsafe-inline'\r\nConnection: close\r\n\r\n",
        if is_head { "" } else { body },
    ];
    parts.concat().into_bytes()
}

/// Why the agent is not healthy, one reason a line; parts of it have been silent for `silent`. Nothing that a restart would not mend is one: a topic that is parked or
/// files that are behind would have a supervisor restart an agent that works.
pub(super) fn complaints(snapshot: &Snapshot, silent: Duration, now: SystemTime) -> String {
    let mut text = String::new();
    // A disk may be slow for a moment.
    let silent_parts = snapshot.unanswered.iter().filter(|_| silent >= UNWRITTEN);
    for part in silent_parts {
        text.push_str(part);
        text.push_str(" does not answer\n");
    }
    let positions = &snapshot.positions;
    let written = positions.written.or(snapshot.process.started);
    let age = written.and_then(|written| now.duration_since(written).ok());
    if positions.is_due && positions.failures > 0 && age.is_some_and(|age| age >= UNWRITTEN) {
        text.push_str("the positions cannot be written\n");
    }
    text
}

pub(super) const UNAVAILABLE: &str = "503 Service Unavailable";
pub(super) const TEXT: &str = "text/plain";
pub(super) const HTML: &str = "text/html";
/// As Prometheus names it.
pub(super) const METRICS: &str = "text/plain; version=0.0.4";
/// How long positions may fail to be written, and a part of the agent be silent.
const UNWRITTEN: Duration = Duration::from_secs(30);
/// Bytes of the head of a request.
const LONGEST_HEAD: usize = 8 << 10;
const MOST_HEADERS: usize = 64;
