//! The resolver against a name server on loopback.

#[path = "../../tests/support/dns.rs"]
mod dns;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use self::dns::{Asked, NameServer, Reply};
use super::Resolver;

const SOON: Duration = Duration::from_secs(10);

/// Files and servers of a test. All servers have the same port, each its own address 127.0.53.x.
struct World {
    folder: TempDir,
    port: u16,
    servers: Vec<NameServer>,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        World {
            folder,
            port: 0,
            servers: Vec::new(),
        }
    }

    /// One more server, and the first one chooses the port.
    fn server(mut self, reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> World {
        let last = u8::try_from(self.servers.len() + 1).expect("few servers");
        let address = SocketAddr::from(([127, 0, 53, last], self.port));
        let server = NameServer::start(address, reply).expect("a free port on loopback");
        self.port = server.address().port();
        self.servers.push(server);
        self
    }

    /// Writes a hosts file.
    fn hosts(self, text: &str) -> World {
        fs::write(self.folder.path().join("hosts"), text).expect("writable");
        self
    }

    /// Writes a resolv.conf with all servers and these lines.
    fn conf(self, lines: &str) -> World {
        let servers = self.servers.iter();
        let mut text: String = servers
            .map(|server| format!("nameserver {}\n", server.address().ip()))
            .collect();
        text.push_str(lines);
        fs::write(self.folder.path().join("resolv.conf"), text).expect("writable");
        self
    }

    fn within(&self, host: &str, time: Duration) -> Result<Vec<String>, String> {
        let resolver = Resolver {
            hosts: self.folder.path().join("hosts"),
            resolv_conf: self.folder.path().join("resolv.conf"),
            port: self.port,
            host_name: "host".to_owned(),
            environment: |_| None,
        };
        match resolver.addresses(host, 9092, Instant::now() + time) {
            Ok(found) => Ok(found.iter().map(SocketAddr::to_string).collect()),
            Err(error) => Err(error
                .to_string()
                .replace(&self.folder.path().display().to_string(), "")),
        }
    }

    fn find(&self, host: &str) -> Result<Vec<String>, String> {
        self.within(host, SOON)
    }
}

fn addresses(texts: &[&str]) -> Reply {
    let parsed = texts.iter().map(|text| text.parse().expect("an address"));
    Reply::Addresses(parsed.collect())
}

