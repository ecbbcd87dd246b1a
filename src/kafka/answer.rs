//! The brokers' answers, as far as this client looks at them.

use super::wire::{Reader, WireError};

/// `ApiVersions`.
pub(super) const API_VERSIONS: i16 = 18;
/// `Metadata`.
pub(super) const METADATA: i16 = 3;
/// `Produce`.
pub(super) const PRODUCE: i16 = 0;
/// `InitProducerId`.
pub(super) const INIT_PRODUCER_ID: i16 = 22;

/// The versions of each API that this client speaks.
const SPOKEN: [(i16, i16, i16); 3] = [
    (PRODUCE, 3, 12),
    (METADATA, 0, 13),
    (INIT_PRODUCER_ID, 0, 4),
];

/// From which version on an API's messages are flexible (KIP-482).
fn flexible_from(api: i16) -> i16 {
    match api {
        PRODUCE | METADATA => 9,
        INIT_PRODUCER_ID => 2,
        API_VERSIONS => 3,
        _ => i16::MAX,
    }
}

/// Whether `version` of `api` is flexible.
pub(super) fn is_flexible(api: i16, version: i16) -> bool {
    version >= flexible_from(api)
}

/// What a broker speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Versions(Vec<(i16, i16, i16)>);

impl Versions {
    /// The highest version of `api` that both sides speak.
    pub(super) fn of(&self, api: i16) -> Option<i16> {
        let (_, our_least, our_most) = SPOKEN.iter().find(|spoken| spoken.0 == api)?;
        let (_, least, most) = self.0.iter().find(|offered| offered.0 == api)?;
        let version = *our_most.min(most);
        (version >= *our_least.max(least)).then_some(version)
    }
}

/// An answer to `ApiVersions`: the error code and what the broker speaks.
///
/// The header of this answer never has tagged fields. A broker that does not know the asked version
/// answers with error 35 in a body of version 0, whatever was asked (KIP-511).
pub(super) fn api_versions(body: &[u8], asked: i16) -> Result<(i16, Versions), WireError> {
    let error = Reader::new(body, false).i16()?;
    let version = if error == 35 { 0 } else { asked };
    let mut r = Reader::new(body, is_flexible(API_VERSIONS, version));
    r.i16()?;
    let count = r.array(6)?;
    let mut offered = Vec::with_capacity(count);
    for _ in 0..count {
        offered.push((r.i16()?, r.i16()?, r.i16()?));
        r.tags()?;
    }
    if version >= 1 {
        r.i32()?;
    }
    r.tags()?;
    r.end()?;
    Ok((error, Versions(offered)))
}

/// An answer to a request that the producer made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Metadata(MetadataAnswer),
    Produce(ProduceAnswer),
    InitProducerId(InitProducerIdAnswer),
}

impl Answer {
    /// Reads the body after the correlation id.
    pub(super) fn read(api: i16, version: i16, body: &[u8]) -> Result<Answer, WireError> {
        let mut r = Reader::new(body, is_flexible(api, version));
        r.tags()?;
        let answer = match api {
            METADATA => Answer::Metadata(MetadataAnswer::read(&mut r, version)?),
            PRODUCE => Answer::Produce(ProduceAnswer::read(&mut r, version)?),
            INIT_PRODUCER_ID => Answer::InitProducerId(InitProducerIdAnswer::read(&mut r)?),
            _ => return Err(WireError::Range),
        };
        r.end()?;
        Ok(answer)
    }
}

