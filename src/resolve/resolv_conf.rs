//! The resolver's settings (resolv.conf(5)): whom to ask, how often, and what to append to a name.

use std::net::IpAddr;
use std::time::Duration;

use super::dns::Name;
use super::hosts::Scoped;

/// What a resolv.conf says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolvConf {
    /// Three at most, in order; empty: the file names none.
    pub(super) servers: Vec<Scoped>,
    /// Domains that are appended to a name, in order.
    pub(super) search: Vec<String>,
    /// A name with so many dots is first asked for as it is.
    pub(super) ndots: usize,
    /// How long a server is waited for before the next one is asked, too.
    pub(super) timeout: Duration,
    /// How often each server is asked.
    pub(super) attempts: u32,
    /// Not always the first server first.
    pub(super) rotate: bool,
    /// Questions go over TCP at once.
    pub(super) use_tcp: bool,
    /// No IPv6 addresses are asked for.
    pub(super) no_aaaa: bool,
}

impl ResolvConf {
    /// Reads the file's text. Without `domain` and `search` the host's own domain is searched. What is not
    /// known is left aside, as everybody does who reads this file.
    pub(super) fn parse(text: &str, host_name: &str) -> Self {
        let own_domain = host_name.split_once('.').map(|(_, domain)| domain);
        let mut conf = ResolvConf {
            servers: Vec::new(),
            search: own_domain.into_iter().filter_map(domain).collect(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            use_tcp: false,
            no_aaaa: false,
        };
        for line in text.lines() {
            let is_comment = |word: &&str| word.starts_with(['#', ';']);
            let mut words = line.split_ascii_whitespace().take_while(|w| !is_comment(w));
            match words.next() {
                Some("nameserver") => {
                    if let Some(server) = words.next().and_then(Scoped::parse)
                        && conf.servers.len() < MAX_SERVERS
                    {
                        conf.servers.push(server);
                    }
                }
                // Of several lines the last one counts, of whichever kind.
                Some("domain") => conf.search = words.take(1).filter_map(domain).collect(),
                Some("search") => {
                    conf.search = words.filter_map(domain).take(MAX_DOMAINS).collect()
                }
                Some("options") => words.for_each(|option| conf.set(option)),
                _ => {}
            }
        }
        conf
    }

    /// What the environment says counts more: `LOCALDOMAIN` is a list of domains, `RES_OPTIONS` one of options.
    pub(super) fn with_environment(mut self, env: impl Fn(&str) -> Option<String>) -> Self {
        if let Some(domains) = env("LOCALDOMAIN") {
            let domains = domains.split_ascii_whitespace();
            self.search = domains.filter_map(domain).take(MAX_DOMAINS).collect();
        }
        for option in env("RES_OPTIONS")
            .unwrap_or_default()
            .split_ascii_whitespace()
        {
            self.set(option);
        }
        self
    }

    fn set(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        let number = value.parse::<u32>().ok();
        match (name, number) {
            ("ndots", Some(dots)) => self.ndots = dots.min(MAX_NDOTS) as usize,
            ("timeout", Some(seconds)) => {
                self.timeout = Duration::from_secs(seconds.clamp(1, MAX_TIMEOUT_SECONDS).into());
            }
            ("attempts", Some(attempts)) => self.attempts = attempts.clamp(1, MAX_ATTEMPTS),
            ("rotate", None) => self.rotate = true,
            ("use-vc", None) => self.use_tcp = true,
            ("no-aaaa", None) => self.no_aaaa = true,
            _ => {}
        }
    }

    /// Whom to ask: the servers of the file, or as the manual page has it the host itself.
    pub(super) fn servers_or_localhost(&self) -> Vec<Scoped> {
        match self.servers.is_empty() {
            true => vec![Scoped::from(IpAddr::from([127, 0, 0, 1]))],
            false => self.servers.clone(),
        }
    }

    /// The names to ask for, in order, so that the first one that has addresses is the one that is meant.
    pub(super) fn candidates(&self, name: &str) -> Vec<(String, Name)> {
        let is_absolute = name.ends_with('.');
        let bare = name.strip_suffix('.').unwrap_or(name);
        let mut texts = Vec::new();
        if !is_absolute {
            texts.extend(self.search.iter().map(|domain| format!("{bare}.{domain}")));
        }
        let has_dots = bare.matches('.').count() >= self.ndots;
        let place = if has_dots { 0 } else { texts.len() };
        texts.insert(place, bare.to_owned());
        let named = |text: String| Name::new(&text).map(|name| (text, name));
        texts.into_iter().filter_map(named).collect()
    }
}

/// A domain without dots around it; `None` for the root, which `search .` means.
fn domain(text: &str) -> Option<String> {
    let bare = text.trim_matches('.');
    (!bare.is_empty()).then(|| bare.to_owned())
}

/// The bounds that resolv.conf(5) names.
const MAX_SERVERS: usize = 3;
const MAX_NDOTS: u32 = 15;
const MAX_TIMEOUT_SECONDS: u32 = 30;
const MAX_ATTEMPTS: u32 = 5;
/// Kubernetes writes up to 32.
const MAX_DOMAINS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ResolvConf {
        ResolvConf::parse(text, "host")
    }

