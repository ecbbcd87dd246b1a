//! What the fuzzer has found (`scripts/fuzz.sh`) goes once more through everything that reads bytes from
//! outside, whole and cut. A binary of its own, since it counts what is allocated.

#![allow(
    clippy::unwrap_used,
    reason = "a test that finds None or Err has failed, and the panic says where"
)]

#[allow(dead_code, reason = "it is also a program, which packs")]
#[path = "fuzz/corpus.rs"]
mod corpus;

use std::alloc::System;
use std::fs;
use std::path::Path;

use cap::Cap;
use logagent::fuzz::{TARGETS, Target};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Cuts of each input.
const CUTS: usize = 8;

/// What a reader may allocate in all, freed or not, while it reads so many bytes.
fn most(name: &str, bytes: usize) -> usize {
    match name {
        // With TLS the system's certificates are read; each error may list all keys that there are.
        "ini" => (8 << 20) + 1024 * bytes,
        // Its reader takes no more than 64 KiB, and keeps numbers of one digit as it keeps all else.
        "token_endpoint" => (16 << 10) + 128 * bytes,
        // A batch is unpacked to 32 MiB at most, and a codec has a window.
        "record_batches" => 128 << 20,
        _ => (16 << 10) + 64 * bytes,
    }
}

/// Feeds `bytes` to the target; returns what was allocated.
fn feed(name: &str, target: Target, bytes: &[u8]) -> usize {
    let before = ALLOCATOR.total_allocated();
    target(bytes);
    let allocated = ALLOCATOR.total_allocated() - before;
    assert!(
        allocated <= most(name, bytes.len()),
        "{name}: {allocated} bytes allocated for {} bytes: {}",
        bytes.len(),
        bytes.escape_ascii()
    );
    allocated
}

/// In one test, so that nothing else allocates meanwhile.
#[test]
fn what_the_fuzzer_found_neither_panics_nor_takes_much_memory() {
    assert_that_packing_keeps_all_inputs();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let entries = fs::read_dir(&folder).unwrap().map(Result::unwrap);
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut known: Vec<String> = TARGETS
        .iter()
        .map(|(name, _)| format!("{name}.bin"))
        .collect();
    known.sort();
    assert_eq!(names, known, "a file for each target");
    for (name, target) in TARGETS {
        let mut inputs = 0;
        let mut ratio = 0.0_f64;
        let packed = fs::read(folder.join(format!("{name}.bin"))).unwrap();
        for bytes in corpus::unpack(&packed).expect("whole inputs") {
            let allocated = feed(name, *target, bytes);
            ratio = ratio.max(allocated as f64 / bytes.len().max(1) as f64);
            // These take long: one hashes, the other may read the system's certificates.
            if !["scram", "ini"].contains(name) {
                for end in (0..bytes.len()).step_by(bytes.len() / CUTS + 1) {
                    feed(name, *target, &bytes[..end]);
                }
            }
            inputs += 1;
        }
        println!("{name}: {inputs} inputs, {ratio:.0} bytes allocated for one byte at most");
        assert!(inputs > 0, "{name} has a corpus");
    }
    // A long name that every partition repeats.
    for (name, bytes) in amplifiers() {
        let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
        feed(name, *target, &bytes);
    }
}

/// Input that once made a reader take far more memory than it has bytes.
fn amplifiers() -> Vec<(&'static str, Vec<u8>)> {
    let mut produce = vec![0];
    produce.extend(1_i32.to_be_bytes());
    produce.extend(30_000_i16.to_be_bytes());
    produce.resize(produce.len() + 30_000, b'x');
    produce.extend(2_000_i32.to_be_bytes());
    produce.resize(produce.len() + 2_000 * 22, 0);
    produce.extend([0; 4]);
    vec![("produce", produce)]
}

/// A packed corpus is what was packed, in one order, and each input once.
fn assert_that_packing_keeps_all_inputs() {
    let inputs: Vec<Vec<u8>> = vec![vec![], b"a".to_vec(), vec![0; 70_000], b"b".to_vec()];
    let packed = corpus::pack(inputs.clone());
    let mut unpacked = corpus::unpack(&packed).unwrap();
    unpacked.sort();
    let mut expected: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    expected.sort();
    assert_eq!(unpacked, expected);
    let mut other_order = inputs;
    other_order.reverse();
    other_order.push(b"a".to_vec());
    assert_eq!(corpus::pack(other_order), packed);
    assert_eq!(corpus::unpack(&packed[..packed.len() - 1]), None);
}
