//! Package databases made of a few headers, for tests.

/// Where each of rpm's formats lies.
pub(crate) const SQLITE: &str = "var/lib/rpm/rpmdb.sqlite";
pub(crate) const BERKELEY: &str = "var/lib/rpm/Packages";
pub(crate) const NDB: &str = "usr/lib/sysimage/rpm/Packages.db";

/// Returns a database of each format: a path, and its bytes.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let headers = [
        installed("one", "1.0", 1_000_000),
        installed("two", &"2".repeat(600), 1_000_001),
    ];
    let dpkg = b"Package: a\nVersion: 1\nArchitecture: all\n\nPackage: b\nVersion: 2\n";
    vec![
        (SQLITE, sqlite(&headers)),
        (BERKELEY, berkeley(Endian::Little, &headers)),
        (BERKELEY, berkeley(Endian::Big, &headers)),
        (NDB, ndb(&headers)),
        (
            "var/lib/dnf/history.sqlite",
            row("trans", &[1, 1_000_000, 1_000_009], "dnf install one"),
        ),
        ("var/lib/dpkg/status", dpkg.to_vec()),
        ("var/lib/dpkg/status.d/a", dpkg.to_vec()),
        ("var/lib/dpkg/info/a.list", b"/.\n/bin\n/bin/a\n".to_vec()),
        ("lib/apk/db/installed", b"P:a\nV:1\nF:bin\nR:b\n\n".to_vec()),
    ]
}

/// Writes one of rpm's databases, without indexes.
pub(crate) fn database(path: &str, headers: &[Vec<u8>]) -> Vec<u8> {
    match path {
        SQLITE => sqlite(headers),
        BERKELEY => berkeley(Endian::Little, headers),
        _ => ndb(headers),
    }
}

/// Writes a header as rpm has it once the package is installed.
pub(crate) fn installed(name: &str, version: &str, time: u32) -> Vec<u8> {
    header(
        &[(1000, &[name]), (1001, &[version]), (1002, &["1"])],
        &[(1008, &[time]), (1128, &[time])],
    )
}

/// Writes a header of texts and numbers.
pub(crate) fn header(texts: &[(u32, &[&str])], numbers: &[(u32, &[u32])]) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).unwrap().to_be_bytes();
    let mut index = Vec::new();
    let mut data = Vec::new();
    for (tag, texts) in texts {
        index.extend([
            tag.to_be_bytes(),
            8_u32.to_be_bytes(),
            word(data.len()),
            word(texts.len()),
        ]);
        for text in *texts {
            data.extend(text.bytes().chain([0]));
        }
    }
    for (tag, numbers) in numbers {
        index.extend([
            tag.to_be_bytes(),
            4_u32.to_be_bytes(),
            word(data.len()),
            word(numbers.len()),
        ]);
        data.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    }
    let head = [word(index.len() / 4), word(data.len())].concat();
    [head, index.concat(), data].concat()
}

/// The bytes of a page of `SQLite` and of Berkeley DB.
pub(crate) const PAGE: usize = 512;

fn varint(number: usize) -> Vec<u8> {
    assert!(number < 1 << 14);
    let number = u16::try_from(number).unwrap();
    vec![
        0x80 | u8::try_from(number >> 7).unwrap(),
        u8::try_from(number & 0x7f).unwrap(),
    ]
}

/// Makes a page one of a single cell; its header begins at `from`.
fn leaf(page: &mut [u8], from: usize, cell: &[u8]) {
    let at = PAGE - cell.len();
    page[at..].copy_from_slice(cell);
    page[from] = 13;
    page[from + 4] = 1;
    page[from + 8..from + 10].copy_from_slice(&u16::try_from(at).unwrap().to_be_bytes());
}

