//! The APIs that this client speaks: one row for each, with everything that is the same in all its messages.
//! Which version is used is agreed upon with each broker, and in transactions also with the cluster: a broker lists
//! versions that it refuses as long as the cluster has not finalized the feature that they belong to (KIP-584).

use super::wire::{Reader, WireError};

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Api {
    /// The number of the API in the header of a request.
    pub(crate) key: i16,
    /// The oldest version that this client speaks.
    pub(crate) least: i16,
    /// The newest.
    pub(crate) most: i16,
    /// From this version on its messages are flexible (KIP-482).
    flexible_from: i16,
}

const fn row(key: i16, least: i16, most: i16, flexible_from: i16) -> Api {
    Api {
        key,
        least,
        most,
        flexible_from,
    }
}

pub(crate) const PRODUCE: Api = row(0, 3, 12, 9);
pub(crate) const FETCH: Api = row(1, 4, 12, 12);
pub(crate) const LIST_OFFSETS: Api = row(2, 2, 6, 6);
pub(crate) const METADATA: Api = row(3, 0, 13, 9);
pub(crate) const FIND_COORDINATOR: Api = row(10, 1, 4, 3);
pub(crate) const CREATE_TOPICS: Api = row(19, 2, 5, 5);
pub(crate) const SASL_HANDSHAKE: Api = row(17, 1, 1, i16::MAX);
pub(crate) const API_VERSIONS: Api = row(18, 0, 3, 3);
pub(crate) const INIT_PRODUCER_ID: Api = row(22, 0, 4, 2);
pub(crate) const DESCRIBE_CONFIGS: Api = row(32, 1, 4, 4);
pub(crate) const ADD_PARTITIONS_TO_TXN: Api = row(24, 0, 3, 3);
pub(crate) const END_TXN: Api = row(26, 0, 5, 3);
pub(crate) const SASL_AUTHENTICATE: Api = row(36, 0, 2, 2);

impl Api {
    /// Whether the messages of `version` are flexible.
    pub(crate) fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from
    }
}

/// How transactions are made in a cluster: the level of its feature `transaction.version` (KIP-890), which can be
/// raised and lowered while the brokers run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TransactionVersion {
    /// Level 0 or 1: partitions are added by a request of their own, and all transactions share an epoch.
    #[default]
    Classic,
    /// Level 2: Produce adds the partition, and each transaction has an epoch of its own.
    Two,
}

/// The features that a cluster has finalized, as far as this client looks at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    /// Grows with each change; of two brokers the one with the higher epoch is right. -1: the broker does not tell.
    pub(crate) epoch: i64,
    pub(crate) transaction_version: TransactionVersion,
}

impl Default for Features {
    fn default() -> Self {
        Features {
            epoch: -1,
            transaction_version: TransactionVersion::Classic,
        }
    }
}

/// What a broker speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    /// Key, oldest and newest version of each API.
    offered: Vec<(i16, i16, i16)>,
    /// What the cluster has finalized, as this broker knows it.
    pub(crate) features: Features,
}

impl Versions {
    /// Of a broker that offers these: key, oldest and newest version.
    #[cfg(test)]
    pub(crate) fn offering(apis: &[(i16, i16, i16)]) -> Self {
        Versions {
            offered: apis.to_vec(),
            ..Versions::default()
        }
    }

    /// The highest version of the API with this key that the broker speaks, whatever this client does; -1 for none.
    pub(crate) fn newest(&self, key: i16) -> i16 {
        let offered = self.offered.iter().find(|offered| offered.0 == key);
        offered.map_or(-1, |offered| offered.2)
    }

    /// Whether message format 0 is taken, which version 0 of Produce writes: Kafka 4.0 has removed it, and lists those
    /// versions of Produce all the same (KIP-896), but not those of Fetch that read it.
    pub(crate) fn has_message_format_0(&self) -> bool {
        let begins_above = |key: i16, version: i16| {
            let mut offered = self.offered.iter();
            offered.any(|offered| offered.0 == key && offered.1 > version)
        };
        !begins_above(PRODUCE.key, 0) && !begins_above(FETCH.key, 1)
    }

