//! The logs that are shipped.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Files and the lines in them.
pub(crate) struct Data {
    /// What the agent is told to follow.
    pub(crate) glob: PathBuf,
    /// One of the files.
    pub(crate) first: PathBuf,
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

/// How the lines of an access log are written.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Form {
    /// As web servers have it by themselves.
    Access,
    /// One object for each request.
    Json,
    /// The first, as a container runtime keeps it.
    Cri,
}

/// `files` files which together have at least `bytes` bytes of access log, in a folder of their own
/// below `root`.
pub(crate) fn logs(root: &Path, form: Form, files: usize, bytes: u64) -> io::Result<Data> {
    let kind = match form {
        Form::Access => "logs",
        Form::Json => "json",
        Form::Cri => "cri",
    };
    let folder = root.join(format!("{kind}-{files}x{}", bytes / files as u64));
    let tally = folder.join("tally");
    if !tally.exists() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let mut writer = Lines::new();
        let (mut lines, mut total) = (0, 0);
        for file in 0..files {
            let mut out = BufWriter::with_capacity(1 << 20, File::create(name(&folder, file))?);
            let mut size = 0;
            while size < bytes / files as u64 {
                size += writer.write(form, &mut out)?;
                lines += 1;
            }
            out.flush()?;
            total += size;
        }
        fs::write(&tally, format!("{lines} {total}\n"))?;
    }
    let text = fs::read_to_string(&tally)?;
    let mut numbers = text.split_whitespace().filter_map(|n| n.parse().ok());
    let (Some(lines), Some(bytes)) = (numbers.next(), numbers.next()) else {
        return Err(io::Error::other(format!(
            "{} is damaged; remove it",
            tally.display()
        )));
    };
    Ok(Data {
        glob: folder.join("*.log"),
        first: name(&folder, 0),
        lines,
        bytes,
    })
}

/// Reads the files once, so that the first run finds them in the page cache like the others.
pub(crate) fn warm(data: &Data) -> io::Result<()> {
    let folder = data.first.parent().unwrap_or(Path::new("."));
    for entry in fs::read_dir(folder)? {
        let mut reader = BufReader::with_capacity(1 << 20, File::open(entry?.path())?);
        while let count @ 1.. = reader.fill_buf()?.len() {
            reader.consume(count);
        }
    }
    Ok(())
}

fn name(folder: &Path, file: usize) -> PathBuf {
    folder.join(format!("access-{file:05}.log"))
}

/// Lines as a web server writes them, about 190 bytes each; the same ones in every run.
struct Lines {
    random: fastrand::Rng,
    seconds: u64,
    line: Vec<u8>,
}

impl Lines {
    fn new() -> Lines {
        Lines {
            random: fastrand::Rng::with_seed(20_260_101),
            seconds: 0,
            line: Vec::new(),
        }
    }

    fn write(&mut self, form: Form, out: &mut impl Write) -> io::Result<u64> {
        let r = &mut self.random;
        self.seconds += u64::from(r.u8(..) == 0);
        let (minute, second) = (self.seconds / 60 % 60, self.seconds % 60);
        let hour = self.seconds / 3600 % 24;
        let address = [r.u8(1..224), r.u8(..), r.u8(..), r.u8(1..)];
        let [a, b, c, d] = address;
        let user = pick(r, &["-", "-", "-", "-", "anna", "jonas", "mira"]);
        let method = pick(r, &["GET", "GET", "GET", "GET", "POST", "HEAD"]);
        let mut target = format!("/{}/{}", pick(r, &WORDS), pick(r, &WORDS));
        if r.u8(..) < 80 {
            let (id, session) = (r.u32(..1 << 20), r.u32(..));
            target += &format!("?id={id}&session={session:x}");
        }
        let status = pick(r, &["200", "200", "200", "200", "304", "302", "404", "500"]);
        let size = r.u32(..120_000);
        let (referrer, browser) = (pick(r, &REFERRERS), pick(r, &BROWSERS));
        let took = f64::from(r.u16(..)) / 10_000.0;
        self.line.clear();
        let line = &mut self.line;
        if form == Form::Cri {
            write!(
                line,
                "2026-03-12T{hour:02}:{minute:02}:{second:02}.123456789Z stdout F "
            )?;
        }
        match form {
            Form::Access | Form::Cri => writeln!(
                line,
                "{a}.{b}.{c}.{d} - {user} [12/Mar/2026:{hour:02}:{minute:02}:{second:02} +0000] \"{method} {target} \
                 HTTP/1.1\" {status} {size} \"{referrer}\" \"{browser}\" {took:.3}"
            )?,
            Form::Json => writeln!(
                line,
                "{{\"time\":\"2026-03-12T{hour:02}:{minute:02}:{second:02}+00:00\",\"remote\":\"{a}.{b}.{c}.{d}\",\
                 \"user\":\"{user}\",\"method\":\"{method}\",\"uri\":\"{target}\",\"status\":{status},\
                 \"bytes\":{size},\"referrer\":\"{referrer}\",\"agent\":\"{browser}\",\"took\":{took:.3}}}"
            )?,
        }
        out.write_all(&self.line)?;
        Ok(self.line.len() as u64)
    }
}

fn pick<'a>(random: &mut fastrand::Rng, of: &[&'a str]) -> &'a str {
    of[random.usize(..of.len())]
}

const WORDS: [&str; 16] = [
    "account",
    "basket",
    "catalogue",
    "checkout",
    "contact",
    "downloads",
    "events",
    "faq",
    "images",
    "login",
    "orders",
    "pricing",
    "releases",
    "search",
    "static",
    "support",
];
const REFERRERS: [&str; 5] = [
    "-",
    "-",
    "https://www.example.org/",
    "https://shop.example.org/catalogue/summer?page=4",
    "https://search.example.net/?q=log+shipping",
];
const BROWSERS: [&str; 5] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Version/18.6 Mobile Safari/604.1",
    "curl/8.14.1",
    "kube-probe/1.33",
];
