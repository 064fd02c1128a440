//! Changes of entries: what a container sees, what lies hidden, and how it is written.

use super::{
    Change, Maker,
    archive::{
        BLOCK, GID, GNAME, MAJOR, MINOR, MODE, MTIME, Member, Records, UID, UNAME, UNUSED,
        extension, pax_content,
    },
    image::{Image, Layer},
    json,
    random::Random,
    view::{At, View, is_below, is_whiteout},
};

/// Every class of change to entries and archives.
pub(crate) const CLASSES: &[(&str, Maker)] = &[
    ("file-content", file_content),
    ("file-size", file_size),
    ("sparse-content", sparse_content),
    ("mode", mode),
    ("mode-special", mode_special),
    ("uid", uid),
    ("gid", gid),
    ("mtime", mtime),
    ("mtime-nanoseconds", mtime_nanoseconds),
    ("symlink-target", symlink_target),
    ("hard-link-target", hard_link_target),
    ("hard-link-broken", hard_link_broken),
    ("hard-link-made", |image, random| {
        Some(hard_link_broken(image, random)?.swapped())
    }),
    ("device-number", device_number),
    ("entry-type", entry_type),
    ("xattr-value", xattr_value),
    ("xattr-added", xattr_added),
    ("xattr-removed", |image, random| {
        Some(xattr_added(image, random)?.swapped())
    }),
    ("entry-added", entry_added),
    ("entry-removed", entry_removed),
    ("entry-renamed", entry_renamed),
    ("entry-moved", entry_moved),
    ("entry-duplicated", entry_duplicated),
    ("entry-shadowed", entry_shadowed),
    ("entry-in-other-layer", entry_in_other_layer),
    ("whiteout-added", whiteout_added),
    ("whiteout-removed", |image, random| {
        Some(whiteout_added(image, random)?.swapped())
    }),
    ("opaque-added", opaque_added),
    ("opaque-removed", |image, random| {
        Some(opaque_added(image, random)?.swapped())
    }),
    ("whiteout-mode", |image, random| {
        whiteout(image, random, MODE)
    }),
    ("whiteout-mtime", |image, random| {
        whiteout(image, random, MTIME)
    }),
    ("hidden-content", hidden_content),
    ("hidden-mode", |image, random| hidden(image, random, MODE)),
    ("hidden-uid", |image, random| hidden(image, random, UID)),
    ("hidden-mtime", |image, random| hidden(image, random, MTIME)),
    ("hidden-added", hidden_added),
    ("hidden-removed", |image, random| {
        Some(hidden_added(image, random)?.swapped())
    }),
    ("hard-link-header", |image, random| {
        hard_link_header(image, random, MODE)
    }),
    ("hard-link-header-mtime", |image, random| {
        hard_link_header(image, random, MTIME)
    }),
    ("symlink-mode", symlink_mode),
    ("owner-name", |image, random| text(image, random, UNAME)),
    ("group-name", |image, random| text(image, random, GNAME)),
    ("type-bits", type_bits),
    ("raw-name", raw_name),
    ("absolute-name", |image, random| {
        odd_name(image, random, "/")
    }),
    ("parent-in-name", |image, random| {
        odd_name(image, random, "x/../")
    }),
    ("atime", |image, random| {
        record(image, random, "atime", b"1700000001")
    }),
    ("ctime", |image, random| {
        record(image, random, "ctime", b"1700000001.5")
    }),
    ("pax-comment", |image, random| {
        record(image, random, "comment", b"by hand")
    }),
    ("pax-unknown", |image, random| {
        record(image, random, "VENDOR.key", b"value")
    }),
    ("pax-conflict", pax_conflict),
    ("pax-global", pax_global),
    ("sparse-map", sparse_map),
    ("header-form", header_form),
    ("header-unused", header_unused),
    ("content-padding", content_padding),
    ("end-padding", end_padding),
    ("end-missing", end_missing),
    ("after-end", after_end),
    ("layer-empty-added", layer_empty_added),
    ("layer-split", layer_split),
];

