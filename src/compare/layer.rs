//! Layers: how their blobs are packed, and the archives inside entry by entry.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use super::{Attribute, Bearing, Difference, Location, Value, Visibility, capabilities, overlay};
use crate::{
    image::{
        Compression, Entry, EntryKind, EntryPath, Layer, Oddity, Timestamp, entry::Details,
        overlay::FileSystem,
    },
    pair::Pair,
};

/// How many pairs of layers are held against each other to align them by what they hold.
///
/// No image that is used has more than 127 layers on a side: overlay mounts end there.
const MOST_PAIRS: usize = 1 << 16;

/// What two layers of one diffID are worth in an alignment: more than any others together.
const SAME: u64 = 1 << 40;

/// What two layers are worth that hold the same in other bytes.
const ALIKE: u64 = 1 << 20;

/// Pairs the layers of two images, in order.
///
/// Layers of one diffID are paired as long as they keep their order; where there are as many
/// layers on both sides, also those that share most of their entries. Of what is left
/// between two pairs, layers are paired by position where there are as many on both
/// sides; the rest stand alone, and are compared in the flattened file system.
pub(super) fn pairing(layers: Pair<&[Arc<Layer>]>) -> Vec<Pair<Option<usize>>> {
    let Pair { published, rebuilt } = layers;
    let mut pairs = Vec::new();
    let mut next = Pair::new(0, 0);
    let ends = Pair::new(published.len(), rebuilt.len());
    for pair in aligned(layers).into_iter().chain([ends]) {
        let between = Pair::new(next.published..pair.published, next.rebuilt..pair.rebuilt);
        if between.published.len() == between.rebuilt.len() {
            let both = between.published.zip(between.rebuilt);
            pairs.extend(both.map(|(one, other)| Pair::new(Some(one), Some(other))));
        } else {
            pairs.extend(between.published.map(|one| Pair::new(Some(one), None)));
            pairs.extend(between.rebuilt.map(|other| Pair::new(None, Some(other))));
        }
        if pair != ends {
            pairs.push(pair.map(Some));
        }
        next = pair.map(|layer| layer + 1);
    }
    pairs
}

/// Returns the layers that are worth most as counterparts, in order.
fn aligned(layers: Pair<&[Arc<Layer>]>) -> Vec<Pair<usize>> {
    let Pair { published, rebuilt } = layers;
    let (rows, columns) = (published.len(), rebuilt.len());
    if rows * columns > MOST_PAIRS {
        return Vec::new();
    }
    // Of other numbers, a layer that was split or merged would be told as moved, file by
    // file; of one on each side, there is nothing to choose.
    let prints = (rows == columns && rows > 1).then(|| {
        layers.map(|layers| {
            let print = |layer: &Arc<Layer>| Print::of(layer);
            layers.iter().map(print).collect::<Vec<_>>()
        })
    });
    // The most that the layers from here on are worth, by row and column.
    let mut best = vec![vec![0; columns + 1]; rows + 1];
    let mut worth = vec![vec![0; columns]; rows];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            let one = if published[row].diff_id == rebuilt[column].diff_id {
                SAME + published[row].entries.len() as u64
            } else {
                let likeness = |prints: &Pair<Vec<Print>>| {
                    prints.published[row].likeness(&prints.rebuilt[column])
                };
                prints.as_ref().map_or(0, likeness)
            };
            // Of equals, the one in the same place.
            let one = one + u64::from(one > 0 && row == column);
            worth[row][column] = one;
            let skip = best[row + 1][column].max(best[row][column + 1]);
            best[row][column] = skip.max(one + best[row + 1][column + 1]);
        }
    }
    let mut pairs = Vec::new();
    let (mut row, mut column) = (0, 0);
    while row < rows && column < columns {
        let one = worth[row][column];
        if one > 0 && best[row][column] == one + best[row + 1][column + 1] {
            pairs.push(Pair::new(row, column));
            (row, column) = (row + 1, column + 1);
        } else if best[row][column] == best[row + 1][column] {
            row += 1;
        } else {
            column += 1;
        }
    }
    pairs
}

