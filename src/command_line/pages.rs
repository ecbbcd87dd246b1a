//! What the table of commands looks like as help, as a man page and as completions of shells.

use std::fmt::Write as _;

use super::table::{ABOUT, COMMANDS, COMMON, EXIT_CODES, OptionRow, Row};
use crate::shown::wrap;

/// `logagent --help`.
pub(super) fn overview() -> String {
    let mut text =
        format!("logagent {ABOUT}.\n\nUsage: logagent [COMMAND] [--config FILE] [OPTION...]\n\n");
    for row in COMMANDS {
        wrap(&mut text, &format!("  {:<1$}", row.name, NAMES), row.help);
    }
    push_options(&mut text, COMMON);
    wrap(
        &mut text,
        "\n",
        "'logagent help COMMAND' has the options of a command.",
    );
    wrap(&mut text, "", EXIT_CODES);
    text
}

/// `logagent help COMMAND`.
pub(super) fn command(row: &Row) -> String {
    let mut text = String::new();
    let usage = format!(
        "logagent {} [--config FILE] [OPTION...] {}",
        row.name, row.operands
    );
    wrap(&mut text, "Usage: ", usage.trim_end());
    if let Some(letter) = row.letter {
        wrap(&mut text, "       ", &format!("logagent -{letter} ..."));
    }
    wrap(&mut text, "\n", row.help);
    for paragraph in row.more.lines() {
        wrap(&mut text, "", paragraph);
    }
    push_options(&mut text, row.options);
    push_options(&mut text, COMMON);
    text
}

fn push_options(text: &mut String, rows: &[OptionRow]) {
    if !rows.is_empty() {
        text.push('\n');
    }
    for row in rows {
        let head = format!("  {:<1$}", names(row, "", ""), OPTIONS);
        wrap(text, &head, row.help);
    }
}

/// `-c, --config FILE`, each name between `bold` and `plain`.
fn names(row: &OptionRow, bold: &str, plain: &str) -> String {
    let mut text = match row.letter {
        Some(letter) => format!("{bold}-{letter}{plain}, "),
        None if bold.is_empty() => "    ".to_owned(),
        None => String::new(),
    };
    let _ = write!(text, "{bold}--{}{plain} {}", row.long, row.value);
    text.truncate(text.trim_end().len());
    text
}

/// `logagent(1)` in the macros of man(7).
pub(super) fn man() -> String {
    let mut text = format!(
        ".TH LOGAGENT 1 \"\" \"logagent {}\"\n.SH NAME\nlogagent \\- {ABOUT}\n.SH SYNOPSIS\n.B logagent\n\
         [COMMAND] [\\fB\\-\\-config\\fR FILE] [OPTION...]\n.SH COMMANDS\n",
        env!("CARGO_PKG_VERSION")
    );
    for row in COMMANDS {
        let _ = writeln!(text, ".SS {} {}", row.name, row.operands);
        if let Some(letter) = row.letter {
            let _ = writeln!(text, "Also \\fB-{letter}\\fR.");
        }
        for line in [row.help].into_iter().chain(row.more.lines()) {
            push_man(&mut text, ".PP", line);
        }
        push_man_options(&mut text, row.options);
    }
    text.push_str(".SH OPTIONS\n");
    push_man_options(&mut text, COMMON);
    text.push_str(".SH EXIT STATUS\n");
    push_man(&mut text, ".PP", EXIT_CODES);
    text.push_str(".SH FILES\n/etc/logagent/logagent.ini, /var/lib/logagent\n");
    text
}

fn push_man_options(text: &mut String, rows: &[OptionRow]) {
    for row in rows {
        push_man(text, ".TP", &names(row, "\\fB", "\\fR"));
        push_man(text, "", row.help);
    }
}

/// A line of text behind a macro. A quote or a dot at its beginning would be one; a hyphen is a minus, to be copied.
fn push_man(text: &mut String, mark: &str, line: &str) {
    if !mark.is_empty() {
        text.push_str(mark);
        text.push('\n');
    }
    text.push_str("\\&");
    text.push_str(&line.replace('-', "\\-"));
    text.push('\n');
}

/// For `shell`, if it is one of those that are known.
pub(super) fn completions(shell: &str) -> Option<String> {
    match shell {
        "bash" => Some(bash()),
        "zsh" => Some(zsh()),
        "fish" => Some(fish()),
        _ => None,
    }
}

fn command_names() -> String {
    COMMANDS
        .iter()
        .map(|row| row.name)
        .collect::<Vec<_>>()
        .join(" ")
}

fn bash() -> String {
    let names = command_names();
    let mut text = format!(
        "_logagent() {{\n  local word=${{COMP_WORDS[COMP_CWORD]}} given= options= at\n  \
         for at in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n    case \" {names} \" in *\" $at \"*) given=$at ;; esac\n  \
         done\n  case $given in\n"
    );
    for row in COMMANDS {
        let options: Vec<String> = row
            .options
            .iter()
            .map(|row| format!("--{}", row.long))
            .collect();
        let words = if row.name == "help" {
            format!("config {names}")
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "  {}) options='{} {words}' ;;",
            row.name,
            options.join(" ")
        );
    }
    let common: Vec<String> = COMMON.iter().map(|row| format!("--{}", row.long)).collect();
    let _ = write!(
        text,
        "  *) options='{names} --dry-run --once' ;;\n  esac\n  \
         COMPREPLY=($(compgen -W \"$options {}\" -- \"$word\"))\n}}\n\
         complete -o default -F _logagent logagent\n",
        common.join(" ")
    );
    text
}

fn zsh() -> String {
    let names = command_names();
    let mut text = format!(
        "#compdef logagent\n_arguments -C '1:command:({names})' '*::argument:->rest'\n\
         [[ $state == rest ]] || return\ncase $words[1] in\n"
    );
    for row in COMMANDS {
        let _ = write!(text, "{}) _arguments", row.name);
        for option in row.all_options() {
            let value = if option.value.is_empty() {
                ""
            } else {
                ":value:_files"
            };
            let help = option.help.replace('\'', "").replace(['[', ']', ':'], " ");
            let _ = write!(text, " '--{}[{help}]{value}'", option.long);
        }
        text.push_str(match row.name {
            "help" => " '*:topic:(config ",
            _ => " '*:file:_files' ;;\n",
        });
        if row.name == "help" {
            let _ = writeln!(text, "{names})' ;;");
        }
    }
    text.push_str("esac\n");
    text
}

fn fish() -> String {
    let mut text = String::new();
    let mut push = |condition: &str, what: &str, help: &str| {
        let help = help.replace('\'', "\\'");
        let _ = writeln!(text, "complete -c logagent {condition}{what} -d '{help}'");
    };
    for row in COMMANDS {
        push("-n __fish_use_subcommand -a ", row.name, row.help);
        let condition = format!("-n '__fish_seen_subcommand_from {}' -l ", row.name);
        for option in row.options {
            let value = if option.value.is_empty() { "" } else { " -r" };
            push(&condition, &format!("{}{value}", option.long), option.help);
        }
    }
    for option in COMMON {
        let value = if option.value.is_empty() { "" } else { " -r" };
        push("-l ", &format!("{}{value}", option.long), option.help);
    }
    text
}

/// Characters of the longest name of a command, and what is between it and its help.
const NAMES: usize = 9;
/// The same for an option with its value.
const OPTIONS: usize = 23;
