//! The machine's accounts, read from /etc/passwd and /etc/group: what `User=` and `owner:` need. Changes nothing.

use std::fs;
use std::io;

/// Who a service runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Every group, the first one included.
    pub groups: Vec<u32>,
    pub home: String,
    pub shell: String,
}

/// Looks a user up by name or number.
pub fn find(user: &str, group: Option<&str>) -> io::Result<Account> {
    let (passwd, groups) = (fs::read_to_string("/etc/passwd")?, fs::read_to_string("/etc/group")?);
    account(&passwd, &groups, user, group)
        .ok_or_else(|| io::Error::other(format!("no such user or group: {user}")))
}

fn account(passwd: &str, group_file: &str, user: &str, group: Option<&str>) -> Option<Account> {
    let mut account = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields.as_slice() else { return None };
        (*name == user || *uid == user).then_some(())?;
        Some(Account {
            name: (*name).to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            groups: Vec::new(),
            home: (*home).to_owned(),
            shell: (*shell).to_owned(),
        })
    })?;
    let groups = || {
        group_file.lines().filter_map(|line| {
            let mut fields = line.split(':');
            Some((fields.next()?, fields.nth(1)?.parse::<u32>().ok()?, fields.next().unwrap_or_default()))
        })
    };
    if let Some(group) = group {
        account.gid = groups().find(|(name, gid, _)| *name == group || gid.to_string() == group)?.1;
    }
    account.groups = std::iter::once(account.gid)
        .chain(
            groups()
                .filter(|(_, _, members)| members.split(',').any(|name| name == account.name))
                .map(|g| g.1),
        )
        .collect();
    account.groups.dedup();
    Some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_all_its_groups() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\ndev:x:1000:1000:,,,:/home/dev:/bin/sh\n";
        let groups = "root:x:0:\nadm:x:4:syslog,dev\ndev:x:1000:\nextra:x:7:dev\n";
        let found = account(passwd, groups, "dev", None).unwrap();
        assert_eq!((found.uid, found.gid, found.groups), (1000, 1000, vec![1000, 4, 7]));
        assert_eq!(account(passwd, groups, "1000", Some("adm")).unwrap().gid, 4);
        assert_eq!(account(passwd, groups, "nobody", None), None);
        assert_eq!(account(passwd, groups, "dev", Some("none")), None);
    }
}