/// Brokers and topics.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MetadataAnswer {
    /// Node id, host, port.
    pub(super) brokers: Vec<(i32, String, u16)>,
    pub(super) topics: Vec<TopicMetadata>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TopicMetadata {
    pub(super) error: i16,
    pub(super) name: String,
    pub(super) partitions: Vec<PartitionMetadata>,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub(super) struct PartitionMetadata {
    pub(super) index: i32,
    /// Node id, negative for none.
    pub(super) leader: i32,
    /// -1 where the broker does not tell.
    pub(super) leader_epoch: i32,
}

impl MetadataAnswer {
    fn read(r: &mut Reader<'_>, version: i16) -> Result<Self, WireError> {
        if version >= 3 {
            r.i32()?; // throttle time
        }
        let count = r.array(9)?;
        let mut brokers = Vec::with_capacity(count);
        for _ in 0..count {
            let id = r.i32()?;
            let host = r.string()?.unwrap_or_default().to_owned();
            let port = u16::try_from(r.i32()?).map_err(|_| WireError::Range)?;
            if version >= 1 {
                r.string()?; // rack
            }
            r.tags()?;
            brokers.push((id, host, port));
        }
        if version >= 2 {
            r.string()?; // cluster id
        }
        if version >= 1 {
            r.i32()?; // controller id
        }
        let count = r.array(4)?;
        let mut topics = Vec::with_capacity(count);
        for _ in 0..count {
            topics.push(TopicMetadata::read(r, version)?);
        }
        if (8..=10).contains(&version) {
            r.i32()?; // authorized operations
        }
        if version >= 13 {
            r.i16()?; // error: rebootstrap wanted, which an answer without topics brings about too
        }
        r.tags()?;
        Ok(MetadataAnswer { brokers, topics })
    }
}

impl TopicMetadata {
    fn read(r: &mut Reader<'_>, version: i16) -> Result<Self, WireError> {
        let error = r.i16()?;
        let name = r.string()?.unwrap_or_default().to_owned();
        if version >= 10 {
            r.bytes(16)?; // topic id
        }
        if version >= 1 {
            r.i8()?; // internal
        }
        let count = r.array(12)?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            r.i16()?; // error: the leader says it all
            let index = r.i32()?;
            let leader = r.i32()?;
            let leader_epoch = if version >= 7 { r.i32()? } else { -1 };
            r.skip_i32s()?; // replicas
            r.skip_i32s()?; // in sync
            if version >= 5 {
                r.skip_i32s()?; // offline
            }
            r.tags()?;
            partitions.push(PartitionMetadata {
                index,
                leader,
                leader_epoch,
            });
        }
        if version >= 8 {
            r.i32()?; // authorized operations
        }
        r.tags()?;
        Ok(TopicMetadata {
            error,
            name,
            partitions,
        })
    }
}

/// The fate of each record batch of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ProduceAnswer {
    pub(super) partitions: Vec<PartitionAnswer>,
    /// How long the broker will not listen to us.
    pub(super) throttle_ms: i32,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionAnswer {
    pub(super) topic: String,
    pub(super) index: i32,
    pub(super) error: i16,
    /// What the broker adds to the error code, for a person.
    pub(super) message: Option<String>,
}

impl ProduceAnswer {
    fn read(r: &mut Reader<'_>, version: i16) -> Result<Self, WireError> {
        let topics = r.array(3)?;
        let mut partitions = Vec::new();
        for _ in 0..topics {
            let topic = r.string()?.unwrap_or_default();
            for _ in 0..r.array(22)? {
                let index = r.i32()?;
                let error = r.i16()?;
                r.i64()?; // base offset
                r.i64()?; // log append time
                if version >= 5 {
                    r.i64()?; // log start offset
                }
                let mut message = None;
                if version >= 8 {
                    for _ in 0..r.array(5)? {
                        r.i32()?;
                        message = r.string()?.or(message);
                        r.tags()?;
                    }
                    message = r.string()?.or(message);
                }
                r.tags()?;
                partitions.push(PartitionAnswer {
                    topic: topic.to_owned(),
                    index,
                    error,
                    message: message.map(str::to_owned),
                });
            }
            r.tags()?;
        }
        let throttle_ms = r.i32()?;
        r.tags()?;
        Ok(ProduceAnswer {
            partitions,
            throttle_ms,
        })
    }
}

/// What the records of an idempotent producer are signed with.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) struct InitProducerIdAnswer {
    pub(super) error: i16,
    pub(super) id: i64,
    pub(super) epoch: i16,
}

impl InitProducerIdAnswer {
    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.i32()?; // throttle time
        let answer = InitProducerIdAnswer {
            error: r.i16()?,
            id: r.i64()?,
            epoch: r.i16()?,
        };
        r.tags()?;
        Ok(answer)
    }
}