/// Changes one visible member that `fits`, and says that its file is what changed.
fn edit(
    image: &Image,
    random: &mut Random,
    fits: impl Fn(&Member) -> bool,
    change: impl FnOnce(&mut Member, &mut Random),
) -> Option<Change> {
    let view = View::of(&image.layers);
    let at = *random.pick(&view.visible(fits))?;
    Some(changed(image, random, at, view.names(at), change))
}

/// Changes the member at `at`, which one of the `names` must be said to be.
fn changed(
    image: &Image,
    random: &mut Random,
    at: At,
    names: Vec<String>,
    change: impl FnOnce(&mut Member, &mut Random),
) -> Change {
    let mut rebuilt = image.clone();
    change(&mut rebuilt.layers[at.0].archive.members[at.1], random);
    let what = image.layers[at.0].archive.members[at.1].path();
    Change::new(image, rebuilt, what)
        .at_any(names.iter().map(|name| format!("/{name}")))
        .in_layer(at.0)
}

/// Changes the member that `at` is, whose own path must be named.
fn changed_itself(
    image: &Image,
    random: &mut Random,
    at: At,
    change: impl FnOnce(&mut Member, &mut Random),
) -> Change {
    let path = image.layers[at.0].archive.members[at.1].path();
    changed(image, random, at, vec![path], change)
}

fn is_file(member: &Member) -> bool {
    member.flag() == b'0'
}

fn is_plain_file(member: &Member) -> bool {
    is_file(member) && !is_sparse(member)
}

fn is_sparse(member: &Member) -> bool {
    member.overrides("GNU.sparse.major")
}

fn is_inode(member: &Member) -> bool {
    member.flag() != b'1'
}

/// Whether extension headers can be written anew without losing one.
fn takes_pax(member: &Member) -> bool {
    member.extensions.is_empty() || !member.pax().is_empty()
}

fn file_content(image: &Image, random: &mut Random) -> Option<Change> {
    let fits = |member: &Member| is_plain_file(member) && !member.content.is_empty();
    edit(image, random, fits, |member, random| {
        let position = random.below(member.content.len());
        member.content[position] ^= 1 << random.below(8);
    })
}

fn file_size(image: &Image, random: &mut Random) -> Option<Change> {
    edit(image, random, is_plain_file, |member, random| {
        let mut content = member.content.clone();
        if random.below(2) == 0 && !content.is_empty() {
            content.truncate(random.below(content.len()));
        } else {
            let count = 1 + random.below(600);
            content.extend(random.bytes(count));
        }
        member.set_content(content);
    })
}

fn sparse_content(image: &Image, random: &mut Random) -> Option<Change> {
    edit(image, random, is_sparse, |member, random| {
        let position = BLOCK + random.below(member.content.len() - BLOCK);
        member.content[position] ^= 1 << random.below(8);
    })
}

fn mode(image: &Image, random: &mut Random) -> Option<Change> {
    let fits = |member: &Member| is_inode(member) && member.flag() != b'2';
    edit(image, random, fits, |member, random| {
        member.set(MODE, member.number(MODE) ^ (1 << random.below(9)));
    })
}

fn mode_special(image: &Image, random: &mut Random) -> Option<Change> {
    let fits = |member: &Member| is_inode(member) && member.flag() != b'2';
    edit(image, random, fits, |member, random| {
        member.set(MODE, member.number(MODE) ^ (0o1000 << random.below(3)));
    })
}

fn uid(image: &Image, random: &mut Random) -> Option<Change> {
    edit(image, random, is_inode, |member, random| {
        member.set(UID, member.number(UID) + 1 + random.below(70_000) as u64);
    })
}

fn gid(image: &Image, random: &mut Random) -> Option<Change> {
    edit(image, random, is_inode, |member, random| {
        member.set(GID, member.number(GID) + 1 + random.below(70_000) as u64);
    })
}

