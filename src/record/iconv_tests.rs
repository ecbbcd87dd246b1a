//! 100,000 lines of each encoding against what `iconv` makes of them, read in parts with 200 restarts; and where
//! the two do not agree. glibc's `iconv` 2.36 is what the numbers were found with.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use crate::record::decode::Decoder;
use crate::record::encoding::Encoding;
use crate::record::wide::ByteOrder;

/// An encoding, what `iconv` calls it, and how many characters of two bytes the two read differently.
const SAME: [(Encoding, &str, usize); 13] = [
    (Encoding::Utf16Le, "UTF-16LE", 0),
    (Encoding::Utf16Be, "UTF-16BE", 0),
    (Encoding::Utf16, "UTF-16", 0),
    (Encoding::Gbk, "GBK", 0),
    // A3A0, FE51, FE52, FE53, FE6C, FE76, FE91.
    (Encoding::Gb18030, "GB18030", 7),
    // A145, A14E, A1C2, A1E3, A1F2, A1F3, A241, A242, A244, A246, A247: look-alikes.
    (Encoding::Big5, "BIG5-HKSCS", 11),
    (Encoding::ShiftJis, "CP932", 0),
    // A1C1, A1C2, A1DD, A1F1, A1F2, A2CC: look-alikes.
    (Encoding::EucJp, "EUC-JP", 6),
    (Encoding::EucKr, "UHC", 0),
    (Encoding::Latin1, "ISO-8859-1", 0),
    (Encoding::Windows1251, "CP1251", 0),
    (Encoding::Windows1252, "CP1252", 0),
    (Encoding::Koi8R, "KOI8-R", 0),
];

