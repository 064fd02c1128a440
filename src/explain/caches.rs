//! Causes in caches that a program makes from other files of the image.

use super::{Cause, File, Recogniser, Recognition, Root, order};
use crate::{
    compare::content::system::ld_cache::{self, LdCache, Library},
    pair::Pair,
};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "ld.so.cache",
        root: Root::Order,
        title: "ldconfig listed the same libraries in another order",
        advice: "run ldconfig of the same version last",
        recognise: Recogniser::File(loader),
    },
    Cause {
        id: "ldconfig-aux",
        root: Root::Machine,
        title: "ldconfig remembers the inode and change time of each library",
        advice: "delete /var/cache/ldconfig/aux-cache",
        recognise: Recogniser::File(auxiliary),
    },
    Cause {
        id: "fontconfig",
        root: Root::Clock,
        title: "fontconfig keeps the modification time of each folder of fonts",
        advice: "delete /var/cache/fontconfig, or run fc-cache with SOURCE_DATE_EPOCH",
        recognise: Recogniser::File(fontconfig),
    },
    Cause {
        id: "mime-desktop",
        root: Root::Order,
        title: "a cache of the desktop lists the same modules or types in another order",
        advice: "make the cache anew from sorted folders",
        recognise: Recogniser::File(desktop),
    },
    Cause {
        id: "opaque-cache",
        root: Root::Machine,
        title: "a program wrote its memory to disk",
        advice: "delete the cache, which the program makes anew",
        recognise: Recogniser::File(opaque),
    },
];

/// Recognises text caches of modules and types, of which a reader takes each entry by itself.
///
/// Of types, a reader takes those of the first group, and a key with or without spaces.
///
/// Source: `GLib`, `gio/gio-querymodules.c`; gdk-pixbuf, `gdk-pixbuf/queryloaders.c`;
/// desktop-file-utils, `src/update-desktop-database.c`.
fn desktop(file: &File<'_>) -> Recognition {
    let path = file.path.as_bytes();
    let head = file
        .bytes
        .map(|bytes| bytes.split(|&byte| byte == b'\n').next());
    match path.rsplit(|&byte| byte == b'/').next().unwrap_or_default() {
        b"giomodule.cache" => {
            order::in_another_order(file.bytes, "modules", order::lines, |line| {
                line.split(|&byte| byte == b':').next().map(<[u8]>::to_vec)
            })
        }
        // The head of the list must stay where it is.
        b"mimeinfo.cache" if !head.is_equal() => {
            Recognition::Refused("the lists begin with other lines".into())
        }
        b"mimeinfo.cache" if file.bytes.map(has_more_groups) != Pair::new(false, false) => {
            Recognition::Refused("a side has a group more, which no reader takes".into())
        }
        b"mimeinfo.cache" => order::in_another_order(file.bytes, "types", order::lines, |line| {
            let key = line.split(|&byte| byte == b'=').next()?;
            Some(key.trim_ascii().to_vec())
        }),
        b"loaders.cache" => Recognition::Refused(
            "of two modules that know the beginning of a file equally well, the first in the list \
             reads it, so its order counts"
                .into(),
        ),
        _ => Recognition::Elsewhere,
    }
}

/// Returns whether another group begins after the first line.
fn has_more_groups(bytes: &[u8]) -> bool {
    let mut others = bytes.split(|&byte| byte == b'\n').skip(1);
    others.any(|line| line.trim_ascii_start().starts_with(b"["))
}

/// Says of caches whose bytes follow from the writer's memory why nothing is proved of them.
fn opaque(file: &File<'_>) -> Recognition {
    let path = file.path.as_bytes();
    let what = if [
        &b"var/cache/apt/pkgcache.bin"[..],
        b"var/cache/apt/srcpkgcache.bin",
    ]
    .contains(&path)
    {
        "apt's tables as they lay in its memory, with the times of its lists"
    } else if path.starts_with(b"var/cache/man/") && path.ends_with(b"/index.db") {
        "a gdbm database, which holds each manual page's time and what was deleted from it"
    } else if path == b"var/lib/systemd/catalog/database" {
        "systemd's messages in an order that hangs on the files that were there"
    } else if path.ends_with(b".jsa") && path.windows(5).any(|part| part == b"/lib/") {
        "Java's classes as they lay in its memory, with addresses"
    } else {
        return Recognition::Elsewhere;
    };
    let sizes = file.bytes.map(<[u8]>::len);
    Recognition::Refused(
        format!(
            "it is {what}: {} and {} bytes that are not read, and may hold anything; delete it, \
             and the program makes it anew",
            sizes.published, sizes.rebuilt
        )
        .into(),
    )
}

