//! `DescribeConfigs`: settings of topics and brokers, as far as they are asked for by name.

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::protocol::StrBytes;

use super::api::DESCRIBE_CONFIGS;
use super::request::Request;
use super::wire::{Reader, WireError};

/// What a resource says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Configs {
    /// Why it says nothing: 29 and 31 if the principal may not see it.
    pub(crate) error: i16,
    /// [`TOPIC`] or [`BROKER`].
    pub(crate) kind: i8,
    pub(crate) name: String,
    /// The settings that were asked for and exist.
    pub(crate) values: Vec<(String, String)>,
}

impl Configs {
    /// The value of a setting.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.values.iter();
        values
            .find(|(key, _)| key == name)
            .map(|(_, value)| &**value)
    }
}

/// A request for the settings `keys` of each resource.
pub(crate) fn request<'a>(
    client_id: &str,
    version: i16,
    resources: impl Iterator<Item = (i8, &'a str, &'static [&'static str])>,
) -> Request {
    let resources = resources.map(|(kind, name, keys)| {
        let keys = keys.iter().map(|key| StrBytes::from_static_str(key));
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(StrBytes::from_string(name.to_owned()))
            .with_configuration_keys(Some(keys.collect()))
    });
    let message = DescribeConfigsRequest::default().with_resources(resources.collect());
    Request::plain(DESCRIBE_CONFIGS, version, client_id, &message)
}

/// Reads the body after the correlation id, versions 1 to 4.
pub(crate) fn read(body: &[u8], version: i16) -> Result<Vec<Configs>, WireError> {
    let mut r = Reader::new(body, DESCRIBE_CONFIGS.is_flexible(version));
    r.tags()?;
    r.i32()?; // throttle time
    let count = r.array(8)?;
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let error = r.i16()?;
        r.string()?; // message
        let kind = r.i8()?;
        let name = r.string()?.unwrap_or_default().to_owned();
        let mut values = Vec::new();
        for _ in 0..r.array(6)? {
            let key = r.string()?.unwrap_or_default().to_owned();
            let value = r.string()?.unwrap_or_default().to_owned();
            r.bytes(3)?; // read only, source, sensitive
            for _ in 0..r.array(3)? {
                r.string()?;
                r.string()?;
                r.tagged(Reader::i8)?;
            }
            if version >= 3 {
                r.i8()?; // type
                r.string()?; // documentation
            }
            r.tags()?;
            values.push((key, value));
        }
        r.tags()?;
        all.push(Configs {
            error,
            kind,
            name,
            values,
        });
    }
    r.tags()?;
    r.end()?;
    Ok(all)
}

/// A kind of resource.
pub(crate) const TOPIC: i8 = 2;
/// A kind of resource.
pub(crate) const BROKER: i8 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::testing::encoded;
    use kafka_protocol::messages::DescribeConfigsResponse;
    use kafka_protocol::messages::describe_configs_response::{
        DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
    };

    #[test]
    fn every_version_is_read_as_the_reference_encoder_writes_it_and_no_damage_does_harm() {
        for version in 1..=4 {
            let synonym = DescribeConfigsSynonym::default()
                .with_name("s".into())
                .with_value(Some("1".into()));
            let setting = DescribeConfigsResourceResult::default()
                .with_name("max.message.bytes".into())
                .with_value(Some("1048588".into()))
                .with_synonyms(vec![synonym]);
            let topic = DescribeConfigsResult::default()
                .with_resource_type(TOPIC)
                .with_resource_name("logs".into())
                .with_configs(vec![setting]);
            let refused = DescribeConfigsResult::default()
                .with_error_code(29)
                .with_resource_name("other".into());
            let response = DescribeConfigsResponse::default().with_results(vec![topic, refused]);
            let body = encoded(&response, version);
            let all = read(&body, version).expect("well-formed");
            assert_eq!(all.len(), 2);
            assert_eq!(
                (all[0].kind, &*all[0].name, all[0].error),
                (TOPIC, "logs", 0)
            );
            assert_eq!(all[0].value("max.message.bytes"), Some("1048588"));
            assert_eq!((all[1].error, all[1].value("x")), (29, None));
            for end in 0..body.len() {
                assert!(read(&body[..end], version).is_err());
                let mut damaged = body.clone();
                damaged[end] ^= 0xff;
                let _ = read(&damaged, version);
            }
        }
    }
}
