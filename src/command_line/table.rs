//! The one table of commands. A row is all that is said of a command anywhere: `--help`, the man page and the
//! completions are made of it.

use super::{
    Command, Given, UsageError, make_adopt, make_check, make_help, make_reload, make_rewind,
    make_run, make_status, make_tap, make_test, make_top, make_verify,
};

/// One command.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// The option that stands for it.
    pub(super) letter: Option<char>,
    /// What may follow on its name, in brackets if it can be left out.
    pub(super) operands: &'static str,
    pub(super) most_operands: usize,
    /// What it does.
    pub(super) help: &'static str,
    /// What else there is to know: paragraphs, each a line.
    pub(super) more: &'static str,
    pub(super) options: &'static [OptionRow],
    /// Makes the command of what was given.
    pub(super) make: fn(Given) -> Result<Command, UsageError>,
}

impl Row {
    /// Its own options, and those of every command.
    pub(super) fn all_options(&self) -> impl Iterator<Item = &'static OptionRow> {
        self.options.iter().chain(COMMON)
    }
}

/// One option.
pub(super) struct OptionRow {
    pub(super) long: &'static str,
    pub(super) letter: Option<char>,
    /// The name of its value; empty: it has none.
    pub(super) value: &'static str,
    /// What it does.
    pub(super) help: &'static str,
}

/// An option: its name, its letter, the name of its value, what it does.
const fn option(
    long: &'static str,
    letter: Option<char>,
    value: &'static str,
    help: &'static str,
) -> OptionRow {
    OptionRow {
        long,
        letter,
        value,
        help,
    }
}