fn loader(file: &File<'_>) -> Recognition {
    if file.path.as_bytes() != b"etc/ld.so.cache" {
        return Recognition::Elsewhere;
    }
    let (Some(published), Some(rebuilt)) = (
        ld_cache::parse(file.bytes.published),
        ld_cache::parse(file.bytes.rebuilt),
    ) else {
        return Recognition::Refused("a side is no cache of which every byte is known".into());
    };
    let caches = Pair::new(published, rebuilt);
    let libraries = caches.as_ref().map(|cache| {
        let mut libraries = cache.libraries.clone();
        libraries.sort_unstable();
        libraries
    });
    if let Some((side, library)) = order::only_one(libraries.as_ref().map(Vec::as_slice)) {
        return Recognition::Refused(
            format!(
                "only the {side} cache leads {} to {}, with just these flags",
                order::shown(library.name),
                order::shown(library.path)
            )
            .into(),
        );
    }
    if caches.published.padding != caches.rebuilt.padding {
        return Recognition::Refused("one cache has more zero bytes in no field".into());
    }
    // Of two entries that could be meant, the loader takes the first.
    let choices = caches.as_ref().map(by_name);
    if !choices.is_equal() {
        return Recognition::Refused(
            "the order decides which of several libraries of one name is found".into(),
        );
    }
    let rest = |cache: &LdCache<'_>| (cache.flags, cache.generator.map(<[u8]>::to_vec));
    if !caches.as_ref().map(rest).is_equal()
        || caches.published.subfolders != caches.rebuilt.subfolders
    {
        return Recognition::Refused(
            "the caches were written by other versions of ldconfig, or for other processors".into(),
        );
    }
    Recognition::Explained(
        format!(
            "both caches lead the same {} names to the same paths",
            libraries.published.len()
        )
        .into(),
    )
}

/// Returns the entries in order of their names, those of one name in the order of the cache.
fn by_name<'a>(cache: &LdCache<'a>) -> Vec<Library<'a>> {
    let mut libraries = cache.libraries.clone();
    libraries.sort_by_key(|library| (library.table, library.name));
    libraries
}