/// What a layer holds, as far as it takes to see how much two have in common.
struct Print(Vec<u64>);

impl Print {
    fn of(layer: &Layer) -> Self {
        let print = |entry: &Entry| {
            // Always the same keys: what is aligned does not depend on the run.
            let mut hasher = DefaultHasher::new();
            entry.path.as_bytes().hash(&mut hasher);
            match &entry.kind {
                EntryKind::File { content, .. } => content.hash(&mut hasher),
                EntryKind::Symlink { target } => target.hash(&mut hasher),
                EntryKind::HardLink { target } => target.as_bytes().hash(&mut hasher),
                EntryKind::Directory
                | EntryKind::Fifo
                | EntryKind::CharDevice { .. }
                | EntryKind::BlockDevice { .. }
                | EntryKind::Other { .. } => {}
            }
            hasher.finish()
        };
        let mut prints: Vec<u64> = layer.entries.iter().map(print).collect();
        prints.sort_unstable();
        Self(prints)
    }

    /// Returns how much two layers have in common: [`ALIKE`] for all, 0 for no more than half
    /// of the larger one.
    fn likeness(&self, other: &Self) -> u64 {
        let (mut one, mut two) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut common: u64 = 0;
        while let (Some(left), Some(right)) = (one.peek(), two.peek()) {
            match left.cmp(right) {
                Ordering::Less => drop(one.next()),
                Ordering::Greater => drop(two.next()),
                Ordering::Equal => {
                    common += 1;
                    one.next();
                    two.next();
                }
            }
        }
        let larger = self.0.len().max(other.0.len()) as u64;
        if larger == 0 {
            ALIKE
        } else if 2 * common > larger {
            common * ALIKE / larger
        } else {
            0
        }
    }
}

/// Adds what differs in how two layers' blobs are compressed.
pub(super) fn blobs(
    pair: Pair<Option<usize>>,
    layers: Pair<&[Arc<Layer>]>,
    differences: &mut Vec<Difference>,
) {
    let (Some(published), Some(rebuilt)) = (pair.published, pair.rebuilt) else {
        return;
    };
    let sides = Pair::new(&*layers.published[published], &*layers.rebuilt[rebuilt]);
    if sides.map(|layer| layer.digest).is_equal() {
        return;
    }
    let mut add = |attribute, values, bearing| {
        differences.push(Difference {
            location: Location::Layer { layer: pair },
            attribute,
            values,
            bearing,
        });
    };
    let words = |layer: &Layer| match layer.compression {
        Compression::None => "none",
        Compression::Gzip { .. } => "gzip",
        Compression::Zstd { .. } => "zstd",
    };
    let mut packing_differs = false;
    if sides.map(words).is_equal() {
        let header = |layer: &Layer| match &layer.compression {
            Compression::Gzip { header, .. } => Some(*header),
            Compression::None | Compression::Zstd { .. } => None,
        };
        let headers = sides.map(header);
        if !headers.is_equal() {
            packing_differs = true;
            let text = |header: crate::image::layer::GzipHeader| {
                Value::Text(format!(
                    "mtime {}, extra flags {}, operating system {}",
                    header.mtime, header.extra_flags, header.operating_system
                ))
            };
            add(
                Attribute::GzipHeader,
                headers.map(|header| header.map(text)),
                Bearing::Encoding,
            );
        }
        let members = sides.map(|layer| match layer.compression {
            Compression::Gzip { members, .. } => members,
            Compression::Zstd { frames } => frames,
            Compression::None => 0,
        });
        if !members.is_equal() {
            packing_differs = true;
            add(
                Attribute::Members,
                members.map(|count| Some(number(count))),
                Bearing::Encoding,
            );
        }
    } else {
        packing_differs = true;
        add(
            Attribute::Compression,
            sides.map(|layer| Some(Value::Word(words(layer)))),
            Bearing::Encoding,
        );
    }
    let before = packing_differs;
    let mut oddities = 0;
    one_sided(
        sides.map(|layer| layer.oddities.as_slice()),
        |oddity, values| {
            if is_about_compression(&oddity) {
                oddities += 1;
                let bearing = oddity_bearing(&oddity);
                add(Attribute::Oddity(oddity), values, bearing);
            }
        },
    );
    // The tars being equal, whatever else differs is the compressor's choice of bytes.
    let same_tar = sides.map(|layer| layer.diff_id).is_equal();
    if same_tar && !before && oddities == 0 {
        let digests = sides.map(|layer| Some(Value::Digest(layer.digest)));
        add(Attribute::Bytes, digests, Bearing::Encoding);
    }
}

