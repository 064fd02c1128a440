//! Ids: which users and groups of the host a container's stand for.
//!
//! Source: shadow `subuid(5)`, `subgid(5)`; runtime-spec
//! `config-linux.md#user-namespace-mappings`.

use std::{fs, io};

/// A row of ids inside and the row of ids on the host that they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first id inside.
    pub inside: u32,
    /// The id on the host that it stands for.
    pub host: u32,
    /// How many there are.
    pub size: u32,
}

/// What all ids inside stand for; without gaps from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap(Vec<IdRange>);

/// The users and groups that a user without root may give to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subordinate {
    /// The users.
    pub uids: IdMap,
    /// The groups.
    pub gids: IdMap,
}

/// Why a user has no subordinate ids.
#[derive(Debug, thiserror::Error)]
pub enum NoIds {
    /// The file could not be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The user is not in the file, or with fewer ids than a distribution uses.
    #[error("{path} gives user {user} {size} ids, and {NEEDED} are needed")]
    TooFew {
        /// The file.
        path: &'static str,
        /// The user's name, or number where there is none.
        user: String,
        /// How many there are.
        size: u32,
    },
}

/// The first of many ids that no distribution and no program is known to give to anyone.
///
/// Source: systemd, `docs/UIDS-GIDS.md`, "Unused".
const UNUSED: u32 = 2_000_000_000;
/// The ids up to `nobody`, 65534, which distributions use; 0 is the user itself.
const NEEDED: u32 = 65534;

impl IdMap {
    /// Maps 0 to `own`, and from 1 on to the ranges of first id and size, one after the other.
    pub(super) fn new(own: u32, ranges: &[(u32, u32)]) -> Self {
        let mut map = vec![IdRange {
            inside: 0,
            host: own,
            size: 1,
        }];
        let mut next = 1_u32;
        for &(host, size) in ranges {
            let size = size.min(u32::MAX - next);
            map.push(IdRange {
                inside: next,
                host,
                size,
            });
            next += size;
        }
        Self(map)
    }

    /// Maps the first `size` ids to themselves.
    pub(super) fn same(size: u32) -> Self {
        Self(vec![IdRange {
            inside: 0,
            host: 0,
            size,
        }])
    }

    /// Returns the ranges, by the ids inside.
    pub fn ranges(&self) -> &[IdRange] {
        &self.0
    }

    /// Returns the id inside that an id on the host is seen as; `None` where it is not mapped.
    pub fn inside(&self, host: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let offset = host.checked_sub(range.host)?;
            (offset < range.size).then(|| range.inside + offset)
        })
    }

    /// Returns how many ids there are inside.
    pub fn size(&self) -> u32 {
        self.0.iter().map(|range| range.size).sum()
    }
}

impl Subordinate {
    /// Returns ids for root to use, whom nobody gives any and nobody keeps from any.
    pub(super) fn of_nobody() -> Self {
        let map = || IdMap::new(0, &[(UNUSED, 65536)]);
        Self {
            uids: map(),
            gids: map(),
        }
    }

    /// Reads the ids of the user that this process runs as.
    pub fn of_this_user() -> Result<Self, NoIds> {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let passwd = read("/etc/passwd")?;
        let name = name_of(uid, &passwd);
        let map = |path, own| {
            let ranges = ranges(uid, name, &read(path)?);
            let map = IdMap::new(own, &ranges);
            if map.size() <= NEEDED {
                return Err(NoIds::TooFew {
                    path,
                    user: name.map_or_else(|| uid.to_string(), str::to_owned),
                    size: map.size() - 1,
                });
            }
            Ok(map)
        };
        Ok(Self {
            uids: map("/etc/subuid", uid)?,
            gids: map("/etc/subgid", gid)?,
        })
    }
}

/// Reads one of the system's files; one that is not there is empty.
fn read(path: &'static str) -> Result<String, NoIds> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(NoIds::Unreadable { path, source }),
    }
}

/// Returns the name that `passwd` has for a user.
fn name_of(uid: u32, passwd: &str) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// Returns first id and size of each range that the file gives to the user, by name or number.
fn ranges(uid: u32, name: Option<&str>, file: &str) -> Vec<(u32, u32)> {
    file.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let user = fields.next()?;
            if Some(user) != name && user.parse() != Ok(uid) {
                return None;
            }
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/sh\n";
    const SUBUID: &str = "bob:100000:65536\nann:165536:65536\n# comment\n1000:300000:10\nann:x:1\n";

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        assert_eq!(name_of(1000, PASSWD), Some("ann"));
        assert_eq!(name_of(1001, PASSWD), None);
        assert_eq!(
            ranges(1000, Some("ann"), SUBUID),
            [(165_536, 65536), (300_000, 10)]
        );
        assert_eq!(ranges(1000, None, SUBUID), [(300_000, 10)]);
        assert_eq!(ranges(1001, None, SUBUID), []);
    }

    #[test]
    fn root_inside_is_the_user_and_the_others_follow() {
        let map = IdMap::new(1000, &[(165_536, 65536), (300_000, 10)]);
        let cases = [
            (1000, Some(0)),
            (165_536, Some(1)),
            (165_536 + 65535, Some(65536)),
            (300_000, Some(65537)),
            (300_009, Some(65546)),
            (300_010, None),
            (0, None),
        ];
        for (host, inside) in cases {
            assert_eq!(map.inside(host), inside, "{host}");
        }
        assert_eq!(map.size(), 65547);
    }
}
