//! The `control` thread as clients see it.

mod exposed;
mod narrow;
mod shown;
mod transactions;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream as Stream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use crossbeam_channel::{Sender, bounded, unbounded};

use self::shown::{series, value};
use super::exposition::{Exposition, MOST_TOPICS};
use super::screen::{Order, Screen, View};
use super::server::*;
use super::{AskError, Control, Request, ask, http, socket, wire_json};
use crate::snapshot::{
    BrokerStatus, ConditionStatus, FileState, FileStatus, FollowsNothing, LogStatus, Loss,
    NotFollowed, Snapshot, TopicStatus, Unfollowed,
};

/// An ini whose state folder is `folder`.
fn ini(folder: &Path) -> PathBuf {
    let ini = folder.join("a.ini");
    fs::write(
        &ini,
        format!(
            "[agent]\nstate_dir = {}\n[kafka]\nnonsense\n",
            folder.display()
        ),
    )
    .unwrap();
    ini
}

/// A main thread that answers until all senders are gone.
fn main_thread() -> Sender<Request> {
    let (inbox, requests) = unbounded();
    thread::spawn(move || {
        for request in requests {
            match request {
                Request::Snapshot(sender) => sender.send(sample()).unwrap(),
                Request::Reload(answer) | Request::Why(_, answer) => drop(answer),
            }
        }
    });
    inbox
}

#[test]
fn whoever_asks_an_agent_that_hangs_for_its_status_is_told_so_soon() {
    let folder = tempfile::tempdir().unwrap();
    // The kernel takes connections for it.
    let _hanging = socket::listen_in(folder.path()).unwrap();
    let start = Instant::now();
    let said = ask(&ini(folder.path()), "status").unwrap_err().to_string();
    assert_eq!(
        said,
        "the agent does not answer any more: no answer within 5 s"
    );
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn the_socket_is_for_the_agents_user_alone_replaces_a_stale_one_and_goes_at_the_end() {
    for depth in [0, 3] {
        let folder = tempfile::tempdir().unwrap();
        // With a path that has no room in an address, too.
        let state = folder
            .path()
            .join("d/".to_owned() + &format!("{}/", "x".repeat(60)).repeat(depth));
        fs::create_dir_all(&state).unwrap();
        let path = state.join(socket::NAME);
        if depth == 0 {
            drop(UnixListener::bind(&path).unwrap());
            assert!(path.exists());
        }
        let control = Control::start(&state, None, main_thread(), Arc::default()).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let answer = ask(&ini(&state), "status").unwrap();
        assert!(answer.is_ok, "{answer:?}");
        drop(control);
        assert!(!path.exists());
        let nobody = ask(&ini(&state), "status").unwrap_err().to_string();
        assert!(nobody.contains("no agent answers at"), "{nobody}");
        assert!(nobody.contains("control.sock"), "{nobody}");
    }
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(socket::NAME), "x").unwrap();
    assert!(Control::start(folder.path(), None, main_thread(), Arc::default()).is_none());
    assert!(folder.path().join(socket::NAME).exists());
}

#[test]
fn clients_that_hang_hold_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let ini = ini(folder.path());
    let _control = Control::start(folder.path(), None, main_thread(), Arc::default()).unwrap();
    // Their time runs from their first moment on.
    let begin = Instant::now();
    let silent: Vec<_> = (0..MOST_CONNECTIONS - 1)
        .map(|_| socket::connect_in(folder.path()).unwrap())
        .collect();
    let asked = Instant::now();
    assert!(ask(&ini, "status").unwrap().is_ok);
    assert!(asked.elapsed() < PATIENCE);
    // And are let go after a time.
    let mut first = &silent[0];
    let mut end = Vec::new();
    first.set_read_timeout(Some(10 * PATIENCE)).unwrap();
    assert_eq!(first.read_to_end(&mut end).unwrap(), 0);
    assert!(begin.elapsed() >= PATIENCE);
}

#[test]
fn a_request_that_is_unknown_too_long_or_comes_in_pieces_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let ini = ini(folder.path());
    let _control = Control::start(folder.path(), None, main_thread(), Arc::default()).unwrap();
    let unknown = ask(&ini, "fly").unwrap();
    assert!(!unknown.is_ok && unknown.text.contains("does not know"));
    let long = ask(&ini, &"x".repeat(LONGEST_REQUEST)).unwrap();
    assert!(!long.is_ok && long.text.contains("too long"));
    let mut client = socket::connect_in(folder.path()).unwrap();
    for byte in b"status\n" {
        client.write_all(&[*byte]).unwrap();
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("ok\n"), "{answer}");
}

