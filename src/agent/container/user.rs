//! The user of a container's process: `USER[:GROUP]` of the image, by the image's own /etc/passwd
//! and /etc/group. Pure.

/// Numbers for the runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// Its home, where it has one.
    pub home: Option<String>,
}

/// A user or a group that the image does not have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the image has no {0}")]
pub struct Unknown(String);

/// Finds `wanted`; empty is root.
pub fn find(wanted: &str, passwd: &str, group: &str) -> Result<User, Unknown> {
    let (name, group_name) = match wanted.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (wanted, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let entry = passwd.lines().map(fields).find(|entry| {
        entry.first() == Some(&name) || (entry.len() > 2 && is_number(name) && entry[2] == name)
    });
    let number = |at: usize| entry.as_ref().and_then(|entry| entry.get(at)?.parse().ok());
    let uid = number(2).or_else(|| name.parse().ok());
    let uid = uid.ok_or_else(|| Unknown(format!("user {name}")))?;
    let gid = match group_name {
        Some(name) => group_id(name, group)?,
        None => number(3).unwrap_or(0),
    };
    let home = entry.as_ref().and_then(|entry| entry.get(5)).map(|home| (*home).to_owned());
    // Groups are those of a name; one who is only a number has none.
    let login = entry.as_ref().and_then(|entry| entry.first()).copied();
    let groups = if group_name.is_some() { Vec::new() } else { groups(login, group) };
    Ok(User { uid, gid, groups, home: home.filter(|home| home.starts_with('/')) })
}

fn group_id(name: &str, group: &str) -> Result<u32, Unknown> {
    let entry = group.lines().map(fields).find(|entry| entry.first() == Some(&name));
    let id = entry.and_then(|entry| entry.get(2)?.parse().ok()).or_else(|| name.parse().ok());
    id.ok_or_else(|| Unknown(format!("group {name}")))
}

fn groups(login: Option<&str>, group: &str) -> Vec<u32> {
    let Some(login) = login else { return Vec::new() };
    let member = |entry: Vec<&str>| {
        entry.get(3)?.split(',').find(|name| *name == login)?;
        entry.get(2)?.parse().ok()
    };
    group.lines().map(fields).filter_map(member).collect()
}

fn fields(line: &str) -> Vec<&str> {
    line.trim_end().split(':').collect()
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nfarm:x:1000:1000::/home/farm:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nfarm:x:1000:\ndialout:x:20:other,farm\nkvm:x:104:farm\n";

    fn found(wanted: &str) -> (u32, u32, Vec<u32>) {
        let user = find(wanted, PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.groups)
    }

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(found(""), (0, 0, vec![]));
        assert_eq!(found("farm"), (1000, 1000, vec![20, 104]));
        assert_eq!(found("1000"), (1000, 1000, vec![20, 104]));
        assert_eq!(found("farm:dialout"), (1000, 20, vec![]));
        assert_eq!(found("7:8"), (7, 8, vec![]));
        assert_eq!(found("7"), (7, 0, vec![]));
        assert_eq!(find("farm", PASSWD, GROUP).unwrap().home.as_deref(), Some("/home/farm"));
    }

    #[test]
    fn what_the_image_does_not_have_is_named() {
        assert_eq!(find("nobody", PASSWD, GROUP), Err(Unknown("user nobody".to_owned())));
        assert_eq!(find("farm:wheel", PASSWD, GROUP), Err(Unknown("group wheel".to_owned())));
        assert_eq!(find("", "", "").unwrap(), User::default());
    }

    proptest! {
        #[test]
        fn no_file_panics(wanted in "\\PC{0,20}", passwd in "[a-z0-9:\n]*", group in "[a-z0-9:,\n]*") {
            let _ = find(&wanted, &passwd, &group);
        }
    }
}
