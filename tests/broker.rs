//! The tests' in-process broker as a program: what scripts/quickstart.sh falls back on where no Kafka can be had.
//!
//!     cargo run --example broker TOPIC
//!
//! It makes the topic, prints its address, and then the value of each record that it has stored, as Kafka's console
//! consumer would. What no correct client sends is told on standard error. It keeps everything in memory
//! and nothing else, serves no consumer, and ends by a signal.

#![allow(clippy::unwrap_used, reason = "the broker belongs to the tests")]

mod support {
    //! The part of tests/support that the broker is made of.
    #![allow(dead_code, unused_imports, reason = "the tests use the rest")]

    pub(crate) mod broker;
    pub(crate) mod record_batch;
}

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use support::broker::Cluster;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(topic), None) = (arguments.next(), arguments.next()) else {
        eprintln!("broker TOPIC");
        return ExitCode::from(2);
    };
    let cluster = Cluster::single();
    cluster.create_topic(&topic, 1);
    match serve(&cluster, &topic) {
        Ok(never) => match never {},
        // Nobody reads any more.
        Err(_) => ExitCode::SUCCESS,
    }
}

fn serve(cluster: &Cluster, topic: &str) -> io::Result<std::convert::Infallible> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", cluster.brokers())?;
    let mut printed = 0;
    loop {
        if cluster.count(topic) > printed {
            let records = cluster.records(topic);
            for record in &records[printed..] {
                out.write_all(record.text().as_bytes())?;
                out.write_all(b"\n")?;
            }
            printed = records.len();
        }
        out.flush()?;
        for violation in cluster.take_violations() {
            eprintln!("broker: {violation}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}
