//! The programs that log and rotate by themselves: how each is started and what its files are called.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{Steps, play};
use crate::support::ledger;

/// The first word of every line.
pub(super) const TAG: &str = "l";
pub(super) const LINES: usize = 8000;

/// A program, or a way to set it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// The file pattern after the folder, and the index of the youngest: `max` or `min`.
    Log4j2(&'static str, &'static str),
    /// The file pattern, with a date; the youngest has the highest index.
    LogbackDated(&'static str),
    /// The file pattern; the youngest is 1.
    LogbackFixed(&'static str),
    Multilog,
    Svlogd,
    /// The handler.
    Python(&'static str),
    /// Its names and steps, played here.
    Played(Steps),
}

/// A program and the names of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Logger {
    pub(super) name: &'static str,
    pub(super) program: Program,
    /// The file that is written to.
    pub(super) live: &'static str,
    /// A glob that matches that and the rotated names.
    pub(super) glob: &'static str,
    /// What `rotated` has to name.
    pub(super) rotated: Option<&'static str>,
}

/// All of them.
#[rustfmt::skip]
pub(super) const LOGGERS: [Logger; 22] = [
    app("log4j2-max", Program::Log4j2("app.%i.log", "max"), "app*.log"),
    app("log4j2-min", Program::Log4j2("app.%i.log", "min"), "app*.log"),
    app("log4j2-max-gz", Program::Log4j2("app.%i.log.gz", "max"), "app*"),
    app("log4j2-min-gz", Program::Log4j2("app.%i.log.gz", "min"), "app*"),
    app("log4j2-date", Program::Log4j2("app-%d{yyyy-MM-dd}.%i.log", "max"), "app*.log"),
    app("log4j2-date-gz", Program::Log4j2("app-%d{yyyy-MM-dd}.%i.log.gz", "max"), "app*"),
    Logger { rotated: Some("20*/*"), ..app("log4j2-folder-gz",
        Program::Log4j2("$${date:yyyy-MM}/app-%d{MM-dd}-%i.log.gz", "max"), "app*") },
    app("logback-date", Program::LogbackDated("app-%d.%i.log"), "app*.log"),
    app("logback-date-gz", Program::LogbackDated("app-%d.%i.log.gz"), "app*"),
    app("logback-fixed", Program::LogbackFixed("app.%i.log"), "app*.log"),
    app("logback-fixed-gz", Program::LogbackFixed("app.%i.log.gz"), "app*"),
    Logger { name: "multilog", program: Program::Multilog, live: "main/current", glob: "main/[@cp]*", rotated: None },
    Logger { name: "svlogd", program: Program::Svlogd, live: "main/current", glob: "main/[@c]*[st]", rotated: None },
    app("python-size", Program::Python("size"), "app.log*"),
    app("python-size-gz", Program::Python("size-gz"), "app.log*"),
    app("python-timed", Program::Python("timed"), "app.log*"),
    app("python-watched", Program::Python("watched"), "app.log*"),
    app("lumberjack", Program::Played(Steps::Lumberjack), "app*.log"),
    app("lumberjack-gz", Program::Played(Steps::LumberjackGzip), "app*"),
    app("lumberjack-slow-gz", Program::Played(Steps::LumberjackSlowGzip), "app*"),
    app("rotating-file-stream", Program::Played(Steps::FileStream), "*app.log"),
    app("rotating-file-stream-gz", Program::Played(Steps::FileStreamGzip), "*app.log*"),
];

const fn app(name: &'static str, program: Program, glob: &'static str) -> Logger {
    Logger {
        name,
        program,
        live: "app.log",
        glob,
        rotated: None,
    }
}

/// A program that logs, from its start to its end. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Running {
    child: Option<Child>,
    /// Writes to the child's standard input, or plays the program.
    feeder: Option<thread::JoinHandle<()>>,
}

