//! What comparing two images costs, beside the least that it can cost.
//!
//! `cargo bench --bench diff`. The images are made here, the same each time: one gzip
//! layer of some 64 MB each, of which 14 files differ in content and half in time.
//! `benches/pair` measures the program itself on a whole distribution.

mod layer;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flate2::{Compression, write::GzEncoder};
use reprove::{
    digest::Digest,
    image::{Access, ImageName, Platform},
    pair::Pair,
    progress::Silent,
    report::Report,
    verdict::{Policy, Rules},
    verify::{self, DiffRequest, World},
};

const FILES: u64 = 4000;
/// Files that differ in content.
const CHANGED: u64 = 14;

/// Returns numbers that look random, the same each time. Source: Marsaglia, "Xorshift RNGs".
fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

/// Returns what a file holds: words out of a small stock, which compress as programs do.
fn content(file: u64) -> Vec<u8> {
    let mut numbers = numbers(file.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
    // Most are small, and a few have a megabyte.
    let size = match file % 100 {
        0 => 1 << 20,
        other => 512 + 97 * other,
    };
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < size {
        let number = numbers.next().expect("there is always another number");
        if number.is_multiple_of(4) {
            bytes.extend(number.to_le_bytes());
        } else {
            bytes.extend(format!("word{} ", number % 512).bytes());
        }
    }
    bytes
}

#[derive(Clone, Copy)]
enum Change {
    Nothing,
    Some,
}

/// Writes a layer, and returns the hash of its tar.
fn write_layer(path: &Path, change: Change) -> io::Result<Digest> {
    let mut tar = tar::Builder::new(Vec::new());
    for file in 0..FILES {
        let mut content = content(file);
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_mtime(1_700_000_000);
        if let Change::Some = change {
            if file % (FILES / CHANGED) == 1 {
                *content.last_mut().expect("no file is empty") ^= 1;
            }
            header.set_mtime(1_700_000_000 + file % 2);
        }
        let name = format!("usr/share/folder{}/file{file}", file % 64);
        tar.append_data(&mut header, name, &content[..])?;
    }
    let tar = tar.into_inner()?;
    let mut gzip = GzEncoder::new(fs::File::create(path)?, Compression::new(6));
    gzip.write_all(&tar)?;
    gzip.finish()?;
    Ok(Digest::of(&tar))
}

/// An OCI layout with one image of one layer.
struct Layout {
    folder: PathBuf,
    layer: PathBuf,
}

fn layout(folder: PathBuf, change: Change) -> io::Result<Layout> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let layer = blobs.join("layer");
    let diff_id = write_layer(&layer, change)?;
    let blob = |bytes: &[u8]| -> io::Result<String> {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes)?;
        Ok(format!(r#""digest":"{digest}","size":{}"#, bytes.len()))
    };
    let config = blob(
        format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        )
        .as_bytes(),
    )?;
    let packed = fs::read(&layer)?;
    let served = blob(&packed)?;
    fs::remove_file(&layer)?;
    let kind = "application/vnd.oci.image";
    let manifest = blob(
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}.manifest.v1+json","config":{{"mediaType":"{kind}.config.v1+json",{config}}},"layers":[{{"mediaType":"{kind}.layer.v1.tar+gzip",{served}}}]}}"#
        )
        .as_bytes(),
    )?;
    fs::write(
        folder.join("index.json"),
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{kind}.manifest.v1+json",{manifest}}}]}}"#
        ),
    )?;
    fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    Ok(Layout {
        layer: blobs.join(Digest::of(&packed).hex()),
        folder,
    })
}

fn compared(images: Pair<&Layout>, work: &Path) -> Report {
    let name = |layout: &Layout| -> ImageName {
        format!("oci:{}", layout.folder.display())
            .parse()
            .expect("it names a folder")
    };
    let request = DiffRequest {
        published: name(images.published),
        rebuilt: name(images.rebuilt),
        platform: Some("linux/amd64".parse::<Platform>().expect("it is a platform")),
        policy: Policy::builtin(Rules::Standard),
        rerun: Vec::new(),
    };
    let world = World {
        cache: work,
        scratch: work,
        access: &Access::default(),
        progress: &Silent,
        clock: jiff::Timestamp::now,
    };
    verify::diff(&request, &world).expect("both images can be read")
}

/// Inflates and hashes both layers at the same time.
fn floor(images: Pair<&Layout>) {
    thread::scope(|scope| {
        for layout in [images.published, images.rebuilt] {
            scope.spawn(|| layer::hashed(&layout.layer).expect("the layer can be read"));
        }
    });
}

fn benches(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let made = |name: &str, change| {
        layout(folder.path().join(name), change).expect("a layout can be written")
    };
    let (one, two) = (made("one", Change::Nothing), made("two", Change::Some));
    let pair = |published, rebuilt| Pair { published, rebuilt };
    // What is measured is what should be measured.
    let report = compared(pair(&one, &two), folder.path());
    let of = |attribute: &str| {
        let findings = report.findings.iter();
        findings
            .filter(|finding| finding.attribute == attribute)
            .count() as u64
    };
    assert_eq!((of("content"), of("mtime")), (CHANGED + 1, FILES / 2));

    let mut group = criterion.benchmark_group("images");
    group.sample_size(10);
    let sizes = [&one, &two].map(|layout| fs::metadata(&layout.layer));
    let bytes = sizes
        .into_iter()
        .map(|size| size.expect("the layer is there").len())
        .sum();
    group.throughput(Throughput::Bytes(bytes));
    for (name, images) in [("same", pair(&one, &one)), ("changed", pair(&one, &two))] {
        group.bench_function(BenchmarkId::new("floor", name), |bencher| {
            bencher.iter(|| floor(images));
        });
        group.bench_function(BenchmarkId::new("diff", name), |bencher| {
            bencher.iter(|| compared(images, folder.path()));
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
