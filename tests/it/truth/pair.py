"""Makes a pair of images that differ in hundreds of known ways, and lists how they differ.

    pair.py SEED KIND FOLDER

Writes the layouts FOLDER/published and FOLDER/rebuilt, and FOLDER/truth.json. KIND says
what is done to the layers of the rebuilt image: `changed` injects changes, `squashed`
injects them and writes what is then to be seen as one layer, `same` writes that of the
unchanged layers.

The truth is worked out by brute force from both images' entries, not from what was
injected. Nothing of reprove is used for it: tarfile writes the headers, and the file
system is a tree of objects, changed as an engine would change one on disk.
"""

import copy
import gzip
import hashlib
import io
import itertools
import json
import os
import random
import sys
import tarfile

FILE, HARD, SYMBOLIC, CHARACTER, BLOCK, DIRECTORY, PIPE = (
    tarfile.REGTYPE,
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)
WORDS = {
    FILE: "file",
    HARD: "hard link",
    SYMBOLIC: "symbolic link",
    CHARACTER: "character device",
    BLOCK: "block device",
    DIRECTORY: "directory",
    PIPE: "named pipe",
}
OPAQUE = b".wh..wh..opq"
CHANGES = 500

# Revision 2, permitted and effective in the first words.
CAPABILITY = bytes([1, 0, 0, 2, 0, 0x20]) + bytes(14)


class Entry:
    """One member of a layer's archive."""

    def __init__(self, path, kind, content=b"", target=b"", device=(0, 0)):
        self.path = path
        self.kind = kind
        self.content = content
        self.target = target
        self.device = device
        self.mode = 0o755 if kind == DIRECTORY else 0o777 if kind == SYMBOLIC else 0o644
        self.uid = self.gid = 0
        self.mtime = 1_700_000_000
        self.owner = self.group = ""
        self.xattrs = {}

    def name(self):
        return self.path.rsplit(b"/", 1)[-1]

    def folder(self):
        return self.path.rpartition(b"/")[0]

    def is_whiteout(self):
        return self.name().startswith(b".wh.")


def text(data):
    return data.decode("utf-8", "surrogateescape")


# ---------------------------------------------------------------- making the images


def some_name(dice, number):
    """Returns a name; a few are no UTF-8, or need the header's second field for it."""
    odd = dice.random()
    if odd < 0.04:
        return b"\xff\xfe-%d" % number
    if odd < 0.06:
        return "größe-%d".encode() % number
    if odd < 0.08:
        return b"with space\\%d\n" % number
    if odd < 0.10:
        return b"long-" * 15 + b"%d" % number
    return b"%s%d" % (dice.choice([b"a", b"lib", b"Z", b"x.so."]), number)


def some_content(dice):
    return dice.randbytes(dice.choice([0, 1, 10, 511, 512, 513, 2000]))


def some_target(dice):
    return dice.choice([b"/", b"", b"../"]) + b"some/target%d" % dice.randrange(100)


def some_entry(dice, path):
    """Returns an entry of any type but directory and hard link."""
    kind = dice.choice([FILE] * 8 + [SYMBOLIC] * 3 + [CHARACTER, BLOCK, PIPE])
    entry = Entry(path, kind)
    if kind == FILE:
        entry.content = some_content(dice)
        entry.mode = dice.choice([0o644, 0o755, 0o600])
    elif kind == SYMBOLIC:
        entry.target = some_target(dice)
    elif kind in (CHARACTER, BLOCK):
        entry.device = (dice.randrange(1, 250), dice.randrange(250))
    if dice.random() < 0.2:
        entry.uid, entry.gid = dice.randrange(1, 70000), dice.randrange(1, 70000)
    if kind == FILE and dice.random() < 0.1:
        entry.xattrs["user.note"] = dice.randbytes(5)
    if kind == FILE and dice.random() < 0.1:
        entry.xattrs["security.capability"] = CAPABILITY
    return entry


