//! DNS messages (RFC 1035, section 4; AAAA: RFC 3596): a question as bytes, and what an answer says to it.
//!
//! An answer comes from whoever can send a packet, so nothing in it is believed before it repeats the
//! question, and every count, length and pointer in it has a bound.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A name as it is in messages: labels with their lengths before them, in lower case, with the root's at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// Reads dotted text; a dot at its end changes nothing. `None`: no host has such a name.
    pub(super) fn new(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.split('.') {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            if !label.bytes().all(legal) {
                return None;
            }
            let length = u8::try_from(label.len()).ok();
            wire.push(length.filter(|length| (1..=MAX_LABEL).contains(length))?);
            wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        wire.push(0);
        (wire.len() <= MAX_NAME).then_some(Name(wire))
    }
}

/// The addresses that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// The record type that holds such addresses.
    fn record_type(self) -> u16 {
        match self {
            Family::V4 => 1,
            Family::V6 => 28,
        }
    }

    fn address(self, data: &[u8]) -> Option<IpAddr> {
        match self {
            Family::V4 => <[u8; 4]>::try_from(data)
                .ok()
                .map(|octets| Ipv4Addr::from(octets).into()),
            Family::V6 => <[u8; 16]>::try_from(data)
                .ok()
                .map(|octets| Ipv6Addr::from(octets).into()),
        }
    }
}

/// One question; `id` is what ties an answer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) id: u16,
    pub(super) name: Name,
    pub(super) family: Family,
}

impl Question {
    /// The message that asks it, of a server that finds the answer by asking others itself.
    pub(super) fn message(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER_BYTES + self.name.0.len() + 4);
        message.extend(self.id.to_be_bytes());
        message.extend(RECURSION_DESIRED.to_be_bytes());
        for count in [1_u16, 0, 0, 0] {
            message.extend(count.to_be_bytes());
        }
        message.extend(&self.name.0);
        message.extend(self.family.record_type().to_be_bytes());
        message.extend(CLASS_INTERNET.to_be_bytes());
        message
    }

    /// Reads an answer. `None`: it is no answer to this question, but to another one, or forged.
    pub(super) fn answer(&self, message: &[u8]) -> Option<Answer> {
        let mut reader = Reader { message, at: 0 };
        let (id, flags) = (reader.u16()?, reader.u16()?);
        let (questions, records) = (reader.u16()?, reader.u16()?);
        reader.skip(4)?;
        let is_answer = flags & (RESPONSE | OPCODE) == RESPONSE;
        if id != self.id || !is_answer || questions != 1 {
            return None;
        }
        let asked = (reader.name()?, reader.u16()?, reader.u16()?);
        if asked != (self.name.clone(), self.family.record_type(), CLASS_INTERNET) {
            return None;
        }
        Some(match flags & CODE {
            _ if flags & TRUNCATED != 0 => Answer::Truncated,
            0 => match self.addresses(reader, records) {
                None => Answer::Malformed,
                // A server that neither knows nor asks others points elsewhere, or nowhere.
                Some(addresses)
                    if addresses.is_empty()
                        && flags & (AUTHORITATIVE | RECURSION_AVAILABLE) == 0 =>
                {
                    Answer::Failed(Failure::NotRecursive)
                }
                Some(addresses) => Answer::Addresses(addresses),
            },
            NO_SUCH_NAME => Answer::NoSuchName,
            code => Answer::Failed(Failure::Code(code)),
        })
    }

    /// Follows the aliases (CNAME) of the name, in whatever order the records are. `None`: they cannot be read.
    fn addresses(&self, mut reader: Reader<'_>, records: u16) -> Option<Vec<IpAddr>> {
        let (mut aliases, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..records {
            let owner = reader.name()?;
            let (record_type, class) = (reader.u16()?, reader.u16()?);
            reader.skip(4)?;
            let length = usize::from(reader.u16()?);
            let mut data = Reader {
                message: reader.message.get(..reader.at + length)?,
                at: reader.at,
            };
            reader.skip(length)?;
            if class != CLASS_INTERNET || aliases.len() + addresses.len() >= MAX_RECORDS {
                continue;
            }
            if record_type == TYPE_ALIAS {
                aliases.push((owner, data.name()?));
            } else if record_type == self.family.record_type() {
                addresses.push((owner, self.family.address(data.rest())?));
            }
        }
        let mut name = &self.name;
        for _ in 0..MAX_ALIASES {
            match aliases.iter().find(|(owner, _)| owner == name) {
                Some((_, target)) => name = target,
                None => break,
            }
        }
        let found = addresses.iter().filter(|(owner, _)| owner == name);
        Some(found.map(|(_, address)| *address).collect())
    }
}

