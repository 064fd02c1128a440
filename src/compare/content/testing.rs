//! Small files of each format, for tests.

use std::io::Write;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::Digest as _;

/// Returns a gzip file.
pub(crate) fn gzip(content: &[u8], mtime: u32, name: Option<&str>) -> Vec<u8> {
    let mut builder = flate2::GzBuilder::new().mtime(mtime);
    if let Some(name) = name {
        builder = builder.filename(name);
    }
    let mut encoder = builder.write(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Returns a tar of files, each with its name, time and content.
pub(crate) fn tar(members: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (name, mtime, content) in members {
        let mut header = ::tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(*mtime);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Returns an ar archive of files, each with its name, time and content.
pub(crate) fn ar(members: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, mtime, content) in members {
        let size = content.len();
        let name = format!("{name}/");
        writeln!(
            bytes,
            "{name:<16}{mtime:<12}0     0     100644  {size:<10}`"
        )
        .unwrap();
        bytes.extend_from_slice(content);
        if size % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// Returns a cpio archive of files, each with its name, time and content.
pub(crate) fn cpio(members: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, mtime, content) in members.iter().chain(&[("TRAILER!!!", 0, &b""[..])]) {
        let (size, name_size) = (content.len(), name.len() + 1);
        write!(
            bytes,
            "070701{:08x}{:08x}{:08x}{:08x}{:08x}{mtime:08x}{size:08x}{:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}{name}\0",
            1, 0o100_644, 0, 0, 1, 0, 0, 0, 0, 0,
        )
        .unwrap();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// Returns a zip of deflated files, each with its name, time and content.
///
/// The time is also in an extra field, as Info-ZIP writes it.
pub(crate) fn zip(members: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for (name, mtime, content) in members {
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).unwrap();
        let packed = encoder.finish().unwrap();
        let mut fields = vec![20, 0, 0, 0, 8, 0];
        fields.extend(mtime.to_le_bytes());
        fields.extend(crc32fast::hash(content).to_le_bytes());
        let sizes = [packed.len(), content.len()];
        fields.extend(
            sizes
                .iter()
                .flat_map(|&size| u32::try_from(size).unwrap().to_le_bytes()),
        );
        fields.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        let mut extra = b"UT\x05\0\x01".to_vec();
        extra.extend(mtime.to_le_bytes());
        fields.extend([u8::try_from(extra.len()).unwrap(), 0]);
        let offset = u32::try_from(bytes.len()).unwrap();
        for part in [
            &b"PK\x03\x04"[..],
            &fields,
            name.as_bytes(),
            &extra,
            &packed,
        ] {
            bytes.extend_from_slice(part);
        }
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&fields);
        directory.extend([0, 0, 0, 0, 0, 0, 0, 0, 0xa4, 0x81]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
        directory.extend(&extra);
    }
    let count = u16::try_from(members.len()).unwrap().to_le_bytes();
    let numbers = [directory.len(), bytes.len()];
    bytes.extend(directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count.iter().chain(&count));
    bytes.extend(
        numbers
            .iter()
            .flat_map(|&number| u32::try_from(number).unwrap().to_le_bytes()),
    );
    bytes.extend([0, 0]);
    bytes
}

/// Returns compiled Python 3.11 whose source is 7 bytes long.
pub(crate) fn pyc(mtime: u32, code: &[u8]) -> Vec<u8> {
    let (flags, size) = (0_u32.to_le_bytes(), 7_u32.to_le_bytes());
    [
        b"\xa7\x0d\r\n",
        &flags[..],
        &mtime.to_le_bytes(),
        &size,
        b"\xe3",
        code,
    ]
    .concat()
}

/// Returns a GNU build id's note.
pub(crate) fn note(id: &[u8; 20]) -> Vec<u8> {
    [b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0", &id[..]].concat()
}

/// Returns a 64-bit ELF file of these sections, each with its name, flags and bytes.
pub(crate) fn elf(sections: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let mut names = vec![0];
    let mut bytes = vec![0; 64];
    let mut headers = vec![0; 64];
    let shstrtab = names_of(sections);
    for (name, flags, content) in sections.iter().chain(&[(".shstrtab", 0, &*shstrtab)]) {
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let kind: u32 = if *name == ".shstrtab" { 3 } else { 1 };
        headers.extend(u32::try_from(names.len()).unwrap().to_le_bytes());
        headers.extend(kind.to_le_bytes());
        let (offset, size) = (bytes.len() as u64, content.len() as u64);
        for word in [*flags, 0, offset, size, 0, 1, 0] {
            headers.extend(word.to_le_bytes());
        }
        names.extend(name.as_bytes());
        names.push(0);
        bytes.extend_from_slice(content);
    }
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    let offset = bytes.len() as u64;
    let count = u16::try_from(sections.len() + 2).unwrap();
    let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    header.extend([0; 16]);
    header.extend(offset.to_le_bytes());
    header.extend([0, 0, 0, 0, 64, 0, 56, 0, 0, 0, 64, 0]);
    header.extend(count.to_le_bytes());
    header.extend((count - 1).to_le_bytes());
    bytes[..64].copy_from_slice(&header);
    bytes.extend(headers);
    bytes
}

fn names_of(sections: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let names = sections.iter().map(|(name, _, _)| *name);
    let mut bytes = vec![0];
    for name in names.chain([".shstrtab"]) {
        bytes.extend(name.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// Writes a store of trusted certificates, each made at that time.
pub(crate) fn key_store(entries: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let mut bytes = 0xfeed_feed_u32.to_be_bytes().to_vec();
    bytes.extend(2_u32.to_be_bytes());
    bytes.extend(u32::try_from(entries.len()).unwrap().to_be_bytes());
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend(text.bytes());
    };
    for (alias, created_at, certificate) in entries {
        bytes.extend(2_u32.to_be_bytes());
        text(&mut bytes, alias);
        bytes.extend(created_at.to_be_bytes());
        text(&mut bytes, "X.509");
        bytes.extend(u32::try_from(certificate.len()).unwrap().to_be_bytes());
        bytes.extend(*certificate);
    }
    let mut hash = sha1::Sha1::new();
    hash.update(b"\0c\0h\0a\0n\0g\0e\0i\0tMighty Aphrodite");
    hash.update(&bytes);
    bytes.extend(hash.finalize());
    bytes
}

/// Writes a cache as `ldconfig` of glibc 2.36 does.
pub(crate) fn ld_cache(libraries: &[(&str, &str)], generator: &str) -> Vec<u8> {
    let table_end = 48 + 24 * libraries.len();
    let mut names = Vec::new();
    let mut table = Vec::new();
    for (name, path) in libraries {
        table.extend(0x0303_u32.to_le_bytes());
        for text in [name, path] {
            table.extend(
                u32::try_from(table_end + names.len())
                    .unwrap()
                    .to_le_bytes(),
            );
            names.extend(text.bytes().chain([0]));
        }
        table.extend([0; 12]);
    }
    let extension = (table_end + names.len()).next_multiple_of(4);
    let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
    let word = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    bytes.extend(word(libraries.len()));
    bytes.extend(word(names.len()));
    bytes.extend([2, 0, 0, 0]);
    bytes.extend(word(extension));
    bytes.extend([0; 12]);
    bytes.extend(table);
    bytes.extend(names);
    bytes.resize(extension, 0);
    bytes.extend(0xeaa4_2174_u32.to_le_bytes());
    bytes.extend(word(1));
    bytes.extend([0; 8]);
    bytes.extend(word(extension + 24));
    bytes.extend(word(generator.len()));
    bytes.extend(generator.bytes());
    bytes
}

/// Writes an Ed25519 key as `ssh-keygen` does.
pub(crate) fn ssh_private_key(seed: u8, comment: &str, after: &[u8]) -> Vec<u8> {
    let string =
        |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let point = [seed; 32];
    let public = [string(b"ssh-ed25519"), string(&point)].concat();
    let mut private = [[seed; 8].to_vec(), public.clone()].concat();
    private.extend(string(&[[9; 32], point].concat()));
    private.extend(string(comment.as_bytes()));
    private.extend(after);
    for number in 1..8 {
        if private.len() % 8 != 0 {
            private.push(number);
        }
    }
    let mut key = b"openssh-key-v1\0".to_vec();
    for text in [&b"none"[..], b"none", b""] {
        key.extend(string(text));
    }
    key.extend(1_u32.to_be_bytes());
    key.extend(string(&public));
    key.extend(string(&private));
    let mut file = b"-----BEGIN OPENSSH PRIVATE KEY-----\n".to_vec();
    for line in STANDARD.encode(key).as_bytes().chunks(70) {
        file.extend([line, b"\n"].concat());
    }
    file.extend(b"-----END OPENSSH PRIVATE KEY-----\n");
    file
}

/// Returns a file of each format.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let files: [(&str, u64, &[u8]); 2] = [("a", 1, b"one\n"), ("b/c", 2, b"{\"two\": 2}")];
    let mut sqlite = b"SQLite format 3\0\x02\0\x01\x01\0\x40\x20\x20".to_vec();
    sqlite.resize(1024, 0);
    let zipped = zip(&[
        ("a", 0x5821_0000, b"one\n"),
        ("META-INF/MANIFEST.MF", 1, b"Built-By: me\r\n"),
    ]);
    vec![
        tar(&files),
        ar(&files),
        cpio(&files),
        gzip(&tar(&files), 7, Some("name")),
        zstd::encode_all(&*tar(&files), 3).unwrap(),
        zip(&[("inner.zip", 0, &zipped)]),
        zipped,
        pyc(9, b"code"),
        elf(&[
            (".note.gnu.build-id", 2, &note(b"01234567890123456789")),
            (".text", 6, b"\x90\x90\xc3"),
            (".rodata", 2, b"Mar  5 2024\0/build/one/a.c\0"),
            (".comment", 0, b"GCC\0"),
        ]),
        sqlite,
        b"{\"a\": [1, 2, {\"b\": null}]}\n".to_vec(),
        b"one\ntwo\nMar  5 2024 10:11:12\nthree\n".to_vec(),
        b"\xff\xfeo\0n\0e\0\n\0".to_vec(),
        b"<!DOCTYPE html>\n<p>2024-03-05</p>\n".to_vec(),
    ]
}