def base_layer(dice):
    folders = [b""]
    entries = []
    for number in range(40):
        parent = dice.choice(folders[-12:])
        path = (parent + b"/" if parent else b"") + b"dir%d" % number
        folders.append(path)
        entries.append(Entry(path, DIRECTORY))
    for number in range(700):
        parent = dice.choice(folders)
        path = (parent + b"/" if parent else b"") + some_name(dice, number)
        entries.append(some_entry(dice, path))
    files = [entry for entry in entries if entry.kind == FILE]
    for number in range(60):
        file = dice.choice(files)
        link = Entry(dice.choice(folders[1:]) + b"/link%d" % number, HARD, target=file.path)
        link.mode, link.uid, link.gid = file.mode, file.uid, file.gid
        link.xattrs = dict(file.xattrs)
        entries.append(link)
    return entries


def upper_layer(dice, below, layer):
    """Returns a layer that overwrites, adds, deletes and empties."""
    entries = []
    plain = [entry for entry in below if not entry.is_whiteout()]
    folders = [entry.path for entry in plain if entry.kind == DIRECTORY]
    leaves = [entry for entry in plain if entry.kind != DIRECTORY]
    for folder in dice.sample(folders, 12):
        entries.append(Entry(folder, DIRECTORY))
    for folder in dice.sample(folders, 3):
        entries.append(Entry(folder + b"/" + OPAQUE, FILE))
    for entry in dice.sample(leaves, 40):
        folder = entry.folder()
        entries.append(Entry((folder + b"/" if folder else b"") + b".wh." + entry.name(), FILE))
    for entry in dice.sample(leaves, 120):
        entries.append(some_entry(dice, entry.path))
    for number in range(200):
        path = dice.choice(folders) + b"/" + some_name(dice, 10000 * layer + number)
        entries.append(some_entry(dice, path))
    files = [entry for entry in entries if entry.kind == FILE and not entry.is_whiteout()]
    for number in range(20):
        file = dice.choice(files)
        link = Entry(dice.choice(folders) + b"/link%d-%d" % (layer, number), HARD, target=file.path)
        link.mode, link.uid, link.gid = file.mode, file.uid, file.gid
        link.xattrs = dict(file.xattrs)
        entries.append(link)
    return entries


def images_layers(dice):
    layers = [base_layer(dice)]
    for layer in (1, 2):
        layers.append(upper_layer(dice, [entry for one in layers for entry in one], layer))
    return layers


# ---------------------------------------------------------------- injecting changes