    fn servers(conf: &ResolvConf) -> Vec<String> {
        let servers = conf.servers.iter();
        servers.map(|s| s.socket_address(53).to_string()).collect()
    }

    fn candidates(conf: &ResolvConf, name: &str) -> Vec<String> {
        let candidates = conf.candidates(name).into_iter();
        candidates.map(|(text, _)| text).collect()
    }

    #[test]
    fn a_file_of_kubernetes_is_read() {
        let conf = parse(
            "search ns.svc.cluster.local svc.cluster.local cluster.local\n\
             nameserver 10.96.0.10\n\
             options ndots:5\n",
        );
        assert_eq!(servers(&conf), ["10.96.0.10:53"]);
        assert_eq!(
            (conf.ndots, conf.attempts, conf.timeout.as_secs()),
            (5, 2, 5)
        );
        assert_eq!(
            candidates(&conf, "kafka.data"),
            [
                "kafka.data.ns.svc.cluster.local",
                "kafka.data.svc.cluster.local",
                "kafka.data.cluster.local",
                "kafka.data"
            ]
        );
        assert_eq!(candidates(&conf, "kafka.data."), ["kafka.data"]);
    }

    #[test]
    fn servers_are_three_at_most_and_of_both_families() {
        let conf = parse(
            "# comment\n; another\nnameserver 10.0.0.1 # first\nnameserver nonsense\n\
             nameserver 2001:db8::53\nnameserver fe80::1%3\nnameserver 10.0.0.4\n",
        );
        assert_eq!(
            servers(&conf),
            ["10.0.0.1:53", "[2001:db8::53]:53", "[fe80::1%3]:53"]
        );
        let own = parse("").servers_or_localhost();
        assert_eq!(own, [Scoped::from(IpAddr::from([127, 0, 0, 1]))]);
    }

    #[test]
    fn options_have_bounds_and_unknown_ones_do_nothing() {
        let conf = parse(
            "options timeout:0 attempts:99 ndots:99 rotate edns0 use-vc trust-ad ndots:x no-aaaa",
        );
        assert_eq!(
            (conf.ndots, conf.attempts, conf.timeout.as_secs()),
            (15, 5, 1)
        );
        assert!(conf.rotate && conf.use_tcp && conf.no_aaaa);
        assert_eq!(parse("options timeout:99").timeout.as_secs(), 30);
    }

    #[test]
    fn of_search_and_domain_the_last_line_counts_and_without_one_the_host_s_own_domain() {
        assert_eq!(parse("search a b\ndomain c\n").search, ["c"]);
        assert_eq!(parse("domain c\nsearch a b.\n").search, ["a", "b"]);
        assert_eq!(parse("search .\n").search, [""; 0]);
        let own = |text| ResolvConf::parse(text, "host.example.com").search;
        assert_eq!(own(""), ["example.com"]);
        assert_eq!(own("search a\n"), ["a"]);
    }

    #[test]
    fn ndots_decides_what_is_asked_first() {
        let conf = parse("search a.b\n");
        assert_eq!(candidates(&conf, "kafka1"), ["kafka1.a.b", "kafka1"]);
        assert_eq!(candidates(&conf, "kafka1.c"), ["kafka1.c", "kafka1.c.a.b"]);
        // With this domain the name is longer than names are.
        let long = "a".repeat(60);
        let name = [&*long, &*long, &*long, &*long].join(".");
        assert_eq!(candidates(&parse("search 1234567890.b"), &name), [name]);
        assert_eq!(candidates(&conf, "not a name"), [""; 0]);
    }

    #[test]
    fn the_environment_counts_more() {
        let conf = parse("search a\noptions ndots:2 attempts:3\n").with_environment(|name| {
            let values = [("LOCALDOMAIN", "b c"), ("RES_OPTIONS", "ndots:4 rotate")];
            let found = values.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        assert_eq!(conf.search, ["b", "c"]);
        assert_eq!((conf.ndots, conf.attempts, conf.rotate), (4, 3, true));
    }
}
