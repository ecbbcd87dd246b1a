//! The plan, situation by situation.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::batch::TailChecksum;
use crate::identity::{FileIdentity, Fingerprint, Inode};
use crate::progress::Marks;
use crate::tail::observation::{NO_INODE, Place};

const CONTINUES: ContentMatch = ContentMatch::Continues;
const SHORTER: ContentMatch = ContentMatch::Shorter;

fn stat(inode: u64, size: u64) -> FileStat {
    FileStat {
        inode: Inode { device: 1, inode },
        born_ns: inode.cast_signed() * 1000,
        modified_ns: inode.cast_signed() * 1000,
        size,
        links: 1,
        is_regular: true,
        is_sparse: false,
    }
}

/// The checkpoint `serial` of the file with this inode, read up to `offset` of `size` bytes.
fn checkpoint(serial: u64, inode: u64, offset: u64, size: u64) -> Checkpoint {
    let stat = stat(inode, size);
    Checkpoint {
        path: Path::new("/log/app.log").into(),
        identity: FileIdentity {
            inode: stat.inode,
            born_ns: stat.born_ns,
            fingerprint: Fingerprint::of(&inode.to_le_bytes()),
        },
        offset,
        size,
        tail_checksum: TailChecksum::of(b"x"),
        marks: Marks::default(),
        tag: None,
        state: SourceState::Open,
        serial,
        modified_ns: stat.modified_ns,
    }
}

fn open(serial: u64, inode: u64, verdict: Verdict) -> OpenSource {
    OpenSource {
        reached: checkpoint(serial, inode, 100, 120),
        is_current: true,
        is_beside: true,
        verdict,
        kept_bytes: 0,
        stat: stat(inode, 120),
    }
}

fn matched(serial: u64, content: ContentMatch) -> Vec<Match> {
    vec![Match { serial, content }]
}

fn candidate(inode: u64, matches: Vec<Match>) -> Candidate {
    Candidate {
        stat: stat(inode, 90),
        is_archive: false,
        readable: Readable::Yes,
        matches,
        was_found_at_path: false,
        is_numbered: true,
        is_followed: false,
    }
}

#[test]
fn a_file_that_nobody_has_begun_and_that_is_too_old_is_left_out() {
    let observed = |inode, begun_from_ns| Observation {
        current: at_path(inode, Vec::new()),
        known: vec![checkpoint(1, 5, 100, 100)],
        candidates: vec![candidate(6, Vec::new())],
        begun_from_ns,
        ..Observation::default()
    };
    // Its last change is at 7,000.
    let made = plan(&observed(7, Some(7_001)));
    assert!(made.is_left_out && !made.has_current);
    assert_eq!((made.sources, made.registered), (vec![], vec![]));
    for begun_from_ns in [Some(7_000), None] {
        let made = plan(&observed(7, begun_from_ns));
        let current = Planned::OpenCurrent(From::Start);
        assert!(!made.is_left_out && made.sources.ends_with(&[current]));
        let rotated = Planned::Open(0, From::Start);
        assert_eq!(made.sources.contains(&rotated), begun_from_ns.is_none());
    }
    let made = plan(&Observation {
        current: at_path(5, matched(1, CONTINUES)),
        ..observed(5, Some(i64::MAX))
    });
    let current = Planned::OpenCurrent(From::PositionOf(1));
    assert_eq!(made.sources, [current], "what was begun is finished");
}

fn archive(inode: u64, matches: Vec<Match>) -> Candidate {
    Candidate {
        is_archive: true,
        ..candidate(inode, matches)
    }
}

fn at_path(inode: u64, matches: Vec<Match>) -> Current {
    Current::File {
        stat: stat(inode, 50),
        matches,
    }
}

/// Source 7 of inode 1 is open, this is what became of it, and this lies at the path and beside it.
fn seen(verdict: Verdict, current: Current, candidates: Vec<Candidate>) -> Observation {
    Observation {
        open: vec![open(7, 1, verdict)],
        current,
        order: (0..candidates.len()).map(Place::Candidate).collect(),
        candidates,
        ..Observation::default()
    }
}