/// Adds what differs in the archives and in the file systems they make.
///
/// Returns whether the flattened file systems are the same, and whether they are
/// but for times.
pub(super) fn archives(
    pairing: &[Pair<Option<usize>>],
    layers: Pair<&[Arc<Layer>]>,
    systems: Pair<&FileSystem>,
    differences: &mut Vec<Difference>,
) -> (bool, bool) {
    let counts = layers.map(<[_]>::len);
    if !counts.is_equal() {
        differences.push(Difference {
            location: Location::Layer {
                layer: Pair::default(),
            },
            attribute: Attribute::LayerCount,
            values: counts.map(|count| Some(number(count as u64))),
            bearing: Bearing::Encoding,
        });
    }
    let before = differences.len();
    let mut views = overlay::Views::new(layers, systems);
    views.compare(differences);
    let seen = &differences[before..];
    let files = !seen
        .iter()
        .any(|found| matches!(found.bearing, Bearing::Files | Bearing::Times));
    let contents = !seen.iter().any(|found| found.bearing == Bearing::Files);
    let changed = |pair: &&Pair<Option<usize>>| match (pair.published, pair.rebuilt) {
        (Some(published), Some(rebuilt)) => {
            layers.published[published].diff_id != layers.rebuilt[rebuilt].diff_id
        }
        (Some(_), None) | (None, _) => false,
    };
    for &pair in pairing.iter().filter(changed) {
        let (Some(published), Some(rebuilt)) = (pair.published, pair.rebuilt) else {
            continue;
        };
        let sides = Pair::new(&*layers.published[published], &*layers.rebuilt[rebuilt]);
        archive(pair, sides, &views, differences);
        if !differences[before..]
            .iter()
            .any(|found| found.location.touches(pair))
        {
            // No field says what differs, so the bytes themselves are the difference.
            differences.push(Difference {
                location: Location::Layer { layer: pair },
                attribute: Attribute::Bytes,
                values: sides.map(|layer| Some(Value::Text(layer.diff_id.to_string()))),
                bearing: Bearing::LayerOddity,
            });
        }
    }
    views.unpaired(pairing, differences);
    views.irregular(differences);
    (files, contents)
}

/// Adds what differs between two paired archives and is not in the flattened view.
fn archive(
    layer: Pair<Option<usize>>,
    sides: Pair<&Layer>,
    views: &overlay::Views<'_>,
    differences: &mut Vec<Difference>,
) {
    let pairs = paired_entries(sides.map(|layer| layer.entries.as_slice()));
    for &entries in &pairs {
        match (entries.published, entries.rebuilt) {
            (Some(published), Some(rebuilt)) => {
                let both = Pair::new(
                    &sides.published.entries[published],
                    &sides.rebuilt.entries[rebuilt],
                );
                if both.published == both.rebuilt {
                    continue;
                }
                views.form(layer, entries, both, differences);
            }
            (Some(_), None) | (None, Some(_)) => views.alone(layer, entries, sides, differences),
            (None, None) => {}
        }
    }
    order(layer, &pairs, sides, differences);
    let mut add = |attribute, values, bearing| {
        differences.push(Difference {
            location: Location::Layer { layer },
            attribute,
            values,
            bearing,
        });
    };
    one_sided(
        sides.map(|layer| layer.oddities.as_slice()),
        |oddity, values| {
            if !is_about_compression(&oddity) {
                let bearing = oddity_bearing(&oddity);
                add(Attribute::Oddity(oddity), values, bearing);
            }
        },
    );
    let padding = sides.map(|layer| layer.end_padding);
    if !padding.is_equal() {
        add(
            Attribute::EndPadding,
            padding.map(|bytes| Some(number(bytes))),
            Bearing::Encoding,
        );
    }
}

