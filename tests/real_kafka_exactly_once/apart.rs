//! What Kafka does not take holds up no commit of anything else.

use rustix::process::Signal;

use super::{append, exactly_once};
use crate::support::env::{SOON, wait_until};
use crate::support::kafka::RealKafka;

#[test]
fn a_topic_that_is_missing_holds_up_no_other_and_nothing_is_missing_or_there_twice_in_the_end() {
    let kafka = RealKafka::own("apart", "4", &["auto.create.topics.enable=false"]);
    let (mut env, topic) = exactly_once(&kafka, "once-apart");
    let missing = format!("{topic}-missing");
    let (app, odd) = (env.log_dir().join("a.log"), env.log_dir().join("odd"));
    env.set("agent", "producers", "1")
        .set("agent", "shutdown_timeout", "2s")
        .set("log:odd", "path", &odd.display().to_string())
        .set("log:odd", "start_at", "beginning")
        .set("log:odd", "topic", &missing);
    let (mut taken, mut waiting) = (Vec::new(), Vec::new());
    for round in 0..4 {
        match round {
            0 => env.start(),
            // Killed while lines wait.
            1 => {
                env.kill();
                env.start_and_run_on();
            }
            // Stopped while lines wait.
            2 => {
                env.signal(Signal::TERM);
                env.wait_exit(SOON);
                env.start_and_run_on();
            }
            _ => kafka.create_topic(&missing, 1, &[]),
        }
        for n in 0..5 {
            let [new_taken, new_waiting] =
                [&mut taken, &mut waiting].map(|lines: &mut Vec<String>| {
                    lines.push(format!("a {round} {n}"));
                    &lines[lines.len() - 1..]
                });
            append(&odd, new_waiting);
            append(&app, new_taken);
            kafka.wait_for_records(&topic, 1, SOON);
            let is_committed = || kafka.committed(&topic) == taken;
            wait_until(SOON, is_committed, || format!("{taken:?} are committed"));
        }
    }
    env.wait_for_checkpoint_at_the_end_of("odd");
    env.wait_for_log("is taken again", SOON);
    env.stop();
    assert_eq!(kafka.committed(&topic), taken);
    assert_eq!(kafka.committed(&missing), waiting);
}
