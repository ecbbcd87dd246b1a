//! What an operator needs of a screen stays readable where names are long, several things are wrong or much is said.

use super::*;
use crate::snapshot::ALL_BROKERS;
use crate::wall_clock::clock;

fn few() -> View {
    View {
        most_files: 20,
        ..View::default()
    }
}

fn text_of(snapshot: &Snapshot, view: &View) -> String {
    Screen::new(snapshot, at(), view).text(false)
}

#[test]
fn an_address_is_whole_in_the_table_of_brokers_whatever_stands_beside_it() {
    let mut snapshot = sample();
    let broker = &mut snapshot.brokers[0];
    broker.up_since = Some(ago(665));
    broker.about = "Kafka 4.1, TLS 1.3, SCRAM-SHA-512".to_owned();
    broker.last_error = Some("the connection was closed by the broker".to_owned());
    for address in [
        "127.0.0.1:21897",
        "kafka1.shop.example.com:9093",
        "kafka-17.messages.eu-central-1.shop.example.com:9093",
    ] {
        snapshot.brokers[0].address = address.to_owned();
        let text = text_of(&snapshot, &few());
        let own = |line: &&str| line.starts_with(address);
        assert_eq!(text.lines().filter(own).count(), 1, "{text}");
        assert!(text.contains(" 11m05s  4.1 TLS, SCRAM "), "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }
}

#[test]
fn a_broker_has_one_line_for_the_longest_usual_values() {
    for about in [
        "Kafka 4.1 or later, no TLS, no login",
        "Kafka 4.1 or later, TLS 1.3, SCRAM-SHA-512",
        "Kafka 4.1 or later, TLS 1.3, OAUTHBEARER",
    ] {
        for up in [
            7,
            59,
            60,
            3599,
            3600,
            86_399,
            86_400,
            99 * 86_400 + 23 * 3600,
        ] {
            let mut snapshot = sample();
            snapshot.brokers.truncate(1);
            let broker = &mut snapshot.brokers[0];
            broker.address = "kafka-17:9092".to_owned();
            if !about.contains("OAUTH") {
                broker.address = "192.168.100.1:29092".to_owned();
            }
            broker.about = about.to_owned();
            broker.up_since = Some(ago(up));
            let text = text_of(&snapshot, &few());
            let own = |line: &&str| line.starts_with(&snapshot.brokers[0].address);
            let line = text.lines().find(own).unwrap();
            assert!(line.contains(" 4.1+ ") && line.ends_with("  -"), "{text}");
            assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        }
    }
}

#[test]
fn the_first_line_has_the_commit_and_is_never_cut_for_it() {
    let mut snapshot = sample();
    snapshot.process.commit = "0123456789ab+".to_owned();
    let head = |snapshot: &Snapshot| text_of(snapshot, &few()).lines().next().unwrap().to_owned();
    let words = "logagent 0.2.0 (0123456789ab+)  pid 4711  up 3d 4h  logagent.ini of ";
    assert!(head(&snapshot).starts_with(words), "{}", head(&snapshot));
    // The longest that is usual; the ini's time is in the last line.
    (snapshot.process.pid, snapshot.process.started) = (4_194_303, Some(ago(86_399)));
    snapshot.config.modified = Some(ago(9 * 86_400));
    let words = "logagent 0.2.0 (0123456789ab+)  pid 4194303  up 23h59m  logagent.ini";
    assert_eq!(head(&snapshot), words);
}

#[test]
fn the_state_of_a_topic_stays_in_one_line_and_long_names_are_cut() {
    let mut snapshot = sample();
    snapshot.topics[0].name = "t".repeat(90);
    let text = text_of(&snapshot, &few());
    assert!(text.contains("  PARKED 2m05s, again in 7s\n"), "{text}");
    for topic in &mut snapshot.topics {
        topic.waits_for_broker = true;
    }
    let text = text_of(&snapshot, &few());
    assert_eq!(text.matches("  waits for a broker\n").count(), 3, "{text}");
    // A terminal that has room for it shows all of it.
    let wide = Screen::new(&snapshot, at(), &few()).text_of_width(160, false);
    assert!(wide.contains(&format!("\n{} ", "t".repeat(90))), "{wide}");
}

#[test]
fn an_ini_that_was_refused_is_shown_line_by_line() {
    let mut snapshot = sample();
    snapshot.conditions.clear();
    let why = "a.ini:9: needs parse = json\n    topic = op3_{json.team}\n                ^";
    snapshot.config.refusal = Some(why.to_owned());
    let text = text_of(&snapshot, &few());
    let below = "\n     a.ini:9: needs parse = json\n         topic = op3_{json.team}\n                     ^\n\nLOG";
    assert!(text.contains(below), "{text}");
    let page = Screen::new(&snapshot, at(), &few()).html();
    assert!(page.contains("parse = json<br>"), "{page}");
}

#[test]
fn a_path_that_is_asked_for_has_its_position_to_the_byte() {
    let of = |only: &str| View {
        only: Some(only.to_owned()),
        ..few()
    };
    let text = text_of(&sample(), &of("/srv/shop/log/app.log"));
    let exact = "  851443712  2140143616  1288699904  4m10s\n";
    assert!(text.contains(exact), "{text}");
    assert!(text_of(&sample(), &of("app")).contains("  812 MiB  "));
    let mut snapshot = sample();
    snapshot.files[1].unended = snapshot.files[1].lag();
    let text = text_of(&snapshot, &of("/srv/shop/log/app.log"));
    assert!(
        text.contains("\nThe last 1288699904 bytes are the beginning "),
        "{text}"
    );
}

#[test]
fn the_word_is_that_of_the_cause_and_no_figure_behind_it_is_cut() {
    let mut snapshot = sample();
    snapshot.files[1].state = FileState::Failed;
    snapshot.files[1].behind_since = Some(ago(99_000));
    for topic in &mut snapshot.topics {
        topic.dead_letters.clear();
    }
    (snapshot.logs[0].lost_bytes, snapshot.logs[0].last_lost) =
        (vec![("deleted", 98_765_432)], Some(ago(2000)));
    for n in 0..90_000 {
        let path = format!("/srv/more/{n}.log");
        snapshot.files.push(file("app", &path, 0, 1 << 20, 99_000));
    }
    let text = text_of(&snapshot, &few());
    let sum = text.lines().nth(1).unwrap();
    assert!(sum.starts_with("FAILED  90002 of 90019 files, "), "{sum}");
    assert!(sum.ends_with("  lost 94 MiB 33 min ago"), "{sum}");
}

#[test]
fn what_keeps_everything_back_is_the_first_thing_that_is_wrong() {
    let mut snapshot = sample();
    let all = ConditionStatus {
        subject: ALL_BROKERS.to_owned(),
        reason: "none reachable".to_owned(),
        since: ago(3),
        ..snapshot.conditions[0].clone()
    };
    snapshot.conditions.push(all);
    let text = text_of(&snapshot, &few());
    let first = "\nFOR  WHAT IS WRONG\n3s   all brokers: none reachable\n2m   topic audit: ";
    assert!(text.contains(first), "{text}");
}

#[test]
fn a_time_of_another_day_has_its_date() {
    let (today, before) = (clock(at(), at()), clock(ago(2 * 86_400), at()));
    assert_eq!((today.len(), before.len()), (8, 19));
    assert!(
        before.starts_with("2025-11-2") && before.ends_with(&today),
        "{before}"
    );
}

#[test]
fn files_that_no_section_follows_any_more_are_a_note_with_what_to_do_and_nothing_wrong() {
    let mut snapshot = sample();
    let said = |snapshot: &Snapshot, view: &View| {
        let text = text_of(snapshot, view);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let word = Screen::new(&snapshot, at(), &few()).word;
    assert!(!said(&snapshot, &few()).contains("in no section"));
    snapshot.unfollowed = Unfollowed {
        files: 1,
        bytes: 8,
        first: vec!["/srv/old.log (8 B)".to_owned()],
    };
    let text = said(&snapshot, &few());
    let words = " 1 file is in no section any more, and 8 B of it were not sent: /srv/old.log (8 B); a section that \
                 names it sends that, 'logagent rewind FILE --to end' while the agent is stopped leaves it out";
    assert!(text.contains(words), "{text}");
    snapshot.unfollowed.files = 5;
    let text = said(&snapshot, &few());
    let words = " 5 files are in no section any more, and 8 B of them were not sent: /srv/old.log (8 B) and 4 more; a \
                 section that names them ";
    assert!(text.contains(words), "{text}");
    assert_eq!(Screen::new(&snapshot, at(), &few()).word, word);
    let only = View {
        only: Some("app".to_owned()),
        ..few()
    };
    let text = said(&snapshot, &only);
    assert!(!text.contains("in no section"), "{text}");
}

#[test]
fn a_topic_that_a_section_no_longer_names_says_what_still_waits_for_it() {
    let mut snapshot = sample();
    let reason = "UNKNOWN_TOPIC_OR_PARTITION (3)";
    snapshot.conditions[0].reason = reason.to_owned();
    let only = View {
        only: Some("app".to_owned()),
        ..few()
    };
    let said = |snapshot: &Snapshot| {
        let text = text_of(snapshot, &only);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let text = said(&snapshot);
    let named = "or name one that there is in 'topic =' and restart the agent: what was read waits for this one";
    assert!(text.contains(named), "{text}");
    snapshot.logs[2].former_topics = vec!["audit".to_owned()];
    let text = said(&snapshot);
    let changed = "what [log:app] read before its 'topic' was changed waits for it: a restart sends it to the new one, and once more what was sent behind it";
    assert!(
        text.contains(changed) && !text.contains("name one"),
        "{text}"
    );
    // In transactions nothing behind it is committed.
    snapshot.exactly_once = "id web1".to_owned();
    let text = said(&snapshot);
    assert!(
        text.contains("a restart sends it to the new one") && !text.contains("once more"),
        "{text}"
    );
    snapshot.exactly_once.clear();
    snapshot.logs[2].is_removed = true;
    let text = said(&snapshot);
    let removed =
        "[log:app] is gone from the ini and cannot finish: what it read waits for this topic";
    assert!(text.contains(removed), "{text}");
}

#[test]
fn a_topic_that_collides_with_another_says_with_which() {
    let mut snapshot = sample();
    snapshot.conditions[0].subject = "topic web.log".to_owned();
    snapshot.conditions[0].reason = "UNKNOWN_TOPIC_OR_PARTITION (3)".to_owned();
    snapshot.logs[2].troubled_topics = vec!["web.log".to_owned()];
    let text = text_of(&snapshot, &few());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = "(3); it collides with 'web_log': Kafka makes no topic ";
    assert!(text.contains(words) && !text.contains("--create"), "{text}");
}

#[test]
fn what_protects_the_way_to_a_broker_is_said_and_what_does_not() {
    let mut snapshot = sample();
    for (about, words) in [
        ("4.1 or later, no TLS, no login", "4.1+ no TLS"),
        ("4.1 or later, no TLS, PLAIN", "4.1+ no TLS, PLAIN"),
        ("4.1, TLS 1.3, no login", "4.1 TLS, no login"),
        ("3.9, TLS 1.2, SCRAM-SHA-256", "3.9 TLS, SCRAM"),
    ] {
        snapshot.brokers[0].about = format!("Kafka {about}");
        snapshot.brokers[0].up_since = Some(ago(665));
        let text = text_of(&snapshot, &few());
        assert!(text.contains(&format!("  {words}  ")), "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }
}
