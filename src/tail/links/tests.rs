use super::walk::is_trusted;
use super::*;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Gid, RenameFlags, Uid, chownat, renameat_with};

const ALICE: u32 = 54_321;
const MALLORY: u32 = 54_322;

/// Neither kernel nor filter knows openat2.
fn no_openat2(_: &Path, _: OFlags) -> Option<rustix::io::Result<OwnedFd>> {
    None
}

/// Files and links of other users can be made by root alone.
fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED, since it is not run by root: {test}");
    }
    is_root
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, owner) in [("root", 0), ("alice", ALICE), ("mallory", MALLORY)] {
        let path = folder.path().join(name);
        fs::create_dir(&path).expect("is made");
        own(&path, owner);
        file(&path.join("app.log"), owner, name);
    }
    folder
}

fn own(path: &Path, owner: u32) {
    let (user, group) = (Uid::from_raw(owner), Gid::from_raw(owner));
    chownat(
        CWD,
        path,
        Some(user),
        Some(group),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .expect("is root");
}

fn file(path: &Path, owner: u32, content: &str) {
    fs::write(path, content).expect("is written");
    own(path, owner);
}

fn link(target: impl AsRef<Path>, link: &Path, owner: u32) {
    symlink(target, link).expect("is made");
    own(link, owner);
}

/// What is read at `path`, by openat2 and without it.
fn read(path: &Path, policy: FollowLinks) -> io::Result<Option<String>> {
    let read = |opened: io::Result<Option<(File, FileStat)>>| {
        let Some((mut file, stat)) = opened? else {
            return Ok(None);
        };
        let mut content = String::new();
        file.read_to_string(&mut content)?;
        assert_eq!(stat.size, content.len() as u64);
        Ok(Some(content))
    };
    let one: io::Result<Option<String>> = read(open(path, policy));
    let other = read(open_with(path, policy, no_openat2));
    assert_eq!(
        format!("{one:?}"),
        format!("{other:?}"),
        "{}",
        path.display()
    );
    let stat = stat(path, policy).map(|stat| stat.is_regular);
    assert_eq!(stat.ok(), one.as_ref().ok().map(Option::is_some));
    one
}

/// The name of the link that is refused on the way to `path`, and its owner.
fn refused(path: &Path, policy: FollowLinks) -> Option<(String, u32)> {
    let error = read(path, policy).err()?;
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    let refused = UnsafeLink::of(&error)?;
    let resolved = resolve(path, policy).expect_err("is refused too");
    assert_eq!(UnsafeLink::of(&resolved), Some(refused));
    let name = refused.link.file_name()?.to_string_lossy().into_owned();
    Some((name, refused.owner))
}

#[test]
fn links_of_root_and_of_the_owner_of_their_target_are_followed() {
    if !is_root("links_of_root_and_of_the_owner_of_their_target_are_followed") {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for (n, (owner, target, is_followed)) in [
        (0, "root", true),
        (0, "alice", true),
        (ALICE, "alice", true),
        (ALICE, "mallory", false),
        (MALLORY, "root", false),
    ]
    .into_iter()
    .enumerate()
    {
        let path = at(&format!("link-{n}"));
        link(format!("{target}/app.log"), &path, owner);
        let expected = (!is_followed).then(|| (format!("link-{n}"), owner));
        assert_eq!(refused(&path, FollowLinks::Safe), expected);
        if is_followed {
            let content = read(&path, FollowLinks::Safe).expect("is read");
            assert_eq!(content.as_deref(), Some(target));
            let real = folder.path().canonicalize().expect("is there");
            assert_eq!(
                resolve(&path, FollowLinks::Safe).expect("is resolved"),
                real.join(target).join("app.log")
            );
        }
        let content = read(&path, FollowLinks::All).expect("is read");
        assert_eq!(content.as_deref(), Some(target));
        let expected = Some((format!("link-{n}"), owner));
        assert_eq!(refused(&path, FollowLinks::None), expected);
    }
}

#[test]
fn each_link_on_the_way_is_checked() {
    if !is_root("each_link_on_the_way_is_checked") {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    // A folder on the way.
    link("root", &at("stolen"), MALLORY);
    link("mallory", &at("own"), MALLORY);
    let stolen = Some(("stolen".to_owned(), MALLORY));
    assert_eq!(refused(&at("stolen/app.log"), FollowLinks::Safe), stolen);
    assert_eq!(refused(&at("own/app.log"), FollowLinks::Safe), None);
    // In a folder of theirs, to a file that is not theirs.
    link("../root/app.log", &at("mallory/b.log"), MALLORY);
    let b = Some(("b.log".to_owned(), MALLORY));
    assert_eq!(refused(&at("own/b.log"), FollowLinks::Safe), b);
    // One link to another: an absolute one of root to one of mallory's.
    link(at("mallory/b.log"), &at("c.log"), 0);
    assert_eq!(refused(&at("c.log"), FollowLinks::Safe), b);
    // A link of mallory's to one of root's to what is root's.
    link("root/app.log", &at("d.log"), 0);
    link("d.log", &at("e.log"), MALLORY);
    let e = Some(("e.log".to_owned(), MALLORY));
    assert_eq!(refused(&at("e.log"), FollowLinks::Safe), e);
    // Through a folder that is theirs and out of it again.
    link("own/../root/app.log", &at("f.log"), MALLORY);
    let f = Some(("f.log".to_owned(), MALLORY));
    assert_eq!(refused(&at("f.log"), FollowLinks::Safe), f);
    // Without a link nothing is refused, whoever owns what.
    assert_eq!(
        refused(&at("mallory/../root/./app.log"), FollowLinks::None),
        None
    );
}

#[test]
fn a_target_that_is_not_there_is_resolved_if_its_folder_is_the_owners() {
    if !is_root("a_target_that_is_not_there_is_resolved_if_its_folder_is_the_owners") {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let real = folder.path().canonicalize().expect("is there");
    link("alice/later.log", &at("root's"), 0);
    link("alice/later.log", &at("alice's"), ALICE);
    link("alice/later.log", &at("mallory's"), MALLORY);
    for name in ["root's", "alice's"] {
        let resolved = resolve(&at(name), FollowLinks::Safe).expect("is resolved");
        assert_eq!(resolved, real.join("alice/later.log"));
        let error = read(&at(name), FollowLinks::Safe).expect_err("is not there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
    let expected = Some(("mallory's".to_owned(), MALLORY));
    assert_eq!(refused(&at("mallory's"), FollowLinks::Safe), expected);
    let error = resolve(&at("absent/a.log"), FollowLinks::Safe).expect_err("no folder");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn only_regular_files_are_opened() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    rustix::fs::mkfifoat(CWD, at("fifo"), Mode::RWXU).expect("is made");
    symlink("fifo", at("to-fifo")).expect("is made");
    symlink(".", at("to-folder")).expect("is made");
    symlink("to-folder/../", at("up")).expect("is made");
    symlink("/dev/null", at("device")).expect("is made");
    for name in ["fifo", "to-fifo", ".", "to-folder", "up", "device"] {
        for policy in [FollowLinks::Safe, FollowLinks::All] {
            let content = read(&at(name), policy).expect("can be looked at");
            assert_eq!(content, None, "{name}");
        }
    }
}

#[test]
fn links_that_lead_in_a_circle_end_as_in_the_kernel() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: String| folder.path().join(name);
    symlink("b", at("a".into())).expect("is made");
    symlink("a", at("b".into())).expect("is made");
    fs::write(at("0".into()), "x").expect("is written");
    for n in 0..41 {
        symlink(n.to_string(), at((n + 1).to_string())).expect("is made");
    }
    for policy in [FollowLinks::Safe, FollowLinks::All] {
        let error = read(&at("a".into()), policy).expect_err("has no end");
        assert_eq!(Errno::from_io_error(&error), Some(Errno::LOOP));
        assert!(read(&at("40".into()), policy).is_ok());
        let error = read(&at("41".into()), policy).expect_err("too long");
        assert_eq!(Errno::from_io_error(&error), Some(Errno::LOOP));
    }
}

#[test]
fn links_of_proc_lead_where_the_kernel_leads() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("app.log");
    fs::write(&path, "x").expect("is written");
    let inside = Path::new("/proc/self/root").join(path.strip_prefix("/").expect("is absolute"));
    let content = read(&inside, FollowLinks::Safe).expect("is read");
    assert_eq!(content.as_deref(), Some("x"));
}

#[test]
fn links_of_the_agents_user_are_trusted_and_others_are_not() {
    assert!(is_trusted(0, 1000));
    assert!(is_trusted(1000, 1000));
    assert!(!is_trusted(1001, 1000));
    assert!(!is_trusted(1000, 0));
}

#[test]
fn a_refusal_names_the_link_and_the_reason() {
    let link = PathBuf::from("/log/a\nb");
    let refusal = |policy| {
        UnsafeLink {
            link: link.clone(),
            owner: 7,
            policy,
        }
        .to_string()
    };
    assert_eq!(
        refusal(FollowLinks::Safe),
        "the link '/log/a\\nb' is not followed: it belongs to user 7, not to root, to the agent's user or to the owner of its target (follow_links = safe; all follows any link)"
    );
    assert_eq!(
        refusal(FollowLinks::None),
        "the link '/log/a\\nb' is not followed: follow_links = none"
    );
}

/// Puts `one` and `other` in place of each other again and again while `attempt` is made `ATTEMPTS_IN_RACE` times.
fn race(one: &Path, other: &Path, mut attempt: impl FnMut()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..SWAPS {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("are swapped");
            }
        });
        for _ in 0..ATTEMPTS_IN_RACE {
            attempt();
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

const ATTEMPTS_IN_RACE: usize = 3_000;

const SWAPS: usize = 2_000_000;

/// What both ways of opening `path` read while it changes; never what is root's.
fn read_in_race(path: &Path) -> usize {
    let mut read = 0;
    for quick in [without_links as Quick, no_openat2] {
        match open_with(path, FollowLinks::Safe, quick) {
            Ok(Some((mut file, _))) => {
                let mut content = String::new();
                file.read_to_string(&mut content).expect("is read");
                assert_eq!(content, "mallory");
                assert_eq!(file.metadata().expect("is open").uid(), MALLORY);
                read += 1;
            }
            Ok(None) => panic!("there is nothing but files"),
            Err(error) => {
                let is_stale = Errno::from_io_error(&error) == Some(Errno::STALE);
                assert!(is_stale || UnsafeLink::of(&error).is_some(), "{error}");
            }
        }
    }
    read
}

#[test]
fn a_link_put_in_place_of_a_file_while_it_is_opened_is_not_followed() {
    if !is_root("a_link_put_in_place_of_a_file_while_it_is_opened_is_not_followed") {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    link("../root/app.log", &at("mallory/other"), MALLORY);
    let mut read = 0;
    race(&at("mallory/app.log"), &at("mallory/other"), || {
        read += read_in_race(&at("mallory/app.log"));
    });
    assert!(read > 0, "the file was never read");
}

#[test]
fn a_link_put_in_place_of_a_folder_or_of_a_link_is_not_followed() {
    if !is_root("a_link_put_in_place_of_a_folder_or_of_a_link_is_not_followed") {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    link("root", &at("other"), MALLORY);
    let mut read = 0;
    race(&at("mallory"), &at("other"), || {
        read += read_in_race(&at("mallory/app.log"));
    });
    assert!(read > 0, "the file was never read");
    let folder = self::folder();
    let at = |name: &str| folder.path().join(name);
    link("mallory/app.log", &at("link"), MALLORY);
    link("root/app.log", &at("other"), MALLORY);
    let mut read = 0;
    race(&at("link"), &at("other"), || {
        read += read_in_race(&at("link"));
    });
    assert!(read > 0, "the file was never read");
}