def change(dice, layers):
    """Makes one change in some layer; returns its name, or None where it cannot be made."""
    layer = dice.randrange(len(layers))
    entries = layers[layer]
    position = dice.randrange(len(entries))
    entry = entries[position]
    what = dice.choice(KINDS)
    if what in ("content", "size", "hard-link-made") and entry.kind != FILE:
        return None
    if what == "content":
        if not entry.content:
            return None
        data = bytearray(entry.content)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        entry.content = bytes(data)
    elif what == "size":
        entry.content += dice.randbytes(dice.randrange(1, 600))
    elif what == "mode":
        entry.mode ^= 1 << dice.randrange(9)
    elif what == "special-bit":
        entry.mode ^= dice.choice([0o4000, 0o2000, 0o1000])
    elif what == "uid":
        entry.uid += dice.choice([1, 100])
    elif what == "gid":
        entry.gid += dice.choice([1, 100])
    elif what == "mtime":
        entry.mtime += dice.choice([-1, 1, 3600])
    elif what == "owner-name":
        entry.owner = dice.choice(["root", "mallory"])
    elif what == "group-name":
        entry.group = dice.choice(["root", "mallory"])
    elif what == "slash":
        if entry.kind != SYMBOLIC:
            return None
        target = entry.target
        entry.target = target[1:] if target.startswith(b"/") else b"/" + target
    elif what == "target":
        if entry.kind != SYMBOLIC:
            return None
        entry.target = entry.target + dice.choice([b"/", b"x", b"\xff"])
    elif what == "hard-link-moved":
        files = [other.path for other in entries[:position] if other.kind == FILE]
        if entry.kind != HARD or not files:
            return None
        entry.target = dice.choice(files)
    elif what == "hard-link-broken":
        files = [other for other in entries if other.kind == FILE and other.path == entry.target]
        if entry.kind != HARD or not files:
            return None
        entry.kind, entry.target, entry.content = FILE, b"", files[-1].content
    elif what == "hard-link-made":
        files = [other for other in entries[:position] if other.kind == FILE]
        if not files or entry.is_whiteout():
            return None
        file = dice.choice(files)
        if file.path == entry.path or file.is_whiteout():
            return None
        entry.kind, entry.target, entry.content = HARD, file.path, b""
    elif what == "xattr":
        if entry.kind not in (FILE, DIRECTORY) or entry.is_whiteout():
            return None
        name = dice.choice(["user.note", "security.capability", "user.more"])
        if name in entry.xattrs and dice.random() < 0.5:
            del entry.xattrs[name]
        elif name == "security.capability":
            value = bytearray(entry.xattrs.get(name, CAPABILITY))
            value[4] ^= 1 << dice.randrange(8)
            entry.xattrs[name] = bytes(value)
        else:
            entry.xattrs[name] = dice.randbytes(4) + b"=\n\0"
    elif what == "device":
        if entry.kind not in (CHARACTER, BLOCK):
            return None
        major, minor = entry.device
        entry.device = dice.choice([(major + 1, minor), (major, minor + 1)])
    elif what == "type":
        # What has something below it anywhere stays a directory: paths through symbolic
        # links are what other tests are for.
        used = {folder for one in layers for other in one for folder in above(other.path)}
        if entry.path in used or entry.is_whiteout():
            return None
        other = some_entry(dice, entry.path)
        if dice.random() < 0.2:
            other = Entry(entry.path, DIRECTORY)
        if other.kind == entry.kind:
            return None
        other.mtime = entry.mtime
        entries[position] = other
    elif what == "removed":
        del entries[position]
    elif what == "added":
        path = dice.choice(folders(layers, entries)) + b"/" + some_name(dice, 900_000 + dice.randrange(90_000))
        new = Entry(path, DIRECTORY) if dice.random() < 0.1 else some_entry(dice, path)
        entries.insert(position, new)
    elif what == "whiteout":
        if layer == 0:
            return None
        below = dice.choice(layers[dice.randrange(layer)])
        if below.is_whiteout():
            return None
        folder = below.folder()
        path = (folder + b"/" if folder else b"") + b".wh." + below.name()
        entries.insert(position, Entry(path, FILE))
    elif what == "opaque":
        if layer == 0 or dice.random() < 0.9:
            return None
        folder = dice.choice(folders(layers, entries))
        entries.insert(position, Entry(folder + b"/" + OPAQUE, FILE))
    elif what == "duplicated":
        if entry.is_whiteout():
            return None
        again = copy.deepcopy(entry)
        if dice.random() < 0.5:
            again.mode ^= 0o100
        if again.kind == FILE and dice.random() < 0.5:
            again.content = some_content(dice)
        entries.insert(dice.choice([position, position + 1, len(entries)]), again)
    elif what == "moved":
        entries.insert(dice.randrange(len(entries)), entries.pop(position))
    return what


# Each class as often as it has to be tried for as many to be made.
KINDS = (
    ["content", "size", "mode", "special-bit", "uid", "gid", "mtime", "removed", "added"] * 2
    + ["owner-name", "group-name", "duplicated", "xattr", "type", "whiteout", "opaque"]
    + ["slash", "target"] * 4
    + ["hard-link-moved", "hard-link-broken"] * 6
    + ["device"] * 6
    + ["hard-link-made"]
)


def folders(layers, entries):
    """Returns the layer's directories that are nothing else in any layer."""
    others = {other.path for one in layers for other in one if other.kind != DIRECTORY}
    return [one.path for one in entries if one.kind == DIRECTORY and one.path not in others]


def above(path):
    """Returns the directories that a path goes through."""
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts))]


# ---------------------------------------------------------------- the file system


class Node:
    """A file or directory as a disk has it."""

    def __init__(self, entry, children=None):
        # The entry that says what it is, and the one that set its mode, owner and times;
        # None for a directory that nothing but what it holds asks for.
        self.file = entry
        self.attributes = entry
        self.children = children

    def is_directory(self):
        return self.children is not None