/// Returns the first page, which says that a table begins on the second.
fn first_page(table: &str) -> Vec<u8> {
    let times = match table {
        "trans" => "\"dt_begin\" INTEGER NOT NULL, /* (a time) */\n dt_end INTEGER, ",
        _ => "timestamp INTEGER NOT NULL, ",
    };
    let sql = format!("CREATE TABLE {table} (id INTEGER PRIMARY KEY, {times}more TEXT(9))");
    let mut page = vec![0; PAGE];
    let name = u8::try_from(2 * table.len() + 13).unwrap();
    let mut schema = vec![7, 23, name, name, 1];
    schema.extend(varint(2 * sql.len() + 13));
    schema.extend(format!("table{table}{table}\x02{sql}").bytes());
    let cell = [varint(schema.len()), vec![1], schema].concat();
    leaf(&mut page, 100, &cell);
    page[..18].copy_from_slice(b"SQLite format 3\0\x02\0");
    page
}

/// Writes a database of one table of one row: some numbers and a text.
pub(crate) fn row(table: &str, numbers: &[u32], text: &str) -> Vec<u8> {
    let header = numbers.len() + 2;
    let mut record = vec![u8::try_from(header).unwrap()];
    record.extend(numbers.iter().map(|_| 4));
    record.push(u8::try_from(2 * text.len() + 13).unwrap());
    record.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    record.extend(text.bytes());
    let mut second = vec![0; PAGE];
    let cell = [varint(record.len()), vec![1], record].concat();
    leaf(&mut second, 0, &cell);
    [first_page(table), second].concat()
}

/// Writes a database of one table, each blob in a page of its own with one that overflows.
pub(crate) fn sqlite(blobs: &[Vec<u8>]) -> Vec<u8> {
    let mut pages = vec![first_page("Packages"), vec![0; PAGE]];
    let mut children = Vec::new();
    for blob in blobs {
        let mut record = vec![4, 0];
        record.extend(varint(12 + 2 * blob.len()));
        record.extend(blob);
        let mut cell = varint(record.len());
        cell.push(1);
        let number = pages.len() + 1;
        children.push(u32::try_from(number).unwrap());
        pages.push(vec![0; PAGE]);
        let local = if record.len() <= PAGE - 35 {
            record.len()
        } else {
            let least = (PAGE - 12) * 32 / 255 - 23;
            let fitting = least + (record.len() - least) % (PAGE - 4);
            if fitting <= PAGE - 35 { fitting } else { least }
        };
        cell.extend(&record[..local]);
        let over: Vec<&[u8]> = record[local..].chunks(PAGE - 4).collect();
        if !over.is_empty() {
            cell.extend(u32::try_from(number + 1).unwrap().to_be_bytes());
        }
        leaf(&mut pages[number - 1], 0, &cell);
        for (index, part) in over.iter().enumerate() {
            let next = if index + 1 < over.len() {
                number + 2 + index
            } else {
                0
            };
            let mut page = u32::try_from(next).unwrap().to_be_bytes().to_vec();
            page.extend(*part);
            page.resize(PAGE, 0);
            pages.push(page);
        }
    }
    let (last, first) = children.split_last().unwrap();
    let root = &mut pages[1];
    root[0] = 5;
    root[4] = u8::try_from(first.len()).unwrap();
    root[8..12].copy_from_slice(&last.to_be_bytes());
    for (index, child) in first.iter().enumerate() {
        let at = PAGE - 5 * (index + 1);
        root[at..at + 4].copy_from_slice(&child.to_be_bytes());
        let place = u16::try_from(at).unwrap().to_be_bytes();
        root[12 + 2 * index..14 + 2 * index].copy_from_slice(&place);
    }
    pages.concat()
}

/// Numbers as a machine of either kind writes them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endian {
    Little,
    Big,
}

impl Endian {
    fn word(self, number: usize) -> [u8; 4] {
        let number = u32::try_from(number).unwrap();
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }

    fn short(self, number: usize) -> [u8; 2] {
        let number = u16::try_from(number).unwrap();
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }
}

