//! A broker for the unit tests of this folder. It keeps what it is sent, checks sequence numbers as
//! Kafka does, and fails when told to.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiVersionsResponse, InitProducerIdResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse, ResponseHeader,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, StrBytes, decode_request_header_from_buffer,
};
use kafka_protocol::records::{Compression, Record, RecordBatchDecoder};

use crate::config::BrokerAddress;
use crate::kafka::protocol::compression::Codec;

/// What happens to the next record batch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// It is taken.
    None,
    /// It is refused.
    Refuse(i16),
    /// It is taken, and an error is answered.
    TakeAndFail(i16),
    /// The connection ends before it is taken ...
    HangUp,
    /// ... or after.
    TakeAndHangUp,
    /// The broker forgets all producers, then takes it.
    Forget,
    /// No answer, ever.
    Hang,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) faults: VecDeque<Fault>,
    pub(crate) partitions: i32,
    pub(crate) max_batch_bytes: usize,
    /// Least and most version of each API.
    pub(crate) apis: Vec<(i16, i16, i16)>,
    /// Topics that are answered with this error.
    pub(crate) topic_errors: BTreeMap<String, i16>,
    /// The values of each partition.
    pub(crate) log: BTreeMap<(String, i32), Vec<Vec<u8>>>,
    /// First sequence numbers and counts of the last five batches, by producer and partition.
    sequences: BTreeMap<(i64, String, i32), VecDeque<(i32, i32)>>,
    pub(crate) producer_ids: i64,
    connections: Vec<TcpStream>,
}

/// The broker; it answers on threads of its own.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) address: BrokerAddress,
    state: Arc<Mutex<State>>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(Mutex::new(State {
            faults: VecDeque::new(),
            partitions: 1,
            max_batch_bytes: usize::MAX,
            apis: vec![(0, 0, 12), (3, 0, 13), (18, 0, 4), (22, 0, 4)],
            topic_errors: BTreeMap::new(),
            log: BTreeMap::new(),
            sequences: BTreeMap::new(),
            producer_ids: 0,
            connections: Vec::new(),
        }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                lock(&state)
                    .connections
                    .push(stream.try_clone().expect("a descriptor"));
                std::thread::spawn(move || serve(stream, port, &state));
            }
        });
        Fake {
            address: BrokerAddress {
                host: "127.0.0.1".into(),
                port,
            },
            state,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no test thread panicked")
}

fn serve(mut stream: TcpStream, port: u16, state: &Mutex<State>) -> Option<()> {
    loop {
        let mut length = [0u8; 4];
        stream.read_exact(&mut length).ok()?;
        let mut frame = vec![0u8; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).ok()?;
        let answer = lock(state).answer(Bytes::from(frame), port);
        match answer {
            Reply::Send(answer) => stream.write_all(&answer).ok()?,
            Reply::Nothing => {}
            Reply::HangUp => return stream.shutdown(std::net::Shutdown::Both).ok(),
            Reply::Hang => std::thread::sleep(Duration::from_secs(60)),
        }
    }
}

enum Reply {
    Send(Vec<u8>),
    Nothing,
    HangUp,
    Hang,
}

fn framed<M: Encodable + HeaderVersion>(message: &M, version: i16, correlation_id: i32) -> Reply {
    let mut frame = BytesMut::from(&[0u8; 4][..]);
    ResponseHeader::default()
        .with_correlation_id(correlation_id)
        .encode(&mut frame, M::header_version(version))
        .and_then(|()| message.encode(&mut frame, version))
        .expect("a version of the message");
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Reply::Send(frame.to_vec())
}

impl State {
    fn answer(&mut self, mut frame: Bytes, port: u16) -> Reply {
        let header = decode_request_header_from_buffer(&mut frame).expect("a header");
        let (api, version) = (header.request_api_key, header.request_api_version);
        let id = header.correlation_id;
        let known = self.apis.iter().find(|known| known.0 == api);
        let known = known.is_some_and(|known| (known.1..=known.2).contains(&version));
        assert!(
            known || api == 18,
            "api {api} version {version} is not offered"
        );
        match api {
            18 => {
                let apis = self.apis.iter().map(|(key, least, most)| {
                    ApiVersion::default()
                        .with_api_key(*key)
                        .with_min_version(*least)
                        .with_max_version(*most)
                });
                let response = ApiVersionsResponse::default().with_api_keys(apis.collect());
                if known {
                    framed(&response, version, id)
                } else {
                    framed(&response.with_error_code(35), 0, id)
                }
            }
            3 => {
                let request = MetadataRequest::decode(&mut frame, version).expect("a request");
                framed(&self.metadata(request, port), version, id)
            }
            22 => {
                self.producer_ids += 1;
                let response =
                    InitProducerIdResponse::default().with_producer_id(self.producer_ids.into());
                framed(&response, version, id)
            }
            _ => {
                let request = ProduceRequest::decode(&mut frame, version).expect("a request");
                self.produce(request, version, id)
            }
        }
    }