#[test]
fn an_agent_that_does_not_look_into_its_inbox_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let ini = ini(folder.path());
    let (inbox, _requests) = bounded(1);
    let _control = Control::start(folder.path(), None, inbox, Arc::default()).unwrap();
    let first = thread::spawn({
        let ini = ini.clone();
        move || ask(&ini, "status")
    });
    let begin = Instant::now();
    while !ask(&ini, "status").unwrap().text.contains("busy") {
        assert!(begin.elapsed() < 2 * PATIENCE);
    }
    let first = first.join().unwrap().unwrap();
    assert!(!first.is_ok && first.text.contains("busy"), "{first:?}");
    let nowhere = ask(Path::new("/nowhere.ini"), "status").unwrap_err();
    assert_eq!(
        nowhere.to_string(),
        "there is no ini '/nowhere.ini': name it with --config FILE"
    );
    // What is looked for where none is named.
    let [first, other] = crate::config::DEFAULT_CONFIGS;
    if !Path::new(other).exists() {
        let said = AskError::NoIni(first.into()).to_string();
        let both = format!("there is no ini '{first}' and no '{other}': ");
        assert!(said.starts_with(&both), "{said}");
    }
}

/// The time of the samples: 15:14:00 UTC.
fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_764_256_440)
}

fn ago(seconds: u64) -> SystemTime {
    at() - Duration::from_secs(seconds)
}

fn file(log: &str, path: &str, position: u64, size: u64, age: u64) -> FileStatus {
    FileStatus {
        path: path.into(),
        log: log.into(),
        state: if position < size {
            FileState::Behind
        } else {
            FileState::AtEnd
        },
        position,
        size,
        behind_since: (position < size).then(|| ago(age)),
        ..FileStatus::default()
    }
}

/// While something moves.
fn later(mut snapshot: Snapshot) -> Snapshot {
    snapshot.logs[2].read_bytes += 17_000_000;
    snapshot.logs[2].read_rate = 8_500_000;
    snapshot.logs[2].acked_rate = 8_400_000;
    snapshot.logs[1].read_rate = 317_440;
    snapshot.topics[2].acked_rate = 41_204;
    snapshot.topics[0].acked_rate = 1_630;
    snapshot.rates_over = Duration::from_secs(12);
    snapshot
}

