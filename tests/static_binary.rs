//! The binary as users get it, in root file systems that hold little else: on no host may it need, or be harmed
//! by, what that host's C library brings.
//!
//! `scripts/test.sh` builds the binary (`scripts/build.sh`) and names it in `LOGAGENT_TEST_STATIC`, and a root
//! with another glibc and its NSS modules (`scripts/roots.sh`) in `LOGAGENT_TEST_ROOT`. Changing the root takes
//! root's rights; where something is missing these tests are skipped, and the summary says so.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::support::agent::Agent;
use crate::support::broker::Cluster;
use crate::support::dns::{NameServer, Reply};
use crate::support::env::{SOON, TOPIC, assert_same_lines, lines};

/// The line `hosts:` of nsswitch.conf, by distribution.
const NSSWITCH: [(&str, &str); 7] = [
    ("Debian, Ubuntu server", "files dns"),
    ("RHEL", "files dns myhostname"),
    (
        "Ubuntu desktop",
        "files mdns4_minimal [NOTFOUND=return] dns mymachines",
    ),
    (
        "Fedora",
        "files myhostname mdns4_minimal [NOTFOUND=return] resolve [!UNAVAIL=return] dns",
    ),
    (
        "Arch",
        "mymachines resolve [!UNAVAIL=return] files myhostname dns",
    ),
    ("systemd-resolved", "resolve [!UNAVAIL=return] dns"),
    ("nothing at all", ""),
];

const BROKER: &str = "kafka1.example.test";

/// What a run in a root came to.
struct Run {
    host: &'static str,
    root: &'static str,
    output: Output,
    delivered: Vec<String>,
}

impl Run {
    fn is_right(&self) -> bool {
        self.output.status.code() == Some(0) && self.delivered == lines(0..100)
    }

    fn row(&self) -> String {
        let status = self.output.status;
        let end = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        format!(
            "{:<22} {:<26} {end}, {} lines delivered",
            self.host,
            self.root,
            self.delivered.len()
        )
    }
}

fn needed(variable: &str) -> PathBuf {
    let value = std::env::var_os(variable).unwrap_or_default();
    assert!(!value.is_empty(), "set {variable}, or run scripts/test.sh");
    value.into()
}

/// Copies a folder with its links as they are.
fn copy_folder(from: &Path, to: &Path) {
    let mut from = from.as_os_str().to_owned();
    from.push("/.");
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.expect("cp runs").success(), "the root is copied");
}

