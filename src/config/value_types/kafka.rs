//! Values in terms of Kafka.

use std::collections::HashSet;
use std::net::Ipv6Addr;

use super::{BadValue, Text, ValueType, items};
use crate::config::address::BrokerAddress;
use crate::config::types::{HeaderChoice, Partitioner};

/// `brokers`: a list of `host:port`, at least one.
pub(crate) struct Brokers;

impl ValueType for Brokers {
    type Value = Vec<BrokerAddress>;

    fn accepted(&self) -> String {
        format!("HOST:PORT, comma separated; the port may be left out ({PORT})")
    }

    fn read(&self, text: &str) -> Result<Vec<BrokerAddress>, BadValue> {
        if text.is_empty() {
            return Err(BadValue::default());
        }
        let mut seen = HashSet::new();
        items(text)?
            .into_iter()
            .map(|item| {
                let address = address(item, PORT)?;
                match seen.insert(address.clone()) {
                    true => Ok(address),
                    false => Err(BadValue::part(item).hint("this broker is listed twice")),
                }
            })
            .collect()
    }
}

/// `item` as host and port, which is `default` if it is left out.
pub(crate) fn address(item: &str, default: u16) -> Result<BrokerAddress, BadValue> {
    let bad = || BadValue::part(item);
    if item.contains("://") {
        return Err(bad().hint("leave the protocol out"));
    }
    if item.parse::<Ipv6Addr>().is_ok() {
        // What ends in digits as only ports have them was meant to have one.
        let with_port = item.rsplit_once(':').filter(|(address, port)| {
            address.parse::<Ipv6Addr>().is_ok() && port.len() >= 4 && port.parse::<u16>().is_ok()
        });
        let default = default.to_string();
        let (address, port) = with_port.unwrap_or((item, &default));
        return Err(bad().hint(format!("write an IPv6 address as [{address}]:{port}")));
    }
    let (host, port) = match item.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']').ok_or_else(bad)?;
            host.parse::<Ipv6Addr>().map_err(|_| bad())?;
            match rest {
                "" => (host, None),
                _ => (host, Some(rest.strip_prefix(':').ok_or_else(bad)?)),
            }
        }
        None => {
            let (host, port) = match item.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (item, None),
            };
            if !is_host(host) {
                return Err(bad());
            }
            (host, port)
        }
    };
    let port = match port {
        None => default,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok().filter(|&port| port > 0).ok_or_else(bad)?
        }
        Some(_) => return Err(bad()),
    };
    Ok(BrokerAddress {
        host: host.to_owned(),
        port,
    })
}

/// Letters, digits, `-`, `.`, and `_` for the sake of container names; at most 253 of them, as DNS has it.
fn is_host(host: &str) -> bool {
    (1..=253).contains(&host.len())
        && !host.starts_with(['-', '.'])
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

impl Text {
    /// A topic's name, by the rules of `org.apache.kafka.common.internals.Topic`.
    pub(crate) const TOPIC: Text = Text {
        accepted: topic_words,
        is_legal: |text| is_name(text) && text.len() <= TOPIC_LEN && !matches!(text, "." | ".."),
    };

    /// `client_id`. Brokers make metrics and file names of it, so it is held to names.
    pub(crate) const CLIENT_ID: Text = Text {
        accepted: || format!("1 to {TOPIC_LEN} letters, digits, '.', '_' or '-'"),
        is_legal: |text| is_name(text) && text.len() <= TOPIC_LEN,
    };

    /// The topic of a log, which may have placeholders: they are read when it is known what they can stand for.
    pub(crate) const LOG_TOPIC: Text = Text {
        accepted: topic_words,
        is_legal: |_| true,
    };

    /// A text that may have placeholders.
    pub(crate) const TEMPLATE: Text = Text {
        accepted: || {
            format!(
                "any text of at most {RECORD_KEY_LEN} bytes; {{host}}, {{path}} and so on are filled in"
            )
        },
        is_legal: |text| text.len() <= RECORD_KEY_LEN,
    };

    /// The name of a field.
    pub(crate) const FIELD: Text = Text {
        accepted: || "a name, with dots between those of objects in objects".to_owned(),
        is_legal: |text| !text.is_empty() && text.len() <= TOPIC_LEN,
    };

    /// `key`: of the records of a log.
    pub(crate) const RECORD_KEY: Text = Text {
        accepted: || format!("any text of at most {RECORD_KEY_LEN} bytes"),
        is_legal: |text| text.len() <= RECORD_KEY_LEN,
    };
}

/// What a topic may be.
pub(crate) fn topic_words() -> String {
    format!("1 to {TOPIC_LEN} letters, digits, '.', '_' or '-', and not '.' or '..'")
}

/// Whether it is made of the characters that topics and `[log:NAME]` may have.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// `partitioner`.
pub(crate) struct Partitioners;

impl ValueType for Partitioners {
    type Value = Partitioner;

    fn accepted(&self) -> String {
        "file, host, key, round_robin, fixed:N with a partition number".to_owned()
    }

    fn read(&self, text: &str) -> Result<Partitioner, BadValue> {
        match text {
            "file" => Ok(Partitioner::File),
            "host" => Ok(Partitioner::Host),
            "key" => Ok(Partitioner::Key),
            "round_robin" => Ok(Partitioner::RoundRobin),
            _ => text
                .strip_prefix("fixed:")
                .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|number| number.parse().ok())
                .map(Partitioner::Fixed)
                .ok_or_else(BadValue::default),
        }
    }
}