#[test]
fn a_copy_that_the_writer_has_overtaken_is_not_read_and_is_known_from_then_on() {
    let copy = candidate(2, matched(7, SHORTER));
    let plan = plan(&seen(Verdict::Replaced, at_path(1, vec![]), vec![copy]));
    assert_eq!(plan.sources, [Planned::Restart(7)]);
    assert_eq!(plan.registered, [(0, Registration::CopyOf(7))]);
    // What was seen and not read is in no copy.
    assert_eq!(plan.lost.len(), 1);
    assert_eq!((plan.lost[0].offset, plan.lost[0].bytes), (100, 20));
}

#[test]
fn the_rest_of_what_was_truncated_is_read_from_its_copy_before_the_new_content() {
    let copy = candidate(2, matched(7, CONTINUES));
    let plan = plan(&seen(Verdict::Replaced, at_path(1, vec![]), vec![copy]));
    let rest = Planned::Open(0, From::PositionOf(7));
    assert_eq!(plan.sources, [rest, Planned::Restart(7)]);
    assert!(plan.lost.is_empty() && plan.has_current);
}

#[test]
fn an_archive_of_a_file_that_is_still_open_is_not_new() {
    let packed = archive(3, matched(7, CONTINUES));
    let plan = plan(&seen(Verdict::Intact, at_path(2, vec![]), vec![packed]));
    let sources = [Planned::Keep(7), Planned::OpenCurrent(From::Start)];
    assert_eq!(plan.sources, sources);
    assert_eq!(plan.detached, [7]);
}

#[test]
fn what_came_and_was_rotated_away_between_two_looks_is_read_in_between() {
    let unknown = candidate(2, vec![]);
    let plan = plan(&seen(Verdict::Intact, at_path(3, vec![]), vec![unknown]));
    let sources = [
        Planned::Keep(7),
        Planned::Open(0, From::Start),
        Planned::OpenCurrent(From::Start),
    ];
    assert_eq!(plan.sources, sources);
}

#[test]
fn a_file_that_appears_beside_a_log_that_was_not_rotated_is_no_part_of_it() {
    let neighbour = candidate(2, vec![]);
    let plan = plan(&seen(Verdict::Intact, at_path(1, vec![]), vec![neighbour]));
    assert_eq!(plan.sources, [Planned::Keep(7)]);
    assert_eq!(plan.registered, [(0, Registration::Skipped)]);
}

#[test]
fn a_rotated_file_that_is_overwritten_is_not_new_content() {
    let mut seen = seen(Verdict::Replaced, at_path(2, vec![]), vec![]);
    seen.open[0].is_current = false;
    let plan = plan(&seen);
    assert_eq!(plan.sources, [Planned::OpenCurrent(From::Start)]);
    assert_eq!((plan.lost[0].offset, plan.lost[0].bytes), (100, 20));
}

#[test]
fn an_editor_that_saves_has_the_file_go_on_where_it_stood() {
    let current = Current::File {
        stat: stat(2, 200),
        matches: matched(7, CONTINUES),
    };
    let mut seen = seen(Verdict::Intact, current, vec![]);
    seen.open[0].is_beside = false;
    let plan = plan(&seen);
    assert_eq!(plan.sources, [Planned::OpenCurrent(From::PositionOf(7))]);
    assert_eq!(plan.closed.get(&7), Some(&Close::Replaced));
}

#[test]
fn a_new_log_that_begins_as_the_rotated_one_did_is_another_file() {
    let current = Current::File {
        stat: stat(2, 200),
        matches: matched(7, CONTINUES),
    };
    let plan = plan(&seen(Verdict::Intact, current, vec![]));
    let sources = [Planned::Keep(7), Planned::OpenCurrent(From::Start)];
    assert_eq!(plan.sources, sources);
}

