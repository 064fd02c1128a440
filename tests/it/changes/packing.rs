//! Changes of how a layer is compressed; the archive inside stays the same.

use std::io::Write;

use flate2::{Compression, Crc, write::DeflateEncoder};

use super::{
    Change, Maker,
    image::{Image, gzip},
    json,
    random::Random,
};

/// Every class of change to a layer's blob.
pub(crate) const CLASSES: &[(&str, Maker)] = &[
    ("gzip-stream", |image, random| {
        gzipped(image, random, |parts, _| parts.level = 9)
    }),
    ("gzip-time", |image, random| {
        gzipped(image, random, |parts, random| {
            parts.header[4 + random.below(4)] = 7;
        })
    }),
    ("gzip-extra-flags", |image, random| {
        gzipped(image, random, |parts, _| parts.header[8] = 4)
    }),
    ("gzip-system", |image, random| {
        gzipped(image, random, |parts, _| parts.header[9] = 3)
    }),
    ("gzip-name", |image, random| {
        gzipped(image, random, |parts, _| {
            parts.optional(0x08, b"layer.tar\0");
        })
    }),
    ("gzip-comment", |image, random| {
        gzipped(image, random, |parts, _| {
            parts.optional(0x10, b"a comment\0");
        })
    }),
    ("gzip-extra", |image, random| {
        gzipped(image, random, |parts, _| {
            parts.optional(0x04, b"\x06\0ab\x02\0xy");
        })
    }),
    ("gzip-text-flag", |image, random| {
        gzipped(image, random, |parts, _| parts.header[3] |= 1)
    }),
    ("gzip-header-checksum", |image, random| {
        gzipped(image, random, Gzip::with_header_checksum)
    }),
    ("gzip-reserved-flag", |image, random| {
        gzipped(image, random, |parts, _| parts.header[3] |= 0x20)
    }),
    ("gzip-members", gzip_members),
    ("gzip-empty-member", |image, random| {
        blob(image, random, |bytes, _| {
            [gzip(bytes, 1), gzip(b"", 1)].concat()
        })
    }),
    ("gzip-trailing", |image, random| {
        blob(image, random, |bytes, random| {
            let count = 1 + random.below(300);
            let mut trailing = random.bytes(count);
            trailing[0] |= 0x40;
            [gzip(bytes, 1), trailing].concat()
        })
    }),
    ("gzip-trailing-zeros", |image, random| {
        blob(image, random, |bytes, random| {
            [gzip(bytes, 1), vec![0; 1 + random.below(600)]].concat()
        })
    }),
    ("compression-none", |image, random| {
        Some(blob(image, random, |bytes, _| bytes.to_vec())?.typed("", OCI_LAYER))
    }),
    ("compression-zstd", |image, random| {
        Some(blob(image, random, |bytes, _| zstd(bytes, 3))?.typed("+zstd", OCI_LAYER))
    }),
    ("zstd-level", |image, random| {
        zstd_pair(image, random, |bytes, _| zstd(bytes, 19))
    }),
    ("zstd-frames", |image, random| {
        zstd_pair(image, random, |bytes, random| {
            let (one, other) = bytes.split_at(random.below(bytes.len()));
            [zstd(one, 3), zstd(other, 3)].concat()
        })
    }),
    ("zstd-skippable", |image, random| {
        zstd_pair(image, random, |bytes, random| {
            let count = random.below(40);
            let content = random.bytes(count);
            let mut frame = vec![0x50, 0x2a, 0x4d, 0x18];
            frame.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
            frame.extend(content);
            let frames = zstd(bytes, 3);
            if random.below(2) == 0 {
                [frame, frames].concat()
            } else {
                [frames, frame].concat()
            }
        })
    }),
];

const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The parts of a gzip member.
struct Gzip {
    header: Vec<u8>,
    level: u32,
}