impl Logger {
    /// Why it cannot run here, if it cannot.
    pub(super) fn lacks(&self) -> Option<&'static str> {
        let has = |command: &str| find(command).is_some();
        match self.program {
            Program::Log4j2(..) | Program::LogbackDated(_) | Program::LogbackFixed(_) => {
                (class_path().is_none() || !has("java"))
                    .then_some("Java, log4j2 and logback (scripts/rotators.sh get)")
            }
            Program::Multilog => (!has("multilog")).then_some("multilog (Debian: daemontools)"),
            Program::Svlogd => (!has("svlogd")).then_some("svlogd (Debian: runit)"),
            Program::Python(_) => (!has("python3")).then_some("python3"),
            Program::Played(_) => None,
        }
    }

    /// Starts it; `beside` is a folder for its own settings, `folder` that of the logs.
    pub(super) fn start(&self, folder: &Path, beside: &Path) -> Running {
        let live = folder.join(self.live);
        let command = match self.program {
            Program::Log4j2(pattern, index) => {
                let config = beside.join("log4j2.xml");
                fs::write(&config, log4j2(&live, &folder.join(pattern), index)).expect("a file");
                java(
                    "log4j2",
                    &format!("-Dlog4j2.configurationFile={}", config.display()),
                )
            }
            Program::LogbackDated(pattern) => {
                let config = beside.join("logback.xml");
                let policy =
                    LOGBACK_DATED.replace("PATTERN", &folder.join(pattern).display().to_string());
                fs::write(&config, logback(&live, &policy)).expect("a file");
                java(
                    "logback",
                    &format!("-Dlogback.configurationFile={}", config.display()),
                )
            }
            Program::LogbackFixed(pattern) => {
                let config = beside.join("logback.xml");
                let policy =
                    LOGBACK_FIXED.replace("PATTERN", &folder.join(pattern).display().to_string());
                fs::write(&config, logback(&live, &policy)).expect("a file");
                java(
                    "logback",
                    &format!("-Dlogback.configurationFile={}", config.display()),
                )
            }
            Program::Multilog => {
                let mut command = Command::new(find("multilog").expect("it is here"));
                command.args(["s65536", "n1000"]).arg(folder.join("main"));
                command
            }
            Program::Svlogd => {
                fs::write(folder.join("main/config"), "s65536\nn0\n").expect("a file");
                let mut command = Command::new(find("svlogd").expect("it is here"));
                command.arg(folder.join("main"));
                command
            }
            Program::Python(handler) => {
                let script =
                    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loggers/rotating.py");
                let mut command = Command::new("python3");
                command
                    .arg(script)
                    .arg(handler)
                    .arg(&live)
                    .args([TAG, &LINES.to_string()]);
                command
            }
            Program::Played(steps) => {
                let feeder = thread::spawn(move || play(steps, &live, TAG, LINES));
                return Running {
                    child: None,
                    feeder: Some(feeder),
                };
            }
        };
        self.spawn(command)
    }

    fn spawn(&self, mut command: Command) -> Running {
        let is_fed = matches!(self.program, Program::Multilog | Program::Svlogd);
        command.stdin(if is_fed {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        let mut child = command.spawn().expect("the program starts");
        let feeder = child.stdin.take().map(|mut stdin| {
            thread::spawn(move || {
                for number in 0..LINES {
                    let line = ledger::line(TAG, number, number * 37 % 150) + "\n";
                    stdin.write_all(line.as_bytes()).expect("the program reads");
                    rest(number);
                }
            })
        });
        Running {
            child: Some(child),
            feeder,
        }
    }
}

/// The pace of all of them: 2,000 lines a second.
pub(super) fn rest(number: usize) {
    if number % 10 == 9 {
        thread::sleep(Duration::from_millis(5));
    }
}

impl Running {
    /// Whether it logs still.
    pub(super) fn is_running(&mut self) -> bool {
        let feeds = self
            .feeder
            .as_ref()
            .is_some_and(|feeder| !feeder.is_finished());
        let lives = self
            .child
            .as_mut()
            .is_some_and(|child| child.try_wait().expect("our own child").is_none());
        feeds || lives
    }

    /// Waits for its end, which must be a good one.
    pub(super) fn finish(mut self) {
        if let Some(feeder) = self.feeder.take() {
            feeder.join().expect("it has written everything");
        }
        if let Some(child) = &mut self.child {
            let status = child.wait().expect("our own child");
            assert!(status.success(), "the program that logs: {status}");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child
            && child.try_wait().is_ok_and(|ended| ended.is_none())
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn find(command: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let mut places = folders.iter().map(|folder| folder.join(command));
    places.find(|place| place.exists())
}

fn class_path() -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/rotators.sh");
    let output = Command::new(script).arg("jars").output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| path.trim().to_owned())
}

fn java(library: &str, setting: &str) -> Command {
    let mut command = Command::new("java");
    command
        .args([
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xmx64m",
            setting,
            "-cp",
        ])
        .arg(class_path().expect("it is here"))
        .args(["Logging", library, TAG, &LINES.to_string()]);
    command
}

fn log4j2(live: &Path, pattern: &Path, index: &str) -> String {
    format!(
        r#"<Configuration status="warn">
  <Appenders>
    <RollingFile name="file" fileName="{}" filePattern="{}">
      <PatternLayout pattern="%m%n"/>
      <Policies><SizeBasedTriggeringPolicy size="64KB"/></Policies>
      <DefaultRolloverStrategy fileIndex="{index}" max="1000"/>
    </RollingFile>
  </Appenders>
  <Loggers><Root level="info"><AppenderRef ref="file"/></Root></Loggers>
</Configuration>
"#,
        live.display(),
        pattern.display()
    )
}

fn logback(live: &Path, policy: &str) -> String {
    format!(
        r#"<configuration>
  <appender name="file" class="ch.qos.logback.core.rolling.RollingFileAppender">
    <file>{}</file>
    {policy}
    <encoder><pattern>%m%n</pattern></encoder>
  </appender>
  <root level="info"><appender-ref ref="file"/></root>
</configuration>
"#,
        live.display()
    )
}

const LOGBACK_DATED: &str = r#"<rollingPolicy class="ch.qos.logback.core.rolling.SizeAndTimeBasedRollingPolicy">
      <fileNamePattern>PATTERN</fileNamePattern>
      <maxFileSize>64KB</maxFileSize>
      <checkIncrement>10 milliseconds</checkIncrement>
    </rollingPolicy>"#;

const LOGBACK_FIXED: &str = r#"<rollingPolicy class="ch.qos.logback.core.rolling.FixedWindowRollingPolicy">
      <fileNamePattern>PATTERN</fileNamePattern>
      <minIndex>1</minIndex>
      <maxIndex>20</maxIndex>
    </rollingPolicy>
    <triggeringPolicy class="ch.qos.logback.core.rolling.SizeBasedTriggeringPolicy">
      <maxFileSize>64KB</maxFileSize>
      <checkIncrement>10 milliseconds</checkIncrement>
    </triggeringPolicy>"#;

impl fmt::Display for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
