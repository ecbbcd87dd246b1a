use super::*;

#[test]
fn what_is_legal_stays_and_other_characters_become_one_underscore_each() {
    for name in ["tenant.", "a", "A.b-c_9", "...", &"t".repeat(249)] {
        assert!(
            matches!(legal(name.as_bytes()), Cow::Borrowed(n) if n == name),
            "{name}"
        );
    }
    for (rendered, name) in [
        (&b"tenant.a b"[..], "tenant.a_b"),
        ("m\u{fc}ller".as_bytes(), "m_ller"),
        (b"a\xff\xfe", "a__"),
        (b"a\xe2\x82", "a__"),
        (b"a\0\n{b}/c", "a___b__c"),
        (b".", "_"),
        (b"..", "__"),
        (b"", "_"),
        (b"\xc3", "_"),
    ] {
        assert!(
            matches!(legal(rendered), Cow::Owned(n) if n == name),
            "{name}"
        );
    }
}

#[test]
fn what_is_longer_than_a_topic_is_cut_whatever_its_characters_take() {
    for piece in ["x", "\u{fc}", "\u{20ac}", "\u{1f600}"] {
        let rendered = piece.repeat(1_000);
        let name = legal(rendered.as_bytes());
        assert_eq!(name.len(), 249, "{piece}");
        assert!(matches!(name, Cow::Owned(_)), "{piece}");
    }
    assert_eq!(legal(&[0xff; 500]), "_".repeat(249));
    let just_too_long = "x".repeat(250);
    assert_eq!(legal(just_too_long.as_bytes()), "x".repeat(249));
}

#[test]
fn whatever_bytes_are_rendered_the_topic_is_legal_and_stays_as_it_is() {
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..20_000 {
        let bytes = [b'a', b'.', b'_', b'-', b'/', 0xc3, 0xa4, 0xff, b' ', 0];
        let rendered: Vec<u8> = (0..random.usize(..6))
            .map(|_| random.choice(bytes).unwrap_or(b'a'))
            .collect();
        let name = legal(&rendered);
        assert!(is_legal(name.as_bytes()), "round {round}: {rendered:?}");
        let again = legal(name.as_bytes());
        assert!(matches!(again, Cow::Borrowed(_)), "{name}");
    }
}

#[test]
fn a_topic_that_was_met_before_is_the_same_arc() {
    let mut cache = TopicCache::new(8);
    let a = cache.topic(b"t.a").topic.clone();
    let b = cache.topic(b"t.b").topic.clone();
    assert_eq!((&*a, &*b), ("t.a", "t.b"));
    assert!(Arc::ptr_eq(cache.topic(b"t.a").topic, &a));
    assert!(Arc::ptr_eq(cache.topic(b"t.a").topic, &a), "in a run");
    cache.age();
    assert!(Arc::ptr_eq(cache.topic(b"t.b").topic, &b), "an old one");
}

#[test]
fn a_change_is_told_once_and_all_that_become_one_name_share_it() {
    let mut cache = TopicCache::new(8);
    let first = cache.topic(b"t.a/b");
    assert!(first.was_changed);
    let name = first.topic.clone();
    assert_eq!(&*name, "t.a_b");
    assert!(!cache.topic(b"t.a/b").was_changed);
    let legal = cache.topic(b"t.a_b");
    assert!(Arc::ptr_eq(legal.topic, &name) && !legal.was_changed);
    assert!(!cache.topic(b"t.a/b").was_changed);
    let other = cache.topic(b"t.a b");
    assert!(Arc::ptr_eq(other.topic, &name) && other.was_changed);
}

#[test]
fn what_nobody_asks_for_goes_away_with_its_memory() {
    let mut cache = TopicCache::new(8);
    let a = Arc::downgrade(cache.topic(b"t.a").topic);
    let b = Arc::downgrade(cache.topic(b"t.b").topic);
    cache.age();
    assert!(a.upgrade().is_some() && b.upgrade().is_some());
    cache.topic(b"t.a");
    cache.age();
    assert!(a.upgrade().is_some(), "asked for in between");
    assert!(b.upgrade().is_none());
    cache.age();
    assert!(a.upgrade().is_none() && cache.is_empty());
}

#[test]
fn values_without_end_take_no_memory_without_end() {
    for most in [0, 1, 2, 3, 64] {
        let mut cache = TopicCache::new(most);
        for number in 0..1_000 {
            let rendered = format!("t.{number}/{}", "x".repeat(5_000));
            let topic = cache.topic(rendered.as_bytes()).topic;
            assert_eq!(topic.len(), 249);
            assert!(cache.len() <= most.max(2), "{} of {most}", cache.len());
            let key = cache.young.keys().map(|key| key.len()).max();
            assert!(key <= Some(1_000), "{key:?}");
        }
    }
}

#[test]
fn a_cut_value_and_a_longer_one_are_told_apart_from_what_fits() {
    let mut cache = TopicCache::new(8);
    let fits = "x".repeat(249);
    assert!(!cache.topic(fits.as_bytes()).was_changed);
    assert!(cache.topic("x".repeat(250).as_bytes()).was_changed);
    assert!(cache.topic("x".repeat(100_000).as_bytes()).was_changed);
    assert_eq!(&**cache.topic(fits.as_bytes()).topic, fits.as_str());
}
