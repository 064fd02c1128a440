//! Causes in the databases of rpm and dnf: the same was done at another time.

use std::{collections::BTreeSet, ops::Range};

use super::{Cause, File, Recogniser, Recognition, Root, order};
use crate::{
    inventory::{
        Package,
        rpm::{self, Format, Header},
        sqlite,
    },
    pair::Pair,
};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "rpmdb",
        root: Root::Clock,
        title: "rpm records when each package was installed",
        advice: "set SOURCE_DATE_EPOCH, which newer versions of rpm take for the time",
        recognise: Recogniser::File(database),
    },
    Cause {
        id: "dnf-history",
        root: Root::Clock,
        title: "dnf and yum record when they did what",
        advice: "delete the history, which only undoing what was done needs",
        recognise: Recogniser::File(history),
    },
];

/// What rpm adds to a package's header when it is installed: the time, and the transaction,
/// which is a time too.
///
/// It adds too which of its files' kinds were installed, which is compared.
///
/// Source: rpm, `include/rpm/rpmtag.h`.
const INSTALLED: [u32; 2] = [INSTALL_TIME, INSTALL_TRANSACTION];
const INSTALL_TIME: u32 = 1008;
const INSTALL_TRANSACTION: u32 = 1128;

/// One side's database.
struct Database {
    /// The packages and their headers, what rpm added left out, in order.
    packages: Vec<(Package, Vec<u8>)>,
    /// Where what rpm added lies.
    added: Vec<Range<usize>>,
    /// The times of installation.
    times: BTreeSet<u32>,
}

impl Database {
    fn read(format: Format, bytes: &[u8]) -> Result<Self, &'static str> {
        let mut database = Self {
            packages: Vec::new(),
            added: Vec::new(),
            times: BTreeSet::new(),
        };
        let mut transactions = BTreeSet::new();
        for place in format.headers(bytes)? {
            let mut whole = place.bytes(bytes);
            let header = Header::of(&whole).ok_or("a header cannot be read")?;
            let package = header.package().ok_or("a header names no package")?;
            let one = |tag| {
                let number = header.place(tag).and_then(|_| header.numbers(tag));
                number.unwrap_or_default()
            };
            database.times.extend(one(INSTALL_TIME));
            transactions.extend(one(INSTALL_TRANSACTION));
            let added: Vec<_> = INSTALLED
                .iter()
                .filter_map(|&tag| header.place(tag))
                .collect();
            for range in added {
                let place = place.part(range.clone());
                database
                    .added
                    .extend(place.ok_or("a header cannot be read")?.ranges());
                whole[range].fill(0);
            }
            database.packages.push((package, whole));
        }
        database.packages.sort_unstable();
        database.added.extend(format.times(bytes, &transactions)?);
        Ok(database)
    }
}

/// Returns the file with zeros in place of what may differ.
fn without(bytes: &[u8], varying: &[Range<usize>]) -> Vec<u8> {
    let mut rest = bytes.to_vec();
    for range in varying {
        rest[range.clone()].fill(0);
    }
    rest
}

/// Returns the first and the last of some seconds.
fn shown(times: &BTreeSet<u32>) -> String {
    let time = |seconds: Option<&u32>| {
        seconds
            .and_then(|&seconds| jiff::Timestamp::from_second(seconds.into()).ok())
            .map_or_else(|| "no time".to_owned(), |time| time.to_string())
    };
    match (time(times.first()), time(times.last())) {
        (first, last) if first == last => first,
        (first, last) => format!("{first} to {last}"),
    }
}

fn database(file: &File<'_>) -> Recognition {
    let Some(format) = Format::of(file.path.as_bytes()) else {
        return beside(file);
    };
    let read = |side: &str, bytes| {
        Database::read(format, bytes).map_err(|problem| {
            Recognition::Refused(format!("the {side} database: {problem}").into())
        })
    };
    let databases = match (
        read("published", file.bytes.published),
        read("rebuilt", file.bytes.rebuilt),
    ) {
        (Ok(published), Ok(rebuilt)) => Pair::new(published, rebuilt),
        (Err(refused), _) | (_, Err(refused)) => return refused,
    };
    let packages = databases.as_ref().map(|side| {
        let packages = side.packages.iter();
        packages.collect::<Vec<&(Package, Vec<u8>)>>()
    });
    if let Some((side, (package, _))) = order::only_one(packages.as_ref().map(Vec::as_slice)) {
        return Recognition::Refused(
            format!(
                "only the {side} database has this header of {package}, times of installation aside"
            )
            .into(),
        );
    }
    let count = databases.published.packages.len();
    let rest = Pair::new(
        without(file.bytes.published, &databases.published.added),
        without(file.bytes.rebuilt, &databases.rebuilt.added),
    );
    if let Some(at) = differs_at(&rest) {
        return Recognition::Refused(
            format!(
                "both have the same {count} headers, times of installation aside, and the bytes at \
                 {at:#x} differ, which are no part of them"
            )
            .into(),
        );
    }
    Recognition::Explained(
        format!(
            "the headers of {count} packages are equal but for when they were installed, {} and \
             {}; {} left out, all other bytes are equal",
            shown(&databases.published.times),
            shown(&databases.rebuilt.times),
            format.left_out()
        )
        .into(),
    )
}