/// `headers`.
pub(crate) struct Headers;

impl ValueType for Headers {
    type Value = HeaderChoice;

    fn accepted(&self) -> String {
        "host,path; host; path; none".to_owned()
    }

    fn read(&self, text: &str) -> Result<HeaderChoice, BadValue> {
        let mut headers = HeaderChoice {
            provenance: false,
            host: false,
            path: false,
        };
        if text == "none" {
            return Ok(headers);
        }
        for item in items(text)? {
            let header = match item {
                "host" => &mut headers.host,
                "path" => &mut headers.path,
                _ => return Err(BadValue::part(item)),
            };
            if std::mem::replace(header, true) {
                return Err(BadValue::part(item).hint("this header is listed twice"));
            }
        }
        Ok(headers)
    }
}

/// Kafka's usual port.
const PORT: u16 = 9092;
/// Brokers make a file name of topic and partition.
const TOPIC_LEN: usize = 249;
/// A record of the longest line, key and headers must fit into one request.
const RECORD_KEY_LEN: usize = 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> BrokerAddress {
        BrokerAddress {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn brokers_are_names_or_addresses_with_an_optional_port() {
        assert_eq!(
            Brokers.read("kafka-1.example.net:9093, 10.0.0.7 ,my_broker:1,[::1]:9092,[fe80::2]"),
            Ok(vec![
                address("kafka-1.example.net", 9093),
                address("10.0.0.7", 9092),
                address("my_broker", 1),
                address("::1", 9092),
                address("fe80::2", 9092),
            ])
        );
        for text in [
            "",
            ":9092",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a:b",
            "a:1:2",
            "a b:1",
            "a/b",
            "-a",
            ".a",
            "[::1",
            "[::1]9092",
            "[::1]:",
            "[a]:1",
            "[]:1",
            "a,",
            "a,,b",
            "ü:1",
        ] {
            assert!(Brokers.read(text).is_err(), "{text}");
        }
        let hint = |text| Brokers.read(text).unwrap_err().hint.unwrap();
        assert_eq!(hint("::1"), "write an IPv6 address as [::1]:9092");
        assert_eq!(hint("::1:9093"), "write an IPv6 address as [::1]:9093");
        assert_eq!(hint("kafka://a:9092"), "leave the protocol out");
        assert_eq!(hint("a,b,a:9092"), "this broker is listed twice");
    }

    #[test]
    fn topics_follow_the_rules_of_kafka() {
        for text in ["a", "web_log", "A.b-c_9", "...", &"t".repeat(249)] {
            assert_eq!(Text::TOPIC.read(text), Ok(text.to_owned()));
        }
        for text in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "a#b",
            "\"a\"",
            "ä",
            &"t".repeat(250),
        ] {
            assert!(Text::TOPIC.read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn partitioners_are_words_or_a_fixed_partition() {
        assert_eq!(Partitioners.read("fixed:0"), Ok(Partitioner::Fixed(0)));
        assert_eq!(
            Partitioners.read("fixed:2147483647"),
            Ok(Partitioner::Fixed(i32::MAX))
        );
        assert_eq!(
            Partitioners.read("round_robin"),
            Ok(Partitioner::RoundRobin)
        );
        assert_eq!(Partitioners.read("host"), Ok(Partitioner::Host));
        for text in [
            "",
            "fixed",
            "fixed:",
            "fixed:-1",
            "fixed:+1",
            "fixed:2147483648",
            "random",
        ] {
            assert!(Partitioners.read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn headers_are_a_list_or_none() {
        let choice = |host, path| {
            Ok(HeaderChoice {
                host,
                path,
                provenance: false,
            })
        };
        assert_eq!(Headers.read("host,path"), choice(true, true));
        assert_eq!(Headers.read("path, host"), choice(true, true));
        assert_eq!(Headers.read("host"), choice(true, false));
        assert_eq!(Headers.read("path"), choice(false, true));
        assert_eq!(Headers.read("none"), choice(false, false));
        for text in ["", "none,host", "host,host", "host,", "topic"] {
            assert!(Headers.read(text).is_err(), "{text}");
        }
    }
}
