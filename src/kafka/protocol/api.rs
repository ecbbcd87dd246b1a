//! The APIs that this client speaks: one row for each, with everything that is the same in all its messages.
//! Which version is used is agreed upon with each broker.

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
pub(crate) const METADATA: Api = row(3, 0, 13, 9);
pub(crate) const SASL_HANDSHAKE: Api = row(17, 1, 1, i16::MAX);
pub(crate) const API_VERSIONS: Api = row(18, 0, 3, 3);
pub(crate) const INIT_PRODUCER_ID: Api = row(22, 0, 4, 2);
pub(crate) const SASL_AUTHENTICATE: Api = row(36, 0, 2, 2);

impl Api {
    /// Whether the messages of `version` are flexible.
    pub(crate) fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from
    }
}

/// What a broker speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Versions(Vec<(i16, i16, i16)>);

impl Versions {
    /// Of a broker that offers these: key, oldest and newest version.
    #[cfg(test)]
    pub(crate) fn offering(apis: &[(i16, i16, i16)]) -> Self {
        Versions(apis.to_vec())
    }

    /// The highest version of `api` that both sides speak.
    pub(crate) fn of(&self, api: Api) -> Option<i16> {
        let (_, least, most) = self.0.iter().find(|offered| offered.0 == api.key)?;
        let version = api.most.min(*most);
        (version >= api.least.max(*least)).then_some(version)
    }
}

impl Versions {
    /// The release of Kafka that speaks so: the oldest one that does.
    pub(crate) fn release(&self) -> Option<&'static str> {
        let most = |key| {
            let offered = self.0.iter().find(|offered| offered.0 == key)?;
            Some(offered.2)
        };
        let has = |(key, version, _): &&(i16, i16, &str)| most(*key) >= Some(*version);
        RELEASES
            .iter()
            .rev()
            .find(has)
            .map(|(.., release)| *release)
    }
}

const FETCH: i16 = 1;

/// Which release came with which version of Produce or Fetch.
const RELEASES: [(i16, i16, &str); 16] = [
    (PRODUCE.key, 3, "0.11"),
    (PRODUCE.key, 5, "1.0"),
    (FETCH, 7, "1.1"),
    (PRODUCE.key, 6, "2.0"),
    (PRODUCE.key, 7, "2.1"),
    (FETCH, 11, "2.3"),
    (PRODUCE.key, 8, "2.4"),
    (FETCH, 12, "2.7"),
    (PRODUCE.key, 9, "2.8"),
    (FETCH, 13, "3.1"),
    (FETCH, 15, "3.5"),
    (PRODUCE.key, 10, "3.7"),
    (PRODUCE.key, 11, "3.8"),
    (FETCH, 17, "3.9"),
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
    r.tags()?;
    r.end()?;
    Ok((error, Versions(offered)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::testing::encoded;
    use kafka_protocol::messages::ApiVersionsResponse;
    use kafka_protocol::messages::api_versions_response::ApiVersion;

    #[test]
    fn the_release_is_told_by_the_newest_version_that_came_with_one() {
        let release = |produce, fetch| Versions(vec![(0, 0, produce), (1, 0, fetch)]).release();
        assert_eq!(release(3, 5), Some("0.11"));
        assert_eq!(release(8, 11), Some("2.4"));
        assert_eq!(release(9, 13), Some("3.1"));
        assert_eq!(release(11, 17), Some("3.9"));
        assert_eq!(release(14, 20), Some("4.1 or later"));
        assert_eq!(release(2, 3), None);
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
        assert_eq!(Versions(vec![(PRODUCE.key, 0, 2)]).of(PRODUCE), None);
        assert_eq!(Versions(vec![(PRODUCE.key, 14, 20)]).of(PRODUCE), None);
    }
}