fn mtime(image: &Image, random: &mut Random) -> Option<Change> {
    let fits = |member: &Member| is_inode(member) && !member.overrides("mtime");
    edit(image, random, fits, |member, random| {
        member.set(
            MTIME,
            member.number(MTIME) + 1 + random.below(1_000_000) as u64,
        );
    })
}

fn mtime_nanoseconds(image: &Image, random: &mut Random) -> Option<Change> {
    let fits = |member: &Member| is_inode(member) && takes_pax(member);
    edit(image, random, fits, |member, random| {
        let value = format!(
            "{}.{:09}",
            member.number(MTIME),
            1 + random.below(99_999_999)
        );
        set_record(member, "mtime", value.as_bytes());
    })
}

fn set_record(member: &mut Member, keyword: &str, value: &[u8]) {
    let mut records: Records = member.pax();
    records.retain(|(key, _)| key != keyword);
    records.push((keyword.to_owned(), value.to_vec()));
    member.set_pax(&records);
}

fn symlink_target(image: &Image, random: &mut Random) -> Option<Change> {
    let fits = |member: &Member| member.flag() == b'2' && member.extensions.is_empty();
    edit(image, random, fits, |member, random| {
        let old = member.target();
        // An absolute target and a relative one are two, as is one with a slash at its end.
        let targets = [
            format!("/{old}"),
            format!("{old}/"),
            format!("{old}x"),
            "elsewhere".to_owned(),
        ];
        member.set_target(random.pick(&targets).unwrap());
    })
}

/// Makes a hard link one of another file of its layer.
fn hard_link_target(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let link = *random
        .pick(&view.visible(|member| member.flag() == b'1' && member.extensions.is_empty()))?;
    let own = view.names(link);
    let others: Vec<At> = view
        .visible(|member| is_file(member) && member.path().len() <= 100)
        .into_iter()
        .filter(|at| at.0 == link.0 && at.1 < link.1 && !own.contains(&view.member(*at).path()))
        .collect();
    let other = *random.pick(&others)?;
    let target = view.member(other).raw_name();
    let names = view.names(other);
    let path = view.member(link).path();
    let mut change = changed_itself(image, random, link, |member, _| member.set_target(&target));
    // The names that the file lost or gained may be said at each of them.
    change.may = own
        .into_iter()
        .chain(names)
        .filter(|name| *name != path)
        .map(|name| format!("/{name}"))
        .collect();
    Some(change)
}

/// Makes a hard link a file of its own, the same in everything else.
fn hard_link_broken(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let links = view.visible(|member| member.flag() == b'1' && member.extensions.is_empty());
    let link = *random.pick(&links)?;
    let path = view.member(link).path();
    let (_, file) = view.nodes[&path];
    let mut copy = view.member(file).clone();
    if !copy.extensions.is_empty() {
        return None;
    }
    copy.set_name(&view.member(link).raw_name());
    // A link's header may say what it likes of mode and owner; the file keeps its own.
    let names = view.names(link);
    let mut change = changed_itself(image, random, link, |member, _| *member = copy);
    change.may = names
        .into_iter()
        .filter(|name| *name != path)
        .map(|name| format!("/{name}"))
        .collect();
    Some(change)
}

fn device_number(image: &Image, random: &mut Random) -> Option<Change> {
    let fits = |member: &Member| matches!(member.flag(), b'3' | b'4');
    edit(image, random, fits, |member, random| {
        let field = if random.below(2) == 0 { MAJOR } else { MINOR };
        member.set(field.clone(), member.number(field) + 1);
    })
}

fn entry_type(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let fits =
        |member: &Member| matches!(member.flag(), b'3' | b'4' | b'6') || is_plain_file(member);
    let all: Vec<At> = view
        .visible(fits)
        .into_iter()
        .filter(|at| view.names(*at).len() == 1)
        .collect();
    let at = *random.pick(&all)?;
    Some(changed_itself(image, random, at, |member, _| {
        let flag = match member.flag() {
            b'3' => b'4',
            b'4' => b'3',
            b'6' => b'0',
            _ => b'6',
        };
        member.set_content(Vec::new());
        member.set_flag(flag);
    }))
}

