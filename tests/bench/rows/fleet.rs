//! What a fleet of agents costs the brokers: many agents with few lines each, against a real Kafka of three brokers.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::peers::Program;
use super::{Bench, Outcome};

/// What some seconds of a fleet came to.
struct Fleet {
    connections: usize,
    requests: usize,
    broker_cpu_s: f64,
    agent_cpu_s: f64,
    wall_s: f64,
}

/// The brokers, from outside.
struct Brokers {
    addresses: String,
    pids: Vec<u32>,
}

impl Brokers {
    /// `KAFKA_FLEET` names the addresses, `KAFKA_FLEET_PIDS` the processes.
    fn find() -> Outcome<Brokers> {
        let named = |name: &str| {
            std::env::var(name).map_err(|_| format!("no Kafka of three brokers is named in {name}"))
        };
        let pids = named("KAFKA_FLEET_PIDS")?;
        let pids: Result<_, _> = pids.split_whitespace().map(str::parse).collect();
        Ok(Brokers {
            addresses: named("KAFKA_FLEET")?,
            pids: pids?,
        })
    }

    fn cpu_s(&self) -> Outcome<f64> {
        let mut all = Duration::ZERO;
        for pid in &self.pids {
            all += super::peers::cpu_of(*pid)?;
        }
        Ok(all.as_secs_f64())
    }

    /// Established connections to the brokers, other brokers' included.
    fn connections(&self) -> Outcome<usize> {
        let ports: HashSet<&str> = self
            .addresses
            .split(',')
            .filter_map(|address| Some(address.rsplit_once(':')?.1))
            .collect();
        let mut count = 0;
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            for line in fs::read_to_string(table)?.lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let port = fields.get(2).and_then(|remote| remote.rsplit(':').next());
                let port = port.and_then(|port| u16::from_str_radix(port, 16).ok());
                let is_open = fields.get(3) == Some(&"01");
                count += usize::from(
                    is_open && port.is_some_and(|port| ports.contains(&*port.to_string())),
                );
            }
        }
        Ok(count)
    }
}

impl Bench {
    /// No target: the figures are for whoever plans a fleet.
    pub(super) fn fleet(&mut self) -> Outcome<()> {
        let brokers = Brokers::find()?;
        let agents = agents_that_fit()?;
        if agents < AGENTS {
            self.note(
                "fleet",
                format!("this machine holds {agents} agents and not {AGENTS}"),
            );
        }
        self.progress("fleet: idle brokers");
        let before = brokers.cpu_s()?;
        thread::sleep(IDLE);
        let idle_cpu_s = (brokers.cpu_s()? - before) / IDLE.as_secs_f64();
        for (n, (name, settings)) in SHAPES.into_iter().enumerate() {
            self.progress(&format!("fleet, {name}"));
            let topic = format!("fleet-{n}");
            let fleet = self.run_fleet(&brokers, &topic, settings, agents)?;
            let of_each = |count: f64| count / agents as f64;
            let connections = of_each(fleet.connections as f64);
            let requests = of_each(fleet.requests as f64 / fleet.wall_s);
            let cpu_s = (fleet.broker_cpu_s - idle_cpu_s * fleet.wall_s).max(0.0);
            let cpu = of_each(cpu_s / fleet.wall_s);
            self.note(
                &format!(
                    "{agents} agents, {FILES} files each with a line every {} s, {name}",
                    LINE_EVERY.as_secs()
                ),
                format!(
                    "{} connections, {:.0} Produce requests/s, {cpu_s:.1} CPU s of the brokers in {:.0} s \
                     ({:.1} with what they take idle), {:.2} ms CPU of each agent in a second; for 10,000 agents: {:.0} \
                     connections, {:.0} requests/s, {:.1} cores of the brokers",
                    fleet.connections,
                    fleet.requests as f64 / fleet.wall_s,
                    fleet.wall_s,
                    fleet.broker_cpu_s,
                    of_each(fleet.agent_cpu_s) / fleet.wall_s * 1e3,
                    connections * 1e4,
                    requests * 1e4,
                    cpu * 1e4,
                ),
            );
        }
        Ok(())
    }

