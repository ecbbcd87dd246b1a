//! What an operator is told after a start, of the run before.

use crate::support::env::Env;

const CUT_OFF: &str = "the run before did not end in order";

#[test]
fn a_start_after_a_kill_says_when_positions_were_written_last_and_one_after_a_stop_says_nothing() {
    let mut env = Env::new();
    env.write_lines("app.log", 0..10);
    env.start();
    env.wait_for_records(10);
    env.wait_for_checkpoint_at_the_end_of("app.log");
    env.stop();
    env.start();
    assert!(!env.log().contains(CUT_OFF), "{}", env.log());
    env.kill();
    // Who looks, or sets a position, takes nothing from the next agent.
    let dry = env.run(&["run", "--dry-run", "--once"]);
    assert!(!dry.stderr.contains(CUT_OFF), "{}", dry.stderr);
    let path = env.path("app.log");
    env.run(&["rewind", &path, "--to", "end", "--yes"]);
    env.start();
    let said = format!(
        "{CUT_OFF} (it was killed, it failed, or the host lost power): positions were written last at "
    );
    assert_eq!(env.agent().count_log(&[" WARN ", &said, "comes twice"]), 1);
    env.kill();
    let (first, second) = (env.run(&["run", "--once"]), env.run(&["run", "--once"]));
    assert_eq!((first.code, second.code), (Some(0), Some(0)));
    assert!(first.stderr.contains(CUT_OFF), "{}", first.stderr);
    assert!(!second.stderr.contains(CUT_OFF), "{}", second.stderr);
}