const XATTR: &str = "SCHILY.xattr.";

fn xattr_value(image: &Image, random: &mut Random) -> Option<Change> {
    let fits = |member: &Member| member.pax().iter().any(|(key, _)| key.starts_with(XATTR));
    edit(image, random, fits, |member, random| {
        let mut records = member.pax();
        let (_, value) = records
            .iter_mut()
            .find(|(key, _)| key.starts_with(XATTR))
            .unwrap();
        let position = random.below(value.len());
        value[position] ^= 1 << random.below(8);
        member.set_pax(&records);
    })
}

fn xattr_added(image: &Image, random: &mut Random) -> Option<Change> {
    let name = *random
        .pick(&["user.note", "security.ima", "trusted.overlay.origin"])
        .unwrap();
    let fits = |member: &Member| matches!(member.flag(), b'0' | b'5') && takes_pax(member);
    let change = edit(image, random, fits, |member, random| {
        let count = random.below(40);
        set_record(member, &format!("{XATTR}{name}"), &random.bytes(count));
    })?;
    Some(change.detailed(name))
}

/// Returns the path of something new in a folder that a container sees.
fn new_path(view: &View<'_>, random: &mut Random) -> String {
    let folders = view.visible(|member| member.flag() == b'5');
    let folder = random
        .pick(&folders)
        .map(|at| view.member(*at).path())
        .unwrap_or_default();
    let name = format!("new-{:x}", random.next());
    if folder.is_empty() {
        name
    } else {
        format!("{folder}/{name}")
    }
}

fn entry_added(image: &Image, random: &mut Random) -> Option<Change> {
    let path = new_path(&View::of(&image.layers), random);
    let member = match random.below(5) {
        0 => Member::directory(&format!("{path}/")),
        1 => Member::link(b'2', &path, "/bin/sh"),
        2 => Member::new(b'3', &path),
        3 => Member::new(b'6', &path),
        _ => Member::file(&path, b"new\n").with_mode(0o755),
    };
    let mut rebuilt = image.clone();
    let last = rebuilt.layers.len() - 1;
    let members = &mut rebuilt.layers[last].archive.members;
    let position = random.below(members.len() + 1);
    members.insert(position, member);
    Some(
        Change::new(image, rebuilt, path.clone())
            .at(format!("/{path}"))
            .in_layer(last),
    )
}

/// Returns the visible members at whose path nothing else is, in no folder that is used,
/// and which are no other name's file.
fn lonely<'a>(view: &View<'a>, fits: impl Fn(&Member) -> bool) -> Vec<(At, &'a Member)> {
    view.visible(fits)
        .into_iter()
        .map(|at| (at, view.member(at)))
        .filter(|(at, member)| {
            let path = member.path();
            !path.is_empty()
                && !view.is_touched_twice(&path)
                && (member.flag() == b'1' || view.names(*at).len() == 1)
                && !view.is_used(&path)
        })
        .collect()
}

fn entry_removed(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let &(at, member) = random.pick(&lonely(&view, |_| true))?;
    let mut rebuilt = image.clone();
    rebuilt.layers[at.0].archive.members.remove(at.1);
    let path = member.path();
    let mut change = Change::new(image, rebuilt, path.clone())
        .at(format!("/{path}"))
        .in_layer(at.0);
    change.may = view.implied(&path);
    Some(change)
}

fn entry_renamed(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let fits = |member: &Member| member.extensions.is_empty() && member.raw_name().len() < 90;
    let &(at, member) = random.pick(&lonely(&view, fits))?;
    let path = member.path();
    let raw = member.raw_name();
    let name = match raw.strip_suffix('/') {
        Some(folder) => format!("{folder}-2/"),
        None => format!("{raw}-2"),
    };
    let change = changed_itself(image, random, at, |member, _| member.set_name(&name));
    Some(change.at(format!("/{path}-2")))
}