#[test]
fn a_file_that_may_not_be_read_for_now_is_neither_lost_nor_gone() {
    let mut hidden = candidate(1, vec![]);
    hidden.readable = Readable::NotYet;
    let seen = Observation {
        current: at_path(2, vec![]),
        known: vec![checkpoint(7, 1, 100, 120)],
        candidates: vec![hidden],
        ..Observation::default()
    };
    let plan = plan(&seen);
    assert_eq!(plan.sources, [Planned::OpenCurrent(From::Start)]);
    assert_eq!(plan.blocked, [Blocked::Candidate(0)]);
    assert!(plan.lost.is_empty() && plan.gone.is_empty());
}

#[test]
fn truncated_content_waits_for_copies_that_could_never_be_read_also_at_later_looks() {
    let mut copy = candidate(1, vec![]);
    copy.readable = Readable::NotYet;
    let mut of_the_copy = checkpoint(8, 1, 0, copy.stat.size);
    of_the_copy.identity.fingerprint = Fingerprint::of(b"");
    let mut truncated = content_alone(7, 100);
    truncated.state = SourceState::Open;
    let mut seen = Observation {
        current: at_path(2, vec![]),
        known: vec![truncated, of_the_copy],
        candidates: vec![copy],
        ..Observation::default()
    };
    let waiting = plan(&seen);
    let blocked = [Blocked::Candidate(0), Blocked::Checkpoint(7)];
    assert_eq!(
        BTreeSet::from_iter(waiting.blocked),
        BTreeSet::from(blocked)
    );
    assert!(waiting.lost.is_empty() && waiting.gone.is_empty());
    // It can be read at last, and holds what was delivered.
    seen.candidates[0].readable = Readable::Yes;
    seen.candidates[0].matches = matched(7, CONTINUES);
    let found = plan(&seen);
    assert_eq!(found.sources[0], Planned::Open(0, From::PositionOf(7)));
    assert_eq!(found.superseded, [8]);
}

#[test]
fn content_that_was_overwritten_while_nobody_looked_waits_for_a_copy_that_cannot_be_read() {
    let mut copy = candidate(1, vec![]);
    copy.readable = Readable::NotYet;
    let mut seen = Observation {
        current: at_path(2, vec![]),
        known: vec![checkpoint(7, 2, 100, 100)],
        candidates: vec![copy],
        ..Observation::default()
    };
    let at_the_path = plan(&seen);
    assert_eq!(at_the_path.sources, [Planned::OpenCurrent(From::Start)]);
    assert_eq!(at_the_path.overwritten, [7]);
    // Written anew, and rotated away after that.
    seen.known = vec![checkpoint(7, 3, 100, 100)];
    seen.candidates.push(candidate(3, vec![]));
    let rotated = plan(&seen);
    assert_eq!(rotated.overwritten, [7]);
    assert!(rotated.lost.is_empty() && rotated.gone.is_empty());
}

#[test]
fn nothing_is_given_up_while_a_folder_cannot_be_listed() {
    let seen = Observation {
        current: at_path(2, vec![]),
        known: vec![checkpoint(7, 1, 100, 120)],
        is_incomplete: true,
        ..Observation::default()
    };
    let plan = plan(&seen);
    assert_eq!(plan.blocked, [Blocked::Checkpoint(7)]);
    assert!(plan.lost.is_empty() && plan.gone.is_empty());
}

