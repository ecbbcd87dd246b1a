use super::*;

/// The values by name, as text.
fn values(pattern: &str, path: &[u8]) -> Option<Vec<(String, String)>> {
    let pattern = PathPattern::parse(pattern).unwrap();
    let ranges = pattern.capture(path)?;
    assert_eq!(ranges.len(), pattern.names().len());
    let value = |range: &Range<usize>| path.get(range.clone()).unwrap().escape_ascii().to_string();
    let values = ranges.iter().map(value);
    Some(
        pattern
            .names()
            .iter()
            .map(|name| name.to_string())
            .zip(values)
            .collect(),
    )
}

/// The values, with commas between them; empty if the path is none of those meant.
fn captured(pattern: &str, path: &[u8]) -> String {
    let values = values(pattern, path).unwrap_or_default();
    let values: Vec<String> = values.into_iter().map(|(_, value)| value).collect();
    values.join(",")
}

fn refused(text: &str) -> (usize, String) {
    let error = PathPattern::parse(text).unwrap_err();
    (error.at, error.to_string())
}

#[test]
fn kubernetes_pods_give_all_four_parts() {
    let pattern = "/var/log/pods/{namespace}_{pod}_{uid}/{container}/*.log";
    let path = b"/var/log/pods/shop_cart-api-7d9f-x2x_0b7f-11/cart-api/0.log";
    let expected = [
        ("namespace", "shop"),
        ("pod", "cart-api-7d9f-x2x"),
        ("uid", "0b7f-11"),
        ("container", "cart-api"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(values(pattern, path), Some(expected.to_vec()));
    let pattern = PathPattern::parse(pattern).unwrap();
    assert_eq!(pattern.glob(), "/var/log/pods/?*_?*_?*/?*/*.log");
}

#[test]
fn the_last_part_is_what_a_star_before_it_leaves() {
    let path = b"/var/log/containers/web-1_shop_cart-api-5ce5.log";
    assert_eq!(
        captured(
            "/var/log/containers/{pod}_{namespace}_{container}-{id}.log",
            path
        ),
        "web-1,shop,cart,api-5ce5",
        "a container whose name has a - is not told from its id"
    );
    assert_eq!(
        captured("/var/log/containers/{pod}_{namespace}_*-{id}.log", path),
        "web-1,shop,5ce5"
    );
}

#[test]
fn names_nearest_to_the_root_are_read_first() {
    let tenants = "/srv/{tenant}/log/**/{app}.log";
    assert_eq!(captured(tenants, b"/srv/acme/log/web.log"), "acme,web");
    assert_eq!(captured(tenants, b"/srv/acme/log/a/b/web.log"), "acme,web");
    // What acme puts below its folder makes it no other tenant.
    assert_eq!(
        captured("/srv/**/{t}/log/**/*.log", b"/srv/acme/log/evil/log/x.log"),
        "acme"
    );
    assert_eq!(captured("/**/{t}/**/*.log", b"/a/b/c/x.log"), "a");
    assert_eq!(captured("/{t}/**/x/**/{u}", b"/a/x/x/b"), "a,b");
}

#[test]
fn a_name_takes_one_character_at_least_and_none_of_them_a_slash() {
    for (pattern, path, expected) in [
        ("/{app}.log", "/a.log.log", "a.log"),
        ("/{app}.log", "/.log", ""),
        ("/{app}.log", "/a/b.log", ""),
        ("/{app}.log", "/.a.log", ""),
        ("/.{app}.log", "/.a.log", "a"),
        ("/{a}-{b}", "/x-y-z", "x,y-z"),
        ("/{a}-{b}", "/--z", "-,z"),
        ("/{a}-{b}", "/x-", ""),
        ("/{a}?.log", "/xyz.log", "xy"),
        ("/{a}[0-9].log", "/a12.log", "a1"),
        ("/[0-9]{a}", "/123", "23"),
        ("/*-{a}", "/x-y-z", "z"),
        ("/{a}-*", "/x-y-z", "x"),
        ("//./{a}//b/./", "/x/b", "x"),
        ("{a}/b", "x/b", "x"),
        ("{a}/b", "/x/b", ""),
        ("/{a}", "//x/./", "x"),
    ] {
        assert_eq!(
            captured(pattern, path.as_bytes()),
            expected,
            "{pattern} {path}"
        );
    }
}

#[test]
fn values_are_bytes_and_characters_are_not_taken_apart() {
    assert_eq!(
        captured("/{a}-{b}", b"/\xff\n-\xfe"),
        "\\xff\\n,\\xfe",
        "not UTF-8"
    );
    assert_eq!(captured("/{a}?", "/xä".as_bytes()), "x");
    assert_eq!(captured("/?{a}", b"/\xc3x"), "x");
    assert_eq!(
        captured("/{a}[ä-ü]", "/äö".as_bytes()),
        "ä".as_bytes().escape_ascii().to_string()
    );
}

#[test]
fn a_text_without_braces_is_its_own_glob_and_captures_nothing() {
    for text in [
        "/var//log/./a.log",
        "logs/*.log",
        "/srv/**/c?[0-9].log",
        "/a[!x-z]/[]]/[[]/**",
        "/ä/p#q;r=s:t $u%v",
        "",
        "/",
    ] {
        let pattern = PathPattern::parse(text).unwrap();
        assert_eq!((pattern.glob(), pattern.text()), (text, text));
        assert!(pattern.names().is_empty());
    }
    let capture = |path: &[u8]| PathPattern::parse("/a/**").unwrap().capture(path);
    assert_eq!(capture(b"/a/b/c"), Some(vec![]));
    assert_eq!(capture(b"/a"), None);
    assert_eq!(capture(b"/a/b/.c"), None);
}

#[test]
fn braces_stand_for_themselves_where_they_are_doubled_or_in_a_set() {
    let pattern = PathPattern::parse("/{{a}}/[{]b[}]/{c}{{").unwrap();
    assert_eq!(pattern.glob(), "/{a}/[{]b[}]/?*{");
    assert_eq!(captured(pattern.text(), b"/{a}/{b}/x{"), "x");
    let folder = "/srv/{odd}/}x{";
    let escaped = PathPattern::parse(&escape_braces(folder)).unwrap();
    assert_eq!(escaped.glob(), folder);
    assert!(escaped.names().is_empty());
}

#[test]
fn what_is_no_pattern_is_refused_where_it_is_wrong() {
    let unclosed = "a { without its }; write {{ for the character itself";
    for (text, at, words) in [
        ("/a/{b", 3, unclosed),
        ("/a/{b/{c}", 3, unclosed),
        (
            "/a/b}",
            4,
            "a } without its {; write }} for the character itself",
        ),
        (
            "/a/{}",
            3,
            "{} is no name of letters, digits and '_'; write {{ and }} for the characters themselves",
        ),
        (
            "/ä/{a b}.log",
            4,
            "{a b} is no name of letters, digits and '_'; write {{ and }} for the characters themselves",
        ),
        (
            "/{host}/x",
            1,
            "{host} means something already; take another name",
        ),
        ("/{a}/{b}/{a}", 9, "{a} twice"),
        (
            "/x{a}{b}",
            5,
            "{b} directly beside {a}: nothing tells where it ends",
        ),
        (
            "/{a}*",
            4,
            "{a} directly beside *: nothing tells where it ends",
        ),
        (
            "/*{a}",
            2,
            "{a} directly beside *: nothing tells where it ends",
        ),
        (
            "/{a}**",
            4,
            "{a} directly beside *: nothing tells where it ends",
        ),
        ("/a/**{b}", 3, "** must be a whole component, as in /a/**/b"),
        ("/a**", 2, "** must be a whole component, as in /a/**/b"),
        ("/a/***/b", 3, "more than two * in a row"),
        (
            "/[a",
            1,
            "a [ without its ]; write [[] for the character itself",
        ),
    ] {
        assert_eq!(refused(text), (at, words.to_owned()), "{text}");
    }
    assert!(!refused("/{\u{1b}[2J}").1.contains('\u{1b}'));
    assert!(refused(&format!("/{{-{}}}", "x".repeat(10_000))).1.len() < 300);
}

#[test]
fn env_and_json_are_names_like_others() {
    assert_eq!(
        captured("/srv/{env}/{json}.log", b"/srv/prod/x.log"),
        "prod,x"
    );
}

/// Values without the characters that the pattern has between names come out as they were put in.
#[test]
fn values_that_are_put_into_a_pattern_come_out_of_it() {
    let mut random = fastrand::Rng::with_seed(20_261_127);
    let names = ["tenant", "app", "pod", "a_1", "Z9"];
    for round in 0..20_000 {
        let (mut pattern, mut path) = (String::new(), Vec::new());
        let mut expected = Vec::new();
        for name in names.iter().take(random.usize(1..=names.len())) {
            // Each begins a component or follows a literal.
            let between = ["/", "/x-", "/{{", "_", "-", ".log-"];
            let between = match pattern.is_empty() {
                true => "/",
                false => random.choice(between).unwrap(),
            };
            pattern.push_str(between);
            path.extend(between.replace("{{", "{").bytes());
            let bytes: Vec<u8> = (0..random.usize(1..8))
                .map(|_| random.choice(*b"ab{}*[?\n\xff\xc3\xa4").unwrap())
                .collect();
            pattern.push_str(&format!("{{{name}}}"));
            let start = path.len();
            path.extend(bytes);
            expected.push(start..path.len());
        }
        let parsed = PathPattern::parse(&pattern).unwrap();
        let captured = parsed.capture(&path);
        assert_eq!(captured, Some(expected), "round {round}: {pattern}");
    }
}

#[test]
fn many_names_and_stars_take_no_longer_than_a_few() {
    let names: String = (0..60).map(|n| format!("a{{n{n}}}")).collect();
    let pattern = format!("/{}/{names}b", "**/".repeat(20));
    let path = format!("/{}{}", "a/".repeat(200), "a".repeat(250));
    let parsed = PathPattern::parse(&pattern).unwrap();
    assert_eq!(parsed.capture(path.as_bytes()), None);
}
