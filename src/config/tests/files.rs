//! From a path to a configuration, and what is no ini file at all.

use std::fs;
use std::os::unix::net::UnixListener;

use rustix::fs::Mode;
use tempfile::TempDir;

use super::*;

/// The message about `path` without the path.
fn refusal(path: &Path) -> String {
    let text = Config::load(path).expect_err("it is bad").to_string();
    let path = path.display().to_string();
    text.strip_prefix(&path).expect("the path leads").to_owned()
}

#[test]
fn a_file_is_read_with_the_environment_of_the_process() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.ini");
    fs::write(&path, format!("{GOOD}key = ${{PATH}}\n")).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.file, path);
    assert_eq!(config.logs[0].key, std::env::var("PATH").ok());

    let link = dir.path().join("link.ini");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(Config::load(&link).is_ok());
}

#[test]
fn errors_begin_with_the_path_as_it_was_given() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("logagent.ini");
    fs::write(&path, GOOD.replace("brokers", "brokrs")).unwrap();
    assert_eq!(
        refusal(&path),
        ":2: unknown key 'brokrs' in [kafka]; did you mean 'brokers'?"
    );
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
    let dir = TempDir::new().unwrap();
    let hint = "\n    name the ini file itself with --config FILE";

    assert_eq!(
        refusal(&dir.path().join("gone.ini")),
        ": no such file\n    name another one with --config FILE"
    );
    assert_eq!(
        refusal(dir.path()),
        format!(": a folder, not a regular file{hint}")
    );

    let fifo = dir.path().join("fifo");
    let cwd = rustix::fs::CWD;
    rustix::fs::mknodat(cwd, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_eq!(
        refusal(&fifo),
        format!(": a fifo, not a regular file{hint}")
    );

    let socket = dir.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert_eq!(
        refusal(&socket),
        format!(": a socket, not a regular file{hint}")
    );
    assert_eq!(
        refusal(Path::new("/dev/zero")),
        format!(": a device, not a regular file{hint}")
    );
}

#[test]
fn a_file_that_cannot_be_opened_is_named_with_the_reason() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("a.ini");
    fs::write(&file, GOOD).unwrap();
    assert_eq!(
        refusal(&file.join("b.ini")),
        ": cannot be opened: Not a directory (os error 20)"
    );
}

#[test]
fn a_file_larger_than_any_ini_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.ini");
    let mut text = GOOD.to_owned();
    text.push_str(&"#".repeat((1 << 20) - GOOD.len()));
    fs::write(&path, &text).unwrap();
    assert!(Config::load(&path).is_ok());
    text.push('#');
    fs::write(&path, &text).unwrap();
    assert_eq!(refusal(&path), ": larger than 1048576 bytes");
}