/// An agent in trouble.
fn sample() -> Snapshot {
    const MIB: u64 = 1 << 20;
    let mut snapshot = Snapshot::default();
    let process = &mut snapshot.process;
    process.version = "0.2.0".to_owned();
    (process.pid, process.started) = (4711, Some(ago(3 * 86_400 + 4 * 3600)));
    (process.memory_used, process.memory_limit) = (31 * MIB, 64 * MIB);
    (process.threads, process.files_open) = (9, 21);
    process.resident = 42 * MIB;
    (process.descriptors, process.most_descriptors) = (35, 1024);
    let config = &mut snapshot.config;
    config.path = "/etc/logagent/logagent.ini".into();
    (config.modified, config.applied) = (Some(ago(72 * 60)), 1);
    config.last_applied = Some(ago(725));
    config.certificates.push((
        "/etc/a \"b\".pem".into(),
        at() + Duration::from_secs(86_400),
    ));
    let log = |name: &str, dropped: u64| LogStatus {
        name: name.to_owned(),
        dropped: vec![("drop.debug".to_owned(), dropped)],
        ..LogStatus::default()
    };
    snapshot.logs = vec![log("audit", 0), log("web", 88110), log("app", 1203)];
    snapshot.logs[2].troubled_topics = vec!["audit".to_owned()];
    snapshot.logs[2].parse_failures = vec![("json", 3)];
    snapshot.logs[2].masked = vec![("token".to_owned(), 9)];
    snapshot.files = vec![
        file(
            "web",
            "/var/log/nginx/access.log",
            1138 * MIB,
            1138 * MIB + 12_288,
            0,
        ),
        file("app", "/srv/shop/log/app.log", 812 * MIB, 2041 * MIB, 250),
    ];
    for n in 0..17 {
        let log = ["app", "app", "app", "app", "web", "audit"][n % 6];
        snapshot
            .files
            .push(file(log, &format!("/srv/{n}.log"), 5, 5, 0));
    }
    let topic = |name: &str, in_flight_bytes| TopicStatus {
        name: name.to_owned(),
        in_flight_bytes,
        ..TopicStatus::default()
    };
    snapshot.topics = vec![
        topic("web_log", 104_857),
        topic("audit", 0),
        topic("app_log", 3_250_586),
    ];
    snapshot.topics[1].retries = 12;
    snapshot.topics[1].parked = Some(("not authorized".to_owned(), ago(125)));
    snapshot.topics[1].next_try = Some(at() + Duration::from_secs(7));
    snapshot.topics[0].dead_letters = vec![("INVALID_RECORD".to_owned(), 2)];
    let broker = |name: &str, requests| BrokerStatus {
        address: format!("{name}:9093"),
        up_since: Some(ago(3 * 86_400 + 4 * 3600)),
        in_flight_requests: requests,
        ..BrokerStatus::default()
    };
    snapshot.brokers = vec![
        broker("kafka1", 2),
        broker("kafka2", 1),
        broker("kafka3", 0),
    ];
    let about = [
        "Kafka 4.1, TLS 1.3, SCRAM-SHA-512",
        "Kafka of unknown age, no TLS, no login",
    ];
    for (broker, about) in snapshot.brokers.iter_mut().zip(about) {
        broker.about = about.to_owned();
    }
    let last = &mut snapshot.brokers[2];
    (last.up_since, last.last_error) = (None, Some("timed out".to_owned()));
    last.next_try = Some(at() + Duration::from_secs(4));
    snapshot.brokers[0].latency.counts[2] = 90;
    snapshot.brokers[0].latency.counts[3] = 10;
    snapshot.produce_latency = snapshot.brokers[0].latency.clone();
    snapshot.produce_latency.sum = Duration::from_micros(512_345);
    snapshot.produce_errors = vec![("NOT_LEADER_OR_FOLLOWER".to_owned(), 4)];
    snapshot.conditions.push(ConditionStatus {
        subject: "topic audit".to_owned(),
        reason: "TOPIC_AUTHORIZATION_FAILED (29)".to_owned(),
        since: ago(125),
        next_try: None,
        waiting: 0,
        level: log::Level::Error,
    });
    snapshot.positions.written = Some(at() - Duration::from_millis(400));
    snapshot.positions.count = 19;
    snapshot
}

/// A server of metrics, and where it is.
fn metrics(folder: &Path) -> (Control, SocketAddr) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let control = Control::start(folder, Some(address), main_thread(), Arc::default());
    (control.unwrap(), address)
}

/// What is answered to these bytes.
fn fetch(address: SocketAddr, request: &str) -> String {
    let begin = Instant::now();
    let mut stream = loop {
        match Stream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => assert!(begin.elapsed() < 5 * PATIENCE, "{error}"),
        }
    };
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_scrape_a_health_check_and_a_browser_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (_control, address) = metrics(folder.path());
    let get = |path: &str| fetch(address, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let answer = get("/metrics");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{head}"
    );
    assert!(
        head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())),
        "{head}"
    );
    assert_eq!(value(&series(body), "logagent_topics_parked"), 1.0);
    assert!(get("/healthz").ends_with("\r\n\r\nok\n"));
    let page = get("/");
    assert!(
        page.contains("<td data-n=\"TOPIC\">audit") && page.contains("BEHIND"),
        "{page}"
    );
    assert!(get("/fly").starts_with("HTTP/1.1 404 "));
    assert!(get(&"x".repeat(9000)).starts_with("HTTP/1.1 431 "));
    assert!(fetch(address, "POST / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(fetch(address, "\0\0\r\n\r\n").starts_with("HTTP/1.1 400 "));
    let head = fetch(address, "HEAD /metrics HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"));
}

#[test]
fn browsers_that_hang_hold_up_no_command() {
    let folder = tempfile::tempdir().unwrap();
    let ini = ini(folder.path());
    let (_control, address) = metrics(folder.path());
    assert!(fetch(address, "GET /healthz HTTP/1.1\r\n\r\n").ends_with("ok\n"));
    let _silent: Vec<_> = (0..2 * MOST_CONNECTIONS)
        .map(|_| Stream::connect(address).unwrap())
        .collect();
    let begin = Instant::now();
    assert!(ask(&ini, "status").unwrap().is_ok);
    assert!(begin.elapsed() < PATIENCE);
    // Those at the door are let in when the first have had their time.
    assert!(fetch(address, "GET /healthz HTTP/1.1\r\n\r\n").ends_with("ok\n"));
}