/// Returns where two files differ first.
fn differs_at(sides: &Pair<Vec<u8>>) -> Option<usize> {
    let (published, rebuilt) = (&sides.published, &sides.rebuilt);
    published
        .iter()
        .zip(rebuilt)
        .position(|(one, other)| one != other)
        .or_else(|| (published.len() != rebuilt.len()).then(|| published.len().min(rebuilt.len())))
}

/// Recognises a history of which no more than the times differ at which something was done.
///
/// Source: libdnf, `libdnf/transaction/sql/create.sql`; libdnf5,
/// `libdnf5/transaction/db/db.cpp`; yum, `yum/history.py`.
fn history(file: &File<'_>) -> Recognition {
    /// Tables, and the column of each that holds a time, by number and name.
    const TIMES: [(&[u8], usize, &[u8]); 4] = [
        (b"trans", 1, b"dt_begin"),
        (b"trans", 2, b"dt_end"),
        (b"trans_beg", 1, b"timestamp"),
        (b"trans_end", 1, b"timestamp"),
    ];
    let path = file.path.as_bytes();
    let is_one = path == b"var/lib/dnf/history.sqlite"
        || path == b"usr/lib/sysimage/libdnf5/transaction_history.sqlite"
        || path.starts_with(b"var/lib/yum/history/history-") && path.ends_with(b".sqlite");
    if !is_one {
        return Recognition::Elsewhere;
    }
    if file.bytes.map(sqlite::lie_apart) != Pair::new(true, true) {
        return Recognition::Refused(
            "tables of a side lie over each other, or cannot be read".into(),
        );
    }
    let sides = file.bytes.map(|bytes| {
        let tables = TIMES.iter();
        let places: Vec<Range<usize>> = tables
            .filter_map(|(table, column, name)| sqlite::numbers(bytes, table, *column, name))
            .flatten()
            .flat_map(|place| place.ranges().collect::<Vec<_>>())
            .collect();
        // A number that two pages share is no time: only whole ones are.
        let whole = places.into_iter().filter(|place| place.len() == 4);
        let places: Vec<Range<usize>> = whole.collect();
        let times: BTreeSet<u32> = places
            .iter()
            .filter_map(|place| Some(u32::from_be_bytes(bytes[place.clone()].try_into().ok()?)))
            .collect();
        (without(bytes, &places), times)
    });
    let times = sides.as_ref().map(|(_, times)| shown(times));
    let rest = sides.map(|(rest, _)| rest);
    match differs_at(&rest) {
        Some(at) => Recognition::Refused(
            format!("besides the times of transactions, the bytes at {at:#x} differ").into(),
        ),
        None => Recognition::Explained(
            format!(
                "the histories are equal but for the times of their transactions, {} and {}",
                times.published, times.rebuilt
            )
            .into(),
        ),
    }
}