fn found(texts: &[&str]) -> Result<Vec<String>, String> {
    Ok(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn addresses_of_both_families_are_found_those_of_ipv4_first() {
    let world = World::new()
        .server(|_| addresses(&["2001:db8::1", "10.0.0.1", "10.0.0.2"]))
        .conf("");
    let all = found(&["10.0.0.1:9092", "10.0.0.2:9092", "[2001:db8::1]:9092"]);
    assert_eq!(world.find("kafka1.example"), all);
    let asked = world.servers[0].asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked.iter().all(|asked| !asked.over_tcp));
}

#[test]
fn an_address_is_itself_and_nobody_is_asked() {
    let world = World::new().server(|_| Reply::Silence).conf("");
    assert_eq!(world.find("10.1.2.3"), found(&["10.1.2.3:9092"]));
    assert_eq!(world.find("2001:db8::7"), found(&["[2001:db8::7]:9092"]));
    assert_eq!(world.servers[0].asked(), []);
}

#[test]
fn the_hosts_file_comes_before_the_name_servers() {
    let world = World::new()
        .server(|_| addresses(&["10.0.0.1"]))
        .conf("")
        .hosts("10.9.9.9 kafka1\n::1 kafka1\n");
    assert_eq!(
        world.find("kafka1"),
        found(&["10.9.9.9:9092", "[::1]:9092"])
    );
    assert_eq!(world.servers[0].asked(), []);
    assert_eq!(world.find("kafka2"), found(&["10.0.0.1:9092"]));
}

#[test]
fn localhost_is_this_host_without_any_file() {
    let world = World::new();
    let itself = found(&["127.0.0.1:9092", "[::1]:9092"]);
    assert_eq!(world.find("localhost"), itself);
    assert_eq!(world.find("kafka.localhost."), itself);
    let world = world.hosts("127.0.0.1 localhost\n");
    assert_eq!(world.find("localhost"), found(&["127.0.0.1:9092"]));
}

#[test]
fn aliases_are_followed() {
    let target: IpAddr = [10, 0, 0, 5].into();
    let world = World::new()
        .server(move |_| Reply::Alias("broker-5.internal".to_owned(), vec![target]))
        .conf("");
    assert_eq!(world.find("kafka.example"), found(&["10.0.0.5:9092"]));
}

#[test]
fn an_answer_that_is_cut_off_is_asked_for_again_over_tcp() {
    let many: Vec<IpAddr> = (1..=60)
        .map(|last| IpAddr::from([10, 0, 0, last]))
        .collect();
    let world = World::new()
        .server(move |asked| match asked.over_tcp {
            true => Reply::Addresses(many.clone()),
            false => Reply::CutOff,
        })
        .conf("");
    assert_eq!(world.find("kafka.example").expect("found").len(), 60);
    // `options use-vc` does without UDP.
    let world = world.conf("options use-vc\n");
    let before = world.servers[0].asked().len();
    assert_eq!(world.find("kafka.example").expect("found").len(), 60);
    let asked = world.servers[0].asked();
    assert!(
        asked[before..].iter().all(|asked| asked.over_tcp),
        "{asked:?}"
    );
}

#[test]
fn a_tcp_answer_that_never_comes_ends_at_the_deadline() {
    let world = World::new()
        .server(|asked| match asked.over_tcp {
            true => Reply::After(Duration::from_secs(2), Box::new(Reply::Silence)),
            false => Reply::CutOff,
        })
        .conf("options no-aaaa attempts:1\n");
    let began = Instant::now();
    let error = world
        .within("kafka1", Duration::from_millis(300))
        .expect_err("nothing");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert!(
        error.contains("name server 127.0.53.1 cannot be asked: "),
        "{error}"
    );
}

#[test]
fn the_search_list_is_gone_through_in_order_until_a_name_is_known() {
    let world = World::new()
        .server(|asked| match asked.name.as_str() {
            "kafka1.two.example" => addresses(&["10.0.0.2"]),
            "kafka1.data" => addresses(&["10.0.0.3"]),
            "empty.one.example" => addresses(&[]),
            _ => Reply::Code(3),
        })
        .conf("search one.example two.example three.example\n");
    assert_eq!(world.find("kafka1"), found(&["10.0.0.2:9092"]));
    assert_eq!(
        world.servers[0].names(),
        ["kafka1.one.example", "kafka1.two.example"]
    );
    // With a dot in it the name itself is first, and with `ndots:2` it is last.
    assert_eq!(world.find("kafka1.data"), found(&["10.0.0.3:9092"]));
    assert_eq!(world.servers[0].names()[2..], ["kafka1.data"]);
    let world = world.conf("search one.example\noptions ndots:2\n");
    assert_eq!(world.find("kafka1.data"), found(&["10.0.0.3:9092"]));
    assert_eq!(
        world.servers[0].names()[3..],
        ["kafka1.data.one.example", "kafka1.data"]
    );
    // A dot at its end: this name and no other.
    let error = "'kafka1.' does not resolve: no such name (NXDOMAIN)";
    assert_eq!(world.find("kafka1."), Err(error.to_owned()));
    let error = "'empty' does not resolve: the name has no address (neither A nor AAAA), \
                 tried empty.one.example, empty";
    assert_eq!(world.find("empty"), Err(error.to_owned()));
}

#[test]
fn a_name_that_does_not_exist_is_an_answer_and_no_other_server_is_asked() {
    let world = World::new()
        .server(|_| Reply::Code(3))
        .server(|_| addresses(&["10.0.0.1"]))
        .conf("");
    let error = "'kafka1' does not resolve: no such name (NXDOMAIN)";
    assert_eq!(world.find("kafka1"), Err(error.to_owned()));
    assert_eq!(world.servers[1].asked(), []);
}

#[test]
fn a_server_that_fails_or_refuses_gives_its_turn_to_the_next_one_at_once() {
    for code in [1, 2, 4, 5] {
        let world = World::new()
            .server(move |_| Reply::Code(code))
            .server(|_| addresses(&["10.0.0.1"]))
            .conf("");
        let began = Instant::now();
        assert_eq!(world.find("kafka1"), found(&["10.0.0.1:9092"]));
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
    let world = World::new().server(|_| Reply::Code(2)).conf("");
    let error = "'kafka1' does not resolve: name server 127.0.53.1 answers SERVFAIL";
    assert_eq!(world.find("kafka1"), Err(error.to_owned()));
}

#[test]
fn a_server_that_is_silent_gives_its_turn_to_the_next_one_in_time() {
    let world = World::new()
        .server(|_| Reply::Silence)
        .server(|_| addresses(&["10.0.0.1"]))
        .conf("");
    let began = Instant::now();
    assert_eq!(
        world.within("kafka1", Duration::from_secs(2)),
        found(&["10.0.0.1:9092"])
    );
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_server_that_is_slow_is_heard_while_the_next_one_is_asked() {
    let slow = || {
        Reply::After(
            Duration::from_millis(600),
            Box::new(addresses(&["10.0.0.1"])),
        )
    };
    let world = World::new()
        .server(move |_| slow())
        .server(|_| Reply::Silence)
        .conf("options attempts:1\n");
    let answer = world.within("kafka1", Duration::from_secs(1));
    assert_eq!(answer, found(&["10.0.0.1:9092"]));
    assert!(!world.servers[1].asked().is_empty());
}

#[test]
fn when_nobody_answers_the_error_says_who_was_asked_how_often() {
    let world = World::new().server(|_| Reply::Silence).conf("search a.b\n");
    let began = Instant::now();
    let error = "'kafka1' does not resolve: name server 127.0.53.1 does not answer (tried 2 times)";
    assert_eq!(
        world.within("kafka1", Duration::from_millis(400)),
        Err(error.to_owned())
    );
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(world.servers[0].names(), ["kafka1.a.b"]);
}

#[test]
fn a_host_without_a_name_server_says_so() {
    let mut world = World::new().server(|_| Reply::Silence);
    // The port of a server that has gone: what is asked of it is refused.
    world.servers.clear();
    let error = world.find("kafka1").expect_err("nobody can know");
    let words = "'kafka1' does not resolve: name server 127.0.0.1 cannot be asked: ";
    assert!(error.starts_with(words), "{error}");
    assert!(
        error.ends_with("; no name server in /resolv.conf"),
        "{error}"
    );
}

#[test]
fn forged_answers_and_noise_are_passed_over() {
    let world = World::new()
        .server(|asked| {
            let right = asked.answer(&[[10, 0, 0, 1].into()]);
            let forged = asked.answer(&[[6, 6, 6, 6].into()]);
            let mut wrong_id = forged.clone();
            wrong_id[0] ^= 1;
            let mut wrong_name = forged.clone();
            wrong_name[13] ^= 1;
            let mut question = forged.clone();
            question[2] &= 0x7f;
            let noise = b"\0\0noise".to_vec();
            Reply::Raw(vec![
                wrong_id,
                wrong_name,
                question,
                noise,
                Vec::new(),
                right,
            ])
        })
        .conf("");
    assert_eq!(world.find("kafka1"), found(&["10.0.0.1:9092"]));
}

#[test]
fn an_answer_that_cannot_be_read_counts_as_a_failure_of_that_server() {
    let broken = |asked: &Asked| {
        let mut message = asked.answer(&[[10, 0, 0, 1].into(), [0; 16].into()]);
        message.pop();
        Reply::Raw(vec![message])
    };
    let world = World::new()
        .server(broken)
        .server(|_| addresses(&["10.0.0.2"]))
        .conf("");
    assert_eq!(world.find("kafka1"), found(&["10.0.0.2:9092"]));
    let world = World::new().server(broken).conf("options attempts:1\n");
    let error =
        "'kafka1' does not resolve: name server 127.0.53.1 sends an answer that cannot be read";
    assert_eq!(world.find("kafka1"), Err(error.to_owned()));
}

#[test]
fn one_family_is_enough_and_the_other_one_is_not_waited_for_long() {
    for silent_about_aaaa in [true, false] {
        let world = World::new()
            .server(move |asked| match asked.is_aaaa == silent_about_aaaa {
                true => Reply::Silence,
                false => addresses(&["10.0.0.1", "2001:db8::1"]),
            })
            .conf("");
        let began = Instant::now();
        let one = world.find("kafka1").expect("found");
        assert_eq!(one.len(), 1, "{one:?}");
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{:?}",
            began.elapsed()
        );
    }
    // Some servers say so of a name that has addresses of the other family only.
    let world = World::new()
        .server(|asked| match asked.is_aaaa {
            true => Reply::Code(3),
            false => addresses(&["10.0.0.1"]),
        })
        .conf("");
    assert_eq!(world.find("kafka1"), found(&["10.0.0.1:9092"]));
}

#[test]
fn numbers_and_ports_of_questions_cannot_be_guessed() {
    let world = World::new().server(|_| Reply::Code(3)).conf("");
    for _ in 0..20 {
        world.find("kafka1").expect_err("no such name");
    }
    let asked = world.servers[0].asked();
    assert_eq!(asked.len(), 40);
    let distinct = |value: fn(&Asked) -> u16| {
        let mut values: Vec<u16> = asked.iter().map(value).collect();
        values.sort_unstable();
        values.dedup();
        values.len()
    };
    // By chance two of 40 may be the same.
    assert!(distinct(|asked| asked.id) > 35);
    assert!(distinct(|asked| asked.port) > 30);
}

#[test]
fn rotate_spreads_the_questions_over_the_servers() {
    let world = World::new()
        .server(|_| Reply::Code(3))
        .server(|_| Reply::Code(3))
        .conf("options rotate no-aaaa\n");
    for _ in 0..40 {
        world.find("kafka1").expect_err("no such name");
    }
    let counts: Vec<usize> = world
        .servers
        .iter()
        .map(|server| server.asked().len())
        .collect();
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), 40);
}

#[test]
fn what_is_no_name_is_asked_of_nobody() {
    let world = World::new().server(|_| addresses(&["10.0.0.1"])).conf("");
    let long = "a".repeat(64);
    for host in ["kafka 1", "a..b", "", &*long, "kafka\u{1b}1"] {
        let error = world.find(host).expect_err("no name");
        assert!(
            error.ends_with("does not resolve: no host can have such a name"),
            "{error}"
        );
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
    assert_eq!(world.servers[0].asked(), []);
}