pub(super) const COMMANDS: &[Row] = &[
    Row {
        name: "run",
        letter: None,
        operands: "",
        most_operands: 0,
        help: "follow files until a signal stops it; what 'logagent' alone does",
        more: "SIGINT or SIGTERM stops: what is in flight is waited for up to [agent] shutdown_timeout. A second one stops \
               at once, with exit code 1.\n\
               SIGHUP reads the ini again, as 'logagent reload' does.\n\
               Log lines go to standard error; RUST_LOG=debug shows more of them.",
        options: &[
            option(
                "dry-run",
                None,
                "",
                "print topic, key and line of what would be sent; needs no Kafka, moves no position",
            ),
            option(
                "once",
                None,
                "",
                "ship what is there now, then exit; with --dry-run, print it and exit",
            ),
        ],
        make: make_run,
    },
    Row {
        name: "check",
        letter: Some('t'),
        operands: "",
        most_operands: 0,
        help: "look whether ini, files, rights, brokers and topics are as the agent needs them",
        more: "It connects to the brokers as the agent does, asks them for the topics of sections and of the files that \
               match now, a hundred of these, and sends no line; 10 s at most. Run it as the agent's user.\n\
               Exit codes: 0 all is well, 1 something should be looked at, 2 the agent cannot do its work.",
        options: &[
            option("offline", None, "", "ask no broker"),
            option("json", None, "", "JSON instead of a screen"),
            option("no-test", None, "", "leave out the cases beside the ini"),
        ],
        make: make_check,
    },
    Row {
        name: "test",
        letter: None,
        operands: "[CASES...]",
        most_operands: usize::MAX,
        help: "run the cases of a configuration, NAME.test.ini beside NAME.ini; needs no Kafka",
        more: "Exit codes: 0 all cases are good, 1 one failed, 2 a file is refused.",
        options: &[
            option(
                "accept",
                None,
                "",
                "write the records to the files that cases name with 'out'",
            ),
            option(
                "strict",
                None,
                "",
                "a rule (keep, drop, sample, mask) that no case tests is a failure",
            ),
            option(
                "log",
                None,
                "NAME",
                "print what [log:NAME] makes of standard input, instead of cases",
            ),
            option(
                "path",
                None,
                "PATH",
                "the file that standard input stands for, for placeholders",
            ),
        ],
        make: make_test,
    },
    Row {
        name: "reload",
        letter: None,
        operands: "",
        most_operands: 0,
        help: "have the running agent read its ini again, and print what that changes",
        more: "Exit codes: 0 it is applied, 1 it is refused and the old one stays in use, or a setting of it waits for a \
               restart, 2 no agent answers, or there is no ini.",
        options: &[],
        make: make_reload,
    },
    Row {
        name: "status",
        letter: None,
        operands: "[NAME | PATH]",
        most_operands: 1,
        help: "print how the running agent stands, or a section or a file of it",
        more: "With PATH it says whether that is followed and by which section, or why not.\n\
               A file is behind by its LAG: bytes of whole lines, or of whole events, that Kafka has not acknowledged, read or not; the \
               beginning of a line whose end is not written yet does not count. The first word is \
               OK, or the first of these that is so: WRONG: no broker can be reached; FAILED: a file cannot be read; \
               PARKED: Kafka does not take a topic; BEHIND: the oldest line has waited for 10 s; LOST: bytes were lost \
               in the last hour; WAITING: what is asked for waits for its topic or broker; WRONG: what stands under \
               WHAT IS WRONG. A section that follows no file yet is a NOTE and no fault; 'logagent check' warns of it. \
               AGE is how long the oldest byte that is not acknowledged has waited, LOST what went away unread since \
               the start. READ/s, ACKED/s, RECORDS/s and the latencies are averages of the last 10 to 20 s. Times are \
               those of the zone that the last line names.\n\
               Exit codes: 0 all is well, 1 something is behind, parked or wrong, bytes were lost in the last hour, or \
               PATH is not followed, 2 no agent answers, or there is no ini.",
        options: &[
            option(
                "watch",
                Some('w'),
                "",
                "again every 2 s; keys: q ends, a all files, l by lag, p by path",
            ),
            option("json", None, "", "the numbers, for programs"),
            option("all", Some('a'), "", "files at their end, too"),
        ],
        make: make_status,
    },
    Row {
        name: "top",
        letter: None,
        operands: "[NAME | PATH]",
        most_operands: 1,
        help: "the same as 'status --watch'",
        more: "",
        options: &[
            option("json", None, "", "the numbers, for programs"),
            option("all", Some('a'), "", "files at their end, too"),
        ],
        make: make_top,
    },
    Row {
        name: "tap",
        letter: None,
        operands: "NAME|PATH",
        most_operands: 1,
        help: "print records of [log:NAME], or of one file, as they go, masked; they are copies, which hold up nothing",
        more: "The head of each says topic, partition, key, time, file and offset. Records that come faster than they can \
               be shown are left out and counted. On a terminal the beginning of each is shown, elsewhere all of it, up \
               to 16 KiB. With --wait before the start, the agent reads nothing until it looks on, for 3 s at most, so \
               that the first line is shown.",
        options: &[
            option("count", Some('n'), "COUNT", "so many of them, then exit"),
            option("headers", None, "", "with the headers of each"),
            option(
                "wait",
                None,
                "",
                "wait for the agent where none runs, and again when it ends",
            ),
        ],
        make: make_tap,
    },
    Row {
        name: "rewind",
        letter: None,
        operands: "PATH",
        most_operands: 1,
        help: "set the position of a file, to have it sent again; while no agent runs",
        more: "It says what that means and asks back; without a terminal it needs --yes.\n\
               Exit codes: 0 done, 1 the answer was no, 2 it cannot be done, or nobody can be asked.",
        options: &[
            option(
                "to",
                None,
                "PLACE",
                "0, end, or an offset: the line that begins there or next",
            ),
            option("yes", Some('y'), "", "do not ask back"),
        ],
        make: make_rewind,
    },
    Row {
        name: "adopt",
        letter: None,
        operands: "",
        most_operands: 0,
        help: "have this agent take its id over from another machine, with delivery = exactly_once",
        more: "An agent whose id was in use on another machine within ten minutes does not start, and says so: two that \
               share an id would take it away from each other. Where the other one is gone for good, or was moved here, \
               this lets the next start take over; an agent that still runs there is ended by that, with exit code 3.\n\
               It says who has the id and asks back; without a terminal it needs --yes.\n\
               Exit codes: 0 done, or nobody else has it, 1 the answer was no, 2 it cannot be done, or nobody can be asked.",
        options: &[option("yes", Some('y'), "", "do not ask back")],
        make: make_adopt,
    },
    Row {
        name: "verify",
        letter: None,
        operands: "",
        most_operands: 0,
        help: "look whether the topics hold the bytes of the files, each once; needs provenance = on",
        more: "It reads the topics from their beginning to the end that they have now, and the files, rotated and packed \
               ones too. The agent may run meanwhile.\n\
               Values that are bytes of the file are compared; of what was masked, decoded or made into JSON, and of \
               files that are gone, only the place is looked at. What rules drop is told by running them again over \
               the file. Dead letters, holes, what came before provenance or start_at = end, and what a topic does \
               not keep any more, are no difference. What was sent again after a kill counts as twice, \
               what 'logagent rewind' has asked for does not: a line for each file says how much it is; the file 'rewinds' \
               of the state folder remembers that. A topic that does not exist \
               is a difference if files have lines for it.\n\
               After a change of 'topic =' what was sent before is in the topic of before: name both, the old one first, \
               or its lines count as missing.\n\
               Bytes that the agent has lost before it read them (LOST of 'logagent status') are told too; --since leaves \
               out what was lost before.\n\
               A TIME is 2026-11-27T10:00:00Z, or 2h for two hours ago.\n\
               Exit codes: 0 all is there, once, but for what was rewound; 1 there are differences, or bytes were lost; \
               2 it cannot be told, or not of all.",
        options: &[
            option(
                "topic",
                None,
                "TOPIC",
                "read this topic, and not all of the ini; more than once, or TOPIC,TOPIC: these",
            ),
            option("since", None, "TIME", "read records from then on"),
            option("until", None, "TIME", "read records before then"),
            option("json", None, "", "JSON instead of a screen"),
        ],
        make: make_verify,
    },
    Row {
        name: "help",
        letter: None,
        operands: "[COMMAND | config [KEY]]",
        most_operands: 2,
        help: "print help for a command, or for the keys of the ini",
        more: "'logagent help config' prints an ini that has every key with its default, 'logagent help config linger' \
               what one key is for.",
        options: &[
            option("man", None, "", "print the man page, logagent(1)"),
            option(
                "completions",
                None,
                "SHELL",
                "print the completions for bash, zsh or fish",
            ),
        ],
        make: make_help,
    },
];

/// Options of every command.
pub(super) const COMMON: &[OptionRow] = &[
    option(
        "config",
        Some('c'),
        "FILE",
        "settings (default: conf/logagent.ini or else /etc/logagent/logagent.ini)",
    ),
    option("help", Some('h'), "", "this text, or that of a command"),
    option("version", Some('V'), "", "the version"),
];

/// What the program is.
pub(super) const ABOUT: &str = "follows log files and delivers every line to Apache Kafka";

/// What the exit codes mean where a command does not say otherwise.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 done; 1 it failed and may be started again; 2 usage or configuration; \
    3 no start can mend it before a person does: the positions are damaged or of another version, the state folder may \
    not be written.";
