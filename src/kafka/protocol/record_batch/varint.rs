//! Varints, and the bytes before the key of a record.

/// Room for everything of a record before its key: three varints of 10 bytes and the attributes,
/// and then a null key and the length of the value.
pub(super) const RECORD_HEAD_BYTES: usize = 48;

pub(super) fn push_sized(block: &mut Vec<u8>, bytes: &[u8]) {
    push_varint(block, (bytes.len() as u64) << 1);
    block.extend_from_slice(bytes);
}

pub(super) fn push_varint(block: &mut Vec<u8>, value: u64) {
    let mut head = [0u8; RECORD_HEAD_BYTES];
    let len = put_varint(&mut head, 0, value);
    block.extend_from_slice(&head[..len]);
}

/// -1 as a zigzag varint: the length of a null.
pub(super) const NULL: u8 = 1;

#[inline]
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Writes `value` at `at` and returns the place after it.
#[inline(always)]
pub(super) fn put_varint(
    head: &mut [u8; RECORD_HEAD_BYTES],
    mut at: usize,
    mut value: u64,
) -> usize {
    while value >= 0x80 {
        head[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    head[at] = value as u8;
    at + 1
}

#[inline(always)]
pub(super) fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Appends the first `len` bytes of `head`. A copy of constant size is a few stores, one of variable
/// size a call.
#[inline(always)]
pub(super) fn append_head(bytes: &mut Vec<u8>, head: &[u8; RECORD_HEAD_BYTES], len: usize) {
    const SHORT: usize = 16;
    let end = bytes.len() + len;
    if len <= SHORT {
        let short: &[u8; SHORT] = head.first_chunk().expect("the head is longer");
        bytes.extend_from_slice(short);
    } else {
        bytes.extend_from_slice(head);
    }
    bytes.truncate(end);
}
