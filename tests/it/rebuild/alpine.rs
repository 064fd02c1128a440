//! docker.io/library/alpine, hello-world and busybox from their sources, to the last bit.

use reprove::{
    dialect::TarDialect,
    facts::Origin,
    image::EntryPath,
    rebuild::{Context, Request, counterfactual},
    recipe::Build,
    source::TreeEntryKind,
};

use super::{blob, checkout, encoding, rebuilt, scratch};
use crate::support::test_source;

/// A published layer, and the commit of the release's branch that it was made from.
struct Published {
    release: &'static str,
    folder: &'static str,
    commit: &'static str,
    /// The blob's digest and size, as docker-library/repo-info has them of images
    /// that begin with this layer.
    layer: (&'static str, u64),
}

/// Every release from 3.7 on that `BuildKit` did not build yet; for 3.10 see [`DIFF_IDS`].
const ALPINE: [Published; 14] = [
    Published {
        release: "3.7",
        folder: "x86_64",
        commit: "e5205c8b54dd31cf9f9bb010f56cd5dfca73a711",
        layer: (
            "5d20c808ce198565ff70b3ed23a991dd49afac45dece63474b27ce6ed036adc6",
            2_107_098,
        ),
    },
    Published {
        release: "3.8",
        folder: "x86_64",
        commit: "c0919567e0350f0128fcad803d8e79c4ecfdf258",
        layer: (
            "486039affc0ad0f17f473efe8fb25c947515a8929198879d1e64210ef142372f",
            2_207_101,
        ),
    },
    Published {
        release: "3.9",
        folder: "x86_64",
        commit: "d7eb97a39abbdfe6ba73236f844cb80b756280d1",
        layer: (
            "31603596830fc7e56753139f9c2c6bd3759e48a850659506ebfb885d1cf3aef5",
            2_773_413,
        ),
    },
    Published {
        release: "3.11",
        folder: "x86_64",
        commit: "fd62af72be6e4a107fee6ac762dcf656503df075",
        layer: (
            "79e9f2f55bf5465a02ee6a6170e66005b20c7aa6b115af6fcd04fad706ea651a",
            2_817_409,
        ),
    },
    Published {
        release: "3.12",
        folder: "x86_64",
        commit: "0cc7fea5828303fa14d754bab4f9161a8cac4ba1",
        layer: (
            "1b7ca6aea1ddfe716f3694edb811ab35114db9e93f3ce38d7dab6b4d9270cb0c",
            2_808_060,
        ),
    },
    Published {
        release: "3.13",
        folder: "x86_64",
        commit: "4e7658cebff5e569496deea3556a6e258df12a65",
        layer: (
            "72cfd02ff4d01b1f319eed108b53120dea0185b916d2abeb4e6121879cbf7a65",
            2_827_571,
        ),
    },
    Published {
        release: "3.14",
        folder: "x86_64",
        commit: "cb8d8712f672bfa9a8b9a1f64b2c12f369f1cc68",
        layer: (
            "f7dab3ab2d6ec29aa28769bec35331fb485b5837501b1e8556413d8b5a79c9c8",
            2_829_647,
        ),
    },
    Published {
        release: "3.15",
        folder: "x86_64",
        commit: "7cf8098b8827402d711e102da28445cfe0d72b1d",
        layer: (
            "d078792c4f9122259f14b539315bd92cbd9490ed73e08255a08689122b143108",
            2_826_431,
        ),
    },
    Published {
        release: "3.16",
        folder: "x86_64",
        commit: "9c372c82f691cfe76c2058d75e2c4f9cd589d4c5",
        layer: (
            "a88dc8b54e91eb6b19695ef7e04865926d4df23004f414a3ee86978617492d4d",
            2_807_837,
        ),
    },
    Published {
        release: "3.17",
        folder: "x86_64",
        commit: "1d3ddcf4766ef6085fe6005ce3ec8ca4e6b45ddd",
        layer: (
            "a0f4cbe03b6df9e61ce02b3c41bbc05481842858bd48d9687614abe719303b47",
            3_392_194,
        ),
    },
    Published {
        release: "3.18",
        folder: "x86_64",
        commit: "a8be5a35dd72f90cb18dc7d450dca5212f6ad70f",
        layer: (
            "1cc3d825d8b2468ef662a8b631220516f492e24232477209fe863836d2d2ed44",
            3_416_313,
        ),
    },
    Published {
        release: "3.19",
        folder: "x86_64",
        commit: "0822e580809e816cdd92fdfc2677e71d01cba38c",
        layer: (
            "94c7366c1c3058fbc60a5ea04b6d13199a592a67939a043c41c051c4bfcd117a",
            3_419_706,
        ),
    },
    Published {
        release: "3.20",
        folder: "x86_64",
        commit: "7d63673353bd39d92ba42f6effcc199aeebd45ee",
        layer: (
            "43c4264eed91be63b206e17d93e75256a6097070ce643c5e8f0379998b44f170",
            3_623_807,
        ),
    },
    Published {
        release: "3.20",
        folder: "aarch64",
        commit: "7d63673353bd39d92ba42f6effcc199aeebd45ee",
        layer: (
            "cf04c63912e16506c4413937c7f4579018e4bb25c272d989789cfba77b12f951",
            4_087_646,
        ),
    },
];

/// Published diffIDs by commit and folder, from the same text.
const DIFF_IDS: [(&str, &str, &str); 2] = [
    (
        "5a9faa421c89dc3d516bc84e9d47907d560fc2bd",
        "x86_64",
        "9fb3aa2f8b8023a4bebbf92aa567caf88e38e969ada9f0ac12643b2847391635",
    ),
    (
        "7d63673353bd39d92ba42f6effcc199aeebd45ee",
        "x86_64",
        "63ca1fbb43ae5034640e5e6cb3e083e05c290072c5366fcaa9d62435a4cced85",
    ),
];

fn alpine(folder: &str) -> Build {
    scratch(&format!("{folder}/Dockerfile"), folder)
}

#[test]
fn published_alpine_layers_come_out_to_the_last_bit() {
    let Some(repository) = test_source("alpinelinux", "docker-alpine") else {
        return;
    };
    let rebuild = |commit: &str, folder: &str| {
        let (_folder, mut image) = rebuilt(
            &checkout(&repository, commit),
            &alpine(folder),
            "linux/amd64",
            TarDialect::DockerClassic,
            Context::Archive,
        );
        assert_eq!(image.layers.len(), 1);
        image.layers.remove(0)
    };
    for published in ALPINE {
        let layer = rebuild(published.commit, published.folder);
        assert_eq!(
            (layer.digest.hex().as_str(), layer.size),
            published.layer,
            "alpine {} {}",
            published.release,
            published.folder
        );
        // A tarball's entries have the times it says, and nobody can read it.
        assert!(layer.made_times.is_empty());
        assert_eq!(layer.bytes.keys().collect::<Vec<_>>(), [&Origin::Opaque]);
    }
    for (commit, folder, diff_id) in DIFF_IDS {
        assert_eq!(rebuild(commit, folder).diff_id.hex(), diff_id);
    }
}

#[test]
fn the_history_of_alpine_is_the_published_one_but_for_its_times() {
    let Some(repository) = test_source("alpinelinux", "docker-alpine") else {
        return;
    };
    let (layout, image) = rebuilt(
        &checkout(&repository, "7d63673353bd39d92ba42f6effcc199aeebd45ee"),
        &alpine("x86_64"),
        "linux/amd64",
        TarDialect::DockerClassic,
        Context::Archive,
    );
    let config: serde_json::Value = serde_json::from_slice(&blob(&layout, &image.config)).unwrap();
    let created_by: Vec<&str> = config["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["created_by"].as_str().unwrap())
        .collect();
    assert_eq!(
        created_by,
        [
            "/bin/sh -c #(nop) ADD file:5758b97d8301c84a204a6e516241275d785a7cade40b2fb99f01fe122482e283 in / ",
            "/bin/sh -c #(nop)  CMD [\"/bin/sh\"]",
        ]
    );
    assert_eq!(config["config"]["Cmd"], serde_json::json!(["/bin/sh"]));
    assert_eq!(
        config["container_config"]["Cmd"],
        serde_json::json!(["/bin/sh", "-c", "#(nop) ", "CMD [\"/bin/sh\"]"])
    );
    assert_eq!(config["created"], "2024-09-06T12:05:36Z");
}

#[test]
fn a_rebuilt_layer_has_what_its_tarball_has_on_every_architecture() {
    let Some(repository) = test_source("alpinelinux", "docker-alpine") else {
        return;
    };
    let source = checkout(&repository, "v3.20");
    for entry in source.list("").unwrap() {
        if entry.kind != TreeEntryKind::Directory {
            continue;
        }
        let folder = String::from_utf8(entry.path).unwrap();
        let (layout, image) = rebuilt(
            &source,
            &alpine(&folder),
            "linux/amd64",
            TarDialect::DockerClassic,
            Context::Archive,
        );
        let tarball = source
            .list(&folder)
            .unwrap()
            .into_iter()
            .find(|entry| entry.path.ends_with(b".tar.gz"))
            .unwrap();
        let tarball = source.read(&tarball.path).unwrap();
        let layer = blob(&layout, &image.layers[0].digest);
        assert_eq!(listing(&layer, 0o170_000), listing(&tarball, 0), "{folder}");
    }
}

/// Lists a gzip tar with the `tar` crate: name, type, mode, owner, time, link and content.
fn listing(bytes: &[u8], type_bits: u32) -> Vec<String> {
    use std::io::Read as _;
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(bytes));
    let mut names: std::collections::BTreeMap<Vec<u8>, String> = std::collections::BTreeMap::new();
    let mut entries = std::collections::BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = EntryPath::of(&entry.path_bytes());
        if path.is_root() {
            continue;
        }
        let header = entry.header().clone();
        let link = entry.link_name_bytes().unwrap_or_default().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        // Which name of a file comes first may differ, so each has the content.
        let what = if header.entry_type().is_hard_link() {
            names[EntryPath::of(&link).as_bytes()].clone()
        } else {
            let mode = match header.entry_type() {
                tar::EntryType::Symlink => 0o777,
                _ => header.mode().unwrap() & !type_bits,
            };
            format!(
                "{:?} {mode:o} {}:{} {} {} {}",
                header.entry_type(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.mtime().unwrap(),
                String::from_utf8_lossy(&link),
                reprove::digest::Digest::of(&content),
            )
        };
        names.insert(path.as_bytes().to_vec(), what.clone());
        entries.insert(path, what);
    }
    entries
        .into_iter()
        .map(|(path, what)| format!("{path} {what}"))
        .collect()
}

#[test]
fn hello_world_has_the_published_config_and_with_the_published_time_the_layer() {
    let Some(repository) = test_source("docker-library", "hello-world") else {
        return;
    };
    // The published time is recorded nowhere in the source; the config's is the commit's.
    let cases = [
        (
            "amd64/hello-world",
            "linux/amd64",
            1_755_123_432,
            "53d204b3dc5ddbc129df4ce71996b8168711e211274c785de5e0d4eb68ec3851",
            Some("17eec7bbc9d79fa397ac95c7283ecd04d1fe6978516932a3db110c6206430809"),
        ),
        (
            "arm64v8/hello-world",
            "linux/arm64/v8",
            1_755_125_950,
            "50163a6b11927e67829dd6ba5d5ba2b52fae0a17adb18c1967e24c13a62bfffa",
            None,
        ),
    ];
    let source = checkout(&repository, "6930d60");
    for (folder, platform, time, diff_id, digest) in cases {
        let build = scratch(&format!("{folder}/Dockerfile"), folder);
        let (_layout, image) = rebuilt(
            &source,
            &build,
            platform,
            TarDialect::BuildKit,
            Context::Checkout,
        );
        let hello = EntryPath::of(b"hello");
        assert_eq!(
            image.layers[0].made_times.iter().collect::<Vec<_>>(),
            [&hello]
        );
        assert_ne!(image.layers[0].diff_id.hex(), diff_id);
        let request = Request {
            build: &build,
            source: Some(&source),
            platform: &platform.parse().unwrap(),
            encoding: encoding(TarDialect::BuildKit),
            context: Context::Checkout,
            outside: None,
        };
        let published = [[(hello, time)].into()];
        let what_if = counterfactual(&request, &std::collections::BTreeMap::new(), &published)
            .unwrap()
            .unwrap();
        assert_eq!(what_if.layers[0].times_taken, 1);
        assert_eq!(what_if.layers[0].diff_id.hex(), diff_id);
        if let Some(digest) = digest {
            assert_eq!(what_if.layers[0].digest.hex(), digest);
        }
    }
}

#[test]
fn hello_world_has_the_published_config_but_for_the_layer_that_is_named_in_it() {
    let Some(repository) = test_source("docker-library", "hello-world") else {
        return;
    };
    let cases = [
        (
            "amd64/hello-world",
            "linux/amd64",
            "53d204b3dc5ddbc129df4ce71996b8168711e211274c785de5e0d4eb68ec3851",
            "1b44b5a3e06a9aae883e7bf25e45c100be0bb81a0e01b32de604f3ac44711634",
        ),
        (
            "arm64v8/hello-world",
            "linux/arm64/v8",
            "50163a6b11927e67829dd6ba5d5ba2b52fae0a17adb18c1967e24c13a62bfffa",
            "ca9905c726f06de3cb54aaa54d4d1eade5403594e3fbfb050ccc970fd0212983",
        ),
    ];
    let source = checkout(&repository, "6930d60");
    for (folder, platform, diff_id, config) in cases {
        let (layout, image) = rebuilt(
            &source,
            &scratch(&format!("{folder}/Dockerfile"), folder),
            platform,
            TarDialect::BuildKitOfficial,
            Context::Checkout,
        );
        let bytes = String::from_utf8(blob(&layout, &image.config)).unwrap();
        let published = bytes.replace(&image.layers[0].diff_id.hex(), diff_id);
        assert_eq!(
            reprove::digest::Digest::of(published.as_bytes()).hex(),
            config,
            "{published}"
        );
    }
}

#[test]
fn busybox_is_copied_out_of_its_tree_as_it_was_published() {
    let Some(repository) = test_source("docker-library", "busybox") else {
        return;
    };
    let commit = "70ce0fb98bee360bbcce132660d727bf6ce55a99";
    let build = Build::GitLayout {
        layout: "latest-1/glibc/amd64".to_owned(),
        tag: None,
    };
    let source = checkout(&repository, commit);
    let (_layout, image) = rebuilt(
        &source,
        &build,
        "linux/amd64",
        TarDialect::BuildKit,
        Context::Checkout,
    );
    assert_eq!(
        (
            image.manifest.hex().as_str(),
            image.config.hex().as_str(),
            image.layers[0].digest.hex().as_str(),
            image.layers[0].diff_id.hex().as_str(),
        ),
        (
            "7a3ebe5bfd1a4a19797d20b0c0bb39d44393e9a03fd852c0865b0f540d868df0",
            "db287cb6be81219cd18c1d82b70908f5d33eb028568b456f78eedff2ff2930e4",
            "436a1b1fd078ee8e117111472724c2827077657189af7a781829d0825d48d2ab",
            "412f8a616e1efb03d4ab94ce18ebddf3f068b637f1c7ae8dbc82306a852de408",
        )
    );
    assert_eq!(image.encoding, None);
    assert!(
        image.layers[0]
            .origins
            .values()
            .all(|origin| *origin == Origin::Opaque)
    );
}