class Disk:
    """What a container sees: a tree, changed layer by layer."""

    def __init__(self, layers):
        self.root = Node(None, {})
        # The entry that each name was made by, by (directory, name).
        self.names = {}
        self.odd = []
        for layer in layers:
            self.apply(layer, {id(entry) for entry in layer})
        self.paths = dict(self.walk(self.root, b""))

    def lookup(self, path):
        node = self.root
        for part in path.split(b"/") if path else []:
            if node is None or not node.is_directory():
                return None
            node = node.children.get(part)
        return node

    def folder(self, path):
        """Returns the directory at a path, made where it is missing."""
        node = self.root
        for part in path.split(b"/") if path else []:
            node = node.children.setdefault(part, Node(None, {}))
            assert node.is_directory(), path
        return node

    def apply(self, layer, own):
        whiteouts = [entry for entry in layer if entry.is_whiteout()]
        removed, emptied = {}, []
        for entry in whiteouts:
            if entry.name() == OPAQUE:
                emptied.append(entry.folder())
                continue
            path = (entry.folder() + b"/" if entry.folder() else b"") + entry.name()[4:]
            if self.lookup(path) is None:
                self.odd.append((entry.path, "whiteout of nothing"))
            removed[path] = entry
        for path in emptied:
            node = self.lookup(path)
            if node is not None and node.is_directory():
                node.children.clear()
        for path in removed:
            folder, _, name = path.rpartition(b"/")
            node = self.lookup(folder)
            if node is not None and node.is_directory():
                node.children.pop(name, None)
        beside = set()
        for entry in layer:
            folder = self.folder(entry.folder())
            if entry.is_whiteout():
                continue
            if self.put(folder, entry, own) and entry.path in removed:
                beside.add(entry.path)
        for path in beside:
            self.odd.append((removed[path].path, "whiteout beside an entry for the same path"))

    def put(self, folder, entry, own):
        old = folder.children.get(entry.name())
        if entry.kind == DIRECTORY:
            children = old.children if old is not None and old.is_directory() else {}
            folder.children[entry.name()] = Node(entry, children)
        else:
            folder.children.pop(entry.name(), None)
            node = Node(entry)
            if entry.kind == HARD:
                node = self.lookup(entry.target)
                if node is None or node.is_directory():
                    self.odd.append((entry.path, "hard link to nothing"))
                    return False
                node.attributes = entry
                if id(node.file) not in own:
                    self.odd.append((entry.path, "hard link into a lower layer"))
            folder.children[entry.name()] = node
        self.names[id(folder.children), entry.name()] = entry
        return True

    def walk(self, node, path):
        for name, child in sorted(node.children.items()):
            below = (path + b"/" if path else b"") + name
            yield below, child
            if child.is_directory():
                yield from self.walk(child, below)

    def entry_of(self, path):
        """Returns the entry that the name at a path was made by, None where none was."""
        folder, _, name = path.rpartition(b"/")
        node = self.paths.get(path)
        if node is None or node.file is None:
            return None
        return self.names.get((id((self.lookup(folder) or self.root).children), name))

    def seen(self):
        """Returns the entries that something is left of."""
        left = set()
        for path, node in self.paths.items():
            left |= {id(entry) for entry in (self.entry_of(path), node.file, node.attributes)}
        return left


def squashed(disk):
    """Returns what is to be seen as the entries of one layer."""
    entries, written = [], {}
    for path, node in disk.paths.items():
        if node.file is None:
            continue
        entry = copy.deepcopy(node.attributes)
        entry.path = path
        entry.kind, entry.content = node.file.kind, node.file.content
        entry.target, entry.device = node.file.target, node.file.device
        if id(node) in written:
            entry.kind, entry.target, entry.content = HARD, written[id(node)], b""
        written[id(node)] = path
        entries.append(entry)
    return entries


# ---------------------------------------------------------------- the truth


def content_fields(one, other):
    if one.kind != other.kind:
        yield "type", "", WORDS[one.kind], WORDS[other.kind]
    elif one.kind == FILE:
        if len(one.content) != len(other.content):
            yield "size", "", str(len(one.content)), str(len(other.content))
        hashes = [hashlib.sha256(entry.content).hexdigest() for entry in (one, other)]
        if hashes[0] != hashes[1]:
            yield "content", "", "sha256:" + hashes[0], "sha256:" + hashes[1]
    elif one.kind in (SYMBOLIC, HARD) and one.target != other.target:
        yield "link-target", "", one.target.hex(), other.target.hex()
    # Also of a character and a block device; here both types are the same.
    if {one.kind, other.kind} <= {CHARACTER, BLOCK} and one.device != other.device:
        yield "device", "", "%d,%d" % one.device, "%d,%d" % other.device


