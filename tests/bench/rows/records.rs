//! What the keys of a section cost: each case takes its turn with the same file as it is.

use std::fs;
use std::path::PathBuf;

use super::logs::{Data, Form};
use super::measure::{PLAIN, Run, Settings, median};
use super::{Bench, Outcome};

/// Keys of a section, and what they may cost.
struct Case {
    name: &'static str,
    form: Form,
    log: &'static str,
    /// Not more CPU than so many times what the lines as they are take.
    most: Option<f64>,
    /// Of the name of the file, if that is not taken as it is.
    path: &'static str,
    /// Whether all lines go.
    is_filtered: bool,
}

const AS_IT_IS: Case = Case {
    name: "raw",
    form: Form::Access,
    log: "",
    most: None,
    path: "*.log",
    is_filtered: false,
};

const CASES: [Case; 11] = [
    AS_IT_IS,
    Case {
        name: "drop.health = GET /(health|ready), drop.errors = \" [45]\\d\\d",
        log: "drop.health = GET /(health|ready)\ndrop.errors = \" [45]\\d\\d\\x20\n",
        most: Some(1.6),
        is_filtered: true,
        ..AS_IT_IS
    },
    Case {
        name: "format = json",
        log: "format = json\n",
        most: Some(2.0),
        ..AS_IT_IS
    },
    Case {
        name: "multiline = timestamp",
        log: "multiline = timestamp\n",
        most: Some(1.3),
        ..AS_IT_IS
    },
    Case {
        name: "multiline = auto",
        log: "multiline = auto\n",
        most: Some(1.6),
        ..AS_IT_IS
    },
    Case {
        name: "mask = card, email, bearer, password",
        log: "mask = card, email, bearer, password\n",
        ..AS_IT_IS
    },
    Case {
        name: "topic = bench.{name}",
        log: "topic = bench.{name}\n",
        path: "{name}.log",
        ..AS_IT_IS
    },
    Case {
        name: "raw JSON lines",
        form: Form::Json,
        ..AS_IT_IS
    },
    Case {
        name: "format = json, json = merge, time = rfc3339",
        form: Form::Json,
        log: "format = json\njson = merge\nparse = json\ntime = rfc3339\ntime_field = time\n",
        most: Some(3.0),
        ..AS_IT_IS
    },
    Case {
        name: "raw lines of a container",
        form: Form::Cri,
        ..AS_IT_IS
    },
    Case {
        name: "container = cri, multiline = auto",
        form: Form::Cri,
        log: "container = cri\nmultiline = auto\n",
        ..AS_IT_IS
    },
];

impl Bench {
    /// CPU time for a GB of the file, next to that of the same file as it is.
    pub(super) fn records(&mut self) -> Outcome<()> {
        let forms = [Form::Access, Form::Json, Form::Cri];
        let mut files = Vec::new();
        for form in forms {
            files.push((form, self.logs_as(form, 1, 512 << 20)?));
        }
        let mut runs: Vec<Vec<Run>> = CASES.iter().map(|_| Vec::new()).collect();
        for round in 1..=self.runs {
            for (case, runs) in CASES.iter().zip(&mut runs) {
                self.progress(&format!("records {round}/{}, {}", self.runs, case.name));
                let data = files.iter().find(|(form, _)| *form == case.form);
                let data = case.data_of(&data.ok_or("no file of this form")?.1)?;
                let settings = Settings {
                    log: case.log,
                    ..PLAIN
                };
                runs.push(
                    self.ship(&data, settings)
                        .map_err(|error| format!("{}: {error}", case.name))?,
                );
            }
        }
        let mut raw = 0.0;
        for (case, runs) in CASES.iter().zip(&runs) {
            let cpu = median(runs, Run::cpu_per_gb);
            if case.log.is_empty() {
                raw = cpu;
            }
            let measured = format!("{cpu:.2}; ratio {:.2}", cpu / raw);
            let name = format!("{}: CPU s/GB", case.name);
            match case.most {
                Some(most) => self.row(
                    &name,
                    measured,
                    &format!("{most} times raw"),
                    cpu <= most * raw,
                ),
                None => self.note(&name, measured),
            }
        }
        Ok(())
    }
}

impl Case {
    /// The file as the section names it, with the number of lines that go.
    fn data_of(&self, data: &Data) -> Outcome<Data> {
        let folder = data.first.parent().map(PathBuf::from).unwrap_or_default();
        let lines = match self.is_filtered {
            true => lines_without_errors(data)?,
            false => data.lines,
        };
        Ok(Data {
            glob: folder.join(self.path),
            first: data.first.clone(),
            lines,
            bytes: data.bytes,
        })
    }
}

/// How many lines the filters let through: those whose status is none of an error.
fn lines_without_errors(data: &Data) -> Outcome<u64> {
    let text = fs::read(&data.first)?;
    let has_error = |line: &&[u8]| {
        let mut places = memchr::memmem::find_iter(line, b"\" ");
        places.any(|at| {
            let status = line.get(at + 2..at + 6).unwrap_or_default();
            matches!(status, [b'4' | b'5', b'0'..=b'9', b'0'..=b'9', b' '])
        })
    };
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    Ok(lines.filter(|line| !has_error(line)).count() as u64)
}