/// An agent read 7 to its end and 8 up to an offset, and was killed; what the next one knows of both comes from the topic
/// of positions, where 7 stands as if it were still to be read on.
#[test]
fn what_ended_before_the_file_at_the_path_was_read_is_not_perhaps_lost() {
    let perhaps_lost = |known: [Checkpoint; 2], from_topic: &[u64]| {
        let seen = Observation {
            current: at_path(2, [matched(6, CONTINUES), matched(8, CONTINUES)].concat()),
            known: known.into(),
            from_topic: from_topic.into(),
            ..Observation::default()
        };
        let made = plan(&seen);
        assert_eq!(made.sources.len(), 1);
        let lost: Vec<u64> = made.lost.iter().map(|lost| lost.serial).collect();
        let grown = seen.perhaps_grown(&made.gone);
        (lost, grown.map(|known| known.serial).collect::<Vec<_>>())
    };
    let (none, it) = (vec![], vec![7]);
    let now = || checkpoint(8, 2, 100, 100);
    let is_of = |inode| checkpoint(7, inode, 100, 100);
    // Truncated: its agent saw that. Or another file, of the same number perhaps.
    let nothing = (none.clone(), none.clone());
    assert_eq!(perhaps_lost([is_of(2), now()], &[]), nothing);
    assert_eq!(perhaps_lost([is_of(2), now()], &[7, 8]), nothing);
    assert_eq!(perhaps_lost([is_of(1), now()], &[7, 8]), nothing);
    // What an agent knew that was not finished, and what comes before a file of which nothing was read.
    let perhaps = (none.clone(), it.clone());
    assert_eq!(perhaps_lost([is_of(1), now()], &[]), perhaps);
    let unread = checkpoint(8, 2, 0, 100);
    assert_eq!(perhaps_lost([is_of(2), unread], &[7, 8]), perhaps);
    let earlier = checkpoint(6, 2, 100, 100);
    assert_eq!(perhaps_lost([is_of(1), earlier], &[6, 7]), perhaps);
    // Bytes that were seen and not delivered are lost for certain.
    let behind = checkpoint(7, 2, 100, 120);
    assert_eq!(perhaps_lost([behind, now()], &[7, 8]), (it, none));
}

#[test]
fn what_was_rotated_away_before_a_log_was_first_seen_is_skipped() {
    let seen = Observation {
        current: at_path(2, vec![]),
        candidates: vec![candidate(1, vec![])],
        adoption: Adoption::New { from_end: true },
        ..Observation::default()
    };
    let plan = plan(&seen);
    assert_eq!(plan.sources, [Planned::OpenCurrent(From::End)]);
    assert_eq!(plan.registered, [(0, Registration::Skipped)]);
}

#[test]
fn files_that_followed_on_each_other_while_the_agent_was_down_are_read_in_their_order() {
    let seen = Observation {
        current: at_path(4, vec![]),
        known: vec![checkpoint(7, 1, 100, 120)],
        candidates: vec![
            candidate(3, vec![]),
            candidate(1, matched(7, CONTINUES)),
            candidate(2, vec![]),
        ],
        order: [1, 2, 0].map(Place::Candidate).into(),
        ..Observation::default()
    };
    let sources = [
        Planned::Open(1, From::PositionOf(7)),
        Planned::Open(2, From::Start),
        Planned::Open(0, From::Start),
        Planned::OpenCurrent(From::Start),
    ];
    assert_eq!(plan(&seen).sources, sources);
}

#[test]
fn a_copy_of_truncated_content_that_shows_late_is_read_on_unless_it_is_one_of_what_is_open() {
    let mut left = checkpoint(5, 9, 80, 80);
    left.identity.inode = NO_INODE;
    left.identity.born_ns = 0;
    left.state = SourceState::Finished;
    let late = |matches| {
        let mut seen = seen(
            Verdict::Intact,
            at_path(1, vec![]),
            vec![candidate(3, matches)],
        );
        seen.known = vec![left.clone()];
        plan(&seen).sources
    };
    let rest = Planned::Open(0, From::PositionOf(5));
    assert_eq!(late(matched(5, CONTINUES)), [rest, Planned::Keep(7)]);
    assert_eq!(late(matched(5, SHORTER)), [Planned::Keep(7)]);
    let mut both = matched(5, CONTINUES);
    both.extend(matched(7, SHORTER));
    assert_eq!(late(both), [Planned::Keep(7)]);
}