/// Says why nothing is proved of a file that lies beside the headers.
fn beside(file: &File<'_>) -> Recognition {
    let Some(name) = rpm::in_folder(file.path.as_bytes()) else {
        return Recognition::Elsewhere;
    };
    // Berkeley DB's trees and hash tables, and the index of rpm's own format.
    let is_index = |bytes: &[u8]| {
        let magic = bytes.get(12..16);
        let magics = [0x0005_3162_u32, 0x0006_1561];
        magics
            .iter()
            .any(|is| magic == Some(&is.to_le_bytes()) || magic == Some(&is.to_be_bytes()))
            || name == b"Index.db"
    };
    if name.starts_with(b"__db.") {
        Recognition::Refused(
            "it is memory that processes shared, written to disk, and may hold anything".into(),
        )
    } else if name == b"rpmdb.sqlite-wal" || name == b"rpmdb.sqlite-shm" {
        Recognition::Refused(
            "it holds changes that are not in the database yet, and is not read".into(),
        )
    } else if name == b"rpmdb.sqlite-journal" {
        Recognition::Refused("it holds changes that are to be taken back, and is not read".into())
    } else if file.bytes.map(is_index) == Pair::new(true, true) {
        Recognition::Refused(
            "it is an index that rpm makes from the headers, and is not read".into(),
        )
    } else {
        Recognition::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::told;
    use crate::inventory::testing::{BERKELEY, NDB, SQLITE, database, header, installed, row};

    #[test]
    fn a_database_is_explained_only_by_the_times_of_installation() {
        let time = |time| installed("bash", "1.0", time);
        // No byte of these is the same on both sides.
        let published = [time(0x1122_3344), time(0x1223_3445)];
        let later = [time(0x2132_4354), time(0x2233_4455)];
        let more = [&later[..], &[time(0x2233_4456)]].concat();
        let other = [later[0].clone(), installed("bash", "1.1", 0x2233_4455)];
        for path in [SQLITE, BERKELEY, NDB] {
            let one = database(path, &published);
            let two = database(path, &later);
            assert_eq!(told(path, &one, &two), "rpmdb", "{path}");
            for (other, side) in [(&more[..], "rebuilt"), (&other[..], "published")] {
                let found = told(path, &one, &database(path, other));
                let refused =
                    format!("rpmdb: only the {side} database has this header of bash 1.0");
                assert!(found.starts_with(&refused), "{path}: {found}");
            }
            // Not one byte besides may differ, in use or not.
            for at in (0..two.len()).step_by(7) {
                let mut changed = two.clone();
                changed[at] ^= 0x20;
                let is_time = one[at] != two[at];
                let found = told(path, &one, &changed);
                let is_id = path == BERKELEY && (52..72).contains(&at);
                assert!(
                    is_time || is_id || found.starts_with("rpmdb: ") || found.is_empty(),
                    "{path} {at:#x}: {found}"
                );
            }
        }
    }

    #[test]
    fn a_time_that_is_a_part_of_a_script_too_explains_nothing() {
        // The offset of the time of installation leads into the script's text, or past the data.
        let of = |script: &str, from: Option<u32>| {
            let mut header = header(
                &[
                    (1000, &["a"]),
                    (1001, &["1"]),
                    (1002, &["1"]),
                    (1024, &[script]),
                ],
                &[(1008, &[7])],
            );
            if let Some(from) = from {
                header[8 + 4 * 16 + 8..8 + 4 * 16 + 12].copy_from_slice(&from.to_be_bytes());
            }
            database(SQLITE, &[header])
        };
        let refused = "rpmdb: only the rebuilt database has this header of a 1-1";
        for from in [6, 7, 3] {
            let found = told(SQLITE, &of("good", Some(from)), &of("evil", Some(from)));
            assert!(found.starts_with(refused), "{from}: {found}");
        }
        let mut later = of("good", None);
        let at = later
            .windows(5)
            .position(|window| window == b"\0\0\0\0\x07")
            .unwrap();
        later[at + 4] = 8;
        assert_eq!(told(SQLITE, &of("good", None), &later), "rpmdb");
    }

    #[test]
    fn which_kinds_of_files_were_installed_is_no_time() {
        let of = |kinds: u32| {
            let texts: [(u32, &[&str]); 3] = [(1000, &["a"]), (1001, &["1"]), (1002, &["1"])];
            database(SQLITE, &[header(&texts, &[(1127, &[kinds])])])
        };
        let found = told(SQLITE, &of(1), &of(3));
        let refused = "rpmdb: only the published database has this header of a 1-1";
        assert!(found.starts_with(refused), "{found}");
    }

    #[test]
    fn a_history_is_explained_only_by_the_times_of_its_transactions() {
        let path = "var/lib/dnf/history.sqlite";
        let published = row("trans", &[1, 1_000_000, 1_000_009], "dnf install bash");
        let rows = [
            (
                "times",
                row("trans", &[1, 2_000_000, 2_000_009], "dnf install bash"),
                true,
            ),
            (
                "another command",
                row("trans", &[1, 2_000_000, 2_000_009], "dnf install dash"),
                false,
            ),
            (
                "another number",
                row("trans", &[2, 2_000_000, 2_000_009], "dnf install bash"),
                false,
            ),
            (
                "another table",
                row("tsnar", &[1, 2_000_000, 2_000_009], "dnf install bash"),
                false,
            ),
        ];
        for (case, rebuilt, is_explained) in rows {
            let found = told(path, &published, &rebuilt);
            assert_eq!(found == "dnf-history", is_explained, "{case}: {found}");
            let refused = "dnf-history: besides the times of transactions, the bytes at ";
            assert!(is_explained || found.starts_with(refused), "{found}");
        }
        let yum = "var/lib/yum/history/history-2026-11-26.sqlite";
        let one = row("trans_beg", &[1, 1_000_000], "2:ab");
        let other = row("trans_beg", &[1, 2_000_000], "2:ab");
        assert_eq!(told(yum, &one, &other), "dnf-history");
    }

    #[test]
    fn what_lies_beside_the_headers_is_named_and_proves_nothing() {
        let tree = [&[0; 12][..], &0x0005_3162_u32.to_le_bytes()].concat();
        let rows = [
            (
                "var/lib/rpm/__db.001",
                "rpmdb: it is memory that processes shared, written to disk, and may hold anything",
            ),
            (
                "var/lib/rpm/Name",
                "rpmdb: it is an index that rpm makes from the headers, and is not read",
            ),
            (
                "usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
                "rpmdb: it holds changes that are not in the database yet, and is not read",
            ),
            (
                "usr/lib/sysimage/rpm/rpmdb.sqlite-journal",
                "rpmdb: it holds changes that are to be taken back, and is not read",
            ),
            ("srv/Name", ""),
        ];
        for (path, expected) in rows {
            let other = [&tree[..], b"x"].concat();
            assert_eq!(told(path, &tree, &other), expected);
        }
    }
}
