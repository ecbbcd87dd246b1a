//! Large pieces of memory, so that a refusal of the system names the setting that asks for less.
//!
//! Where the standard library asks for memory, a refusal ends the process at once, with words that help nobody. Read
//! buffers and record batches are what memory goes to; they ask here first. A refusal is a panic of the thread: the
//! agent stops in order, its last line says why, and the positions make the restart safe. A control group refuses
//! nothing, it kills; there the default of `memory_limit` makes room in advance.

use std::hint::black_box;

use bytes::BytesMut;

/// Zeroed bytes, which the kernel gives without touching them.
pub(crate) fn zeroed(bytes: usize) -> BytesMut {
    if bytes >= ASKED_FROM {
        // Zeroed memory cannot be asked for in a way that may fail; so memory is asked for, and given back.
        let mut asked: Vec<u8> = Vec::new();
        reserve(&mut asked, bytes);
        drop(black_box(asked));
    }
    BytesMut::zeroed(bytes)
}

/// Makes room for `more` bytes in `buffer`.
pub(crate) fn reserve(buffer: &mut Vec<u8>, more: usize) {
    assert!(
        buffer.try_reserve(more).is_ok(),
        "the system has no memory for {more} bytes more: set a smaller [agent] memory_limit, or give this process more"
    );
}

/// What is smaller comes from what the process has already, as a rule.
const ASKED_FROM: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;
    use crate::panics::panic_message;

    #[test]
    fn what_the_system_refuses_names_the_setting_that_asks_for_less() {
        // More than any address space has.
        let most = isize::MAX as usize;
        let refused = [
            catch_unwind(|| drop(zeroed(most))),
            catch_unwind(|| reserve(&mut vec![1], most)),
        ];
        for refused in refused {
            let words = panic_message(&*refused.expect_err("is refused"));
            assert!(words.contains("[agent] memory_limit"), "{words}");
        }
    }

    #[test]
    fn what_is_given_is_zeroed_and_has_the_size() {
        for bytes in [0, 1, ASKED_FROM, 40 << 20] {
            let given = zeroed(bytes);
            assert!(given.len() == bytes && given.iter().all(|byte| *byte == 0));
        }
    }
}