fn entry_moved(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let movable: Vec<At> = view
        .visible(is_inode)
        .into_iter()
        .filter(|at| view.names(*at).len() == 1 && image.layers[at.0].archive.members.len() > 1)
        .collect();
    let (layer, from) = *random.pick(&movable)?;
    let mut rebuilt = image.clone();
    let members = &mut rebuilt.layers[layer].archive.members;
    let member = members.remove(from);
    let path = member.path();
    let to = (from + 1 + random.below(members.len())) % (members.len() + 1);
    members.insert(to, member);
    Some(
        Change::new(image, rebuilt, format!("{path} from {from} to {to}"))
            .at(format!("layer {layer}"))
            .in_layer(layer),
    )
}

/// Writes a second member for the path of one, earlier in the archive.
fn twice(
    image: &Image,
    random: &mut Random,
    other: impl FnOnce(&mut Member, &mut Random),
) -> Option<Change> {
    let view = View::of(&image.layers);
    let fits = |member: &Member| member.flag() == b'0' && !is_sparse(member);
    let single: Vec<At> = view
        .visible(fits)
        .into_iter()
        .filter(|at| view.names(*at).len() == 1)
        .collect();
    let (layer, index) = *random.pick(&single)?;
    let mut rebuilt = image.clone();
    let members = &mut rebuilt.layers[layer].archive.members;
    let mut member = members[index].clone();
    let path = member.path();
    other(&mut member, random);
    members.insert(random.below(index + 1), member);
    Some(
        Change::new(image, rebuilt, path.clone())
            .at(format!("/{path}"))
            .in_layer(layer),
    )
}

fn entry_duplicated(image: &Image, random: &mut Random) -> Option<Change> {
    twice(image, random, |_, _| {})
}

fn entry_shadowed(image: &Image, random: &mut Random) -> Option<Change> {
    twice(image, random, |member, random| {
        let count = random.below(900);
        member.set_content(random.bytes(count));
    })
}

fn entry_in_other_layer(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let last = image.layers.len() - 1;
    let all: Vec<(At, &Member)> = lonely(&view, is_inode)
        .into_iter()
        .filter(|(at, _)| at.0 < last)
        .collect();
    let &((layer, index), member) = random.pick(&all)?;
    let mut rebuilt = image.clone();
    let moved = rebuilt.layers[layer].archive.members.remove(index);
    rebuilt.layers[last].archive.members.push(moved);
    let path = member.path();
    let mut change = Change::new(image, rebuilt, path.clone()).at(format!("/{path}"));
    change.may = view.implied(&path);
    Some(change.in_layer(layer).in_layer(last))
}

fn whiteout_added(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let last = image.layers.len() - 1;
    let all: Vec<(At, &Member)> = lonely(&view, |_| true)
        .into_iter()
        .filter(|(at, member)| at.0 < last && member.path().contains('/'))
        .collect();
    let &(at, member) = random.pick(&all)?;
    let path = member.path();
    let (folder, name) = path.rsplit_once('/').unwrap();
    let whiteout = format!("{folder}/.wh.{name}");
    let mut rebuilt = image.clone();
    rebuilt.layers[last]
        .archive
        .members
        .push(Member::file(&whiteout, b""));
    let mut change = Change::new(image, rebuilt, path.clone())
        .at(format!("/{path}"))
        .at(format!("/{whiteout}"));
    change.may = view.implied(&path);
    Some(change.in_layer(at.0).in_layer(last))
}