#[test]
fn what_followed_on_a_file_is_looked_for_when_the_folder_can_be_listed_again() {
    let mut half_read = candidate(1, matched(7, CONTINUES));
    half_read.stat = stat(1, 120);
    let mut seen = Observation {
        open: vec![open(8, 3, Verdict::Intact)],
        current: at_path(3, vec![]),
        known: vec![checkpoint(7, 1, 100, 120)],
        candidates: vec![half_read, candidate(2, vec![])],
        order: vec![Place::Candidate(0), Place::Candidate(1)],
        ..Observation::default()
    };
    let sources = [
        Planned::Open(0, From::PositionOf(7)),
        Planned::Open(1, From::Start),
        Planned::Keep(8),
    ];
    assert_eq!(plan(&seen).sources, sources);
    // The folder could be listed, and only this file not be read: what lay beside it was seen.
    seen.candidates[0].readable = Readable::NotYet;
    let plan = plan(&seen);
    assert_eq!(plan.sources, [Planned::Keep(8)]);
    assert_eq!(plan.registered, [(1, Registration::Skipped)]);
}

#[test]
fn a_rotated_file_that_is_overwritten_while_the_agent_is_down_is_lost_and_not_new_content() {
    let mut seen = Observation {
        current: at_path(2, matched(8, CONTINUES)),
        known: vec![checkpoint(7, 1, 100, 120), checkpoint(8, 2, 10, 10)],
        candidates: vec![candidate(1, vec![])],
        ..Observation::default()
    };
    // The next file was made at 2,000.
    seen.candidates[0].stat.modified_ns = 2_001;
    let overwritten = plan(&seen);
    assert_eq!(
        overwritten.sources,
        [Planned::OpenCurrent(From::PositionOf(8))]
    );
    assert_eq!(overwritten.registered, [(0, Registration::Skipped)]);
    assert_eq!(overwritten.lost.len(), 1);
    // The same file without one that came after it may have been truncated, written anew and rotated away. So was one
    // that was not written to since the next one was made: nobody might read it when it was rotated away.
    let anew = Planned::Open(0, From::Start);
    seen.candidates[0].stat.modified_ns = 2_000;
    assert!(plan(&seen).sources.contains(&anew));
    seen.candidates[0].stat.modified_ns = 2_001;
    seen.known.pop();
    assert!(plan(&seen).sources.contains(&anew));
}

#[test]
fn a_log_that_came_after_the_one_that_was_found_is_read_from_its_beginning() {
    let mut found = candidate(1, vec![]);
    found.was_found_at_path = true;
    let seen = Observation {
        current: at_path(2, vec![]),
        candidates: vec![found],
        adoption: Adoption::New { from_end: true },
        ..Observation::default()
    };
    let sources = [
        Planned::Open(0, From::End),
        Planned::OpenCurrent(From::Start),
    ];
    assert_eq!(plan(&seen).sources, sources);
}

#[test]
fn a_file_that_was_made_beside_the_log_before_the_rotation_is_no_part_of_it() {
    let mut seen = seen(
        Verdict::Intact,
        at_path(2, vec![]),
        vec![candidate(3, vec![])],
    );
    seen.in_place_at_ns = seen.candidates[0].stat.born_ns + 1_000_000_000;
    let plan = plan(&seen);
    let sources = [Planned::Keep(7), Planned::OpenCurrent(From::Start)];
    assert_eq!(plan.sources, sources);
    assert_eq!(plan.registered, [(0, Registration::Skipped)]);
}

#[test]
fn what_is_written_long_after_the_rotation_is_no_part_of_the_log_unless_its_time_was_set() {
    const SECOND_NS: i64 = 1_000_000_000;
    let mut seen = seen(
        Verdict::Intact,
        at_path(2, vec![]),
        vec![candidate(3, vec![])],
    );
    seen.looked_at_ns = 60 * SECOND_NS;
    let mut planned = |modified_ns| {
        seen.candidates[0].stat.modified_ns = modified_ns;
        let plan = plan(&seen);
        (plan.sources.len(), plan.registered)
    };
    let skipped = (2, vec![(0, Registration::Skipped)]);
    assert_eq!(planned(60 * SECOND_NS), skipped);
    // A file server's clock differs by minutes, not by a day.
    assert_eq!(planned(120 * SECOND_NS), skipped);
    assert_eq!(planned(86_400 * SECOND_NS), (3, vec![]));
}

