//! Single fields of requests and responses.
//!
//! [`Reader`] takes them from a response. Every count and length is checked against what is left of the
//! frame before anything is reserved or read, so no input can make it panic or take much memory.
//!
//! This is why responses are not decoded by the codec crate: its arrays reserve room for as many
//! items as a count claims, and 2^31 items claimed by a damaged frame abort the process.

/// Why a frame is not the answer it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// A field goes past the end of the frame.
    #[error("a field goes past the end of the frame")]
    Truncated,
    /// A number that cannot be: a negative length, a varint without end.
    #[error("a length or number is out of range")]
    Range,
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// Bytes after the last field.
    #[error("{0} bytes too many")]
    Trailing(usize),
}

/// Reads big-endian fields from the front of a frame.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// KIP-482 encoding: varint lengths, tagged fields.
    flexible: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(frame: &'a [u8], flexible: bool) -> Self {
        Reader {
            rest: frame,
            flexible,
        }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn i8(&mut self) -> Result<i8, WireError> {
        self.fixed().map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, WireError> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, WireError> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, WireError> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// An unsigned varint of at most 32 bits.
    pub(crate) fn uvarint(&mut self) -> Result<u32, WireError> {
        let value = self.uvarint64()?;
        u32::try_from(value).map_err(|_| WireError::Range)
    }

    fn uvarint64(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.fixed()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Range)
    }

    /// A signed (zigzag) varint, as inside records.
    pub(crate) fn varint(&mut self) -> Result<i64, WireError> {
        let value = self.uvarint64()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Bytes after their length as a zigzag varint, as inside records; null is empty.
    pub(crate) fn sized(&mut self) -> Result<&'a [u8], WireError> {
        match self.varint()? {
            -1 => Ok(&[]),
            len => self.bytes(usize::try_from(len).map_err(|_| WireError::Range)?),
        }
    }

    /// Length of what follows; `None` for null.
    fn length(
        &mut self,
        classic: impl Fn(&mut Self) -> Result<i64, WireError>,
    ) -> Result<Option<usize>, WireError> {
        let len = if self.flexible {
            i64::from(self.uvarint()?) - 1
        } else {
            classic(self)?
        };
        match len {
            -1 => Ok(None),
            len => usize::try_from(len).map(Some).map_err(|_| WireError::Range),
        }
    }

    /// A nullable string.
    pub(crate) fn string(&mut self) -> Result<Option<&'a str>, WireError> {
        let Some(len) = self.length(|r| r.i16().map(i64::from))? else {
            return Ok(None);
        };
        let bytes = self.bytes(len)?;
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| WireError::Utf8)
    }

    /// Nullable bytes.
    pub(crate) fn blob(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        match self.length(|r| r.i32().map(i64::from))? {
            None => Ok(None),
            Some(len) => self.bytes(len).map(Some),
        }
    }

    /// The number of items of an array (0 for null) of which each takes `least_bytes` or more.
    pub(crate) fn array(&mut self, least_bytes: usize) -> Result<usize, WireError> {
        let count = self.length(|r| r.i32().map(i64::from))?.unwrap_or(0);
        if count > self.rest.len() / least_bytes {
            return Err(WireError::Truncated);
        }
        Ok(count)
    }

    /// Passes over an array of 32-bit numbers, and says how many they are.
    pub(crate) fn skip_i32s(&mut self) -> Result<usize, WireError> {
        let count = self.array(4)?;
        self.bytes(count * 4).map(|_| count)
    }

    /// Passes over the tagged fields, where the version has them.
    pub(crate) fn tags(&mut self) -> Result<(), WireError> {
        self.each_tag(|_, _| Ok(()))
    }

    /// Shows the tagged fields, where the version has them: number and bytes.
    pub(crate) fn each_tag(
        &mut self,
        mut show: impl FnMut(u32, &'a [u8]) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        if self.flexible {
            for _ in 0..self.uvarint()? {
                let tag = self.uvarint()?;
                let len = self.uvarint()?;
                show(tag, self.bytes(len as usize)?)?;
            }
        }
        Ok(())
    }

    /// What `read` finds, and after it the tagged fields, which are passed over.
    pub(crate) fn tagged<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        let value = read(self)?;
        self.tags()?;
        Ok(value)
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The frame must end here.
    pub(crate) fn end(self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(WireError::Trailing(left)),
        }
    }
}

/// The time that a client must hold back for. Before KIP-219 a broker holds the answer back by itself, and only
/// says for how long it did.
pub(super) fn to_keep_to(throttle_ms: i32, is_new: bool) -> i32 {
    if is_new { throttle_ms } else { 0 }
}

/// Writes big-endian fields to the end of a frame.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) flexible: bool,
}

impl Writer {
    pub(crate) fn i16(&mut self, value: i16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn uvarint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// An array count or the length of bytes.
    pub(crate) fn size(&mut self, size: usize) {
        if self.flexible {
            self.uvarint(size + 1);
        } else {
            self.i32(size as i32);
        }
    }

    pub(crate) fn array(&mut self, count: usize) {
        self.size(count);
    }

    pub(crate) fn string(&mut self, text: &str) {
        if self.flexible {
            self.uvarint(text.len() + 1);
        } else {
            self.i16(text.len() as i16);
        }
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn null_string(&mut self) {
        if self.flexible {
            self.uvarint(0);
        } else {
            self.i16(-1);
        }
    }

    pub(crate) fn tags(&mut self) {
        if self.flexible {
            self.bytes.push(0);
        }
    }
}