/// What a name server says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name's addresses of that family; there may be none.
    Addresses(Vec<IpAddr>),
    /// NXDOMAIN.
    NoSuchName,
    /// The answer is too long for a packet: to be asked again over TCP.
    Truncated,
    /// This server is of no help.
    Failed(Failure),
    /// It answers the question, but with records that cannot be read.
    Malformed,
}

/// Why a server is of no help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Its response code.
    Code(u16),
    /// It serves some zones, and this name is in none of them.
    NotRecursive,
}

/// Reads a message from `at` on; everything past its end is `None`.
#[derive(Debug)]
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u8(&mut self) -> Option<u8> {
        let byte = *self.message.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes)?;
        (self.at <= self.message.len()).then_some(())
    }

    fn rest(&self) -> &[u8] {
        self.message.get(self.at..).unwrap_or_default()
    }

    /// A name. Its end may be a pointer to where the same end was written before (section 4.1.4). Each pointer
    /// must go further back than everything of this name so far: then there is no way round in a circle.
    fn name(&mut self) -> Option<Name> {
        let mut wire = Vec::new();
        let mut from = self.at;
        let mut after = None;
        loop {
            let length = self.u8()?;
            match length {
                0 => break,
                1..=MAX_LABEL => {
                    let label = self.message.get(self.at..self.at + usize::from(length))?;
                    wire.push(length);
                    wire.extend(label.iter().map(u8::to_ascii_lowercase));
                    self.at += label.len();
                    // One more for the root.
                    if wire.len() >= MAX_NAME {
                        return None;
                    }
                }
                POINTER..=u8::MAX => {
                    let target = usize::from(u16::from_be_bytes([length & !POINTER, self.u8()?]));
                    after.get_or_insert(self.at);
                    if target >= from {
                        return None;
                    }
                    (self.at, from) = (target, target);
                }
                _ => return None,
            }
        }
        wire.push(0);
        self.at = after.unwrap_or(self.at);
        Some(Name(wire))
    }
}