/// The folder becomes a host: a binary, a log file and an empty /etc/hosts.
fn furnish(root: &Path) {
    for folder in ["etc", "tmp", "var/log", "var/lib"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy(needed("LOGAGENT_TEST_STATIC"), root.join("logagent")).unwrap();
    let text: String = lines(0..100)
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(root.join("var/log/app.log"), text).unwrap();
    fs::write(root.join("etc/hosts"), "").unwrap();
}

fn command_in(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("chroot");
    command.arg(root).arg("/logagent").args(arguments);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// Runs it in that root until it has ended, for a minute at most.
fn run_in(root: &Path, arguments: &[&str]) -> Output {
    let mut command = command_in(root, arguments);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("chroot starts");
    let end = Instant::now() + Duration::from_secs(60);
    while child.try_wait().expect("our own child").is_none() {
        if Instant::now() >= end {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("our own child")
}

/// A cluster that is known by its name alone, and the settings of a host that finds it.
fn settle(root: &Path, nsswitch: &str, protocol: &str) -> (Cluster, NameServer) {
    let cluster = Cluster::single();
    cluster.create_topic(TOPIC, 1);
    // The name is what it is reached by first, and what the metadata say.
    cluster.advertise_as(BROKER);
    let broker = cluster.address(1);
    let ip = broker.ip();
    // A name server's port cannot be chosen, so its address is one of its own.
    let server_address = SocketAddr::from((own_address(), 53));
    let server = NameServer::start(server_address, move |asked| match asked.name.as_str() {
        BROKER => Reply::Addresses(vec![ip]),
        _ => Reply::Code(3),
    });
    let server = server.expect("port 53 of a loopback address can be had");
    let _ = fs::remove_dir_all(root.join("var/lib/logagent"));
    fs::write(
        root.join("etc/nsswitch.conf"),
        format!("hosts: {nsswitch}\n"),
    )
    .unwrap();
    let conf = format!(
        "search example.test\nnameserver {}\n",
        server.address().ip()
    );
    fs::write(root.join("etc/resolv.conf"), conf).unwrap();
    // localhost is not in /etc/hosts, and nobody listens there: it is found, and passed over.
    let ini = format!(
        "[kafka]\nbrokers = localhost:{port},kafka1:{port}\ntopic = {TOPIC}\nprotocol = {protocol}\n\
         compression = none\nrequest_timeout = 5s\n[log:app]\npath = /var/log/app.log\n",
        port = broker.port()
    );
    fs::write(root.join("etc/logagent.ini"), ini).unwrap();
    (cluster, server)
}

fn deliver(
    root: &Path,
    root_name: &'static str,
    (host, nsswitch): (&'static str, &'static str),
) -> Run {
    let (cluster, _server) = settle(root, nsswitch, "native");
    let output = run_in(root, &["--config", "/etc/logagent.ini", "--once"]);
    Run {
        host,
        root: root_name,
        output,
        delivered: cluster.values(TOPIC),
    }
}

/// 127.53.x.y and up, by the process, so that runs beside this one have others, and by a count.
fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(53);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let second = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, second, high, low.clamp(1, 254)).into()
}

fn assert_all_right(runs: &[Run]) {
    let table: Vec<String> = runs.iter().map(Run::row).collect();
    println!("{}", table.join("\n"));
    for run in runs {
        let log = String::from_utf8_lossy(&run.output.stderr);
        assert!(run.is_right(), "{}\n{log}", run.row());
        assert_same_lines(&lines(0..100), &run.delivered);
    }
}

#[test]
fn static_binary_runs_in_an_empty_root_and_finds_its_broker() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::copy(needed("LOGAGENT_TEST_STATIC"), root.join("logagent")).unwrap();
    let version = run_in(root, &["--version"]);
    assert_eq!(version.status.code(), Some(0));
    // The commit follows.
    let version = String::from_utf8_lossy(&version.stdout);
    let expected = concat!("logagent ", env!("CARGO_PKG_VERSION"));
    assert!(version.starts_with(expected), "{version}");
    furnish(root);
    let runs = NSSWITCH.map(|line| deliver(root, "nothing else in it", line));
    assert_all_right(&runs);
}

#[test]
fn static_binary_finds_its_broker_on_hosts_with_another_glibc_whatever_nsswitch_conf_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    copy_folder(&needed("LOGAGENT_TEST_ROOT"), root);
    furnish(root);
    let runs = NSSWITCH.map(|line| deliver(root, "another glibc, modules", line));
    assert_all_right(&runs);
}

/// The in-process broker does not speak what the legacy output writes, so it is enough that its name was found,
/// which is looked up for the second connection.
#[test]
fn static_binary_survives_the_names_that_the_legacy_output_has_the_c_library_look_up() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    copy_folder(&needed("LOGAGENT_TEST_ROOT"), root);
    furnish(root);
    for (host, nsswitch) in NSSWITCH {
        let (cluster, _server) = settle(root, nsswitch, "legacy");
        // It speaks a version that Kafka 4 has removed.
        cluster.forgive();
        let mut agent = Agent::spawn(command_in(root, &["--config", "/etc/logagent.ini"]));
        let what = format!("{host}: the connection to the broker's name");
        cluster.wait_until(SOON, &what, |cluster| cluster.accepted(1) >= 2);
        assert!(agent.is_running(), "{host}: {}", agent.log());
    }
}

/// The released binary unwinds no stack. That no memory is had is the one panic that can be caused from outside.
#[test]
fn static_binary_ends_in_order_and_with_1_when_a_thread_panics() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().display();
    let log = folder.path().join("a.log");
    fs::write(&log, "a line of thirty-two bytes, here\n".repeat(1_300_000)).expect("is written");
    let ini = folder.path().join("logagent.ini");
    let text = format!(
        "[agent]\nstate_dir = {at}/state\nshutdown_timeout = 1s\n[kafka]\nbrokers = 127.0.0.1:9\n[log:a]\npath = {at}/a.log\n\
         topic = a\n"
    );
    fs::write(&ini, text).expect("is written");
    for once in ["", "--once"] {
        let begun = Instant::now();
        let output = Command::new("sh")
            .args(["-c", "ulimit -v 40000; exec \"$0\" --config \"$1\" $2"])
            .arg(needed("LOGAGENT_TEST_STATIC"))
            .args([&ini, Path::new(once)])
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("set a smaller [agent] memory_limit"),
            "{said}"
        );
        assert!(said.contains("stopped; "), "{said}");
        assert!(begun.elapsed() < SOON, "{said}");
    }
}
