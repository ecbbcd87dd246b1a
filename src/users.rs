//! Users of this host, as /etc/passwd and /etc/group have them: a static program has no NSS.

use std::fs;

use rustix::process::{Gid, Uid};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub uid: Uid,
    /// Its own group.
    pub gid: Gid,
    /// The groups that it is in besides.
    pub groups: Vec<Gid>,
}

impl User {
    /// The user that is called `name`.
    pub fn named(name: &str) -> Option<User> {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        Self::in_files(name, &read("/etc/passwd"), &read("/etc/group"))
    }

    fn in_files(name: &str, passwd: &str, group: &str) -> Option<User> {
        let fields = lines(passwd).find(|fields| fields.first() == Some(&name))?;
        let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
        let (uid, gid) = (number(2)?, number(3)?);
        let has_it = |fields: &Vec<&str>| {
            let members = fields.get(3).unwrap_or(&"");
            members.split(',').any(|member| member == name)
        };
        let groups = lines(group).filter(has_it);
        let groups = groups.filter_map(|fields| fields.get(2)?.parse::<u32>().ok());
        let groups = groups.filter(|other| *other != gid);
        Some(User {
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
            groups: groups.map(Gid::from_raw).collect(),
        })
    }
}

/// The name of a user, or its number where it has none.
pub fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let found = lines(&passwd).find(|fields| fields.get(2) == Some(&&*number));
    found.map_or(number.clone(), |fields| fields[0].to_owned())
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_with_its_groups() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbad\nlogagent:x:997:996::/:/x\n";
        let group =
            "root:x:0:\nadm:x:4:syslog,logagent\nlogagent:x:996:logagent\nx:x:7:logagent2\n";
        let user = User {
            uid: Uid::from_raw(997),
            gid: Gid::from_raw(996),
            groups: vec![Gid::from_raw(4)],
        };
        assert_eq!(User::in_files("logagent", passwd, group), Some(user));
        assert_eq!(User::in_files("bad", passwd, group), None);
        assert_eq!(User::in_files("nobody", passwd, group), None);
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(3_999_999_999), "3999999999");
    }
}