/// Pairs entries by path, and those of one path from the last backwards.
///
/// The last entry of a path is the one that counts, so an added duplicate is
/// left over at the front. Ordered by path, then by position.
fn paired_entries(sides: Pair<&[Entry]>) -> Vec<Pair<Option<usize>>> {
    let sorted = sides.map(|entries| {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|&one, &other| {
            entries[one]
                .path
                .cmp(&entries[other].path)
                .then(other.cmp(&one))
        });
        order
    });
    let path = |side: usize, index: usize| -> &EntryPath {
        if side == 0 {
            &sides.published[index].path
        } else {
            &sides.rebuilt[index].path
        }
    };
    let (mut left, mut right) = (sorted.published.as_slice(), sorted.rebuilt.as_slice());
    let mut pairs = Vec::with_capacity(left.len().max(right.len()));
    loop {
        let ordering = match (left.first(), right.first()) {
            (None, None) => return pairs,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(&one), Some(&other)) => path(0, one).cmp(path(1, other)),
        };
        let published = (ordering != Ordering::Greater).then(|| left[0]);
        let rebuilt = (ordering != Ordering::Less).then(|| right[0]);
        left = &left[usize::from(published.is_some())..];
        right = &right[usize::from(rebuilt.is_some())..];
        pairs.push(Pair::new(published, rebuilt));
    }
}

/// How many moved entries are named; the rest are counted.
const NAMED_MOVES: usize = 5;

/// Adds one difference if the entries that both archives have stand in another order.
///
/// Names the fewest entries that, taken out, leave the same order on both sides.
fn order(
    layer: Pair<Option<usize>>,
    pairs: &[Pair<Option<usize>>],
    sides: Pair<&Layer>,
    differences: &mut Vec<Difference>,
) {
    let positions: Vec<(usize, usize)> = pairs
        .iter()
        .filter_map(|pair| Some((pair.published?, pair.rebuilt?)))
        .collect();
    let moved = moved(positions, |published| {
        &sides.published.entries[published].path
    });
    if moved.is_empty() {
        return;
    }
    let name = |entries: &[Entry], index: usize| {
        let before = index
            .checked_sub(1)
            .map(|before| entries[before].path.to_string());
        before.map_or_else(|| "first".to_owned(), |before| format!("after {before}"))
    };
    let mut texts = Pair::new(Vec::new(), Vec::new());
    for &(published, rebuilt) in moved.iter().take(NAMED_MOVES) {
        let path = &sides.published.entries[published].path;
        texts.published.push(format!(
            "{path} {}",
            name(&sides.published.entries, published)
        ));
        texts
            .rebuilt
            .push(format!("{path} {}", name(&sides.rebuilt.entries, rebuilt)));
    }
    let rest = moved.len().saturating_sub(NAMED_MOVES);
    differences.push(Difference {
        location: Location::Layer { layer },
        attribute: Attribute::Order,
        values: texts.map(|texts| {
            let more = if rest > 0 {
                format!(", and {rest} more")
            } else {
                String::new()
            };
            Some(Value::Text(texts.join(", ") + &more))
        }),
        bearing: Bearing::Encoding,
    });
}