#[test]
fn what_nobody_knows_comes_after_what_is_open_whatever_the_names_say_while_they_move() {
    let mut seen = seen(
        Verdict::Intact,
        at_path(2, vec![]),
        vec![candidate(3, vec![])],
    );
    seen.was_just_rotated = true;
    seen.order = vec![Place::Candidate(0), Place::Open(7)];
    let expected = [
        Planned::Keep(7),
        Planned::Open(0, From::Start),
        Planned::OpenCurrent(From::Start),
    ];
    assert_eq!(plan(&seen).sources, expected);
}

#[test]
fn the_rest_of_a_truncated_source_comes_after_those_that_were_opened_before_it() {
    // A copy of the copy before is still being read, and both names move on while they are listed.
    let rest = candidate(3, matched(8, CONTINUES));
    let mut seen = seen(Verdict::Intact, at_path(2, vec![]), vec![rest]);
    seen.open[0].is_current = false;
    seen.open.push(open(8, 2, Verdict::Replaced));
    seen.order = vec![Place::Candidate(0), Place::Open(7)];
    let expected = [
        Planned::Keep(7),
        Planned::Open(0, From::PositionOf(8)),
        Planned::Restart(8),
    ];
    assert_eq!(plan(&seen).sources, expected);
}

#[test]
fn what_was_written_after_a_truncation_is_read_though_the_content_before_is_known_later() {
    // The agent was killed when it had noted what was truncated away, and a copy, and nothing of the new content.
    let mut truncated = checkpoint(6, 9, 100, 100);
    truncated.identity.inode = NO_INODE;
    truncated.state = SourceState::Finished;
    let mut copy = checkpoint(7, 10, 100, 100);
    copy.state = SourceState::Finished;
    let seen = Observation {
        current: at_path(2, vec![]),
        known: vec![checkpoint(5, 1, 100, 100), truncated, copy],
        candidates: vec![candidate(1, vec![])],
        order: vec![Place::Candidate(0)],
        ..Observation::default()
    };
    let expected = [
        Planned::Open(0, From::Start),
        Planned::OpenCurrent(From::Start),
    ];
    assert_eq!(plan(&seen).sources, expected);
}

#[test]
fn an_archive_that_has_the_inode_of_one_that_was_removed_is_read() {
    let mut removed = checkpoint(5, 3, 100, 100);
    removed.identity.born_ns = 0;
    removed.state = SourceState::Finished;
    let mut packed = archive(3, vec![]);
    packed.stat.born_ns = 0;
    let seen = Observation {
        current: at_path(2, vec![]),
        known: vec![removed, checkpoint(6, 1, 100, 100)],
        candidates: vec![packed],
        order: vec![Place::Candidate(0)],
        ..Observation::default()
    };
    let read = Planned::Open(0, From::Start);
    assert!(plan(&seen).sources.contains(&read));
    let same = Observation {
        candidates: vec![Candidate {
            matches: matched(5, CONTINUES),
            stat: FileStat {
                size: 100,
                ..seen.candidates[0].stat
            },
            ..archive(3, vec![])
        }],
        ..seen
    };
    assert!(!plan(&same).sources.contains(&read));
}

#[test]
fn a_plain_file_that_is_followed_by_itself_is_left_to_its_own_tailer_and_remembered_for_it() {
    let mut followed = candidate(2, vec![]);
    followed.is_followed = true;
    let rotated = plan(&seen(Verdict::Intact, at_path(3, vec![]), vec![followed]));
    let sources = [Planned::Keep(7), Planned::OpenCurrent(From::Start)];
    assert_eq!(rotated.sources, sources);
    assert_eq!(rotated.registered, [(0, Registration::OfItself)]);
    // Beside a log that was not rotated it is a neighbour.
    let mut neighbour = candidate(2, vec![]);
    neighbour.is_followed = true;
    let quiet = plan(&seen(Verdict::Intact, at_path(1, vec![]), vec![neighbour]));
    assert!(quiet.registered.is_empty());
}

