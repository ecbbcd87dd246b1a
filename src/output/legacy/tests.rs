//! The legacy output chooses and says the same as the native one.

use super::*;

use crate::config::BrokerAddress;
use crate::kafka::producer::placement::{Partitions, Place, Placement};
use crate::kafka::protocol::error_code::Verdict;
use crate::kafka::testing::{batch, config, destination};

fn legacy(partitioner: Partitioner) -> (KafkaConfig, LegacyOutput) {
    let (host, port) = ("localhost".into(), 1);
    let config = KafkaConfig {
        partitioner,
        ..config(&BrokerAddress { host, port })
    };
    let (progress, _) = crossbeam_channel::unbounded();
    let output = LegacyOutput::new(Arc::new(config.clone()), Arc::default(), progress);
    (config, output)
}

#[test]
fn a_record_goes_to_the_partition_that_the_native_output_chooses_with_a_key_and_without() {
    let topic: Arc<str> = "t".into();
    for partitioner in [
        Partitioner::File,
        Partitioner::Host,
        Partitioner::Key,
        Partitioner::RoundRobin,
        Partitioner::Fixed(3),
    ] {
        for key in [None, Some("key")] {
            let (config, mut legacy) = legacy(partitioner);
            let mut native = Placement::new(partitioner, config.batch_bytes);
            let partitions = Partitions::new();
            native.resize(7, &partitions);
            for n in 0..30 {
                let key = key.map(|key| format!("{key}-{n}"));
                let mut to = Arc::try_unwrap(destination(key.as_deref().map(str::as_bytes), &[]))
                    .expect("new");
                to.path = std::path::PathBuf::from(format!("/{n}")).into();
                let to = Arc::new(to);
                let Place::At(expected) =
                    native.choose(&batch(&to, b"line\n"), &partitions, |_| true)
                else {
                    panic!("the native output chooses none");
                };
                legacy.accept(batch(&to, b"line\n"));
                let (cut, _) = legacy.topics[&topic].cut(&config, 7);
                assert_eq!(
                    cut.partition, expected as i32,
                    "{partitioner:?} {key:?} {n}"
                );
                legacy.acknowledge(&topic, &cut);
            }
        }
    }
}

#[test]
fn an_error_code_has_the_same_name_and_number_as_with_the_native_output() {
    use KafkaCode::*;
    for code in [
        Unknown,
        CorruptMessage,
        UnknownTopicOrPartition,
        LeaderNotAvailable,
        NotLeaderForPartition,
        RequestTimedOut,
        BrokerNotAvailable,
        ReplicaNotAvailable,
        MessageSizeTooLarge,
        InvalidTopic,
        RecordListTooLarge,
        NotEnoughReplicas,
        NotEnoughReplicasAfterAppend,
        InvalidRequiredAcks,
        TopicAuthorizationFailed,
        ClusterAuthorizationFailed,
    ] {
        assert_eq!(words(code), Verdict::of(code as i16).to_string());
    }
}