/// Returns the fewest pairs that, taken out, leave an order that rises on both sides.
///
/// Of two entries that changed places either could be said to have moved; what is
/// said must not depend on which side is which, so paths decide.
fn moved<'a>(
    mut positions: Vec<(usize, usize)>,
    path: impl Fn(usize) -> &'a EntryPath,
) -> Vec<(usize, usize)> {
    positions.sort_unstable();
    let there = outside_longest_run(&positions);
    if there.is_empty() {
        return there;
    }
    let mut turned: Vec<(usize, usize)> = positions
        .into_iter()
        .map(|(published, rebuilt)| (rebuilt, published))
        .collect();
    turned.sort_unstable();
    let back: Vec<(usize, usize)> = outside_longest_run(&turned)
        .into_iter()
        .map(|(rebuilt, published)| (published, rebuilt))
        .collect();
    let sorted = |mut moved: Vec<(usize, usize)>| {
        moved.sort_by(|one, other| path(one.0).cmp(path(other.0)).then(one.cmp(other)));
        moved
    };
    let paths = |moved: &[(usize, usize)]| -> Vec<&EntryPath> {
        moved
            .iter()
            .map(|&(published, _)| path(published))
            .collect()
    };
    let (there, back) = (sorted(there), sorted(back));
    if paths(&there) <= paths(&back) {
        there
    } else {
        back
    }
}

/// Returns the pairs outside of a longest run that rises on both sides; `positions`
/// rises on the first.
fn outside_longest_run(positions: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // tails[n] is the index of the smallest last element of a rising run of n + 1.
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(positions.len());
    for (index, &(_, rebuilt)) in positions.iter().enumerate() {
        let length = tails.partition_point(|&tail| positions[tail].1 < rebuilt);
        before.push(length.checked_sub(1).map(|shorter| tails[shorter]));
        if length == tails.len() {
            tails.push(index);
        } else {
            tails[length] = index;
        }
    }
    let mut kept = vec![false; positions.len()];
    let mut next = tails.last().copied();
    while let Some(index) = next {
        kept[index] = true;
        next = before[index];
    }
    positions
        .iter()
        .zip(kept)
        .filter(|(_, kept)| !kept)
        .map(|(&pair, _)| pair)
        .collect()
}

/// Calls `add` for every oddity that one side has and the other has not.
pub(super) fn one_sided(sides: Pair<&[Oddity]>, mut add: impl FnMut(Oddity, Pair<Option<Value>>)) {
    let mut rest: Vec<&Oddity> = sides.rebuilt.iter().collect();
    for oddity in sides.published {
        if let Some(found) = rest.iter().position(|other| *other == oddity) {
            rest.swap_remove(found);
        } else {
            add(
                oddity.clone(),
                Pair::new(Some(Value::Word("present")), None),
            );
        }
    }
    rest.sort_unstable();
    for oddity in rest {
        add(
            oddity.clone(),
            Pair::new(None, Some(Value::Word("present"))),
        );
    }
}

/// Returns whether the oddity is in the compressed stream, not in the tar.
fn is_about_compression(oddity: &Oddity) -> bool {
    matches!(
        oddity,
        Oddity::AfterCompressedStream { .. }
            | Oddity::GzipExtra(_)
            | Oddity::GzipName(_)
            | Oddity::GzipComment(_)
            | Oddity::GzipReservedFlags(_)
            | Oddity::GzipText
            | Oddity::GzipHeaderChecksum(_)
            | Oddity::SkippableFrame { .. }
    )
}

/// Returns what an oddity bears on: ordinary gzip programs write a name, a text flag
/// and a checksum, all else is suspicious.
pub(super) fn oddity_bearing(oddity: &Oddity) -> Bearing {
    match oddity {
        Oddity::GzipName(_) | Oddity::GzipText | Oddity::GzipHeaderChecksum(_) => Bearing::Encoding,
        _ => Bearing::LayerOddity,
    }
}

fn is_symlink(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::Symlink { .. })
}

