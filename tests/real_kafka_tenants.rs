//! A topic for each of many tenants, on a real Kafka.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::screens::wait_for_numbers;
use crate::support::env::Env;
use crate::support::kafka::RealKafka;

const TENANTS: usize = 500;
const LINES: usize = 40;
const LONG: Duration = Duration::from_secs(180);

#[test]
fn five_hundred_tenants_have_each_line_in_their_topic() {
    let kafka = RealKafka::current();
    let prefix = kafka.fresh_name("tenants");
    let mut env = Env::new();
    let path = env.path("srv/{tenant}/log/**/{app}.log");
    env.set("kafka", "brokers", kafka.brokers())
        .set("log:app", "path", &path)
        .set("log:app", "topic", &format!("{prefix}.{{tenant}}"))
        .set("log:app", "key", "{tenant}-{app}")
        .set("log:app", "header.tenant", "{tenant}");
    env.unset("kafka", "topic");
    let text = |tenant: usize, app: &str, lines: std::ops::Range<usize>| -> String {
        lines.map(|n| format!("{app} of {tenant}: {n}\n")).collect()
    };
    let half = LINES / 2;
    for tenant in 0..TENANTS {
        let folder = format!("srv/n{tenant}/log/2021");
        env.make_folder(&folder);
        env.append(&format!("{folder}/api.log"), text(tenant, "api", 0..half));
        env.append(
            &format!("{folder}/../jobs.log"),
            text(tenant, "jobs", 0..LINES),
        );
    }
    let begun = Instant::now();
    env.start();
    // What is rotated away before the agent has seen it is none of its business, and so many folders take a while.
    wait_for_numbers(&env, LONG, |numbers| {
        let files = numbers["files"].as_array();
        files.is_some_and(|files| files.len() == 2 * TENANTS)
    });
    for tenant in 0..TENANTS {
        let api = format!("srv/n{tenant}/log/2021/api.log");
        if tenant % 3 == 0 {
            env.rename(&api, &format!("{api}.1"));
        }
        env.append(&api, text(tenant, "api", half..LINES));
    }
    for tenant in 0..TENANTS {
        kafka.wait_for_records(&format!("{prefix}.n{tenant}"), 2 * LINES, LONG);
    }
    let took = begun.elapsed();
    env.signal(Signal::TERM);
    let ended = env.wait_exit(LONG);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for tenant in 0..TENANTS {
        let mut of_app: BTreeMap<String, String> = BTreeMap::new();
        for record in kafka.fetch_all(&format!("{prefix}.n{tenant}")) {
            let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
            assert_eq!(record.header("tenant"), Some(format!("n{tenant}")));
            let text = of_app.entry(key).or_default();
            *text += &(record.text() + "\n");
        }
        let app = |app: &str| (format!("n{tenant}-{app}"), text(tenant, app, 0..LINES));
        assert_eq!(of_app, BTreeMap::from([app("api"), app("jobs")]));
    }
    println!(
        "{TENANTS} tenants, {} lines, each once in its topic and in order, after {:.1} s; {} lines of WARN",
        2 * LINES * TENANTS,
        took.as_secs_f64(),
        ended.stderr.matches(" WARN ").count()
    );
}