def attribute_fields(one, other):
    # A symbolic link's mode is never used.
    if one.mode != other.mode and not one.kind == other.kind == SYMBOLIC:
        yield "mode", "", "%04o" % one.mode, "%04o" % other.mode
    if one.uid != other.uid:
        yield "uid", "", str(one.uid), str(other.uid)
    if one.gid != other.gid:
        yield "gid", "", str(one.gid), str(other.gid)
    for name in sorted(set(one.xattrs) | set(other.xattrs)):
        values = [entry.xattrs.get(name) for entry in (one, other)]
        if values[0] != values[1]:
            yield ("xattr", name, *[value and value.hex() for value in values])
    if one.mtime != other.mtime:
        yield "mtime", "", "%d.000000000" % one.mtime, "%d.000000000" % other.mtime


def form_fields(one, other):
    if one.kind == other.kind == SYMBOLIC and one.mode != other.mode:
        yield "mode", "", "%04o" % one.mode, "%04o" % other.mode
    if one.owner != other.owner:
        yield "owner-name", "", one.owner.encode().hex(), other.owner.encode().hex()
    if one.group != other.group:
        yield "group-name", "", one.group.encode().hex(), other.group.encode().hex()


def final(disks):
    """Lists what differs in what a container sees, a file's differences under each of its names."""
    one, other = disks
    for path in sorted(set(one.paths) | set(other.paths)):
        nodes = [disk.paths.get(path) for disk in disks]
        entries = [node and node.file for node in nodes]
        if None in nodes or (None in entries and entries != [None, None]):
            yield path, None, ("presence", "", None, None)
            continue
        if entries == [None, None]:
            continue
        names = f"{id(nodes[0])} {id(nodes[1])}"
        for field in content_fields(*entries):
            yield path, names, field
        for field in attribute_fields(*[node.attributes for node in nodes]):
            yield path, names, field


def in_order(entries):
    """Returns the entries by path, those of one path from the last backwards."""
    by_path = {}
    for position in reversed(range(len(entries))):
        by_path.setdefault(entries[position].path, []).append(position)
    return by_path


def dangling(entries):
    """Returns the hard links to nothing that stands before them."""
    before, found = set(), set()
    for entry in entries:
        if entry.kind == HARD and entry.target not in before:
            found.add(id(entry))
        before.add(entry.path)
    return found


def layer_truth(number, sides, disks, fields, alone, moved):
    """Adds what differs between two archives, entry by entry."""
    positions = [in_order(entries) for entries in sides]
    odd = [dangling(entries) for entries in sides]
    both = []
    for path in sorted(set(positions[0]) | set(positions[1])):
        pairs = itertools.zip_longest(*[side.get(path, []) for side in positions])
        for pair in pairs:
            if None in pair:
                side = 0 if pair[1] is None else 1
                entry = sides[side][pair[side]]
                # What shows in the file system as there and not there is said there.
                makes_name = disks[side].entry_of(path) is entry
                is_final = makes_name and disks[1 - side].entry_of(path) is None
                alone.append([side, number, path.hex(), is_final])
                continue
            both.append(pair)
            entries = [entries[at] for entries, at in zip(sides, pair)]
            for field in itertools.chain(
                content_fields(*entries), attribute_fields(*entries), form_fields(*entries)
            ):
                fields.append([number, path.hex(), field])
            marks = ["present" if id(entry) in side else None for entry, side in zip(entries, odd)]
            if marks[0] != marks[1]:
                field = ["oddity", "hard link to nothing before it", *marks]
                fields.append([number, path.hex(), field])
    if sorted(both) != sorted(both, key=lambda pair: pair[1]):
        moved.append(number)