/// Returns every field of what two entries are in which they differ.
pub(super) fn content_fields(both: Pair<&Entry>) -> Vec<(Attribute, Pair<Option<Value>>)> {
    let mut found = Vec::new();
    let kinds = both.map(|entry| kind_word(&entry.kind));
    if !kinds.is_equal() {
        found.push((Attribute::Type, kinds.map(|kind| Some(Value::Word(kind)))));
    }
    let content = both.map(|entry| match &entry.kind {
        EntryKind::File { size, content } | EntryKind::Other { size, content, .. } => {
            Some((*size, *content))
        }
        _ => None,
    });
    if let Pair {
        published: Some(published),
        rebuilt: Some(rebuilt),
    } = content
    {
        if published.0 != rebuilt.0 {
            let sizes = Pair::new(Some(number(published.0)), Some(number(rebuilt.0)));
            found.push((Attribute::Size, sizes));
        }
        if published.1 != rebuilt.1 {
            let hashes = Pair::new(
                Some(Value::Digest(published.1)),
                Some(Value::Digest(rebuilt.1)),
            );
            found.push((Attribute::Content, hashes));
        }
    }
    let targets = both.map(|entry| match &entry.kind {
        EntryKind::Symlink { target } => Some(&**target),
        EntryKind::HardLink { target } => Some(target.as_bytes()),
        _ => None,
    });
    if kinds.is_equal() && !targets.is_equal() {
        let values = targets.map(|target| target.map(|target| Value::Bytes(target.into())));
        found.push((Attribute::LinkTarget, values));
    }
    let devices = both.map(|entry| match entry.kind {
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            Some((major, minor))
        }
        _ => None,
    });
    if let Pair {
        published: Some(published),
        rebuilt: Some(rebuilt),
    } = devices
        && published != rebuilt
    {
        let text = |(major, minor): (u32, u32)| Some(Value::Text(format!("{major},{minor}")));
        found.push((Attribute::Device, Pair::new(text(published), text(rebuilt))));
    }
    found
}

/// Returns every attribute in which two entries differ and that a container would see.
pub(super) fn attribute_fields(both: Pair<&Entry>) -> Vec<(Attribute, Pair<Option<Value>>)> {
    let mut found = Vec::new();
    let modes = both.map(|entry| entry.mode & 0o7777);
    if !modes.is_equal() && both.map(is_symlink) != Pair::new(true, true) {
        found.push((Attribute::Mode, modes.map(|mode| Some(Value::Octal(mode)))));
    }
    for (attribute, ids) in [
        (Attribute::Uid, both.map(|entry| entry.uid)),
        (Attribute::Gid, both.map(|entry| entry.gid)),
    ] {
        if !ids.is_equal() {
            found.push((attribute, ids.map(|id| Some(Value::Number(id)))));
        }
    }
    let xattrs = both.map(|entry| entry.details.as_ref().map(|details| &details.xattrs));
    if xattrs.published.is_some() || xattrs.rebuilt.is_some() {
        let names: BTreeSet<&[u8]> = [xattrs.published, xattrs.rebuilt]
            .into_iter()
            .flatten()
            .flat_map(|xattrs| xattrs.keys().map(|name| &**name))
            .collect();
        for name in names {
            let values = xattrs.map(|xattrs| xattrs.and_then(|xattrs| xattrs.get(name)));
            if !values.is_equal() {
                let values = values.map(|value| value.map(|value| xattr(name, value)));
                found.push((Attribute::Xattr(name.into()), values));
            }
        }
    }
    let times = both.map(|entry| entry.mtime);
    if !times.is_equal() {
        found.push((Attribute::Mtime, times.map(|time| Some(Value::Time(time)))));
    }
    found
}

/// Returns an extended attribute's value, told in words too where it grants something.
fn xattr(name: &[u8], value: &[u8]) -> Value {
    if name == b"security.capability"
        && let Some(granted) = capabilities(value)
    {
        return Value::Text(format!("{granted} ({})", hex::encode(value)));
    }
    Value::Bytes(value.into())
}