const HEADER_BYTES: usize = 12;
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
const CODE: u16 = 0x000f;
const NO_SUCH_NAME: u16 = 3;
const CLASS_INTERNET: u16 = 1;
const TYPE_ALIAS: u16 = 5;
/// Bytes of a label and of a name (section 2.3.4).
const MAX_LABEL: u8 = 63;
const MAX_NAME: usize = 255;
/// The two highest bits of a length say that it is a pointer.
const POINTER: u8 = 0xc0;
/// Records that are looked at; more are left aside. There is no time to try so many addresses.
const MAX_RECORDS: usize = 64;
const MAX_ALIASES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, family: Family) -> Question {
        let name = Name::new(name).expect("a name");
        let id = 0x1234;
        Question { id, name, family }
    }

    /// An answer with so many records, and what follows the question, which is at 12.
    fn answer(question: &Question, flags: u16, records: u16, rest: &[u8]) -> Vec<u8> {
        let mut message = question.message();
        message[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
        message[6..8].copy_from_slice(&records.to_be_bytes());
        message.extend(rest);
        message
    }

    fn record(owner: &[u8], record_type: u16, data: &[u8]) -> Vec<u8> {
        let mut record = owner.to_vec();
        record.extend(record_type.to_be_bytes());
        record.extend([0, 1, 0, 0, 0, 60]);
        record.extend((data.len() as u16).to_be_bytes());
        record.extend(data);
        record
    }

    const ASKED: &[u8] = &[0xc0, 12];

    #[test]
    fn a_question_is_written_byte_for_byte() {
        let message = question("Kafka1.a_b.", Family::V6).message();
        assert_eq!(
            message,
            b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x06kafka1\x03a_b\0\0\x1c\0\x01"
        );
    }

    #[test]
    fn names_that_no_host_has_are_none() {
        let long = format!("{}.{}", "a".repeat(63), "b".repeat(63));
        assert!(Name::new(&long).is_some());
        assert!(Name::new(&format!("{long}.{long}")).is_none());
        for bad in ["", ".", "a..b", ".a", "a b", "ü", "a/b", &"a".repeat(64)] {
            assert_eq!(Name::new(bad), None, "'{bad}'");
        }
    }

    #[test]
    fn addresses_are_found_behind_aliases_in_any_order() {
        let question = question("a.b", Family::V4);
        // The last record's name is "x" and then a pointer to "b" within the question.
        let x = [1, b'x', 0xc0, 14];
        let records = [
            record(&x, 1, &[10, 0, 0, 2]),
            record(ASKED, 5, &x),
            record(ASKED, 46, b"whatever"),
            record(&[1, b'z', 0], 1, &[6, 6, 6, 6]),
            record(&[1, b'X', 1, b'B', 0], 1, &[10, 0, 0, 3]),
        ];
        let found = [IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 3])];
        assert_eq!(
            question.answer(&answer(&question, 0, 5, &records.concat())),
            Some(Answer::Addresses(found.to_vec()))
        );
        let six = Ipv6Addr::LOCALHOST;
        let other = Question {
            family: Family::V6,
            ..question
        };
        let message = answer(&other, 0, 1, &record(ASKED, 28, &six.octets()));
        assert_eq!(
            other.answer(&message),
            Some(Answer::Addresses(vec![six.into()]))
        );
    }

    #[test]
    fn what_is_not_an_answer_to_the_question_is_none() {
        let asked = question("a.b", Family::V4);
        let right = answer(&asked, 0, 1, &record(ASKED, 1, &[10, 0, 0, 1]));
        assert!(asked.answer(&right).is_some());
        for (at, byte) in [
            (0, 0),
            (2, 0x01),
            (2, 0xa9),
            (5, 2),
            (13, b'c'),
            (18, 28),
            (20, 3),
        ] {
            let mut wrong = right.clone();
            wrong[at] = byte;
            assert_eq!(asked.answer(&wrong), None, "byte {at}");
        }
        assert_eq!(asked.answer(&right[..20]), None);
        // A server may write the name in other letters.
        let mut right = right;
        right[13] = b'A';
        assert!(asked.answer(&right).is_some());
    }

    #[test]
    fn codes_and_flags_are_told_apart() {
        let asked = question("a.b", Family::V4);
        let says = |flags| asked.answer(&answer(&asked, flags, 0, &[])).expect("one");
        assert_eq!(says(0), Answer::Addresses(Vec::new()));
        assert_eq!(says(3), Answer::NoSuchName);
        assert_eq!(says(2), Answer::Failed(Failure::Code(2)));
        assert_eq!(says(0x0200), Answer::Truncated);
        let mut referral = answer(&asked, 0, 0, &[]);
        referral[3] = 0;
        let failure = Answer::Failed(Failure::NotRecursive);
        assert_eq!(asked.answer(&referral), Some(failure));
    }

    #[test]
    fn records_that_cannot_be_read_are_malformed() {
        let asked = question("a.b", Family::V4);
        let itself = 12 + 5 + 4;
        for (what, records) in [
            (
                "a pointer to itself",
                record(&[0xc0, itself], 1, &[10, 0, 0, 1]),
            ),
            ("a pointer ahead", record(&[0xc0, 200], 1, &[10, 0, 0, 1])),
            (
                "a circle",
                record(&[1, b'x', 0xc0, itself], 1, &[10, 0, 0, 1]),
            ),
            (
                "an address of five bytes",
                record(ASKED, 1, &[10, 0, 0, 1, 9]),
            ),
            (
                "a label of a kind that is not used",
                record(&[0x40, 0], 1, &[]),
            ),
            (
                "an alias that goes past its record",
                record(ASKED, 5, &[3, b'x']),
            ),
            ("a record that is not there", Vec::new()),
        ] {
            let message = answer(&asked, 0, 1, &records);
            assert_eq!(asked.answer(&message), Some(Answer::Malformed), "{what}");
        }
        // Aliases in a circle lead nowhere.
        let circle = record(ASKED, 5, ASKED);
        assert_eq!(
            asked.answer(&answer(&asked, 0, 1, &circle)),
            Some(Answer::Addresses(Vec::new()))
        );
    }

    #[test]
    fn no_bytes_do_harm() {
        let asked = question("a.b", Family::V4);
        let records = [
            record(ASKED, 5, &[1, b'x', 0xc0, 14]),
            record(ASKED, 1, &[1; 4]),
        ];
        let right = answer(&asked, 0, 2, &records.concat());
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..200_000 {
            let mut bytes = right.clone();
            for _ in 0..1 + round % 4 {
                // Mostly past what must be right for the rest to be looked at.
                let from = if round % 8 == 0 { 0 } else { 21 };
                let at = random.usize(from..bytes.len());
                bytes[at] = [0, 0xc0, 0xff, 12, random.u8(..)][random.usize(..5)];
            }
            bytes.truncate(random.usize(bytes.len() / 2..=bytes.len()));
            if let Some(Answer::Addresses(found)) = asked.answer(&bytes) {
                assert!(found.len() <= MAX_RECORDS);
            }
        }
        // As many records as fit into one message over TCP.
        let many = record(ASKED, 1, &[1; 4]).repeat(4000);
        match asked.answer(&answer(&asked, 0, 4000, &many)) {
            Some(Answer::Addresses(found)) => assert_eq!(found.len(), MAX_RECORDS),
            other => panic!("{other:?}"),
        }
    }
}