def truth(layers, kind, done):
    disks = [Disk(one) for one in layers]
    for disk in disks:
        disk.seen_entries = disk.seen()
    seen = [[path.hex(), *rest] for path, *rest in final(disks)]
    fields, alone, moved = [], [], []
    if len(layers[0]) == len(layers[1]):
        for number, sides in enumerate(zip(*layers)):
            layer_truth(number, sides, disks, fields, alone, moved)
    else:
        # Layers without a counterpart are compared by what lies hidden in them.
        for side, (image, disk) in enumerate(zip(layers, disks)):
            for number, entries in enumerate(image):
                for entry in entries:
                    if id(entry) not in disk.seen_entries:
                        alone.append([side, number, entry.path.hex(), False])
    groups = [
        {path.hex(): str(id(node)) for path, node in disk.paths.items()} for disk in disks
    ]
    irregular = [[[path.hex(), what] for path, what in disk.odd] for disk in disks]
    return {
        "kind": kind,
        "done": done,
        "layers": [len(image) for image in layers],
        "final": seen,
        "fields": fields,
        "alone": alone,
        "moved": moved,
        "groups": groups,
        "irregular": irregular,
    }


# ---------------------------------------------------------------- writing


def record(key, value):
    """Returns one PAX record; its length counts itself."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest)
    while len(rest) + len(str(length)) != length:
        length = len(rest) + len(str(length))
    return b"%d%s" % (length, rest)


def padded(data):
    return data + bytes(-len(data) % 512)


def archive(entries):
    out = []
    for entry in entries:
        records = b"".join(
            record(b"SCHILY.xattr." + name.encode(), value)
            for name, value in sorted(entry.xattrs.items())
        )
        # The longest target that a header takes.
        if len(entry.target) > 100:
            records += record(b"linkpath", entry.target)
        if records:
            header = tarfile.TarInfo("PaxHeaders/x")
            header.type, header.size = tarfile.XHDTYPE, len(records)
            out += [header.tobuf(tarfile.USTAR_FORMAT), padded(records)]
        info = tarfile.TarInfo(text(entry.path))
        info.type, info.mode, info.mtime = entry.kind, entry.mode, entry.mtime
        info.uid, info.gid = entry.uid, entry.gid
        info.uname, info.gname = entry.owner, entry.group
        info.linkname = text(entry.target[:100])
        info.devmajor, info.devminor = entry.device
        if entry.kind == FILE:
            info.size = len(entry.content)
        out.append(info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape"))
        if entry.kind == FILE:
            out.append(padded(entry.content))
    return b"".join(out) + bytes(1024)


def layout(layers, folder):
    os.makedirs(os.path.join(folder, "blobs/sha256"))

    def blob(kind, data):
        name = hashlib.sha256(data).hexdigest()
        with open(os.path.join(folder, "blobs/sha256", name), "wb") as file:
            file.write(data)
        kind = f"application/vnd.oci.image.{kind}"
        return {"mediaType": kind, "digest": "sha256:" + name, "size": len(data)}

    def document(kind, value):
        return blob(kind, json.dumps(value).encode())

    tars = [archive(layer) for layer in layers]
    diff_ids = ["sha256:" + hashlib.sha256(tar).hexdigest() for tar in tars]
    platform = {"architecture": "amd64", "os": "linux"}
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": document("config.v1+json", {**platform, "config": {}, "rootfs": rootfs}),
        "layers": [blob("layer.v1.tar+gzip", gzip.compress(tar, 1, mtime=0)) for tar in tars],
    }
    index = {"schemaVersion": 2, "manifests": [document("manifest.v1+json", manifest)]}
    for name, value in [("index.json", index), ("oci-layout", {"imageLayoutVersion": "1.0.0"})]:
        with open(os.path.join(folder, name), "w") as file:
            json.dump(value, file)


def main():
    seed, kind, folder = sys.argv[1:]
    dice = random.Random(int(seed))
    published = images_layers(dice)
    rebuilt = copy.deepcopy(published)
    done = {}
    while kind != "same" and sum(done.values()) < CHANGES:
        what = change(dice, rebuilt)
        if what is not None:
            done[what] = done.get(what, 0) + 1
    if kind != "changed":
        rebuilt = [squashed(Disk(rebuilt))]
    layers = [published, rebuilt]
    for name, image in zip(["published", "rebuilt"], layers):
        layout(image, os.path.join(folder, name))
    with open(os.path.join(folder, "truth.json"), "w") as file:
        json.dump(truth(layers, kind, done), file)


main()