    fn metadata(&self, request: MetadataRequest, port: u16) -> MetadataResponse {
        let partition = |index| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(1.into())
        };
        let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
            let name = topic.name.expect("asked for by name");
            let error = self.topic_errors.get(name.as_str()).copied().unwrap_or(0);
            let count = if error == 0 { self.partitions } else { 0 };
            MetadataResponseTopic::default()
                .with_error_code(error)
                .with_name(Some(name))
                .with_partitions((0..count).map(partition).collect())
        });
        let broker = MetadataResponseBroker::default()
            .with_node_id(1.into())
            .with_host(StrBytes::from_static_str("127.0.0.1"))
            .with_port(port.into());
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_topics(topics.collect())
    }

    fn produce(&mut self, request: ProduceRequest, version: i16, id: i32) -> Reply {
        let mut responses = Vec::new();
        let mut hang_up = false;
        for topic in request.topic_data {
            let mut answers = Vec::new();
            for data in topic.partition_data {
                let mut records = data.records.expect("records");
                let bytes = records.len();
                let unpack = |packed: &mut Bytes, compression: Compression| {
                    let codec = Codec::of_attributes(compression as i16).expect("known");
                    let mut records = Vec::new();
                    codec.decompress(packed, &mut records)?;
                    Ok(Bytes::from(records))
                };
                let set =
                    RecordBatchDecoder::decode_with_custom_compression(&mut records, Some(unpack))
                        .expect("a sound record batch");
                let fault = self.faults.pop_front().unwrap_or(Fault::None);
                let place = (topic.name.to_string(), data.index);
                let error = match fault {
                    Fault::None => self.take(place, &set.records, bytes),
                    Fault::Refuse(code) => code,
                    Fault::TakeAndFail(code) => match self.take(place, &set.records, bytes) {
                        0 => code,
                        refused => refused,
                    },
                    Fault::HangUp => return Reply::HangUp,
                    Fault::TakeAndHangUp => {
                        hang_up = true;
                        self.take(place, &set.records, bytes)
                    }
                    Fault::Forget => {
                        self.sequences.clear();
                        self.take(place, &set.records, bytes)
                    }
                    Fault::Hang => return Reply::Hang,
                };
                answers.push(
                    PartitionProduceResponse::default()
                        .with_index(data.index)
                        .with_error_code(error),
                );
            }
            responses.push(
                TopicProduceResponse::default()
                    .with_name(topic.name)
                    .with_partition_responses(answers),
            );
        }
        if hang_up {
            return Reply::HangUp;
        }
        if request.acks == 0 {
            return Reply::Nothing;
        }
        framed(
            &ProduceResponse::default().with_responses(responses),
            version,
            id,
        )
    }

    /// Appends, or says why not. A duplicate is fine and not appended.
    fn take(&mut self, place: (String, i32), records: &[Record], bytes: usize) -> i16 {
        if bytes > self.max_batch_bytes {
            return 10;
        }
        let first = records.first().expect("no batch is empty");
        if first.producer_id >= 0 {
            let count = records.len() as i32;
            let key = (first.producer_id, place.0.clone(), place.1);
            let last = self.sequences.entry(key).or_default();
            if last.contains(&(first.sequence, count)) {
                return 0;
            }
            if let Some((sequence, count)) = last.back()
                && sequence + count != first.sequence
            {
                return 45;
            }
            last.push_back((first.sequence, count));
            if last.len() > 5 {
                last.pop_front();
            }
        }
        let values = records
            .iter()
            .map(|record| record.value.as_ref().expect("no value is null").to_vec());
        self.log.entry(place).or_default().extend(values);
        0
    }
}