/// What `iconv` makes of `input`; `None` if the machine has no `iconv`.
fn iconv(name: &str, options: &[&str], input: Vec<u8>) -> Option<Vec<u8>> {
    let mut child = Command::new("iconv")
        .args(options)
        .args(["-f", name, "-t", "UTF-8"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take().expect("is a pipe");
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("ends");
    writer.join().expect("no panic").expect("all is written");
    assert!(
        output.status.success() || !options.is_empty(),
        "iconv refuses {name}"
    );
    Some(output.stdout)
}

/// Says where nobody overlooks it that nothing was tested.
fn skipped() {
    let words =
        "\n*** SKIPPED: there is no `iconv` here, so encodings are NOT tested against it ***\n";
    // Past what the test harness captures.
    let _ = std::io::stderr().write_all(words.as_bytes());
}

/// The characters of an encoding which both read alike, each as its bytes; and how many they do not.
fn alike(encoding: Encoding, name: &str) -> Option<(Vec<Vec<u8>>, usize)> {
    if encoding.is_wide() {
        let units = [
            0x20..0x7f,
            0x400..0x460,
            0x0a00..0x0a80,
            0x3040..0x3100,
            0x4e00..0x9f00,
            0xd800..0xd840,
        ];
        let is_big = encoding == Encoding::Utf16Be;
        let bytes = |unit: u16| {
            if is_big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        };
        let each = units.into_iter().flatten().map(|unit| match unit {
            0xd800.. => [bytes(unit), bytes(0xdc0a)].concat(),
            _ => bytes(unit).to_vec(),
        });
        return Some((each.collect(), 0));
    }
    let mut all: Vec<Vec<u8>> = (0x20..=0xff_u8).map(|byte| vec![byte]).collect();
    let is_double = !matches!(
        encoding,
        Encoding::Latin1 | Encoding::Windows1251 | Encoding::Windows1252 | Encoding::Koi8R
    );
    if is_double {
        let pairs = (0x81..=0xfe_u8)
            .flat_map(|first| (0x40..=0xfe_u8).map(move |second| vec![first, second]));
        all.extend(pairs);
    }
    if encoding == Encoding::Gb18030 {
        all.extend(
            (0x81..=0xfe_u8).flat_map(|a| {
                (0x30..=0x39).map(move |d| vec![0x90 + a % 0x40, 0x30 + a % 10, a, d])
            }),
        );
    }
    // Numbered, as what is no character may take the newline with it there.
    let numbered =
        |(n, bytes): (usize, &Vec<u8>)| [format!("{n:05}<").as_bytes(), bytes, b">\n"].concat();
    let input: Vec<u8> = all.iter().enumerate().flat_map(numbered).collect();
    let output = iconv(name, &["-c"], input)?;
    let mut theirs = vec![&b""[..]; all.len()];
    for line in output.split(|byte| *byte == b'\n') {
        let number = line
            .get(..5)
            .and_then(|number| str::from_utf8(number).ok()?.parse::<usize>().ok());
        if let Some(place) = number.and_then(|number| theirs.get_mut(number)) {
            *place = &line[5..];
        }
    }
    let decoder = Decoder::new(encoding, b"").expect("needs nothing");
    let (mut same, mut different) = (Vec::new(), 0);
    let mut out = Vec::new();
    for (bytes, theirs) in all.iter().zip(theirs) {
        out.clear();
        let bad = decoder.decode(&[b"<", &bytes[..], b">"].concat(), &mut out);
        let is_one = |text: &[u8]| {
            str::from_utf8(text).is_ok_and(|text| text.ends_with('>') && text.chars().count() == 3)
        };
        if bad == 0 && out == theirs && is_one(theirs) {
            same.push(bytes.clone());
        } else if bad == 0
            && is_one(&out)
            && is_one(theirs)
            && bytes.len() == 2
            && theirs[1] >= 0x80
        {
            different += usize::from(!theirs.starts_with(b"<\xc2\x80"));
        }
    }
    Some((same, different))
}

fn lines_of(encoding: Encoding, characters: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let (ascii, newline): (&[u8], &[u8]) = match encoding {
        Encoding::Utf16Be => (b"\0a", b"\0\n"),
        Encoding::Utf16 | Encoding::Utf16Le => (b"a\0", b"\n\0"),
        _ => (b"a", b"\n"),
    };
    let mut data = if encoding == Encoding::Utf16 {
        b"\xff\xfe".to_vec()
    } else {
        Vec::new()
    };
    for _ in 0..LINES {
        for _ in 0..random.usize(..30) {
            match random.u8(..3) {
                0 => data.extend(ascii),
                _ => data.extend(&characters[random.usize(..characters.len())]),
            }
        }
        data.extend(newline);
    }
    data
}

/// Where the line ends that begins at `position`.
fn line_end(order: Option<ByteOrder>, data: &[u8], position: usize) -> Option<usize> {
    match order {
        Some(order) => order
            .find_line_end(&data[position..], 0)
            .map(|end| position + end),
        None => memchr::memchr(b'\n', &data[position..]).map(|at| position + at + 1),
    }
}

#[test]
fn lines_arrive_as_iconv_reads_them_with_restarts_at_random_places() {
    let mut random = fastrand::Rng::with_seed(11);
    for (encoding, name, at_most) in SAME {
        let Some((characters, different)) = alike(encoding, name) else {
            return skipped();
        };
        assert!(different <= at_most, "{name}: {different} differ");
        assert!(
            characters.len() > 200,
            "{name}: {} are alike",
            characters.len()
        );
        let data = lines_of(encoding, &characters, &mut random);
        let Some(expected) = iconv(name, &[], data.clone()) else {
            return skipped();
        };
        let restarts: BTreeSet<usize> = (0..RESTARTS).map(|_| random.usize(..data.len())).collect();
        let mut restarts = restarts.into_iter().peekable();
        let started = || Decoder::new(encoding, &data[..2]).expect("tells its order");
        let mut decoder = started();
        let mark = decoder
            .byte_order()
            .map_or(0, |order| order.mark_len(&data[..2]));
        let (mut position, mut text, mut lines) = (mark, Vec::new(), 0);
        while let Some(end) = line_end(decoder.byte_order(), &data, position) {
            if restarts.next_if(|at| *at < end).is_some() {
                // What was read of the line is read again by a process that knows the position and the file.
                while restarts.next_if(|at| *at < end).is_some() {}
                decoder = started();
            }
            let before = text.len();
            assert_eq!(decoder.decode(&data[position..end], &mut text), 0, "{name}");
            assert!(memchr::memchr(b'\n', &text[before..]) == Some(text.len() - before - 1));
            position = end;
            lines += 1;
        }
        assert_eq!((lines, position), (LINES, data.len()), "{name}");
        assert!(text == expected, "{name}");
    }
}

const LINES: usize = 100_000;
const RESTARTS: usize = 200;
