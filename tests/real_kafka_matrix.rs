//! Every version of Kafka, every way in, every codec and every acknowledgement, each cell with an agent and a
//! topic of its own. What arrived is told by Kafka's console consumer.

use std::time::{Duration, Instant};

use crate::support::broker::Codec;
use crate::support::env::Env;
use crate::support::kafka::RealKafka;
use crate::support::secured::{Keys, PLAIN_PASSWORD, Secured};

const LONG: Duration = Duration::from_secs(60);
/// Lines of each cell.
const LINES: usize = 400;
/// Agents that run at the same time.
const AT_ONCE: usize = 5;

const CODECS: [(&str, Codec); 5] = [
    ("none", Codec::None),
    ("gzip", Codec::Gzip),
    ("snappy", Codec::Snappy),
    ("lz4", Codec::Lz4),
    ("zstd", Codec::Zstd),
];
const ACKS: [&str; 3] = ["0", "1", "all"];

#[test]
fn kafka_4_takes_every_cell() {
    let secured = Secured::start("4");
    let mut ways = ways(&secured);
    ways.push(Way {
        name: "SASL_SSL OAUTHBEARER",
        address: secured.broker("TOKEN"),
        keys: secured.token(1_700_000_000, 4_000_000_000),
    });
    every_cell("4", &secured.kafka, &ways, &CODECS);
}

#[test]
fn kafka_3_9_takes_every_cell() {
    let secured = Secured::start("3.9");
    every_cell("3.9", &secured.kafka, &ways(&secured), &CODECS);
}

#[test]
fn kafka_2_8_with_zookeeper_takes_every_cell() {
    let secured = Secured::start("2.8");
    every_cell("2.8", &secured.kafka, &ways(&secured), &CODECS);
}

#[test]
fn the_legacy_output_serves_kafka_3_9_and_2_8() {
    for (version, kafka) in [("3.9", RealKafka::v3_9()), ("2.8", RealKafka::v2_8())] {
        let way = Way {
            name: "legacy plaintext",
            address: kafka.brokers().to_owned(),
            keys: vec![("protocol", "legacy".to_owned())],
        };
        // The crate has the first three only.
        every_cell(version, &kafka, &[way], &CODECS[..3]);
    }
}

/// A way in, and what the ini says of it.
struct Way {
    name: &'static str,
    address: String,
    keys: Keys,
}

fn ways(secured: &Secured) -> Vec<Way> {
    let way = |name, listener, keys| Way {
        name,
        address: secured.broker(listener),
        keys,
    };
    vec![
        Way {
            name: "plaintext",
            address: secured.kafka.brokers().to_owned(),
            keys: Vec::new(),
        },
        way("TLS", "TLS", secured.tls()),
        way("mTLS", "MUTUAL", secured.mutual()),
        way(
            "SASL_SSL SCRAM-SHA-512",
            "SCRAM",
            secured.scram("SCRAM-SHA-512"),
        ),
        way(
            "SASL_PLAINTEXT PLAIN",
            "PLAIN",
            secured.plain(PLAIN_PASSWORD),
        ),
    ]
}

fn every_cell(version: &str, kafka: &RealKafka, ways: &[Way], codecs: &[(&str, Codec)]) {
    let start = Instant::now();
    let mut table = String::new();
    let mut cells = 0;
    for way in ways {
        let counts = cells_of(kafka, way, codecs);
        cells += counts.len();
        for (row, (codec, _)) in counts.chunks(ACKS.len()).zip(codecs) {
            table += &format!("{version:>4}  {:24}{codec:8}", way.name);
            for count in row {
                table += &format!("{count:>5}");
            }
            table += "\n";
        }
    }
    eprintln!(
        "lines of {LINES} at the console consumer, by version, way, codec and acks ({}):\n{table}\
         {cells} cells of Kafka {version} in {:.0} s",
        ACKS.join(", "),
        start.elapsed().as_secs_f64()
    );
    assert_eq!(cells, ways.len() * codecs.len() * ACKS.len());
}