#[test]
fn an_archive_that_was_incomplete_at_the_last_look_and_holds_what_was_read_is_not_new() {
    let mut unread = checkpoint(8, 3, 0, 0);
    unread.identity.fingerprint = Fingerprint::default();
    unread.identity.born_ns = 0;
    let mut read = checkpoint(6, 2, 90, 90);
    read.state = SourceState::Finished;
    let mut packed = archive(3, matched(6, CONTINUES));
    packed.stat.born_ns = 0;
    let mut seen = seen(Verdict::Intact, at_path(1, vec![]), vec![packed]);
    seen.known = vec![read, unread];
    let plan = plan(&seen);
    assert_eq!(plan.sources, [Planned::Keep(7)]);
    assert_eq!(plan.superseded, [8]);
    assert_eq!(plan.registered, [(0, Registration::CopyOf(6))]);
}

/// What was read of a file that was truncated since, in place of which no copy was found.
fn content_alone(serial: u64, offset: u64) -> Checkpoint {
    let mut content = checkpoint(serial, 0, offset, offset);
    content.identity.inode = NO_INODE;
    content.state = SourceState::Finished;
    content.identity.born_ns = 0;
    content
}

#[test]
fn a_copy_that_appears_after_its_original_was_truncated_is_not_new_and_more_of_it_is_read() {
    let with = |matches, size| {
        let mut copy = candidate(2, matches);
        copy.stat.size = size;
        let mut seen = seen(Verdict::Intact, at_path(1, vec![]), vec![copy]);
        seen.known = vec![content_alone(6, 90)];
        seen.was_just_rotated = true;
        plan(&seen)
    };
    let shorter = with(matched(6, SHORTER), 80);
    assert_eq!(shorter.sources, [Planned::Keep(7)]);
    assert_eq!(shorter.registered, [(0, Registration::CopyOf(6))]);
    let longer = with(matched(6, CONTINUES), 120);
    let rest = Planned::Open(0, From::PositionOf(6));
    assert_eq!(longer.sources, [rest, Planned::Keep(7)]);
}

#[test]
fn a_new_log_that_begins_as_truncated_content_did_is_read_from_its_beginning() {
    let seen = Observation {
        current: Current::File {
            stat: stat(2, 200),
            matches: matched(6, CONTINUES),
        },
        known: vec![content_alone(6, 50)],
        ..Observation::default()
    };
    let sources = [Planned::OpenCurrent(From::Start)];
    assert_eq!(plan(&seen).sources, sources);
}

#[test]
fn the_rest_is_read_from_the_archive_where_a_backup_was_made_earlier_and_is_shorter() {
    let backup = candidate(2, matched(7, CONTINUES));
    let mut packed = archive(3, matched(7, CONTINUES));
    packed.stat.size = 120;
    let seen = Observation {
        current: at_path(4, vec![]),
        known: vec![checkpoint(7, 1, 80, 120)],
        candidates: vec![backup, packed],
        ..Observation::default()
    };
    let rest = Planned::Open(1, From::PositionOf(7));
    let sources = [rest, Planned::OpenCurrent(From::Start)];
    assert_eq!(plan(&seen).sources, sources);
}

