//! Batches as a tailer sends them, for the micro-benchmarks and the count of instructions.

use std::path::Path;
use std::sync::Arc;

use logagent::batch::{Batch, Destination, Framing, Route, SourceId};
use logagent::budget::Budget;
use logagent::buffer::BufferPool;
use logagent::tailer_handle::TailerHandle;

/// What one read gives.
pub(crate) const BATCH_BYTES: usize = 256 << 10;

/// Headers of the records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Headers {
    None,
    HostAndPath,
}

/// A batch of lines of an access log, the same ones each time.
pub(crate) fn batch(headers: Headers) -> Batch {
    batch_of(headers, &lines())
}

/// A batch of these lines.
pub(crate) fn batch_of(headers: Headers, lines: &[u8]) -> Batch {
    let with_path = headers == Headers::HostAndPath;
    let headers = match headers {
        Headers::None => Vec::new(),
        Headers::HostAndPath => vec![("host".to_owned(), b"web-1.example.org".to_vec())],
    };
    let (woken, _) = crossbeam_channel::unbounded();
    let account = Budget::new(1 << 30)
        .route()
        .account(TailerHandle::new(woken));
    let mut data = BufferPool::new().buffer(lines.len());
    data.copy_from_slice(lines);
    Batch {
        destination: Arc::new(Destination {
            route: Arc::new(Route {
                host: "web-1".into(),
                topic: "web_log".into(),
                key: None,
                headers,
                with_path,
                has_provenance: false,
                strip_cr: false,
                tap: Default::default(),
                counters: Arc::default(),
                counts_lines: true,
            }),
            path: Path::new("/var/log/nginx/access.log").into(),
        }),
        source: SourceId::next(),
        tag: None,
        start: 0,
        data,
        framing: Framing::Lines,
        read_at_ms: 1_770_000_000_000,
        permit: account
            .acquire(lines.len(), lines.len())
            .expect("the budget is free"),
    }
}

/// Whole lines, about 190 bytes each, together as much as one read.
pub(crate) fn lines() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut lines = Vec::with_capacity(BATCH_BYTES);
    loop {
        let line = format!(
            "{}.{}.{}.{} - - [12/Mar/2026:10:{:02}:{:02} +0000] \"GET /catalogue/{}/{:x} HTTP/1.1\" {} {} \
             \"https://www.example.org/{}\" \"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 \
             Firefox/140.0\" {}\n",
            random.u8(..),
            random.u8(..),
            random.u8(..),
            random.u8(..),
            random.u8(..60),
            random.u8(..60),
            random.u16(..),
            random.u32(..),
            if random.u8(..) < 230 { 200 } else { 404 },
            random.u32(..100_000),
            random.u16(..),
            random.u16(..),
        );
        if lines.len() + line.len() > BATCH_BYTES {
            return lines;
        }
        lines.extend_from_slice(line.as_bytes());
    }
}

/// As [`lines`], one JSON object for each request.
#[allow(dead_code, reason = "the micro-benchmarks have none")]
pub(crate) fn json_lines() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut lines = Vec::with_capacity(BATCH_BYTES);
    loop {
        let line = format!(
            "{{\"time\":\"2026-03-12T10:{:02}:{:02}+00:00\",\"remote\":\"{}.{}.{}.{}\",\"method\":\"GET\",\
             \"uri\":\"/catalogue/{}\",\"status\":{},\"bytes\":{},\"agent\":\"Mozilla/5.0 (X11; Linux x86_64)\"}}\n",
            lines.len() / 64_000,
            lines.len() / 4_000 % 60,
            random.u8(..),
            random.u8(..),
            random.u8(..),
            random.u8(..),
            random.u16(..),
            if random.u8(..) < 230 { 200 } else { 404 },
            random.u32(..100_000),
        );
        if lines.len() + line.len() > BATCH_BYTES {
            return lines;
        }
        lines.extend_from_slice(line.as_bytes());
    }
}
