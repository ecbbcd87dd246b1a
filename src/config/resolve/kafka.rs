//! What `[kafka]` says.

use crate::config::error::ConfigError;
use crate::config::keys;
use crate::config::reader::{Lookup, Reader, Setting};
use crate::config::types::{
    Acks, Compression, ExactlyOnce, HeaderChoice, KafkaConfig, Partitioner, Protocol,
};

/// What `[kafka]` says about the log sections.
pub(super) struct LogDefaults {
    pub(super) topic: Lookup<String>,
    pub(super) partitioner: Option<Setting<Partitioner>>,
    pub(super) protocol: Option<Setting<Protocol>>,
}

const ONE_PARTITION: &str = "the lines of a file must go to one partition";

pub(super) fn kafka_config(
    mut kafka: Reader<'_>,
    log_defaults: &mut LogDefaults,
) -> Option<KafkaConfig> {
    log_defaults.topic = kafka.lookup(&keys::TOPIC);
    log_defaults.partitioner = kafka.setting(&keys::PARTITIONER);
    let brokers = kafka.setting(&keys::BROKERS);
    let protocol = kafka.setting(&keys::PROTOCOL);
    log_defaults.protocol = protocol.clone();
    let acks = kafka.setting(&keys::ACKS);
    let compression = kafka.setting(&keys::COMPRESSION);
    let level = kafka.setting(&keys::COMPRESSION_LEVEL);
    let batch_bytes = kafka.setting(&keys::BATCH_BYTES);
    let linger = kafka.setting(&keys::LINGER);
    let request_timeout = kafka.setting(&keys::REQUEST_TIMEOUT);
    let client_id = kafka.setting(&keys::CLIENT_ID);
    let idempotence = kafka.setting(&keys::IDEMPOTENCE);
    let delivery = kafka.setting(&keys::DELIVERY);
    let exactly_once = [
        kafka.setting(&keys::COMMIT_INTERVAL),
        kafka.setting(&keys::TRANSACTION_TIMEOUT),
    ];
    let positions_topic = kafka.setting(&keys::POSITIONS_TOPIC);
    let headers = kafka.setting(&keys::HEADERS);
    let provenance = kafka.setting(&keys::PROVENANCE);
    let tls = super::tls::tls(&mut kafka, protocol.as_ref());
    let of_brokers = tls.as_ref().and_then(Option::as_ref);
    let sasl = super::sasl::sasl(&mut kafka, protocol.as_ref(), of_brokers);

    let errors = kafka.errors;
    let compression = resolve_compression(compression, level, protocol.as_ref(), errors);
    if let Some(delivery) = delivery.as_ref().filter(|delivery| delivery.value) {
        let partitioner = log_defaults.partitioner.as_ref();
        refuse_beside_transactions(
            delivery,
            protocol.as_ref(),
            acks.as_ref(),
            idempotence.as_ref(),
            partitioner,
            errors,
        );
    }
    let [interval, timeout] = exactly_once;
    let exactly_once = ExactlyOnce {
        commit_interval: interval?.value,
        transaction_timeout: timeout?.value,
        positions_topic: positions_topic?.value,
    };
    let idempotence = resolve_idempotence(idempotence, protocol.as_ref(), acks.as_ref(), errors);
    let headers = resolve_headers(headers, protocol.as_ref(), errors);
    let provenance = resolve_provenance(provenance, protocol.as_ref(), errors);
    Some(KafkaConfig {
        brokers: brokers?.value,
        protocol: protocol?.value,
        acks: acks?.value,
        compression: compression?,
        partitioner: log_defaults.partitioner.as_ref()?.value,
        batch_bytes: batch_bytes?.value,
        linger: linger?.value,
        request_timeout: request_timeout?.value,
        client_id: client_id?.value,
        exactly_once: delivery?.value.then_some(exactly_once),
        idempotence: idempotence?,
        headers: HeaderChoice {
            provenance: provenance?,
            ..headers?
        },
        tls: tls?,
        sasl: sasl?,
    })
}

/// What transactions cannot be had with.
fn refuse_beside_transactions(
    delivery: &Setting<bool>,
    protocol: Option<&Setting<Protocol>>,
    acks: Option<&Setting<Acks>>,
    idempotence: Option<&Setting<bool>>,
    partitioner: Option<&Setting<Partitioner>>,
    errors: &mut Vec<ConfigError>,
) {
    let is_legacy = |protocol: &Protocol| *protocol == Protocol::Legacy;
    let why = "legacy has no transactions";
    refuse_beside(delivery, protocol, is_legacy, why, errors);
    let is_less = |acks: &Acks| *acks != Acks::All;
    let why = "transactions need acks = all";
    refuse_beside(delivery, acks, is_less, why, errors);
    let why = "transactions need idempotence";
    refuse_beside(delivery, idempotence, |on| !on, why, errors);
    let is_in_turn = |partitioner: &Partitioner| *partitioner == Partitioner::RoundRobin;
    refuse_beside(delivery, partitioner, is_in_turn, ONE_PARTITION, errors);
}