    /// The highest version of `api` that both sides speak.
    pub(crate) fn of(&self, api: Api) -> Option<i16> {
        self.up_to(api, api.most)
    }

    /// As [`Versions::of`], of a request that belongs to a transaction.
    ///
    /// Produce 12 and EndTxn 5 are what makes a transaction one of version 2, and brokers of a cluster that has not
    /// finalized it list them all the same: they answer the first with error 35 and the second with 51, for ever.
    pub(crate) fn in_transaction(&self, api: Api, version: TransactionVersion) -> Option<i16> {
        let most = match (api, version) {
            (PRODUCE, TransactionVersion::Classic) => 11,
            (END_TXN, TransactionVersion::Classic) => 4,
            _ => api.most,
        };
        self.up_to(api, most)
    }

    fn up_to(&self, api: Api, most: i16) -> Option<i16> {
        let mut offered = self.offered.iter();
        let (_, least, offered) = offered.find(|offered| offered.0 == api.key)?;
        let version = most.min(*offered);
        (version >= api.least.max(*least)).then_some(version)
    }
}

impl Versions {
    /// The release of Kafka that speaks so: the oldest one that does.
    pub(crate) fn release(&self) -> Option<&'static str> {
        let has = |(key, version, _): &&(i16, i16, &str)| self.newest(*key) >= *version;
        RELEASES
            .iter()
            .rev()
            .find(has)
            .map(|(.., release)| *release)
    }
}

/// Which release came with which version of Produce or Fetch.
const RELEASES: [(i16, i16, &str); 16] = [
    (PRODUCE.key, 3, "0.11"),
    (PRODUCE.key, 5, "1.0"),
    (FETCH.key, 7, "1.1"),
    (PRODUCE.key, 6, "2.0"),
    (PRODUCE.key, 7, "2.1"),
    (FETCH.key, 11, "2.3"),
    (PRODUCE.key, 8, "2.4"),
    (FETCH.key, 12, "2.7"),
    (PRODUCE.key, 9, "2.8"),
    (FETCH.key, 13, "3.1"),
    (FETCH.key, 15, "3.5"),
    (PRODUCE.key, 10, "3.7"),
    (PRODUCE.key, 11, "3.8"),
    (FETCH.key, 17, "3.9"),
    (PRODUCE.key, 12, "4.0"),
    (PRODUCE.key, 13, "4.1 or later"),
];

/// The response to `ApiVersions`: the error code and what the broker speaks.
///
/// The header of this answer never has tagged fields. A broker that does not know the asked version
/// answers with error 35 in a body of version 0, whatever was asked (KIP-511).
pub(crate) fn api_versions(body: &[u8], asked: i16) -> Result<(i16, Versions), WireError> {
    let error = Reader::new(body, false).i16()?;
    let version = if error == 35 { 0 } else { asked };
    let mut r = Reader::new(body, API_VERSIONS.is_flexible(version));
    r.i16()?;
    let count = r.array(6)?;
    let mut offered = Vec::with_capacity(count);
    for _ in 0..count {
        offered.push(r.tagged(|r| Ok((r.i16()?, r.i16()?, r.i16()?)))?);
    }
    if version >= 1 {
        r.i32()?;
    }
    let mut features = Features::default();
    r.each_tag(|tag, field| {
        match tag {
            1 => features.epoch = Reader::new(field, true).i64()?,
            2 => features.transaction_version = transaction_version(field)?,
            _ => {}
        }
        Ok(())
    })?;
    r.end()?;
    Ok((error, Versions { offered, features }))
}

