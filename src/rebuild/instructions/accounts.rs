//! Accounts: the names of users and groups → their numbers, by `/etc/passwd` and `/etc/group`.
//!
//! Source: moby/buildkit `solver/llbsolver/file/user_linux.go` and
//! `executor/oci/user.go`; moby/sys `user` (`GetExecUser`); moby
//! `daemon/builder/dockerfile/internals_linux.go`.

use crate::{dialect::Builder, rebuild::Stop};

/// Reads a file of the root file system, links followed; `None` where there is none.
pub(in crate::rebuild) type Read<'a> = &'a dyn Fn(&str) -> Result<Option<Vec<u8>>, Stop>;

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";

/// One line of either file, as far as it is of use.
struct Account {
    name: String,
    /// The third and the fourth field.
    ids: (u32, u32),
    home: String,
}

/// Returns the user and group that `--chown` names.
pub(in crate::rebuild) fn owner(
    builder: Builder,
    chown: &str,
    read: Read<'_>,
) -> Result<(u32, u32), Stop> {
    let (user, group) = match chown.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (chown, None),
    };
    match builder {
        Builder::Classic => {
            let group = group.unwrap_or(user);
            let uid = match user.parse() {
                Ok(uid) => uid,
                Err(_) => {
                    named(PASSWD, user, read)?
                        .ok_or_else(|| Stop::failed(format!("there is no user {user}")))?
                        .0
                }
            };
            let gid = match group.parse() {
                Ok(gid) => gid,
                Err(_) => {
                    named(GROUP, group, read)?
                        .ok_or_else(|| Stop::failed(format!("there is no group {group}")))?
                        .0
                }
            };
            Ok((uid, gid))
        }
        Builder::BuildKit => {
            let number = |text: &str| match text {
                "root" => Some(0),
                text => text.parse().ok(),
            };
            let (uid, mut gid) = match number(user) {
                Some(id) => (id, id),
                // BuildKit takes a user that is not there for root.
                None => named(PASSWD, user, read)?.unwrap_or((0, 0)),
            };
            if let Some(group) = group {
                match number(group) {
                    Some(id) => gid = id,
                    None => {
                        if let Some((id, _)) = named(GROUP, group, read)? {
                            gid = id;
                        }
                    }
                }
            }
            Ok((uid, gid))
        }
    }
}

/// As whom a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::rebuild) struct Runner {
    pub(in crate::rebuild) uid: u32,
    pub(in crate::rebuild) gid: u32,
    /// What `HOME` is where nothing sets it.
    pub(in crate::rebuild) home: String,
}

/// Returns as whom a RUN runs that the USER `user` is in force for; empty for root.
///
/// The home is that of the first line with the number, as runc looks it up.
pub(in crate::rebuild) fn runner(user: &str, read: Read<'_>) -> Result<Runner, Stop> {
    let passwd = accounts(PASSWD, read)?;
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let found = |account: &&Account| match name.parse::<u32>() {
        Ok(uid) => account.ids.0 == uid || account.name == name,
        Err(_) => account.name == name,
    };
    let (uid, mut gid) = match (passwd.iter().find(found), name.parse()) {
        (Some(account), _) if !name.is_empty() => account.ids,
        (_, Ok(uid)) => (uid, 0),
        (_, Err(_)) if name.is_empty() => (0, 0),
        (_, Err(_)) => return Err(Stop::failed(format!("there is no user {name}"))),
    };
    match group {
        None | Some("") => {}
        Some(group) => {
            gid = match (named(GROUP, group, read)?, group.parse()) {
                (Some((gid, _)), _) | (None, Ok(gid)) => gid,
                (None, Err(_)) => return Err(Stop::failed(format!("there is no group {group}"))),
            };
        }
    }
    let home = passwd
        .into_iter()
        .find(|account| account.ids.0 == uid)
        .map_or_else(|| "/".to_owned(), |account| account.home);
    Ok(Runner { uid, gid, home })
}

/// Looks a name up: the third and fourth field.
fn named(file: &str, name: &str, read: Read<'_>) -> Result<Option<(u32, u32)>, Stop> {
    Ok(accounts(file, read)?
        .into_iter()
        .find(|account| account.name == name)
        .map(|account| account.ids))
}

fn accounts(file: &str, read: Read<'_>) -> Result<Vec<Account>, Stop> {
    let text = read(file)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.trim().split(':').collect();
            let number = |at: usize| fields.get(at).and_then(|field| field.parse().ok());
            Account {
                name: fields.first().copied().unwrap_or_default().to_owned(),
                ids: (number(2).unwrap_or(0), number(3).unwrap_or(0)),
                home: fields.get(5).copied().unwrap_or_default().to_owned(),
            }
        })
        .filter(|account| !account.name.is_empty())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etc(file: &str) -> Option<Vec<u8>> {
        let text = match file {
            PASSWD => "root:x:0:0::/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\n",
            GROUP => "staff:x:50:ann\n",
            _ => return None,
        };
        Some(text.into())
    }

    #[test]
    fn a_command_runs_as_the_user_and_group_that_are_named() {
        let runner = |user| match runner(user, &|file| Ok(etc(file))) {
            Ok(runner) => format!("{} {} {}", runner.uid, runner.gid, runner.home),
            Err(Stop::Failed(failure)) => failure.problem,
            Err(Stop::Error(error)) => error.to_string(),
        };
        let cases = [
            ("", "0 0 /root"),
            ("ann", "1000 1001 /home/ann"),
            ("1000", "1000 1001 /home/ann"),
            ("1000:50", "1000 50 /home/ann"),
            ("ann:staff", "1000 50 /home/ann"),
            ("ann:9", "1000 9 /home/ann"),
            ("5", "5 0 /"),
            ("5:staff", "5 50 /"),
            ("bob", "there is no user bob"),
            ("ann:bobs", "there is no group bobs"),
        ];
        for (user, expected) in cases {
            assert_eq!(runner(user), expected, "{user}");
        }
    }

    #[test]
    fn without_accounts_root_and_numbers_are_known() {
        let none = |_: &str| Ok(None);
        let root = Runner {
            uid: 0,
            gid: 0,
            home: "/".to_owned(),
        };
        assert_eq!(runner("", &none).ok(), Some(root));
        assert_eq!(owner(Builder::BuildKit, "5:6", &none).ok(), Some((5, 6)));
        assert_eq!(owner(Builder::BuildKit, "5", &none).ok(), Some((5, 5)));
        assert_eq!(owner(Builder::BuildKit, "ann", &none).ok(), Some((0, 0)));
    }
}