fn opaque_added(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let last = image.layers.len() - 1;
    let below = |folder: &str| -> Vec<(At, String)> {
        let paths = view.nodes.iter().filter(|(path, _)| is_below(path, folder));
        paths.map(|(path, (at, _))| (*at, path.clone())).collect()
    };
    let folders: Vec<String> = view
        .visible(|member| member.flag() == b'5')
        .into_iter()
        .map(|at| view.member(at).path())
        .filter(|folder| {
            let below = below(folder);
            !below.is_empty()
                && below.iter().all(|(at, path)| {
                    at.0 < last && view.names(*at).len() == 1 && !view.is_touched_twice(path)
                })
        })
        .collect();
    let folder = random.pick(&folders)?;
    let whiteout = format!("{folder}/.wh..wh..opq");
    let mut rebuilt = image.clone();
    rebuilt.layers[last]
        .archive
        .members
        .push(Member::file(&whiteout, b""));
    let mut change = Change::new(image, rebuilt, folder.clone())
        .at(format!("/{whiteout}"))
        .in_layer(last);
    for (at, path) in below(folder) {
        change = change.at(format!("/{path}")).in_layer(at.0);
        change.may.extend(view.implied(&path));
    }
    Some(change)
}

/// Changes a number in the header of a whiteout.
fn whiteout(image: &Image, random: &mut Random, field: std::ops::Range<usize>) -> Option<Change> {
    let mut all = Vec::new();
    for (number, layer) in image.layers.iter().enumerate() {
        for (index, member) in layer.archive.members.iter().enumerate() {
            if is_whiteout(&member.path()) {
                all.push((number, index));
            }
        }
    }
    let at = *random.pick(&all)?;
    Some(changed_itself(image, random, at, |member, _| {
        member.set(field.clone(), member.number(field) ^ 1);
    }))
}

fn hidden_content(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let files: Vec<At> = view
        .hidden()
        .into_iter()
        .filter(|at| is_plain_file(view.member(*at)) && !view.member(*at).content.is_empty())
        .collect();
    let at = *random.pick(&files)?;
    Some(changed_itself(image, random, at, |member, random| {
        let position = random.below(member.content.len());
        member.content[position] ^= 1 << random.below(8);
    }))
}

/// Changes a number in the header of a hidden member.
fn hidden(image: &Image, random: &mut Random, field: std::ops::Range<usize>) -> Option<Change> {
    let view = View::of(&image.layers);
    let at = *random.pick(&view.hidden())?;
    Some(changed_itself(image, random, at, |member, _| {
        member.set(field.clone(), member.number(field) ^ 1);
    }))
}

/// Adds a file below a folder that a later layer makes opaque.
fn hidden_added(image: &Image, random: &mut Random) -> Option<Change> {
    let mut folders = Vec::new();
    for (number, layer) in image.layers.iter().enumerate().skip(1) {
        for member in &layer.archive.members {
            if let Some(folder) = member.path().strip_suffix("/.wh..wh..opq") {
                folders.push((number - 1, folder.to_owned()));
            }
        }
    }
    let (layer, folder) = random.pick(&folders)?;
    let path = format!("{folder}/new-{:x}", random.next());
    let mut rebuilt = image.clone();
    let members = &mut rebuilt.layers[*layer].archive.members;
    members.insert(
        random.below(members.len() + 1),
        Member::file(&path, b"hidden\n"),
    );
    Some(
        Change::new(image, rebuilt, path.clone())
            .at(format!("/{path}"))
            .in_layer(*layer),
    )
}

fn hard_link_header(
    image: &Image,
    random: &mut Random,
    field: std::ops::Range<usize>,
) -> Option<Change> {
    let view = View::of(&image.layers);
    let at = *random.pick(&view.visible(|member| member.flag() == b'1'))?;
    let mut change = changed_itself(image, random, at, |member, _| {
        member.set(field.clone(), member.number(field) ^ 1);
    });
    // Runtimes set what a link's header says on the file, which has other names too.
    change.must.clear();
    let names = view.names(at).into_iter().map(|name| format!("/{name}"));
    Some(change.at_any(names))
}

fn symlink_mode(image: &Image, random: &mut Random) -> Option<Change> {
    let fits = |member: &Member| member.flag() == b'2';
    edit(image, random, fits, |member, random| {
        member.set(MODE, member.number(MODE) ^ (1 << random.below(9)));
    })
}