#[test]
fn a_rotation_shows_where_the_file_at_the_path_is_remembered_already() {
    let seen = Observation {
        current: Current::File {
            stat: stat(4, 50),
            matches: matched(8, CONTINUES),
        },
        known: vec![checkpoint(7, 1, 120, 120), checkpoint(8, 4, 0, 50)],
        candidates: vec![candidate(1, matched(7, CONTINUES)), candidate(2, vec![])],
        order: [0, 1].map(Place::Candidate).into(),
        ..Observation::default()
    };
    let sources = [
        Planned::Open(0, From::PositionOf(7)),
        Planned::Open(1, From::Start),
        Planned::OpenCurrent(From::PositionOf(8)),
    ];
    assert_eq!(plan(&seen).sources, sources);
    // Also where all of the file before was read, and another log's tailer has remembered this one.
    let mut finished = checkpoint(7, 1, 120, 120);
    finished.state = SourceState::Finished;
    let remembered = Checkpoint {
        modified_ns: 0,
        ..checkpoint(8, 4, 0, 50)
    };
    let mut seen = Observation {
        known: vec![finished, remembered],
        ..seen
    };
    let sources = [
        Planned::Open(1, From::Start),
        Planned::OpenCurrent(From::PositionOf(8)),
    ];
    assert_eq!(plan(&seen).sources, sources);
    // A log of which nothing else is known has no files before.
    seen.known.remove(0);
    seen.candidates.remove(0);
    seen.order.pop();
    assert_eq!(
        plan(&seen).sources,
        [Planned::OpenCurrent(From::PositionOf(8))]
    );
}

#[test]
fn what_is_remembered_of_truncated_content_is_no_successor_of_its_file() {
    let file = checkpoint(7, 1, 120, 120);
    let mut content = content_alone(8, 120);
    content.modified_ns = file.modified_ns;
    let seen = Observation {
        current: at_path(2, vec![]),
        known: vec![file, content],
        candidates: vec![candidate(1, vec![])],
        ..Observation::default()
    };
    // It was truncated, written anew and rotated away while the agent was down.
    let anew = Planned::Open(0, From::Start);
    assert_eq!(
        plan(&seen).sources,
        [anew, Planned::OpenCurrent(From::Start)]
    );
}

#[test]
fn an_empty_file_that_was_rotated_away_unseen_is_opened_and_an_empty_copy_is_not() {
    let between = |had_current, born_ns, is_numbered| {
        let mut empty = candidate(2, vec![]);
        empty.stat.size = 0;
        empty.stat.born_ns = born_ns;
        empty.is_numbered = is_numbered;
        let mut seen = seen(Verdict::Intact, at_path(3, vec![]), vec![empty]);
        seen.open[0].is_current = had_current;
        plan(&seen).sources
    };
    let with = |born_ns, is_numbered| {
        let sources = between(true, born_ns, is_numbered);
        // The path may have been empty at the last look, between two rotations.
        assert_eq!(between(false, born_ns, is_numbered), sources);
        sources
    };
    let (old, new) = (Planned::Keep(7), Planned::OpenCurrent(From::Start));
    let born_ns = stat(3, 0).born_ns;
    for earlier in [born_ns - 1, born_ns] {
        let opened = [old, Planned::Open(0, From::Start), new];
        assert_eq!(with(earlier, true), opened);
        assert_eq!(with(earlier, false), [old, new]);
    }
    // What is made after the file at the path becomes a copy of it.
    assert_eq!(with(born_ns + 1, true), [old, new]);
}

#[test]
fn a_copy_that_was_written_over_while_it_was_remembered_is_known_by_what_it_holds_now() {
    let mut emptied = checkpoint(5, 3, 0, 0);
    emptied.identity.fingerprint = Fingerprint::default();
    emptied.state = SourceState::Finished;
    let with = |matches| {
        let seen = Observation {
            known: vec![emptied.clone()],
            ..seen(
                Verdict::Intact,
                at_path(1, vec![]),
                vec![candidate(3, matches)],
            )
        };
        plan(&seen).sources
    };
    assert_eq!(with(matched(7, CONTINUES)), [Planned::Keep(7)]);
    // Late lines of a file that was empty are known to nobody.
    let late = Planned::Open(0, From::PositionOf(5));
    assert_eq!(with(vec![]), [late, Planned::Keep(7)]);
}