/// Recognises `aux-cache`, of which no more than inode, change time and device differ.
///
/// Source: glibc, `elf/cache.c` (`struct aux_cache_file`): after the magic, the number of
/// entries and the length of the names; then entries of inode, ctime, size, device (64 bits
/// each), flags, name, kernel version and padding (32 bits each); then the names.
fn auxiliary(file: &File<'_>) -> Recognition {
    const MAGIC: &[u8] = b"glibc-ld.so.auxcache-2.0";
    const ENTRY: usize = 48;
    /// Far more libraries than there are.
    const MAX_SIZE: usize = 16 << 20;
    if file.path.as_bytes() != b"var/cache/ldconfig/aux-cache" {
        return Recognition::Elsewhere;
    }
    let word = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    // Each library's size, flags, kernel version and name.
    let libraries = |bytes: &'_ [u8]| -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let count = word(bytes, 24)?;
        let names_length = word(bytes, 28)?;
        let names_from = count.checked_mul(ENTRY)?.checked_add(32)?;
        let whole = names_from.checked_add(names_length)?;
        if !bytes.starts_with(MAGIC) || bytes.len() != whole || whole > MAX_SIZE {
            return None;
        }
        let names = &bytes[names_from..];
        let mut starts = std::collections::BTreeMap::new();
        let mut at = 0;
        // Every name stands once and ends in a zero byte, so that nothing is left over.
        for name in names.split_inclusive(|&byte| byte == 0) {
            starts.insert(at, name.strip_suffix(b"\0")?);
            at += name.len();
        }
        let mut used = std::collections::BTreeSet::new();
        let mut libraries = Vec::new();
        for entry in bytes[32..names_from].chunks_exact(ENTRY) {
            let name = word(entry, 36)?;
            used.insert(name);
            let known = [&entry[16..24], &entry[32..36], &entry[40..44]].concat();
            libraries.push((starts.get(&name)?.to_vec(), known));
        }
        let spare: usize = starts
            .iter()
            .filter(|(at, _)| !used.contains(at))
            .map(|(_, name)| name.len())
            .sum();
        libraries.sort_unstable();
        (spare == 0).then_some(libraries)
    };
    let (Some(published), Some(rebuilt)) = (
        libraries(file.bytes.published),
        libraries(file.bytes.rebuilt),
    ) else {
        return Recognition::Refused("a side is no cache of which every byte is known".into());
    };
    let names = Pair::new(
        published.iter().collect::<Vec<_>>(),
        rebuilt.iter().collect::<Vec<_>>(),
    );
    if let Some((side, (name, _))) = order::only_one(names.as_ref().map(Vec::as_slice)) {
        return Recognition::Refused(
            format!(
                "only the {side} cache knows a library {} of that size and kind",
                order::shown(name)
            )
            .into(),
        );
    }
    Recognition::Explained(
        format!(
            "both list the same {} libraries by name, size and kind; inodes, change times, \
             devices, the order that follows from them, and four bytes of each entry that \
             ldconfig leaves as they are in its memory, are the rest",
            published.len()
        )
        .into(),
    )
}

