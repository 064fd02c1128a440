//! Causes in the files of accounts and groups.

use super::{Cause, File, Recogniser, Recognition, Root, order};
use crate::pair::Pair;

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "shadow-day",
        root: Root::Clock,
        title: "an account's line holds the day on which its password was set",
        advice: "set SOURCE_DATE_EPOCH, which shadow 4.9 and newer obey, or a day with chage -d",
        recognise: Recogniser::File(shadow_day),
    },
    Cause {
        id: "account-order",
        root: Root::Order,
        title: "packages that make accounts were set up in another order",
        advice: "install packages in a fixed order",
        recognise: Recogniser::File(account_order),
    },
];

fn shadow_day(file: &File<'_>) -> Recognition {
    if ![&b"etc/shadow"[..], b"etc/shadow-"].contains(&file.path.as_bytes()) {
        return Recognition::Elsewhere;
    }
    if let Some(refused) = order::too_many_lines(file.bytes) {
        return refused;
    }
    let lines = file.bytes.map(order::lines);
    if !lines.as_ref().map(Vec::len).is_equal() {
        return Recognition::Refused("one side has more accounts than the other".into());
    }
    let mut count = 0;
    for (&published, &rebuilt) in lines.published.iter().zip(&lines.rebuilt) {
        if published == rebuilt {
            continue;
        }
        let sides = Pair::new(published, rebuilt);
        let fields = sides.map(|line| line.split(|&byte| byte == b':').collect::<Vec<_>>());
        let is_day_only = fields.published.len() == fields.rebuilt.len()
            && fields
                .published
                .iter()
                .zip(&fields.rebuilt)
                .enumerate()
                .all(|(at, (one, other))| one == other || at == 2 && is_day(one) && is_day(other));
        if !is_day_only {
            return Recognition::Refused(
                format!(
                    "more differs than the day of the last change, the third field, in {}",
                    order::shown(
                        published
                            .split(|&byte| byte == b':')
                            .next()
                            .unwrap_or_default()
                    )
                )
                .into(),
            );
        }
        count += 1;
    }
    Recognition::Explained(
        format!("only the third field, the day of the last change, differs, in {count} lines")
            .into(),
    )
}

/// Returns whether a field is a day; an empty one turns ageing off, and 0 asks for a new password.
fn is_day(field: &[u8]) -> bool {
    (1..=6).contains(&field.len()) && field[0] != b'0' && field.iter().all(u8::is_ascii_digit)
}

fn account_order(file: &File<'_>) -> Recognition {
    let path = file.path.as_bytes();
    let path = path.strip_suffix(b"-").unwrap_or(path);
    let paths: [&[u8]; 6] = [
        b"etc/passwd",
        b"etc/group",
        b"etc/shadow",
        b"etc/gshadow",
        b"etc/subuid",
        b"etc/subgid",
    ];
    if !paths.contains(&path) {
        return Recognition::Elsewhere;
    }
    order::in_another_order(file.bytes, "lines", order::lines, |line| {
        let name = line.split(|&byte| byte == b':').next()?;
        Some(name.to_vec())
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::told;

    #[test]
    fn accounts_are_explained_only_by_their_order_and_days() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbin:x:2:2::/bin:/bin/false\n";
        let turned = "bin:x:2:2::/bin:/bin/false\nroot:x:0:0:root:/root:/bin/sh\n";
        let shadow = "root:*:20000:0:99999:7:::\nbin:!:20000:0:99999:7:::\n";
        let later = shadow.replace("20000", "20411");
        let refused = |order: &str| format!("account-order: {order}");
        let rows = [
            ("order", "etc/passwd", passwd, turned.to_owned(), "account-order".to_owned()),
            ("a backup's order", "etc/passwd-", passwd, turned.to_owned(), "account-order".to_owned()),
            (
                "a second account of root's",
                "etc/passwd",
                passwd,
                format!("{passwd}toor:x:0:0::/root:/bin/sh\n"),
                refused("only the rebuilt file has “toor:x:0:0::/root:/bin/sh”"),
            ),
            (
                "another uid",
                "etc/passwd",
                passwd,
                passwd.replace(":2:2:", ":0:2:"),
                refused("only the rebuilt file has “bin:x:0:2::/bin:/bin/false”"),
            ),
            (
                "two of one name",
                "etc/passwd",
                "a:x:0:0::/:/bin/sh\na:x:9:9::/:/bin/sh\n",
                "a:x:9:9::/:/bin/sh\na:x:0:0::/:/bin/sh\n".to_owned(),
                refused("the order decides which counts of two with the name of “a:x:9:9::/:/bin/sh”"),
            ),
            ("days", "etc/shadow", shadow, later.clone(), "shadow-day".to_owned()),
            (
                "a password",
                "etc/shadow",
                shadow,
                later.replace("root:*", "root:$y$x"),
                "shadow-day: more differs than the day of the last change, the third field, in “root”; \
                 account-order: only the published file has “bin:!:20000:0:99999:7:::”"
                    .to_owned(),
            ),
            (
                "no day",
                "etc/shadow",
                shadow,
                shadow.replace("root:*:20000", "root:*:"),
                "shadow-day: more differs than the day of the last change, the third field, in “root”; \
                 account-order: only the published file has “root:*:20000:0:99999:7:::”"
                    .to_owned(),
            ),
        ];
        for (case, path, published, rebuilt, expected) in rows {
            assert_eq!(
                told(path, published.as_bytes(), rebuilt.as_bytes()),
                expected,
                "{case}"
            );
        }
    }
}