/// Calls `add` for every field in which two entries differ and that only a reader of
/// the archive sees; if there is none, `header_is_known` says whether the differing
/// header bytes follow from a field that is reported elsewhere.
pub(super) fn form_fields(
    both: Pair<&Entry>,
    header_is_known: bool,
    mut add: impl FnMut(Attribute, Pair<Option<Value>>, Bearing),
) {
    let mut named = header_is_known;
    let mut form = |attribute, values: Pair<Option<Value>>, bearing| {
        if !values.is_equal() {
            named = true;
            add(attribute, values, bearing);
        }
    };
    // Every system reports 0777 for a symbolic link, so its mode is the header's alone.
    if both.map(is_symlink) == Pair::new(true, true) {
        let modes = both.map(|entry| Some(Value::Octal(entry.mode & 0o7777)));
        form(Attribute::Mode, modes, Bearing::Encoding);
    }
    let bits = both.map(|entry| Some(Value::Octal(entry.mode & !0o7777)));
    form(Attribute::TypeBits, bits, Bearing::Encoding);
    let plain = Details::default();
    let details = both.map(|entry| entry.details.as_deref().unwrap_or(&plain));
    let bytes = |bytes: &[u8]| Some(Value::Bytes(bytes.into()));
    form(
        Attribute::OwnerName,
        details.map(|details| bytes(&details.uname)),
        Bearing::Encoding,
    );
    form(
        Attribute::GroupName,
        details.map(|details| bytes(&details.gname)),
        Bearing::Encoding,
    );
    let raw_names = both.map(|entry| entry.raw_name().as_deref().and_then(bytes));
    form(Attribute::RawName, raw_names, Bearing::Encoding);
    let targets = both.map(|entry| entry.raw_target().as_deref().and_then(bytes));
    form(Attribute::RawTarget, targets, Bearing::Encoding);
    let time = |time: Option<Timestamp>| time.map(Value::Time);
    form(
        Attribute::Atime,
        details.map(|details| time(details.atime)),
        Bearing::Encoding,
    );
    form(
        Attribute::Ctime,
        details.map(|details| time(details.ctime)),
        Bearing::Encoding,
    );
    let map = |details: &Details| {
        let text = |(offset, size): &(u64, u64)| format!("{offset}+{size}");
        let parts: Vec<String> = details.sparse.iter().map(text).collect();
        (!parts.is_empty()).then(|| Value::Text(parts.join(",")))
    };
    form(Attribute::Sparse, details.map(map), Bearing::Encoding);
    let records = details.map(|details| details.pax.as_slice());
    if !records.is_equal() {
        let keys: BTreeSet<&[u8]> = [records.published, records.rebuilt]
            .into_iter()
            .flatten()
            .map(|(key, _)| &**key)
            .collect();
        for key in keys {
            let values = records.map(|records| {
                let values: Vec<&[u8]> = records
                    .iter()
                    .filter(|(other, _)| **other == *key)
                    .map(|(_, value)| &**value)
                    .collect();
                (!values.is_empty()).then(|| Value::Bytes(values.join(&b'\n').into()))
            });
            let bearing = if key == b"comment" {
                Bearing::Encoding
            } else {
                Bearing::LayerOddity
            };
            form(Attribute::Pax(key.into()), values, bearing);
        }
    }
    one_sided(
        details.map(|details| details.oddities.as_slice()),
        |oddity, values| {
            let bearing = oddity_bearing(&oddity);
            form(Attribute::Oddity(oddity), values, bearing);
        },
    );
    if !named && both.published.header != both.rebuilt.header {
        let headers = both.map(|entry| Some(Value::Digest(entry.header)));
        add(Attribute::Header, headers, Bearing::Encoding);
    }
}