    fn run_fleet(
        &self,
        brokers: &Brokers,
        topic: &str,
        settings: &str,
        agents: usize,
    ) -> Outcome<Fleet> {
        let folder = self.work.join("fleet");
        let _ = fs::remove_dir_all(&folder);
        let connections = brokers.connections()?;
        let mut running = Vec::new();
        let mut files = Vec::new();
        for n in 0..agents {
            let home = folder.join(n.to_string());
            fs::create_dir_all(home.join("state"))?;
            for file in 0..FILES {
                let path = home.join(format!("{file}.log"));
                files.push(OpenOptions::new().append(true).create(true).open(path)?);
            }
            let config = home.join("logagent.ini");
            let ini = format!(
                "[agent]\nstate_dir = {0}/state\n[kafka]\nbrokers = {1}\ntopic = {topic}\n\
                 {settings}[log:fleet]\npath = {0}/*.log\n",
                home.display(),
                brokers.addresses
            );
            fs::write(&config, ini)?;
            for path in [&home, &home.join("state")] {
                std::os::unix::fs::chown(path, Some(user_of(n)), None)?;
            }
            running.push((self.start_on_host(n, &config)?, agent_log(&home)));
        }
        // From one of the files of each agent to the next, so that the lines come evenly.
        files = transposed(files, agents);
        let mut written = 0;
        write_lines(&mut files, &mut written, WARM_UP)?;
        let said = |log: &Path| -> Outcome<usize> {
            let log = fs::read_to_string(log)?;
            Ok(log
                .lines()
                .filter(|line| line.contains(" to broker "))
                .count())
        };
        let requests = || -> Outcome<usize> {
            let counts = running.iter().map(|(_, log)| said(log));
            counts.sum()
        };
        let agents_cpu = || -> Outcome<f64> {
            let mut all = Duration::ZERO;
            for (agent, _) in &running {
                all += agent.cpu()?;
            }
            Ok(all.as_secs_f64())
        };
        let (sent, cpu_s, agent_cpu_s) = (requests()?, brokers.cpu_s()?, agents_cpu()?);
        let started = Instant::now();
        write_lines(&mut files, &mut written, MEASURED)?;
        let wall_s = started.elapsed().as_secs_f64();
        let fleet = Fleet {
            broker_cpu_s: brokers.cpu_s()? - cpu_s,
            agent_cpu_s: agents_cpu()? - agent_cpu_s,
            connections: brokers.connections()?.saturating_sub(connections),
            requests: requests()? - sent,
            wall_s,
        };
        for (agent, log) in running {
            let stopped = agent.stop();
            stopped.map_err(|error| format!("{}: {error}", log.display()))?;
        }
        fs::remove_dir_all(&folder)?;
        Ok(fleet)
    }

    /// An agent that takes itself for one of host `n`, and says when it sends a request.
    fn start_on_host(&self, n: usize, config: &Path) -> Outcome<Program> {
        let mut command = Command::new("unshare");
        command
            .args(["--uts", "sh", "-c", "hostname \"$0\" && exec \"$@\""])
            .arg(format!("host-{n}"))
            .args(["setpriv", "--clear-groups"])
            .arg(format!("--reuid={}", user_of(n)))
            .arg(&self.agent)
            .arg("--config")
            .arg(config)
            .env("RUST_LOG", "info,logagent::kafka::producer=debug");
        let log = agent_log(config.parent().unwrap_or(config));
        Ok(Program::start(&mut command, &log)?)
    }
}

/// A user has 128 inotify instances, and on a host of its own an agent would have one.
fn user_of(agent: usize) -> u32 {
    FIRST_USER + u32::try_from(agent / 100).unwrap_or(0)
}

fn agent_log(home: &Path) -> PathBuf {
    home.join("agent.out")
}

/// The files of one agent after the other, as the first of each agent, then the second of each.
fn transposed(files: Vec<File>, agents: usize) -> Vec<File> {
    let mut files: Vec<(usize, File)> = files.into_iter().enumerate().collect();
    let each = files.len() / agents.max(1);
    files.sort_by_key(|(n, _)| (n % each, n / each));
    files.into_iter().map(|(_, file)| file).collect()
}

/// Each file gets a line in [`LINE_EVERY`], one file after the other.
fn write_lines(files: &mut [File], written: &mut usize, time: Duration) -> Outcome<()> {
    let began = Instant::now();
    let pause = LINE_EVERY / u32::try_from(files.len())?;
    let mut due = began;
    while began.elapsed() < time {
        let line = format!("an application says something of no importance, {written}\n");
        let at = *written % files.len();
        files[at].write_all(line.as_bytes())?;
        *written += 1;
        due += pause;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// As many agents as find memory beside the brokers, at most [`AGENTS`].
fn agents_that_fit() -> Outcome<usize> {
    let info = fs::read_to_string("/proc/meminfo")?;
    let free = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let free_kib = free.and_then(|free| free.split_whitespace().next()?.parse::<usize>().ok());
    let free_mib = free_kib.ok_or("/proc/meminfo cannot be understood")? / 1024;
    Ok((free_mib / 2 / AGENT_MIB).clamp(1, AGENTS))
}

/// What is compared, and its lines of `[kafka]`.
const SHAPES: [(&str, &str); 3] = [
    ("partitioner = file", "partitioner = file\n"),
    ("partitioner = host", "partitioner = host\n"),
    (
        "partitioner = host, linger = 1s",
        "partitioner = host\nlinger = 1s\n",
    ),
];
/// Nobody's.
const FIRST_USER: u32 = 54_330;
const AGENTS: usize = 200;
const FILES: usize = 10;
/// What an agent takes with its threads, with room to spare.
const AGENT_MIB: usize = 20;
const LINE_EVERY: Duration = Duration::from_secs(2);
/// Until all are connected, and the first metadata is old.
const WARM_UP: Duration = Duration::from_secs(15);
const MEASURED: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(10);