pub(crate) fn put(pages: &mut [u8], at: usize, bytes: &[u8]) {
    pages[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Writes a table of Berkeley DB of four buckets: the counter in the first, the values dealt out to the
/// others, one a page, and each on pages of its own where it does not fit.
pub(crate) fn berkeley(endian: Endian, values: &[Vec<u8>]) -> Vec<u8> {
    const HEADER: usize = 26;
    let mut pages = vec![0; 5 * PAGE];
    put(&mut pages, 12, &endian.word(0x0006_1561));
    put(&mut pages, 16, &endian.word(9));
    put(&mut pages, 20, &endian.word(PAGE));
    pages[25] = 8;
    put(&mut pages, 72, &endian.word(3));
    for spare in 0..3 {
        put(&mut pages, 96 + 4 * spare, &endian.word(1));
    }
    let mut last = [1, 2, 3, 4];
    let counter = [&[1][..], &endian.word(values.len() + 1)].concat();
    let mut rows = vec![(0, [&[1][..], &endian.word(0)].concat(), counter)];
    for (index, value) in values.iter().enumerate() {
        let key = [&[1][..], &endian.word(index + 1)].concat();
        let item = if value.len() < PAGE / 2 {
            [&[1][..], value].concat()
        } else {
            let first = pages.len() / PAGE;
            let parts: Vec<&[u8]> = value.chunks(PAGE - HEADER).collect();
            for (part, number) in parts.iter().zip(first..) {
                let start = pages.len();
                pages.resize(start + PAGE, 0);
                let is_last = number + 1 == first + parts.len();
                let next = if is_last { 0 } else { number + 1 };
                put(&mut pages, start + 16, &endian.word(next));
                put(&mut pages, start + 22, &endian.short(part.len()));
                pages[start + 25] = 7;
                put(&mut pages, start + HEADER, part);
            }
            let reference = [endian.word(first), endian.word(value.len())].concat();
            [&[3, 0, 0, 0][..], &reference].concat()
        };
        rows.push((1 + index % 3, key, item));
    }
    for (bucket, key, item) in rows {
        let mut start = last[bucket] * PAGE;
        if pages[start + 25] != 0 {
            let number = pages.len() / PAGE;
            put(&mut pages, start + 16, &endian.word(number));
            last[bucket] = number;
            start = pages.len();
            pages.resize(start + PAGE, 0);
        }
        pages[start + 25] = 13;
        let key_at = PAGE - key.len();
        let item_at = key_at - item.len();
        put(&mut pages, start + 20, &endian.short(2));
        put(&mut pages, start + HEADER, &endian.short(key_at));
        put(&mut pages, start + HEADER + 2, &endian.short(item_at));
        put(&mut pages, start + key_at, &key);
        put(&mut pages, start + item_at, &item);
    }
    pages
}

/// Writes a database of one page of slots.
pub(crate) fn ndb(headers: &[Vec<u8>]) -> Vec<u8> {
    const SLOTS: usize = 4096;
    let word = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let mut bytes = b"RpmP".to_vec();
    bytes.extend([word(0), word(1), word(1), word(headers.len() + 1)].concat());
    bytes.resize(2 * 16, 0);
    let mut body = Vec::new();
    for (header, number) in headers.iter().zip(1..) {
        let from = (SLOTS + body.len()) / 16;
        let whole = (16 + header.len() + 12).next_multiple_of(16);
        bytes.extend([*b"Slot", word(number), word(from), word(whole / 16)].concat());
        let start = body.len();
        body.extend([*b"BlbS", word(number), word(1), word(header.len())].concat());
        body.extend(header);
        body.resize(start + whole - 12, 0);
        let sum = adler2::adler32_slice(&body[start..]).to_le_bytes();
        body.extend([sum, word(header.len()), *b"BlbE"].concat());
    }
    while bytes.len() < SLOTS {
        bytes.extend(b"Slot\0\0\0\0\0\0\0\0\0\0\0\0");
    }
    bytes.extend(body);
    bytes
}
