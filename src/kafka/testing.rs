//! Batches and answers for the unit tests of this folder.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use crossbeam_channel::{Receiver, unbounded};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::{Encodable, HeaderVersion};

use crate::batch::{Batch, Destination, Framing, Route, SourceId};
use crate::budget::Budget;
use crate::buffer::BufferPool;
use crate::config::{
    Acks, BrokerAddress, Compression, HeaderChoice, KafkaConfig, Partitioner, Protocol,
};
use crate::kafka::cluster::broker::Dial;
use crate::kafka::cluster::broker::Peer;
use crate::kafka::network::connection::Handle;
use crate::kafka::protocol::request::Request;
use crate::tailer_handle::testing::handle;
use crate::tap::TapPoint;

pub(crate) fn destination(key: Option<&[u8]>, headers: &[(&str, &[u8])]) -> Arc<Destination> {
    Arc::new(Destination {
        route: route("t", key, headers).into(),
        path: Path::new("/path").into(),
    })
}

fn route(topic: &str, key: Option<&[u8]>, headers: &[(&str, &[u8])]) -> Route {
    Route {
        host: "host".into(),
        topic: topic.into(),
        key: key.map(Into::into),
        headers: headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_vec()))
            .collect(),
        with_path: false,
        has_provenance: false,
        strip_cr: false,
        tap: TapPoint::default(),
        counters: Arc::default(),
        counts_lines: true,
    }
}

pub(crate) fn batch(destination: &Arc<Destination>, data: &[u8]) -> Batch {
    batch_at(destination, data, 1_700_000_000_000)
}

pub(crate) fn batch_at(destination: &Arc<Destination>, data: &[u8], read_at_ms: i64) -> Batch {
    let account = Budget::new(1 << 30).route().account(handle());
    let mut buffer = BufferPool::new().buffer(data.len());
    buffer.copy_from_slice(data);
    Batch {
        destination: destination.clone(),
        source: SourceId::next(),
        tag: None,
        start: 0,
        data: buffer,
        framing: Framing::Lines,
        read_at_ms,
        permit: account
            .acquire(data.len().max(1), 1)
            .expect("the budget is free"),
    }
}

/// Header (without the correlation id) and body of an answer, as the reference encoder writes them.
pub(crate) fn encoded<M: Encodable + HeaderVersion>(message: &M, version: i16) -> Vec<u8> {
    let mut frame = BytesMut::new();
    ResponseHeader::default()
        .encode(&mut frame, M::header_version(version))
        .and_then(|()| message.encode(&mut frame, version))
        .expect("a version of the message");
    frame[4..].to_vec()
}

pub(crate) fn config(broker: &BrokerAddress) -> KafkaConfig {
    KafkaConfig {
        brokers: vec![broker.clone()],
        protocol: Protocol::Native,
        acks: Acks::All,
        compression: Compression::None,
        partitioner: Partitioner::File,
        batch_bytes: 1_000,
        linger: Duration::ZERO,
        request_timeout: Duration::from_secs(10),
        client_id: "test".into(),
        exactly_once: None,
        idempotence: true,
        headers: HeaderChoice {
            host: false,
            path: false,
            provenance: false,
        },
        tls: None,
        sasl: None,
    }
}

/// The destination of the file `path`.
pub(crate) fn destination_of(path: &str) -> Arc<Destination> {
    destination_at("t", path)
}

/// The destination of the file `path`, whose lines go to `topic`.
pub(crate) fn destination_at(topic: &str, path: &str) -> Arc<Destination> {
    Arc::new(Destination {
        route: route(topic, None, &[]).into(),
        path: Path::new(path).into(),
    })
}

/// A connection that was asked for. The test plays the broker.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) number: u64,
    pub(crate) peer: Peer,
    pub(crate) requests: Receiver<Request>,
}

/// Records which connections are opened and what is sent there.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecordingDial(Arc<Mutex<Vec<Opened>>>);

impl RecordingDial {
    /// What was opened since the last call.
    pub(crate) fn take(&self) -> Vec<Opened> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

impl Dial for RecordingDial {
    fn open(&mut self, number: u64, peer: Peer, _: &BrokerAddress) -> io::Result<Handle> {
        let (sender, requests) = unbounded();
        self.0.lock().expect("no panic").push(Opened {
            number,
            peer,
            requests,
        });
        Ok(Handle::unattended(sender))
    }
}