/// Writes the name of an owner or group.
fn text(image: &Image, random: &mut Random, field: std::ops::Range<usize>) -> Option<Change> {
    let view = View::of(&image.layers);
    let at = *random.pick(&view.visible(|_| true))?;
    Some(changed_itself(image, random, at, |member, random| {
        let name = format!("user{}", random.below(1000));
        member.set_text(field, name.as_bytes());
    }))
}

fn type_bits(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let at = *random.pick(&view.visible(|_| true))?;
    Some(changed_itself(image, random, at, |member, _| {
        let bits = match member.flag() {
            b'5' => 0o040_000,
            b'2' => 0o120_000,
            b'3' => 0o020_000,
            b'4' => 0o060_000,
            b'6' => 0o010_000,
            _ => 0o100_000,
        };
        member.set(MODE, member.number(MODE) ^ bits);
    }))
}

fn has_short_name(member: &Member) -> bool {
    member.extensions.is_empty() && (1..90).contains(&member.raw_name().len())
}

fn raw_name(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let at = *random.pick(&view.visible(has_short_name))?;
    Some(changed_itself(image, random, at, |member, _| {
        let old = member.raw_name();
        let new = match old.strip_prefix("./").filter(|rest| !rest.is_empty()) {
            Some(rest) => rest.to_owned(),
            None => format!("./{old}"),
        };
        member.set_name(&new);
    }))
}

fn odd_name(image: &Image, random: &mut Random, prefix: &str) -> Option<Change> {
    let view = View::of(&image.layers);
    let at = *random.pick(&view.visible(has_short_name))?;
    Some(changed_itself(image, random, at, |member, _| {
        member.set_name(&format!("{prefix}{}", member.raw_name()));
    }))
}

/// Adds a PAX record.
fn record(image: &Image, random: &mut Random, keyword: &str, value: &[u8]) -> Option<Change> {
    let view = View::of(&image.layers);
    let at = *random.pick(&view.visible(takes_pax))?;
    Some(changed_itself(image, random, at, |member, _| {
        set_record(member, keyword, value);
    }))
}

/// Gives a PAX record twice; the later one says what the only one said.
fn pax_conflict(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let fits = |member: &Member| is_inode(member) && takes_pax(member) && !is_sparse(member);
    let at = *random.pick(&view.visible(fits))?;
    let mut published = image.clone();
    let member = &mut published.layers[at.0].archive.members[at.1];
    let target = member.pax().last().cloned();
    let (keyword, value) = target.unwrap_or_else(|| {
        let time = member.number(MTIME).to_string();
        ("mtime".to_owned(), time.into_bytes())
    });
    set_record(member, &keyword, &value);
    Some(changed_itself(&published, random, at, |member, _| {
        let mut records = member.pax();
        let first: Vec<u8> = match keyword.as_str() {
            "path" => b"etc/elsewhere".to_vec(),
            _ => b"1".to_vec(),
        };
        records.insert(0, (keyword, first));
        member.set_pax(&records);
    }))
}

fn pax_global(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let at = *random.pick(&view.visible(|_| true))?;
    Some(changed_itself(image, random, at, |member, _| {
        let content = pax_content(&[("comment".to_owned(), b"0123456789abcdef".to_vec())]);
        member.extensions.splice(0..0, extension(b'g', &content));
    }))
}

/// Describes the same content by other pieces.
fn sparse_map(image: &Image, random: &mut Random) -> Option<Change> {
    edit(image, random, is_sparse, |member, _| {
        let mut content = b"3\n0\n512\n4096\n256\n4352\n256\n".to_vec();
        content.resize(BLOCK, 0);
        content.extend_from_slice(&member.content[BLOCK..]);
        member.set_content(content);
    })
}

