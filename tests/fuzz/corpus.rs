//! A corpus as one file: each input with its length before it, four bytes, the highest first. The inputs are sorted
//! by a hash, so that a new one changes the file in one place and says nothing about what it is.
//!
//! `scripts/fuzz.sh` compiles this file alone:
//!
//!     corpus pack FOLDER FILE       all files of a folder into one
//!     corpus unpack FILE FOLDER     and back, each named by its hash

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["pack", folder, file] => pack_folder(folder.as_ref(), file.as_ref()),
        ["unpack", file, folder] => unpack_file(file.as_ref(), folder.as_ref()),
        _ => Err(io::Error::other(
            "corpus pack FOLDER FILE, or corpus unpack FILE FOLDER",
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corpus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn pack_folder(folder: &Path, file: &Path) -> io::Result<()> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(folder)? {
        inputs.push(fs::read(entry?.path())?);
    }
    fs::write(file, pack(inputs))
}

fn unpack_file(file: &Path, folder: &Path) -> io::Result<()> {
    let bytes = fs::read(file)?;
    let inputs = unpack(&bytes).ok_or_else(|| io::Error::other("it is damaged"))?;
    for input in inputs {
        fs::write(folder.join(format!("{:016x}", hash(input))), input)?;
    }
    Ok(())
}

pub(crate) fn pack(mut inputs: Vec<Vec<u8>>) -> Vec<u8> {
    inputs.sort_by_cached_key(|input| (hash(input), input.clone()));
    inputs.dedup();
    let mut packed = Vec::new();
    for input in inputs {
        let length = u32::try_from(input.len()).expect("inputs are short");
        packed.extend(length.to_be_bytes());
        packed.extend(input);
    }
    packed
}

/// The inputs; `None` if the last one is not whole.
pub(crate) fn unpack(mut packed: &[u8]) -> Option<Vec<&[u8]>> {
    let mut inputs = Vec::new();
    while !packed.is_empty() {
        let (length, rest) = packed.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (input, rest) = rest.split_at_checked(length)?;
        inputs.push(input);
        packed = rest;
    }
    Some(inputs)
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
