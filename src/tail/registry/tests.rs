use super::*;
use crate::batch::TailChecksum;
use crate::identity::Fingerprint;
use crate::progress::Marks;

fn checkpoint(path: &str, inode: u64) -> Checkpoint {
    let inode = Inode { device: 1, inode };
    Checkpoint {
        path: Path::new(path).into(),
        identity: FileIdentity {
            inode,
            born_ns: 0,
            fingerprint: Fingerprint::default(),
        },
        offset: 0,
        size: 0,
        tail_checksum: TailChecksum::default(),
        marks: Marks::default(),
        tag: None,
        state: SourceState::Open,
        serial: 0,
        modified_ns: 0,
    }
}

fn end(registry: &FileRegistry, open: Checkpoint, offset: u64) {
    registry.close(Checkpoint { offset, ..open }, CloseReason::Finished);
}

#[test]
fn a_file_with_two_names_is_read_once() {
    let registry = FileRegistry::default();
    let (first, _) = registry.open(checkpoint("/a", 5)).expect("is free");
    assert!(registry.open(checkpoint("/b", 5)).is_none());
    end(&registry, first, 10);
    let inode = Inode {
        device: 1,
        inode: 5,
    };
    let known = registry.of_inode(inode);
    assert_eq!(
        (known[0].offset, known[0].state, registry.is_open(inode, 0)),
        (10, SourceState::Finished, false)
    );
    assert!(registry.open(checkpoint("/b", 5)).is_some());
}

#[test]
fn the_inode_number_of_a_file_that_a_tailer_of_once_has_left_may_be_another_files() {
    let registry = FileRegistry::default();
    let born = |path, born_ns| {
        let mut born = checkpoint(path, 5);
        born.identity.born_ns = born_ns;
        born
    };
    let (first, _) = registry.open(born("/a", 7)).expect("is free");
    assert!(registry.open(born("/b", 7)).is_none(), "the same file");
    assert!(!registry.is_open(first.identity.inode, 8));
    assert!(registry.open(born("/b", 8)).is_some(), "another file");
    assert!(!registry.is_open(first.identity.inode, 0));
    assert!(registry.open(born("/a.gz", 0)).is_some(), "an archive");
    assert!(registry.open(born("/a.gz", 0)).is_none());
}

#[test]
fn what_is_remembered_for_a_tailer_that_has_come_first_is_not_remembered() {
    let registry = FileRegistry::default();
    assert!(registry.register_unknown(checkpoint("/a.1", 5)).is_some());
    assert!(registry.register_unknown(checkpoint("/a.1", 5)).is_none());
    let (_open, replaced) = registry.open(checkpoint("/a.1", 5)).expect("is free");
    assert_eq!(replaced, vec![1]);
    assert!(registry.register_unknown(checkpoint("/a.1", 5)).is_none());
}

#[test]
fn finished_files_that_are_gone_are_forgotten_but_for_the_last() {
    let registry = FileRegistry::default();
    for inode in 1..=4 {
        let (open, _) = registry.open(checkpoint("/a", inode)).expect("is free");
        end(&registry, open, 10);
    }
    let is_there = |c: &Checkpoint| c.identity.inode.inode == 2;
    let now = Instant::now();
    let path = Path::new("/a");
    assert_eq!(registry.prune(path, now, is_there), Vec::<u64>::new());
    let later = now + FORGET_AFTER;
    assert_eq!(registry.prune(path, later, is_there), vec![1, 3]);
    let left: Vec<u64> = registry
        .closed_of_path(path)
        .0
        .iter()
        .map(|c| c.identity.inode.inode)
        .collect();
    assert_eq!(left, vec![2, 4]);
}

#[test]
fn an_inode_number_that_was_handed_out_again_replaces_nothing() {
    let born_at = |born_ns, path| {
        let mut checkpoint = checkpoint(path, 5);
        checkpoint.identity.born_ns = born_ns;
        checkpoint
    };
    let registry = FileRegistry::default();
    let (first, _) = registry.open(born_at(10, "/a")).expect("is free");
    end(&registry, first, 7);
    let (_, replaced) = registry.open(born_at(20, "/b")).expect("is free");
    assert_eq!(replaced, Vec::<u64>::new());
    assert_eq!(registry.closed_of_path(Path::new("/a")).0.len(), 1);
}

#[test]
fn serial_numbers_go_on_after_a_restart() {
    for (last_serial, expected) in [(0, 42), (41, 42), (50, 51)] {
        let registry = FileRegistry::new(&Saved {
            checkpoints: vec![Checkpoint {
                serial: 41,
                ..checkpoint("/a", 5)
            }],
            last_serial,
            ..Saved::default()
        });
        let (opened, _) = registry.open(checkpoint("/a", 6)).expect("is free");
        assert_eq!(opened.serial, expected);
        assert_eq!(
            registry.closed_of_path(Path::new("/a")).0.len(),
            1,
            "the open one is not listed"
        );
    }
}
