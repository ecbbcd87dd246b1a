//! Who leads the partitions of a topic, and where each begins and ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::reader::{PARTITION_BYTES, Partition, Period, ReadError, TopicReader, Trouble, offered};
use crate::config::BrokerAddress;
use crate::kafka::network::client::Client;
use crate::kafka::network::error::ConnectionError;
use crate::kafka::protocol::api::{LIST_OFFSETS, METADATA};
use crate::kafka::protocol::error_code::Verdict;
use crate::kafka::protocol::fetch::{EARLIEST, LATEST, list_offsets, read_offsets};
use crate::kafka::protocol::request::Request;
use crate::kafka::protocol::response::Response;

impl<'a> TopicReader<'a> {
    /// Asks any broker who leads the partitions.
    pub(super) fn look(&mut self) -> Result<(), Trouble> {
        let known = self.addresses.values();
        let all: Vec<_> = self.config.brokers.iter().chain(known).cloned().collect();
        let mut trouble = None;
        for address in all {
            match self.look_at(&address) {
                Err(why @ Trouble::Connection(..)) => trouble = Some(why),
                done => return done,
            }
        }
        Err(trouble.unwrap_or(Trouble::NoLeader(0)))
    }

    fn look_at(&mut self, address: &BrokerAddress) -> Result<(), Trouble> {
        let (mut client, _) = self.connect(address)?;
        let version = offered(&client, METADATA, address)?;
        let request = Request::metadata_of(&self.config.client_id, version.max(4), &self.topic);
        let answer = client.call(request, self.config.request_timeout);
        let answer = answer.map_err(|error| Trouble::Connection(address.clone(), error))?;
        let Response::Metadata(metadata) = answer else {
            return Ok(());
        };
        let brokers = metadata.brokers.into_iter();
        self.addresses = brokers
            .map(|(id, host, port)| (id, BrokerAddress { host, port }))
            .collect();
        let topic = metadata.topics.into_iter().find(|t| t.name == self.topic);
        let topic = topic.unwrap_or_default();
        self.check(topic.error, Trouble::All)?;
        // The end of a topic is that of the partitions that it had.
        let is_known = self.partitions.iter().any(|p| p.end > 0);
        let wanted = self.period.partition;
        for told in topic.partitions {
            if wanted.is_some_and(|wanted| wanted != told.index) {
                continue;
            }
            if told.leader < 0 {
                return Err(Trouble::NoLeader(told.index));
            }
            match self.partitions.iter_mut().find(|p| p.index == told.index) {
                Some(known) => known.leader = told.leader,
                None if is_known => {}
                None => self.partitions.push(Partition {
                    index: told.index,
                    leader: told.leader,
                    first: 0,
                    next: 0,
                    end: 0,
                    most_bytes: PARTITION_BYTES,
                }),
            }
        }
        Ok(())
    }

    /// Whether an error code is one that goes away.
    pub(super) fn check(
        &self,
        code: i16,
        trouble: impl Fn(Verdict) -> Trouble,
    ) -> Result<(), Trouble> {
        match code {
            0 => Ok(()),
            // Of no topic, of no right, and of what cannot be asked.
            3 | 17 | 29 | 30 | 31 | 35 | 42 if self.progress.elapsed() > SOME_PATIENCE => {
                let (topic, verdict) = (self.topic.clone(), Verdict::of(code));
                Err(Trouble::Final(ReadError::Refused { topic, verdict }))
            }
            code => Err(trouble(Verdict::of(code))),
        }
    }

    pub(super) fn connect(
        &self,
        address: &BrokerAddress,
    ) -> Result<(Client<'a>, Option<Instant>), Trouble> {
        let connected = Client::connect(address, self.config).and_then(|mut client| {
            let until = client.authenticate(&self.tokens)?;
            Ok((client, until))
        });
        connected.map_err(|error| Trouble::Connection(address.clone(), error))
    }

    /// Where each partition begins and ends.
    pub(super) fn find_places(&mut self) -> Result<(), Trouble> {
        let Period {
            since_ms, until_ms, ..
        } = self.period;
        let first = self.offsets_at(EARLIEST)?;
        let latest = self.offsets_at(LATEST)?;
        let since = since_ms.map(|ms| self.offsets_at(ms)).transpose()?;
        let until = until_ms.map(|ms| self.offsets_at(ms)).transpose()?;
        for partition in &mut self.partitions {
            let at = |offsets: &BTreeMap<i32, i64>| {
                let offset = offsets.get(&partition.index).copied();
                offset.filter(|offset| *offset >= 0)
            };
            let end = at(&latest).unwrap_or(0);
            partition.first = at(&first).unwrap_or(0);
            partition.end = until
                .as_ref()
                .and_then(at)
                .map_or(end, |until| until.min(end));
            partition.next = match &since {
                Some(since) => at(since).unwrap_or(partition.end),
                None => partition.first,
            };
        }
        self.progress = Instant::now();
        Ok(())
    }

    pub(super) fn offsets_at(&self, time_ms: i64) -> Result<BTreeMap<i32, i64>, Trouble> {
        let mut of_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in &self.partitions {
            of_leader
                .entry(partition.leader)
                .or_default()
                .push(partition.index);
        }
        let mut offsets = BTreeMap::new();
        for (leader, partitions) in of_leader {
            let address = self.addresses.get(&leader);
            let address = address.ok_or(Trouble::NoLeader(partitions[0]))?;
            let failed = |error| Trouble::Connection(address.clone(), error);
            let (mut client, _) = self.connect(address)?;
            let version = offered(&client, LIST_OFFSETS, address)?;
            let id = &self.config.client_id;
            let request = list_offsets(
                id,
                version,
                &self.topic,
                &partitions,
                time_ms,
                self.period.isolation.code(),
            );
            let until = Instant::now() + self.config.request_timeout;
            let answer = client.transport.ask(request, until).map_err(failed)?;
            let told = read_offsets(&answer, version)
                .map_err(|error| failed(ConnectionError::Malformed(error)))?;
            for (partition, code, offset) in told {
                self.check(code, |verdict| Trouble::Code(partition, verdict))?;
                offsets.insert(partition, offset);
            }
        }
        Ok(offsets)
    }
}

/// What does not go away by itself is waited for so long: a broker that has just started knows little.
const SOME_PATIENCE: Duration = Duration::from_secs(3);