/// Runs the cells of one way in, and gives the number of lines that arrived in each.
fn cells_of(kafka: &RealKafka, way: &Way, codecs: &[(&str, Codec)]) -> Vec<usize> {
    let name = way.name;
    let prefix = kafka.fresh_name("matrix");
    let mut cells = Vec::new();
    for (codec, expected_codec) in codecs {
        for acks in ACKS {
            let topic = format!("{prefix}-{codec}-{acks}");
            kafka.create_topic(&topic, 1, &[]);
            let mut env = Env::new();
            env.set("kafka", "brokers", &way.address)
                .set("kafka", "topic", &topic)
                .set("kafka", "compression", codec)
                .set("kafka", "acks", acks)
                // several record batches, and several under way
                .set("kafka", "batch_bytes", "16KiB")
                // by which the records of all topics are told apart
                .set("log:app", "key", &topic);
            for (key, value) in &way.keys {
                env.set("kafka", key, value);
            }
            let values = values(&format!("{name} {codec} {acks}"));
            let mut text = values.join(&b'\n');
            text.push(b'\n');
            env.append("app.log", text);
            cells.push((topic, env, values, expected_codec));
        }
    }

    for some in cells.chunks(AT_ONCE) {
        let agents = some.iter().map(|(_, env, ..)| env.spawn(&["--once"]));
        // all are started before one is waited for
        let agents: Vec<_> = agents.collect();
        for (mut agent, (topic, ..)) in agents.into_iter().zip(some) {
            let ended = agent.wait_exit(LONG);
            assert_eq!(ended.code, Some(0), "{topic}: {}", ended.stderr);
            assert!(!ended.stderr.contains("ERROR"), "{topic}: {}", ended.stderr);
        }
    }

    // What comes with acks=0 may arrive after the agent has ended.
    for (topic, ..) in &cells {
        kafka.wait_for_records(topic, LINES, LONG);
    }
    let consumed = kafka.consume_matching(&format!("{prefix}-.*"), cells.len() * LINES);
    let counts = cells.iter().map(|(topic, _, values, codec)| {
        let mine = consumed
            .iter()
            .filter(|record| record.key.as_deref() == Some(topic.as_bytes()));
        let mine: Vec<&[u8]> = mine
            .map(|record| match &record.value {
                Some(value) => value,
                // what the legacy output's crate makes of an empty one
                None if name.starts_with("legacy") => &[][..],
                None => panic!("{topic} by {name}: a value is null"),
            })
            .collect();
        assert_eq!(mine.len(), LINES, "{topic} by {name}: number of lines");
        let different = (0..LINES).find(|at| mine[*at] != values[*at]);
        assert_eq!(
            different, None,
            "{topic} by {name}: first line that differs"
        );
        // The consumer stops at the number it is given.
        assert_eq!(kafka.count(topic), LINES, "{topic} by {name}: end offset");
        let records = kafka.fetch_all(topic);
        assert!(
            records.iter().any(|record| record.codec == **codec),
            "{topic} by {name}: no record batch is compressed with {codec:?}"
        );
        mine.len()
    });
    counts.collect()
}

/// The lines of a cell: of ten one is empty, one long, one of any bytes, and the others begin with the cell's name.
fn values(cell: &str) -> Vec<Vec<u8>> {
    let value = |number: usize| match number % 10 {
        0 => Vec::new(),
        1 => format!("{cell} {number} ").repeat(100).into_bytes(),
        // 1 to 4 are between the columns of the consumer, 10 is between lines.
        2 => (0..=255u8)
            .filter(|byte| !matches!(byte, 1..=4 | b'\n'))
            .cycle()
            .skip(number)
            .take(700)
            .collect(),
        _ => format!(
            "{cell} {number} GET /index.html HTTP/1.1 200 {}",
            number * 7919
        )
        .into_bytes(),
    };
    (0..LINES).map(value).collect()
}