/// Writes the same number in another way.
fn header_form(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let at = *random.pick(&view.visible(|_| true))?;
    Some(changed_itself(image, random, at, |member, random| {
        let (field, written) = match random.below(3) {
            // Right-aligned with spaces, as old tars wrote it.
            0 => (UID, format!("{:>6o} \0", member.number(UID)).into_bytes()),
            // Base 256, as GNU tar writes what is too large for octal.
            1 => {
                let mut bytes = vec![0x80, 0, 0, 0];
                bytes.extend(member.number(MTIME).to_be_bytes());
                (MTIME, bytes)
            }
            _ => (GID, format!("{:06o} \0", member.number(GID)).into_bytes()),
        };
        let before = member.header;
        member.header[field.clone()].copy_from_slice(&written);
        if member.header == before {
            member.header[field.end - 1] = b' ';
        }
        member.sum();
    }))
}

fn header_unused(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let at = *random.pick(&view.visible(|_| true))?;
    Some(changed_itself(image, random, at, |member, random| {
        member.header[UNUSED.start + random.below(UNUSED.len())] = 1 + random.bytes(1)[0] % 255;
        member.sum();
    }))
}

fn content_padding(image: &Image, random: &mut Random) -> Option<Change> {
    let view = View::of(&image.layers);
    let at = *random.pick(&view.visible(|member| !member.padding.is_empty()))?;
    Some(changed_itself(image, random, at, |member, random| {
        let position = random.below(member.padding.len());
        member.padding[position] = 1 + random.bytes(1)[0] % 255;
    }))
}

/// Changes what comes after the last member of some layer.
fn end(
    image: &Image,
    random: &mut Random,
    change: impl FnOnce(&mut Vec<u8>, &mut Random),
) -> Change {
    let layer = random.below(image.layers.len());
    let mut rebuilt = image.clone();
    change(&mut rebuilt.layers[layer].archive.end, random);
    Change::new(image, rebuilt, format!("end of layer {layer}"))
        .at(format!("layer {layer}"))
        .in_layer(layer)
}

fn end_padding(image: &Image, random: &mut Random) -> Option<Change> {
    Some(end(image, random, |end, random| {
        end.resize(end.len() + BLOCK * (1 + random.below(20)), 0);
    }))
}

fn end_missing(image: &Image, random: &mut Random) -> Option<Change> {
    Some(end(image, random, |end, random| {
        end.truncate(BLOCK * random.below(2));
    }))
}

fn after_end(image: &Image, random: &mut Random) -> Option<Change> {
    Some(end(image, random, |end, random| {
        let count = 1 + random.below(2000);
        let mut bytes = random.bytes(count);
        bytes[0] |= 1;
        end.extend(bytes);
    }))
}

/// Adds a layer to config and manifest, at the end.
fn push_layer(image: &mut Image, layer: Layer) {
    let number = image.layers.len();
    image.layers.push(layer);
    image.config = json::set(&image.config, &format!("/rootfs/diff_ids/{number}"), "\"\"");
    let descriptor = json::at(&image.manifest, "/layers/0").unwrap().to_owned();
    image.manifest = json::set(&image.manifest, &format!("/layers/{number}"), &descriptor);
}

fn layer_empty_added(image: &Image, _: &mut Random) -> Option<Change> {
    let mut rebuilt = image.clone();
    push_layer(&mut rebuilt, Layer::new(Vec::new()));
    Some(Change::new(image, rebuilt, "an empty layer").at("layers"))
}

/// Makes two layers of the last one.
fn layer_split(image: &Image, random: &mut Random) -> Option<Change> {
    let mut rebuilt = image.clone();
    let members = &mut rebuilt.layers.last_mut().unwrap().archive.members;
    // A hard link stays in its file's layer.
    let start = members
        .iter()
        .rposition(|member| member.flag() == b'1')
        .map_or(1, |found| found + 1);
    if start >= members.len() {
        return None;
    }
    let upper = members.split_off(start + random.below(members.len() - start));
    push_layer(&mut rebuilt, Layer::new(upper));
    Some(Change::new(image, rebuilt, "the last layer in two").at("layers"))
}