/// Each protocol has its codecs; the default is one that it has. Two codecs have levels.
fn resolve_compression(
    compression: Option<Setting<Compression>>,
    level: Option<Setting<Option<usize>>>,
    protocol: Option<&Setting<Protocol>>,
    errors: &mut Vec<ConfigError>,
) -> Option<Compression> {
    let (compression, protocol) = (compression?, protocol?);
    let legacy = protocol.value == Protocol::Legacy;
    let codec = match compression.value {
        Compression::Lz4 if legacy && compression.line.is_none() => Compression::None,
        codec => codec,
    };
    if legacy && matches!(codec, Compression::Lz4 | Compression::Zstd(_)) {
        errors.push(compression.conflict(protocol, "legacy has none, gzip and snappy"));
        return None;
    }
    let level = level?;
    let Some(number) = level.value else {
        return Some(codec);
    };
    if legacy {
        errors.push(level.conflict(protocol, "legacy takes no level"));
        return None;
    }
    match (codec, u8::try_from(number)) {
        (Compression::Gzip(_), Ok(level @ 1..=9)) => Some(Compression::Gzip(level)),
        (Compression::Zstd(_), Ok(level)) => Some(Compression::Zstd(level)),
        (Compression::Gzip(_), _) => {
            errors.push(level.conflict(&compression, "the levels of gzip are 1 to 9"));
            None
        }
        _ => {
            errors.push(level.conflict(&compression, "only gzip and zstd have levels"));
            None
        }
    }
}

/// On is for the native protocol with `acks = all`; the default is on where that is so.
fn resolve_idempotence(
    idempotence: Option<Setting<bool>>,
    protocol: Option<&Setting<Protocol>>,
    acks: Option<&Setting<Acks>>,
    errors: &mut Vec<ConfigError>,
) -> Option<bool> {
    let idempotence = idempotence?;
    let legacy = protocol.is_some_and(|protocol| protocol.value == Protocol::Legacy);
    let unsure = acks.is_some_and(|acks| acks.value != Acks::All);
    if !idempotence.value || idempotence.line.is_none() {
        return Some(idempotence.value && !legacy && !unsure);
    }
    if let Some(protocol) = protocol.filter(|_| legacy) {
        errors.push(idempotence.conflict(protocol, "legacy cannot tell a retry from a new record"));
    }
    if let Some(acks) = acks.filter(|_| unsure) {
        errors.push(idempotence.conflict(acks, "idempotence needs acks = all"));
    }
    Some(true)
}

/// Adds an error if `delivery = exactly_once` stands beside a setting that it cannot be kept with.
fn refuse_beside<T: Clone>(
    delivery: &Setting<bool>,
    other: Option<&Setting<T>>,
    is_bad: impl Fn(&T) -> bool,
    why: &'static str,
    errors: &mut Vec<ConfigError>,
) {
    if let Some(other) = other.filter(|other| is_bad(&other.value)) {
        errors.push(delivery.conflict(other, why));
    }
}

/// The legacy message format has no headers; the default is none there.
fn resolve_headers(
    headers: Option<Setting<HeaderChoice>>,
    protocol: Option<&Setting<Protocol>>,
    errors: &mut Vec<ConfigError>,
) -> Option<HeaderChoice> {
    const NONE: HeaderChoice = HeaderChoice {
        host: false,
        path: false,
        provenance: false,
    };
    let (headers, protocol) = (headers?, protocol?);
    if protocol.value == Protocol::Native || headers.value == NONE {
        return Some(headers.value);
    }
    if headers.line.is_some() {
        errors.push(headers.conflict(protocol, "the message format of legacy has no headers"));
    }
    Some(NONE)
}

/// It is a header, which legacy has none of.
fn resolve_provenance(
    provenance: Option<Setting<bool>>,
    protocol: Option<&Setting<Protocol>>,
    errors: &mut Vec<ConfigError>,
) -> Option<bool> {
    let (provenance, protocol) = (provenance?, protocol?);
    if provenance.value && protocol.value == Protocol::Legacy {
        errors.push(provenance.conflict(protocol, "the message format of legacy has no headers"));
    }
    Some(provenance.value)
}
