//! As much of HTTP/1.1 as a question to a token endpoint takes (RFC 9112).

use httparse::{EMPTY_HEADER, Header, Response, Status, parse_chunk_size};

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// The answer that `received` holds, once it is there in full; `ended` says that no more will come.
/// Without a length the end of the connection is the end of the answer.
pub(crate) fn reply(received: &[u8], ended: bool) -> Result<Option<Reply>, &'static str> {
    let partial = || if ended { Err(CUT_SHORT) } else { Ok(None) };
    let mut rest = received;
    loop {
        let mut headers = [EMPTY_HEADER; MOST_HEADERS];
        let mut response = Response::new(&mut headers);
        let head = match response.parse(rest) {
            Ok(Status::Complete(head)) => head,
            Ok(Status::Partial) => return partial(),
            Err(_) => return Err(NOT_HTTP),
        };
        let status = response.code.ok_or(NOT_HTTP)?;
        rest = rest.get(head..).unwrap_or_default();
        let body = match length(status, response.headers)? {
            // A word in between: the answer comes after it.
            _ if (100..200).contains(&status) => continue,
            Length::Chunked => match chunks(rest)? {
                Some(body) => body,
                None => return partial(),
            },
            Length::Known(length) => match rest.get(..length) {
                Some(body) => body.to_vec(),
                None => return partial(),
            },
            Length::ToTheEnd if ended => rest.to_vec(),
            Length::ToTheEnd => return Ok(None),
        };
        return Ok(Some(Reply { status, body }));
    }
}

enum Length {
    Known(usize),
    Chunked,
    ToTheEnd,
}

fn length(status: u16, headers: &[Header<'_>]) -> Result<Length, &'static str> {
    let mut length = Length::ToTheEnd;
    for header in headers {
        // Other headers may hold any bytes, Latin-1 for one (RFC 9110, section 5.5).
        let value = || std::str::from_utf8(header.value).map_err(|_| NOT_HTTP);
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return match value()?.trim().eq_ignore_ascii_case("chunked") {
                true => Ok(Length::Chunked),
                false => Err("its answer is encoded in a way that was not asked for"),
            };
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            length = Length::Known(value()?.trim().parse().map_err(|_| NOT_HTTP)?);
        }
    }
    if matches!(status, 204 | 304) {
        length = Length::Known(0);
    }
    Ok(length)
}

/// The body that comes in chunks; `None` if some are still to come. Trailers are left unread.
fn chunks(mut rest: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let mut body = Vec::new();
    loop {
        let Status::Complete((head, size)) = parse_chunk_size(rest).map_err(|_| NOT_HTTP)? else {
            return Ok(None);
        };
        if size == 0 {
            return Ok(Some(body));
        }
        let size = usize::try_from(size).map_err(|_| NOT_HTTP)?;
        let end = head.checked_add(size).ok_or(NOT_HTTP)?;
        let Some(chunk) = rest.get(head..end) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        match rest.get(end..).unwrap_or_default() {
            [b'\r', b'\n', after @ ..] => rest = after,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(NOT_HTTP),
        }
    }
}

const MOST_HEADERS: usize = 64;
const NOT_HTTP: &str = "what it answers is not HTTP";
const CUT_SHORT: &str = "it closed the connection before its answer was complete";

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(status: u16, body: &str) -> Result<Option<Reply>, &'static str> {
        let body = body.as_bytes().to_vec();
        Ok(Some(Reply { status, body }))
    }

    #[test]
    fn an_answer_is_read_however_its_length_is_told() {
        for (bytes, needs_the_end) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello",
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n",
                false,
            ),
            ("HTTP/1.0 200 OK\r\nServer: x\r\n\r\nhello", true),
        ] {
            assert_eq!(
                reply(bytes.as_bytes(), true),
                whole(200, "hello"),
                "{bytes}"
            );
            for end in 0..bytes.len() {
                let part = &bytes.as_bytes()[..end];
                assert_eq!(reply(part, false), Ok(None), "{end} of {bytes}");
                if !needs_the_end {
                    assert_eq!(reply(part, true), Err(CUT_SHORT), "{end} of {bytes}");
                }
            }
            let early = reply(bytes.as_bytes(), false);
            assert_eq!(
                early,
                if needs_the_end {
                    Ok(None)
                } else {
                    whole(200, "hello")
                }
            );
        }
        assert_eq!(
            reply(b"HTTP/1.1 204 No Content\r\n\r\n", false),
            whole(204, "")
        );
    }

    #[test]
    fn a_header_that_is_not_utf_8_does_no_harm() {
        let answer = b"HTTP/1.1 200 OK\r\nX-Via: Pr\xfcfstelle\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(reply(answer, false), whole(200, "hello"));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bytes in [
            "SSH-2.0-OpenSSH_9.6\r\n",
            "\x15\x03\x03\0\x02\x02\x46",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        ] {
            assert!(reply(bytes.as_bytes(), true).is_err(), "{bytes}");
        }
        let huge = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n";
        assert!(reply(huge.as_bytes(), true).is_err());
    }
}