impl Gzip {
    fn bytes(&self, content: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(self.header.clone(), Compression::new(self.level));
        encoder.write_all(content).unwrap();
        let mut bytes = encoder.finish().unwrap();
        let mut sum = Crc::new();
        sum.update(content);
        bytes.extend(sum.sum().to_le_bytes());
        bytes.extend(sum.amount().to_le_bytes());
        bytes
    }

    /// Sets a flag and adds its field, the only one.
    fn optional(&mut self, flag: u8, field: &[u8]) {
        self.header[3] |= flag;
        self.header.extend_from_slice(field);
    }

    fn with_header_checksum(&mut self, _: &mut Random) {
        self.header[3] |= 0x02;
        let mut sum = Crc::new();
        sum.update(&self.header);
        self.header.extend_from_slice(&sum.sum().to_le_bytes()[..2]);
    }
}

/// Packs one layer anew, by a function of its archive.
fn blob(
    image: &Image,
    random: &mut Random,
    pack: impl FnOnce(&[u8], &mut Random) -> Vec<u8>,
) -> Option<Change> {
    let number = random.below(image.layers.len());
    let mut rebuilt = image.clone();
    let layer = &mut rebuilt.layers[number];
    layer.blob = Some(pack(&layer.archive.bytes(), random));
    Some(
        Change::new(image, rebuilt, format!("blob of layer {number}"))
            .at(format!("layer {number}"))
            .in_layer(number),
    )
}

/// Packs one layer twice by parts, of which one is changed.
fn gzipped(
    image: &Image,
    random: &mut Random,
    change: impl FnOnce(&mut Gzip, &mut Random),
) -> Option<Change> {
    let mut change = Some(change);
    let changed = blob(image, random, |bytes, random| {
        let mut gzip = Gzip {
            header: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255],
            level: 1,
        };
        if let Some(change) = change.take() {
            change(&mut gzip, random);
        }
        gzip.bytes(bytes)
    })?;
    Some(changed.published_layers(|bytes| {
        Gzip {
            header: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255],
            level: 1,
        }
        .bytes(bytes)
    }))
}

fn gzip_members(image: &Image, random: &mut Random) -> Option<Change> {
    blob(image, random, |bytes, random| {
        let (one, other) = bytes.split_at(random.below(bytes.len()));
        [gzip(one, 1), gzip(other, 1)].concat()
    })
}

fn zstd(bytes: &[u8], level: i32) -> Vec<u8> {
    zstd::encode_all(bytes, level).unwrap()
}

/// Packs one layer with zstd on both sides.
fn zstd_pair(
    image: &Image,
    random: &mut Random,
    pack: impl FnOnce(&[u8], &mut Random) -> Vec<u8>,
) -> Option<Change> {
    let mut published = image.clone();
    for number in 0..published.layers.len() {
        let pointer = format!("/layers/{number}/mediaType");
        published.manifest = json::set(
            &published.manifest,
            &pointer,
            &format!("\"{OCI_LAYER}+zstd\""),
        );
    }
    Some(blob(&published, random, pack)?.published_layers(|bytes| zstd(bytes, 3)))
}

impl Change {
    /// Gives the changed layer the media type that its blob now has.
    fn typed(mut self, compression: &str, kind: &str) -> Self {
        let number = *self.layers.first().unwrap();
        let pointer = format!("/layers/{number}/mediaType");
        let value = format!("\"{kind}{compression}\"");
        self.rebuilt.manifest = json::set(&self.rebuilt.manifest, &pointer, &value);
        self.at(format!("manifest {pointer}"))
    }

    /// Packs every layer that the change leaves alone, and both of the published image's.
    fn published_layers(mut self, pack: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        for (number, layer) in self.published.layers.iter_mut().enumerate() {
            let packed = pack(&layer.archive.bytes());
            if !self.layers.contains(&number) {
                self.rebuilt.layers[number].blob = Some(packed.clone());
            }
            layer.blob = Some(packed);
        }
        self
    }
}
