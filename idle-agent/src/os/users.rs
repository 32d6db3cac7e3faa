//! Users of the machine. Reads text files only.

use std::path::Path;

/// A user of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Numeric id.
    pub uid: u32,
    /// Id of the primary group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// Looks a user up in a `passwd` file's text.
pub fn parse_user(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()?;
        let _password = fields.next()?;
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let _comment = fields.next()?;
        let home = fields.next()?.to_owned();
        let shell = fields.next().unwrap_or("").to_owned();
        (found == name).then(|| User { name: found.to_owned(), uid, gid, home, shell })
    })
}

/// Looks a user up on this machine.
pub fn user(etc: &Path, name: &str) -> Option<User> {
    parse_user(&std::fs::read_to_string(etc.join("passwd")).ok()?, name)
}

/// Whether we are root and may therefore act as others.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_whole_name_and_torn_lines_skipped() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\ndevel:x:7:7::/x:/bin/sh\nbroken:x:\ndev:x:1000:1000:Dev,,,:/home/dev:/bin/bash\ntorn:x:10";
        let dev = parse_user(passwd, "dev").unwrap();
        assert_eq!(
            (dev.uid, dev.gid, dev.home.as_str(), dev.shell.as_str()),
            (1000, 1000, "/home/dev", "/bin/bash")
        );
        for absent in ["broken", "torn", "de", ""] {
            assert_eq!(parse_user(passwd, absent), None, "{absent}");
        }
    }
}