/// Returns the word for what an entry is.
pub(super) const fn kind_word(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File { .. } => "file",
        EntryKind::HardLink { .. } => "hard link",
        EntryKind::Symlink { .. } => "symbolic link",
        EntryKind::CharDevice { .. } => "character device",
        EntryKind::BlockDevice { .. } => "block device",
        EntryKind::Directory => "directory",
        EntryKind::Fifo => "named pipe",
        EntryKind::Other { .. } => "other",
    }
}

/// Returns one line that says what an entry is, for one that has no counterpart, with the
/// mode and the owner that `setter` gives it: of a file, the last link to it.
pub(super) fn described(entry: &Entry, setter: &Entry) -> Value {
    use crate::image::entry::Printable;
    let what = kind_word(&entry.kind);
    let more = match &entry.kind {
        EntryKind::File { size, content } | EntryKind::Other { size, content, .. } => {
            format!(", {size} bytes, {content}")
        }
        EntryKind::Symlink { target } => format!(" to {}", Printable(target)),
        EntryKind::HardLink { target } => format!(" to {target}"),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            format!(" {major},{minor}")
        }
        EntryKind::Directory | EntryKind::Fifo => String::new(),
    };
    Value::Text(format!(
        "{what} {:04o} {}:{}{more}",
        setter.mode & 0o7777,
        setter.uid,
        setter.gid
    ))
}

/// Returns the count as a value; one beyond 2^63 cannot come up in an archive.
pub(super) fn number(count: u64) -> Value {
    Value::Number(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Returns the location of an entry.
pub(super) fn at(layer: Pair<Option<usize>>, path: &EntryPath, visibility: Visibility) -> Location {
    Location::Entry {
        layer,
        path: path.clone(),
        visibility,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::layer;

    #[test]
    fn layers_are_paired_by_what_they_hold() {
        // Each word is a layer: its files are its letters, a capital one being a file that differs.
        let image = |words: &str| -> Vec<Arc<Layer>> {
            let of = |word: &str| {
                let lines = word.chars().map(|letter| {
                    let name = letter.to_ascii_lowercase();
                    let content = if letter.is_uppercase() {
                        "other"
                    } else {
                        "same"
                    };
                    format!("f 0644 {name} @0 {content}")
                });
                let lines: Vec<String> = lines.collect();
                layer(lines.iter().map(String::as_str))
            };
            words
                .split(' ')
                .filter(|word| !word.is_empty())
                .map(of)
                .collect()
        };
        let cases = [
            ("the same", "ab cd", "ab cd", "0:0 1:1"),
            ("one changed", "ab cd", "ab cD", "0:0 1:1"),
            ("all changed", "ab cd", "AB CD", "0:0 1:1"),
            ("one before", "ab cd", "xy ab cd", "-:0 0:1 1:2"),
            (
                "one before, another changed",
                "ab cd",
                "xy ab cD",
                "-:0 0:1 1:2",
            ),
            (
                "one gone, one more",
                "ab cd ef",
                "cd ef xy",
                "0:- 1:0 2:1 -:2",
            ),
            ("one gone, one changed", "ab cdef", "cdeF xy", "0:- 1:0 -:1"),
            ("two as one", "ab cd", "abcd", "0:- 1:- -:0"),
            ("exchanged", "abc de", "de abc", "-:0 0:1 1:-"),
            ("all of one side", "", "ab", "-:0"),
            ("none", "", "", ""),
        ];
        for (case, published, rebuilt, expected) in cases {
            let (published, rebuilt) = (image(published), image(rebuilt));
            let number = |layer: Option<usize>| layer.map_or("-".to_owned(), |it| it.to_string());
            let pairs: Vec<String> = pairing(Pair::new(&published, &rebuilt))
                .into_iter()
                .map(|pair| format!("{}:{}", number(pair.published), number(pair.rebuilt)))
                .collect();
            assert_eq!(pairs.join(" "), expected, "{case}");
        }
    }
}