/// What the tagged field of the finalized features says about transactions.
fn transaction_version(field: &[u8]) -> Result<TransactionVersion, WireError> {
    let mut r = Reader::new(field, true);
    let mut level = 0;
    for _ in 0..r.array(6)? {
        let name = r.string()?;
        let most = r.i16()?;
        r.i16()?; // the lowest level
        r.tags()?;
        if name == Some("transaction.version") {
            level = most;
        }
    }
    Ok(match level {
        2.. => TransactionVersion::Two,
        _ => TransactionVersion::Classic,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::testing::encoded;
    use kafka_protocol::messages::ApiVersionsResponse;
    use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey};
    use kafka_protocol::protocol::StrBytes;

    #[test]
    fn the_release_is_told_by_the_newest_version_that_came_with_one() {
        let release =
            |produce, fetch| Versions::offering(&[(0, 0, produce), (1, 0, fetch)]).release();
        assert_eq!(release(3, 5), Some("0.11"));
        assert_eq!(release(8, 11), Some("2.4"));
        assert_eq!(release(9, 13), Some("3.1"));
        assert_eq!(release(11, 17), Some("3.9"));
        assert_eq!(release(14, 20), Some("4.1 or later"));
        assert_eq!(release(2, 3), None);
    }

    #[test]
    fn message_format_0_is_gone_where_fetch_begins_with_version_4_whatever_produce_says() {
        let has = |produce, fetch| {
            Versions::offering(&[(0, produce, 9), (1, fetch, 13)]).has_message_format_0()
        };
        assert!(has(0, 0));
        assert!(!has(0, 4) && !has(3, 0));
        assert!(Versions::offering(&[(0, 0, 2)]).has_message_format_0());
    }

    #[test]
    fn versions_are_negotiated_also_with_a_broker_that_falls_back() {
        let api = |key, least, most| {
            ApiVersion::default()
                .with_api_key(key)
                .with_min_version(least)
                .with_max_version(most)
        };
        let apis = vec![api(0, 0, 8), api(3, 2, 99), api(18, 0, 2)];
        for (version, error) in [(0, 0), (3, 0), (0, 35)] {
            let response = ApiVersionsResponse::default()
                .with_error_code(error)
                .with_api_keys(apis.clone());
            let body = encoded(&response, version);
            let asked = if error == 35 { 3 } else { version };
            let (code, versions) = api_versions(&body, asked).expect("a valid answer");
            assert_eq!(code, error);
            assert_eq!(versions.of(PRODUCE), Some(8));
            assert_eq!(versions.of(METADATA), Some(13));
            assert_eq!(versions.of(INIT_PRODUCER_ID), None);
        }
        let offering = |least, most| Versions::offering(&[(PRODUCE.key, least, most)]);
        assert_eq!(offering(0, 2).of(PRODUCE), None);
        assert_eq!(offering(14, 20).of(PRODUCE), None);
    }

    #[test]
    fn what_the_cluster_has_finalized_decides_on_the_version_of_a_transaction() {
        let of = |level: Option<i16>| {
            let features = level.into_iter().map(|level| {
                FinalizedFeatureKey::default()
                    .with_name(StrBytes::from_static_str("transaction.version"))
                    .with_max_version_level(level)
            });
            let other = FinalizedFeatureKey::default()
                .with_name(StrBytes::from_static_str("metadata.version"))
                .with_max_version_level(29);
            let api = |key, most| {
                ApiVersion::default()
                    .with_api_key(key)
                    .with_max_version(most)
            };
            let response = ApiVersionsResponse::default()
                .with_api_keys(vec![api(0, 13), api(22, 6), api(24, 5), api(26, 5)])
                .with_finalized_features_epoch(77)
                .with_finalized_features(std::iter::once(other).chain(features).collect());
            let body = encoded(&response, 3);
            for end in 0..body.len() {
                assert!(api_versions(&body[..end], 3).is_err());
            }
            api_versions(&body, 3).expect("a valid answer").1
        };
        for level in [None, Some(0), Some(1), Some(2), Some(3)] {
            let versions = of(level);
            assert_eq!(versions.features.epoch, 77);
            let version = versions.features.transaction_version;
            let is_two = level.is_some_and(|level| level >= 2);
            assert_eq!(version == TransactionVersion::Two, is_two, "{level:?}");
            let spoken = [PRODUCE, INIT_PRODUCER_ID, ADD_PARTITIONS_TO_TXN, END_TXN];
            let spoken = spoken.map(|api| versions.in_transaction(api, version));
            let expected = if is_two { [12, 4, 3, 5] } else { [11, 4, 3, 4] };
            assert_eq!(spoken, expected.map(Some), "{level:?}");
            assert_eq!(versions.of(PRODUCE), Some(12), "without a transaction");
        }
    }
}
