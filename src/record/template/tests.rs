mod refused;

use super::*;
use crate::record::path_pattern::PathPattern;

/// A section: what its keys say.
struct Section {
    paths: Vec<PathPattern>,
    groups: Vec<&'static str>,
    has_container: bool,
    has_json: bool,
}

impl Section {
    fn new(paths: &[&str]) -> Self {
        let paths = paths.iter().map(|text| PathPattern::parse(text).unwrap());
        Section {
            paths: paths.collect(),
            groups: vec![],
            has_container: true,
            has_json: true,
        }
    }

    fn with_groups(groups: &[&'static str]) -> Self {
        Section {
            groups: groups.to_vec(),
            ..Section::new(&["/var/log/a.log"])
        }
    }

    fn parse(
        &self,
        text: &str,
        purpose: Purpose,
        needs: &mut Needs,
    ) -> Result<Template, Vec<TemplateError>> {
        let env = |name: &str| match name {
            "DC" => Some("b{3}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let known = Known {
            host: "node7",
            log: "shop",
            paths: &self.paths,
            groups: &self.groups,
            has_container: self.has_container,
            has_json: self.has_json,
            env: &env,
        };
        Template::parse(text, purpose, &known, needs)
    }

    fn value(&self, text: &str) -> Template {
        let mut needs = Needs::default();
        self.parse(text, Purpose::Value, &mut needs).unwrap()
    }

    fn refused(&self, text: &str, purpose: Purpose) -> (usize, String) {
        let error = self.parse(text, purpose, &mut Needs::default());
        let error = error.unwrap_err().remove(0);
        (error.at, error.to_string())
    }

    /// The template for the file `path`.
    fn fold(&self, template: &Template, path: &[u8]) -> FileTemplate {
        let found = self.paths.iter().find_map(|p| Some((p, p.capture(path)?)));
        let (pattern, ranges) = found.unwrap();
        template.for_file(&FileValues {
            path,
            inode: 77,
            names: pattern.names(),
            ranges: &ranges,
        })
    }

    /// What is rendered for an event of the file `path`; `None` where it is missing.
    fn rendered(&self, text: &str, path: &[u8], event: &Event) -> Option<Vec<u8>> {
        let template = self.fold(&self.value(text), path);
        let mut out = b"before".to_vec();
        let is_there = template.render(event, &mut out);
        let out = out.strip_prefix(b"before").unwrap().to_vec();
        assert!(is_there || out.is_empty(), "{text}");
        is_there.then_some(out)
    }
}

#[derive(Default)]
struct Event {
    offset: u64,
    stream: Option<&'static [u8]>,
    groups: Vec<Option<&'static [u8]>>,
    json: Vec<Option<&'static [u8]>>,
}

impl EventValues for Event {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn stream(&self) -> Option<&[u8]> {
        self.stream
    }

    fn group(&self, number: usize) -> Option<&[u8]> {
        self.groups.get(number).copied().flatten()
    }

    fn json(&self, number: usize, out: &mut Vec<u8>) -> bool {
        append(self.json.get(number).copied().flatten(), out)
    }
}

fn constant(template: &FileTemplate) -> &[u8] {
    match template {
        FileTemplate::Constant(text) => text,
        other => panic!("{other:?}"),
    }
}

const PLAIN: &str = "/var/log/a.log";

/// Each of them can stand beside each other one: a placeholder never begins with a brace.
const PIECES: [&str; 24] = [
    "{{",
    "}}",
    "a",
    " ",
    "ä",
    "{host}",
    "{log}",
    "{path}",
    "{file}",
    "{dir}",
    "{inode}",
    "{tenant}",
    "{app}",
    "{offset}",
    "{stream}",
    "{stream:s}",
    "{user}",
    "{user:-}",
    "{status}",
    "{status:}",
    "{json.a}",
    "{json.a:x y}",
    "{env.DC}",
    "{env.NONE:z}",
];

#[test]
fn what_the_start_knows_is_put_in_at_once() {
    let section = Section::new(&[PLAIN]);
    for (text, expected) in [
        ("", ""),
        ("plain text, $1 ä", "plain text, $1 ä"),
        ("{host}-{log}", "node7-shop"),
        ("{env.DC}", "b{3}"),
        ("{env.DC:x}{env.EMPTY:x}{env.NONE:x:y}", "b{3}x:y"),
        ("{env.NONE:}", ""),
        ("{{{log}}}", "{shop}"),
        ("{{log}}", "{log}"),
        ("{host:unused}", "node7"),
    ] {
        let template = section.value(text);
        assert_eq!(template.stage(), Stage::Start, "{text}");
        let (a, b) = (
            section.fold(&template, PLAIN.as_bytes()),
            section.fold(&template, PLAIN.as_bytes()),
        );
        assert_eq!(constant(&a), expected.as_bytes(), "{text}");
        let (FileTemplate::Constant(a), FileTemplate::Constant(b)) = (a, b) else {
            panic!("{text}");
        };
        assert!(Arc::ptr_eq(&a, &b), "all files share it: {text}");
    }
}

#[test]
fn what_a_file_knows_is_put_in_once_per_file() {
    let section = Section::new(&["/srv/{tenant}/log/**/{app}.log"]);
    let path = b"/srv/ac\xffme/log/x/web.log";
    for (text, expected) in [
        ("{tenant}-{app}", &b"ac\xffme-web"[..]),
        (
            "{path}|{dir}|{file}",
            b"/srv/ac\xffme/log/x/web.log|/srv/ac\xffme/log/x|web.log",
        ),
        ("{host}-{inode}", b"node7-77"),
        ("{tenant:unused}", b"ac\xffme"),
    ] {
        let template = section.value(text);
        assert_eq!(template.stage(), Stage::File, "{text}");
        assert_eq!(constant(&section.fold(&template, path)), expected, "{text}");
    }
    let root = Section::new(&["/*.log"]);
    let template = root.fold(&root.value("{dir}|{file}"), b"/a.log");
    assert_eq!(constant(&template), b"/|a.log");
}

#[test]
fn what_an_event_knows_is_put_in_for_each() {
    let section = Section {
        groups: vec!["user", "status"],
        ..Section::new(&["/srv/{tenant}/*.log"])
    };
    let path = b"/srv/acme/a.log";
    let event = Event {
        offset: 4096,
        stream: Some(b"stderr"),
        groups: vec![Some(b"eve\xff")],
        json: vec![Some(b""), Some(b"7")],
    };
    let rendered = |text| section.rendered(text, path, &event);
    let some = |text: &[u8]| Some(text.to_vec());
    assert_eq!(
        rendered("<{tenant}-{offset}-{stream}>"),
        some(b"<acme-4096-stderr>")
    );
    assert_eq!(rendered("{json.a}"), some(b""), "empty is not missing");
    assert_eq!(rendered("{json.a}{json.b.c}"), some(b"7"));
    assert_eq!(rendered("{json.b}{json.a:x}{json.c:y}"), some(b"7y"));
    assert_eq!(rendered("{user}"), some(b"eve\xff"));
    assert_eq!(rendered("{user}-{status}"), None);
    assert_eq!(rendered("{user}-{status:-}-"), some(b"eve\xff---"));
    let none = Event::default();
    let rendered = |text| section.rendered(text, path, &none);
    assert_eq!(rendered("{tenant}{stream}"), None);
    assert_eq!(rendered("{tenant}{stream:stdout}"), some(b"acmestdout"));
    assert_eq!(rendered("{json.a:}"), some(b""));
    assert_eq!(rendered("x{json.a}"), None);
    assert_eq!(rendered("{offset}"), some(b"0"));
}

#[test]
fn a_name_that_only_some_paths_have_is_missing_in_the_files_of_the_others() {
    let section = Section::new(&["/srv/{tenant}/{app}.log", "/var/log/{app}.log"]);
    let template = section.value("{app}-{tenant}");
    assert_eq!(
        constant(&section.fold(&template, b"/srv/acme/web.log")),
        b"web-acme"
    );
    assert_eq!(
        section.fold(&template, b"/var/log/web.log"),
        FileTemplate::Missing
    );
    let template = section.value("{app}-{tenant:none}");
    assert_eq!(
        constant(&section.fold(&template, b"/var/log/web.log")),
        b"web-none"
    );
    assert_eq!(
        section.refused("logs.{tenant}", Purpose::Topic),
        (
            5,
            "{tenant} is not in every path: write {tenant:other}".to_owned()
        )
    );
}

#[test]
fn the_templates_of_a_section_share_what_they_need() {
    let section = Section {
        groups: vec!["user"],
        ..Section::new(&["/srv/{tenant}/{app}.log"])
    };
    let mut needs = Needs::default();
    let mut parse = |text, purpose| section.parse(text, purpose, &mut needs).unwrap();
    assert_eq!(parse("logs.{tenant}", Purpose::Topic).stage(), Stage::File);
    let key = parse("{json.a.b}{user}{json.c}", Purpose::Value);
    assert_eq!(key.stage(), Stage::Event);
    parse("{json.c}{json.a.b:x}{user}{stream}", Purpose::Value);
    let paths: Vec<&str> = needs.json_paths.iter().map(JsonPath::text).collect();
    assert_eq!(paths, ["a.b", "c"]);
    let names = needs.json_paths.first().unwrap().names();
    assert_eq!(names.collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(needs.groups, ["user".into()]);
    assert_eq!(needs.path_names, ["tenant".into()]);
    assert!(needs.stream && !needs.offset);
}

#[test]
fn the_six_examples_hold() {
    let pods = Section::new(&["/var/log/pods/{namespace}_{pod}_{uid}/{container}/*.log"]);
    let path = b"/var/log/pods/shop_cart-1_0b7f/cart/0.log";
    let mut needs = Needs::default();
    let topic = pods.parse("k8s.{namespace}", Purpose::Topic, &mut needs);
    assert_eq!(constant(&pods.fold(&topic.unwrap(), path)), b"k8s.shop");
    let event = Event {
        offset: 9,
        stream: Some(b"stdout"),
        ..Event::default()
    };
    for (text, expected) in [
        ("{pod}", "cart-1"),
        ("{container}", "cart"),
        ("{stream}", "stdout"),
        ("{host}-{inode}-{offset}", "node7-77-9"),
        (
            "{host}{path}",
            "node7/var/log/pods/shop_cart-1_0b7f/cart/0.log",
        ),
        ("log.audit", "log.audit"),
        ("1.0", "1.0"),
    ] {
        let rendered = pods.rendered(text, path, &event).unwrap();
        assert_eq!(rendered, expected.as_bytes(), "{text}");
    }
}

/// A template is what its pieces are, one after the other.
#[test]
fn random_templates_render_what_their_pieces_render() {
    let section = Section {
        groups: vec!["user", "status"],
        ..Section::new(&["/srv/{tenant}/{app}.log"])
    };
    let path = b"/srv/ac.me/w\xffb.log";
    let mut random = fastrand::Rng::with_seed(11);
    let (mut there, mut missing) = (0, 0);
    for round in 0..20_000 {
        let value =
            |value: &'static [u8], random: &mut fastrand::Rng| random.bool().then_some(value);
        // One path and at most one group come first in a list, whichever template asks for it, so all have the same.
        let (group, json) = (value(b"{g}", &mut random), value(b"}", &mut random));
        let event = Event {
            offset: random.u64(..),
            stream: value(b"stdout", &mut random),
            groups: vec![group, group],
            json: vec![json],
        };
        let chosen: Vec<&str> = (0..random.usize(..6))
            .map(|_| random.choice(PIECES).unwrap())
            .collect();
        let text = chosen.concat();
        let each = chosen.iter().map(|p| section.rendered(p, path, &event));
        let expected: Option<Vec<Vec<u8>>> = each.collect();
        let rendered = section.rendered(&text, path, &event);
        assert_eq!(
            rendered,
            expected.map(|e| e.concat()),
            "round {round}: {text}"
        );
        match rendered {
            Some(_) => there += 1,
            None => missing += 1,
        }
    }
    assert!(there > 5_000 && missing > 2_000, "{there} {missing}");
}
