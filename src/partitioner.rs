//! Which partition a record goes to.

/// The partition that the Java client chooses for a record with this key.
pub(crate) fn of_key(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & i32::MAX) % partitions.max(1)
}

/// What is said of a topic that has not the partition that `fixed:N` asks for.
pub(crate) fn missing_words(asked: i32, partitions: i32) -> String {
    let s = if partitions == 1 { "" } else { "s" };
    format!(
        "it has {partitions} partition{s} and partitioner 'fixed:{asked}' asks for one that does not exist"
    )
}

/// MurmurHash2 by Austin Appleby, 32 bits, with the seed of Kafka's Java client.
fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut h = SEED ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    (h ^ (h >> 15)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_that_of_the_java_client() {
        // From UtilsTest of Apache Kafka.
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()), hash, "of {text:?}");
        }
    }

    /// What the Java client chose; `tests/vectors/Partitions.java` wrote it.
    const CHOSEN: &str = include_str!("../tests/vectors/partitions.txt");

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |digit: u8| char::from(digit).to_digit(16).expect("hexadecimal") as u8;
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        assert!(rest.is_empty(), "{hex}");
        pairs
            .iter()
            .map(|[high, low]| digit(*high) << 4 | digit(*low))
            .collect()
    }

    #[test]
    fn a_thousand_keys_go_where_the_java_client_sends_them() {
        let mut lines = CHOSEN.lines();
        let numbers = |text: &str| -> Vec<i32> {
            text.split(' ')
                .map(|number| number.parse().expect("a number"))
                .collect()
        };
        let counts = lines.next().and_then(|line| line.strip_prefix("counts "));
        let counts = numbers(counts.expect("numbers of partitions"));
        let mut keys = std::collections::HashSet::new();
        for line in lines {
            let (key, chosen) = line.split_once(' ').expect("a key and partitions");
            let key = if key == "-" { Vec::new() } else { bytes(key) };
            let ours: Vec<i32> = counts.iter().map(|count| of_key(&key, *count)).collect();
            assert_eq!(ours, numbers(chosen), "{key:?}");
            keys.insert(key);
        }
        assert_eq!(keys.len(), 1000);
    }

    #[test]
    fn a_partition_is_never_negative_nor_too_large() {
        for partitions in [1, 2, 3, 7, 1000] {
            for n in 0..1000u32 {
                let chosen = of_key(&n.to_be_bytes()[..(n % 5) as usize], partitions);
                assert!((0..partitions).contains(&chosen));
            }
        }
    }
}