/// Recognises a cache in which only the time of its folder differs.
///
/// Source: fontconfig, `src/fcint.h` (`struct _FcCache`): magic, version, then the size and
/// three offsets of a pointer's width, a count, an offset, the folder's modification time in
/// seconds, and its fraction in nanoseconds.
fn fontconfig(file: &File<'_>) -> Recognition {
    const MAGIC: u32 = 0xfc02_fc04;
    let path = file.path.as_bytes();
    let is_one = path
        .strip_prefix(b"var/cache/fontconfig/")
        .is_some_and(|name| {
            !name.contains(&b'/') && name.windows(6).any(|window| window == b".cache")
        });
    if !is_one {
        return Recognition::Elsewhere;
    }
    // Where the seconds and nanoseconds are, where pointers have 64 or 32 bits.
    let layout = |bytes: &[u8]| {
        let magic = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
        let size = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
        let whole = u64::try_from(bytes.len()).ok()?;
        if magic != MAGIC {
            None
        } else if size == whole && bytes.len() >= 64 {
            Some([48..52, 56..64])
        } else if size & 0xffff_ffff == whole && bytes.len() >= 40 {
            Some([28..32, 32..40])
        } else {
            None
        }
    };
    let layouts = file.bytes.map(layout);
    let is_same = layouts.is_equal();
    let Some(times) = layouts.published.filter(|_| is_same) else {
        return Recognition::Refused(
            "the sides are no caches of the same layout, or go on after their end".into(),
        );
    };
    let without = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        for range in &times {
            bytes[range.clone()].fill(0);
        }
        bytes
    };
    if !file.bytes.map(without).is_equal() {
        return Recognition::Refused(
            "more differs than the folder's modification time in the header".into(),
        );
    }
    let nanoseconds = |bytes: &[u8]| {
        let fraction = bytes[times[1].clone()].try_into().map(i64::from_le_bytes);
        fraction.is_ok_and(|fraction| (0..1_000_000_000).contains(&fraction))
    };
    if file.bytes.map(nanoseconds) != Pair::new(true, true) {
        return Recognition::Refused("a side has no nanoseconds where they should be".into());
    }
    Recognition::Explained(
        "only the folder's modification time in the header differs, in seconds and nanoseconds"
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::told;
    use crate::compare::content::testing::ld_cache;

    #[test]
    fn the_loaders_cache_is_explained_only_by_its_order() {
        let (libc, maths) = (
            ("libc.so.6", "/lib/libc.so.6"),
            ("libm.so.6", "/lib/libm.so.6"),
        );
        let evil = ("libm.so.6", "/tmp/libm.so.6");
        let published = ld_cache(&[libc, maths], "ldconfig 2.36");
        let mut longer = ld_cache(&[maths, libc], "ldconfig 2.36");
        longer.push(b'#');
        let mut zeros = ld_cache(&[maths, libc], "ldconfig 2.36");
        zeros.push(0);
        let mut word = ld_cache(&[maths, libc], "ldconfig 2.36");
        word[48] ^= 4;
        let other = "ld.so.cache: only the rebuilt cache leads ";
        let rows = [
            (
                "order",
                ld_cache(&[maths, libc], "ldconfig 2.36"),
                "ld.so.cache",
            ),
            (
                "another path",
                ld_cache(&[libc, evil], "ldconfig 2.36"),
                "ld.so.cache: only the published cache leads “libm.so.6” to “/lib/libm.so.6”",
            ),
            (
                "another library",
                ld_cache(&[libc, maths, evil], "ldconfig 2.36"),
                other,
            ),
            ("a changed word", word, "ld.so.cache: only the "),
            (
                "bytes after the end",
                longer,
                "ld.so.cache: a side is no cache",
            ),
            (
                "zeros after the end",
                zeros,
                "ld.so.cache: one cache has more zero bytes",
            ),
            (
                "another version",
                ld_cache(&[maths, libc], "ldconfig 2.37"),
                "ld.so.cache: the caches were written by other versions",
            ),
        ];
        for (case, rebuilt, expected) in rows {
            let found = told("etc/ld.so.cache", &published, &rebuilt);
            assert!(found.starts_with(expected), "{case}: {found}");
            assert_eq!(found == "ld.so.cache", expected == "ld.so.cache", "{case}");
        }
        let twice = told(
            "etc/ld.so.cache",
            &ld_cache(&[maths, evil], "ldconfig 2.36"),
            &ld_cache(&[evil, maths], "ldconfig 2.36"),
        );
        assert!(twice.contains("the order decides"), "{twice}");
    }

    #[test]
    fn a_cache_of_the_desktop_is_explained_only_by_its_order() {
        let modules = "usr/lib/x/gio/modules/giomodule.cache";
        let types = "usr/share/applications/mimeinfo.cache";
        let loaders = "usr/lib/x/gdk-pixbuf-2.0/2.10.0/loaders.cache";
        let rows = [
            (
                modules,
                "a.so: x\nb.so: y\n",
                "b.so: y\na.so: x\n",
                "mime-desktop",
            ),
            (
                modules,
                "a.so: x\n",
                "a.so: x\nevil.so: x\n",
                "mime-desktop: only the rebuilt file has “evil.so: x”",
            ),
            (
                types,
                "[M]\na=1;\nb=2;\n",
                "[M]\nb=2;\na=1;\n",
                "mime-desktop",
            ),
            (
                types,
                "[M]\na=1;2;\n",
                "[M]\na=2;1;\n",
                "mime-desktop: only the published file has “a=1;2;”",
            ),
            (
                types,
                "[M]\na=1;\n",
                "a=1;\n[M]\n",
                "mime-desktop: the lists begin with other lines",
            ),
            (
                types,
                "[M]\na=1;\n[X]\nb=2;\n",
                "[M]\nb=2;\n[X]\na=1;\n",
                "mime-desktop: a side has a group more, which no reader takes",
            ),
            (
                types,
                "[M]\na=1;\na =2;\n",
                "[M]\na =2;\na=1;\n",
                "mime-desktop: the order decides which counts of two with the name of “a=1;”",
            ),
            (
                loaders,
                "\"a.so\"\nx\n\n\"b.so\"\ny\n\n",
                "\"b.so\"\ny\n\n\"a.so\"\nx\n\n",
                "mime-desktop: of two modules that know the beginning of a file equally well, the \
                 first in the list reads it, so its order counts",
            ),
        ];
        for (path, published, rebuilt, expected) in rows {
            let found = told(path, published.as_bytes(), rebuilt.as_bytes());
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn a_programs_memory_on_disk_explains_nothing() {
        let refused = |what: &str| {
            format!(
                "opaque-cache: it is {what}: 1 and 2 bytes that are not read, and may hold anything; delete it, and the program makes it anew"
            )
        };
        let rows = [
            (
                "var/cache/apt/pkgcache.bin",
                refused("apt's tables as they lay in its memory, with the times of its lists"),
            ),
            (
                "var/cache/man/de/index.db",
                refused(
                    "a gdbm database, which holds each manual page's time and what was deleted from it",
                ),
            ),
            (
                "var/lib/systemd/catalog/database",
                refused("systemd's messages in an order that hangs on the files that were there"),
            ),
            (
                "usr/lib/jvm/x/lib/server/classes.jsa",
                refused("Java's classes as they lay in its memory, with addresses"),
            ),
            ("srv/pkgcache.bin", String::new()),
        ];
        for (path, expected) in rows {
            assert_eq!(told(path, b"\0", b"\x01\0"), expected, "{path}");
        }
    }

    fn auxiliary(inode: u64, size: u64, names: &[u8]) -> Vec<u8> {
        let mut bytes = b"glibc-ld.so.auxcache-2.0".to_vec();
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(u32::try_from(names.len()).unwrap().to_le_bytes());
        for number in [inode, 1_764_000_000 + inode, size, 65024] {
            bytes.extend(number.to_le_bytes());
        }
        for number in [0x0303_u32, 0, 0, 0x782f_6269] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(names);
        bytes
    }

    #[test]
    fn what_ldconfig_remembers_is_explained_only_by_inodes_and_times() {
        let published = auxiliary(7, 100, b"libc.so.6\0");
        let rows = [
            ("inodes", auxiliary(8, 100, b"libc.so.6\0"), "ldconfig-aux"),
            (
                "a size",
                auxiliary(8, 101, b"libc.so.6\0"),
                "ldconfig-aux: only the published cache knows a library “libc.so.6” of that size and kind",
            ),
            (
                "a name more",
                auxiliary(8, 100, b"libc.so.6\0#!/bin/sh\0"),
                "ldconfig-aux: a side is no cache of which every byte is known",
            ),
            (
                "bytes after the end",
                [auxiliary(8, 100, b"libc.so.6\0"), b"x".to_vec()].concat(),
                "ldconfig-aux: a side is no cache of which every byte is known",
            ),
        ];
        for (case, rebuilt, expected) in rows {
            let found = told("var/cache/ldconfig/aux-cache", &published, &rebuilt);
            assert_eq!(found, expected, "{case}");
        }
    }

    #[test]
    fn a_cache_of_fonts_is_explained_only_by_its_folders_time() {
        let cache = |seconds: u32, nanoseconds: i64, fonts: &[u8]| {
            let mut bytes = 0xfc02_fc04_u32.to_le_bytes().to_vec();
            bytes.extend(8_u32.to_le_bytes());
            bytes.extend((64 + fonts.len() as u64).to_le_bytes());
            bytes.extend([64_u64, 80, 1, 120].into_iter().flat_map(u64::to_le_bytes));
            bytes.extend(u64::from(seconds).to_le_bytes());
            bytes.extend(nanoseconds.to_le_bytes());
            bytes.extend(fonts);
            bytes
        };
        let published = cache(1, 2, b"/usr/share/fonts");
        let rows = [
            ("times", cache(3, 4, b"/usr/share/fonts"), "fontconfig"),
            (
                "a folder",
                cache(3, 4, b"/usr/share/evils"),
                "fontconfig: more differs than the folder's modification time in the header",
            ),
            (
                "text in the place of a time",
                cache(3, i64::from_le_bytes(*b"rm -rf /"), b"/usr/share/fonts"),
                "fontconfig: a side has no nanoseconds where they should be",
            ),
            (
                "bytes after the end",
                [cache(3, 4, b"/usr/share/fonts"), vec![0]].concat(),
                "fontconfig: the sides are no caches of the same layout, or go on after their end",
            ),
        ];
        for (case, rebuilt, expected) in rows {
            let found = told("var/cache/fontconfig/0a-le64.cache-8", &published, &rebuilt);
            assert_eq!(found, expected, "{case}");
        }
    }
}
