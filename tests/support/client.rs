//! A minimal blocking Kafka client over `kafka-protocol`: one connection, one request at a time
//! unless asked otherwise. For the broker's own tests and for fetching from a real Kafka.
//! Beside it, which partition the Java client chooses, written a second time: the agent shall be held against
//! something that it was not built with.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    next_correlation_id: i32,
}

impl Client {
    /// Connects; reads give up after half a minute.
    pub(crate) fn connect(address: impl ToSocketAddrs) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Client {
            stream,
            next_correlation_id: 1,
        })
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call<R: Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> io::Result<R::Response> {
        let id = self.send(version, request)?;
        let (answered, response) = self.receive::<R>(version)?;
        if answered != id {
            let what = format!("answer to {answered} instead of {id}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(response)
    }

    /// Sends a request and gives its correlation id.
    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<i32> {
        let id = self.next_correlation_id;
        self.next_correlation_id += 1;
        self.send_raw(&frame(id, version, request))?;
        Ok(id)
    }

    /// Sends bytes as they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads the next answer, which is to a request of type `R`, and its correlation id.
    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> io::Result<(i32, R::Response)> {
        let invalid = |error: anyhow::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut frame = self.receive_raw()?;
        let api = ApiKey::try_from(R::KEY).expect("every request has an API key");
        let header = ResponseHeader::decode(&mut frame, api.response_header_version(version))
            .map_err(invalid)?;
        let response = R::Response::decode(&mut frame, version).map_err(invalid)?;
        if frame.has_remaining() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "trailing bytes"));
        }
        Ok((header.correlation_id, response))
    }

    /// Reads the next frame, without its length.
    pub(crate) fn receive_raw(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > 1 << 28 {
            let what = format!("frame of {length} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }
}

/// A request as it goes over the wire, its length included.
pub(crate) fn frame<R: Request>(correlation_id: i32, version: i16, request: &R) -> Vec<u8> {
    let api = ApiKey::try_from(R::KEY).expect("every request has an API key");
    let mut bytes = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("tests")))
        .encode(&mut bytes, api.request_header_version(version))
        .expect("the header fits every version");
    request
        .encode(&mut bytes, version)
        .expect("the request fits the version");
    let mut frame = (bytes.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&bytes);
    frame
}

/// The partition that Kafka's `BuiltInPartitioner.partitionForKey` chooses.
pub(crate) fn java_partition(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (byte, shift) in rest.iter().zip([0, 8, 16]) {
            hash ^= u32::from(*byte) << shift;
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    (hash ^ (hash >> 15)) as i32
}

#[test]
fn murmur2_of_these_tests_is_that_of_java() {
    // From Kafka's own UtilsTest.java.
    assert_eq!(murmur2(b"21"), -973_932_308);
    assert_eq!(murmur2(b"foobar"), -790_332_482);
    assert_eq!(murmur2(b"a-little-bit-long-string"), -985_981_536);
    assert_eq!(murmur2(b"a-little-bit-longer-string"), -1_486_304_829);
    assert_eq!(murmur2(b"abc"), 479_470_107);
}
