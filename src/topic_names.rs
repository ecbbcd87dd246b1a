//! Names of topics that Kafka takes for one: its metrics write `.` as `_`, so it makes no topic whose name differs from
//! that of another only there.

/// The names that differ from `topic` only in `.` and `_`: all of them if they are few, else those that are more likely.
pub(crate) fn twins(topic: &str) -> Vec<String> {
    let places: Vec<usize> = (topic.match_indices(['.', '_']))
        .map(|(at, _)| at)
        .collect();
    let with = |dots: &dyn Fn(usize) -> bool| {
        let mut name = topic.as_bytes().to_vec();
        for (n, at) in places.iter().enumerate() {
            name[*at] = if dots(n) { b'.' } else { b'_' };
        }
        String::from_utf8_lossy(&name).into_owned()
    };
    let mut all: Vec<String> = match places.len() {
        0 => Vec::new(),
        few @ 1..=FEW => (0..1_u32 << few)
            .map(|bits| with(&|n| bits >> n & 1 == 1))
            .collect(),
        _ => vec![with(&|_| false), with(&|_| true)],
    };
    all.retain(|name| name != topic);
    all
}

/// Whether Kafka takes only one of two names.
pub(crate) fn collide(one: &str, other: &str) -> bool {
    one != other && one.replace('.', "_") == other.replace('.', "_")
}

/// What is said of a topic that Kafka does not make, since there is `other`; what to do follows on it.
pub(crate) fn collision(other: &str) -> String {
    format!("collides with '{other}': Kafka makes no topic whose name differs only in '.' and '_'")
}

/// So many places are few.
const FEW: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_collide_if_only_dots_and_underscores_tell_them_apart() {
        assert_eq!(twins("app"), [""; 0]);
        assert_eq!(twins("op3.app"), ["op3_app"]);
        assert_eq!(twins("a.b_c"), ["a_b_c", "a_b.c", "a.b.c"]);
        assert_eq!(twins("a.b.c.d.e_f"), ["a_b_c_d_e_f", "a.b.c.d.e.f"]);
        assert!(collide("op3.app", "op3_app") && !collide("a.b", "a.b") && !collide("a.b", "a-b"));
    }
}
