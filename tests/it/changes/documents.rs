//! Changes of config, manifest and index, made in their text.

use super::{Change, Maker, image::Image, json, random::Random};

/// Fields of the config by class: where, and values of which another one is taken.
/// A field that is there may also go.
const CONFIG: &[(&str, &str, &[&str])] = &[
    (
        "config-user",
        "/config/User",
        &["\"0\"", "\"root\"", "\"nobody:nogroup\""],
    ),
    (
        "config-env",
        "/config/Env",
        &[
            "[\"PATH=/evil:/bin\"]",
            "[\"LD_PRELOAD=/evil.so\",\"A=b\"]",
            "[]",
        ],
    ),
    (
        "config-cmd",
        "/config/Cmd",
        &["[\"/evil\"]", "[\"sh\",\"-c\",\"true\"]"],
    ),
    (
        "config-entrypoint",
        "/config/Entrypoint",
        &["[\"/evil\"]", "[\"/app/run\",\"--more\"]"],
    ),
    (
        "config-working-dir",
        "/config/WorkingDir",
        &["\"/tmp\"", "\"/\""],
    ),
    (
        "config-exposed-ports",
        "/config/ExposedPorts",
        &["{\"22/tcp\":{}}", "{\"80/tcp\":{},\"81/udp\":{}}"],
    ),
    (
        "config-volumes",
        "/config/Volumes",
        &["{\"/etc\":{}}", "{\"/data\":{},\"/more\":{}}"],
    ),
    (
        "config-labels",
        "/config/Labels",
        &[
            "{\"stage\":\"two\"}",
            "{\"org.opencontainers.image.source\":\"https://example.org/\"}",
        ],
    ),
    (
        "config-stop-signal",
        "/config/StopSignal",
        &["\"SIGKILL\"", "\"9\""],
    ),
    (
        "config-healthcheck",
        "/config/Healthcheck",
        &["{\"Test\":[\"CMD\",\"/evil\"]}", "{\"Test\":[\"NONE\"]}"],
    ),
    (
        "config-on-build",
        "/config/OnBuild",
        &["[\"RUN /evil\"]", "[\"COPY . /\",\"RUN make\"]"],
    ),
    (
        "config-shell",
        "/config/Shell",
        &["[\"/evil\",\"-c\"]", "[\"/bin/bash\",\"-c\"]"],
    ),
    ("config-author", "/author", &["\"Another\""]),
    (
        "config-os-version",
        "/os.version",
        &["\"10.0.1\"", "\"10.0.2\""],
    ),
    ("config-os-features", "/os.features", &["[\"win32k\"]"]),
    ("config-variant", "/variant", &["\"v2\"", "\"v3\""]),
    (
        "config-unknown",
        "/com.example.future",
        &["1", "\"text\"", "{\"deep\":[null]}", "null"],
    ),
    (
        "config-unknown",
        "/config/Future",
        &["true", "[\"x\"]", "\"\""],
    ),
    ("config-unknown", "/config/NetworkDisabled", &["true"]),
    (
        "config-unknown",
        "/config/MacAddress",
        &["\"02:42:ac:11:00:02\""],
    ),
    ("config-unknown", "/config/StopTimeout", &["1", "10"]),
    ("config-unknown", "/config/Memory", &["1048576"]),
    (
        "config-unknown",
        "/moby.buildkit.buildinfo.v1",
        &["\"eyJmcm9udGVuZCI6\""],
    ),
    ("config-unknown", "/rootfs/future", &["1"]),
    // What is build metadata with one value is what runs with another.
    ("config-metadata-odd", "/created", &["\"yesterday\""]),
    (
        "config-metadata-odd",
        "/docker_version",
        &["\"20.10; rm -rf /\"", "20"],
    ),
    (
        "config-metadata-odd",
        "/config/Hostname",
        &["\"db.example.org\""],
    ),
    (
        "config-metadata-odd",
        "/config/Domainname",
        &["\"example.org\""],
    ),
    ("config-metadata-odd", "/config/Image", &["\"alpine\""]),
    ("config-metadata-odd", "/config/AttachStdin", &["true"]),
    ("config-metadata-odd", "/config/Tty", &["true"]),
    ("config-metadata-odd", "/container", &["\"0123\"", "{}"]),
    ("config-metadata-odd", "/history/0/future", &["1"]),
    // Go reads each of these as another type than the specification's, or not at all.
    ("config-type", "/config/WorkingDir", &["null"]),
    ("config-type", "/config/User", &["0", "[\"0\"]"]),
    ("config-type", "/config/Cmd", &["\"sh\"", "{\"0\":\"sh\"}"]),
    ("config-type", "/config/Env", &["{\"PATH\":\"/bin\"}"]),
    ("config-type", "/config/Healthcheck", &["[]"]),
    (
        "config-number",
        "/config/StopTimeout",
        &["1.0", "1e1", "18446744073709551616"],
    ),
    (
        "config-created",
        "/created",
        &["\"2025-02-03T04:05:06.789Z\"", "\"1970-01-01T00:00:00Z\""],
    ),
    (
        "config-history",
        "/history/0/created",
        &["\"2025-02-03T04:05:06Z\""],
    ),
    (
        "config-history",
        "/history/0/created_by",
        &["\"/bin/sh -c #(nop) ADD file:0 in / \""],
    ),
    ("config-history", "/history/0/comment", &["\"by hand\""]),
    ("config-history", "/history/0/author", &["\"Another\""]),
    ("config-history", "/history/0/empty_layer", &["false"]),
    (
        "config-docker-version",
        "/docker_version",
        &["\"28.0.1\"", "\"19.03\""],
    ),
    (
        "config-container",
        "/container",
        &[
            "\"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\"",
            "\"\"",
        ],
    ),
    (
        "config-container",
        "/container_config/Hostname",
        &["\"ba9876543210\""],
    ),
    (
        "config-container",
        "/container_config/Cmd",
        &["[\"/bin/sh\"]"],
    ),
    (
        "config-container",
        "/container_config/Labels",
        &["{\"a\":\"b\"}"],
    ),
    (
        "config-container",
        "/config/Hostname",
        &["\"ba9876543210\"", "\"\""],
    ),
    ("config-container", "/config/Image", &["\"\""]),
    ("config-unset", "/config/AttachStdout", &["false"]),
    ("config-unset", "/config/Domainname", &["\"\""]),
];

/// Fields of the manifest by class.
const MANIFEST: &[(&str, &str, &[&str])] = &[
    (
        "manifest-annotations",
        "/annotations/org.opencontainers.image.created",
        &["\"2025-01-01T00:00:00Z\""],
    ),
    (
        "manifest-annotations",
        "/annotations/com.example.more",
        &["\"x\"", "\"y\""],
    ),
    (
        "manifest-annotations",
        "/config/annotations",
        &["{\"a\":\"b\"}"],
    ),
    (
        "manifest-annotations",
        "/layers/0/annotations",
        &["{\"a\":\"b\"}", "{}"],
    ),
    (
        "manifest-subject",
        "/subject",
        &[
            "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:a815f2ceb3b0c8e16829cfa5c6b5a96dad4d17f5e35be3d52ee81ce2e3cc0ced\",\"size\":453}",
        ],
    ),
    (
        "manifest-artifact-type",
        "/artifactType",
        &["\"application/vnd.example\""],
    ),
    (
        "manifest-urls",
        "/layers/0/urls",
        &["[\"https://example.org/layer\"]", "[]"],
    ),
    (
        "manifest-unknown",
        "/future",
        &["1", "{\"layers\":[]}", "null"],
    ),
    ("manifest-unknown", "/layers/0/future", &["\"x\""]),
    ("manifest-unknown", "/config/future", &["[]"]),
    (
        "manifest-unknown",
        "/config/platform",
        &["{\"os\":\"linux\",\"architecture\":\"arm64\"}"],
    ),
    (
        "manifest-unknown",
        "/config/artifactType",
        &["\"application/vnd.example\""],
    ),
    (
        "manifest-layer-type",
        "/layers/0/mediaType",
        &["\"application/vnd.docker.image.rootfs.diff.tar.gzip\""],
    ),
    (
        "manifest-layer-foreign",
        "/layers/0/mediaType",
        &["\"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip\""],
    ),
    (
        "manifest-config-type",
        "/config/mediaType",
        &["\"application/vnd.docker.container.image.v1+json\""],
    ),
];

/// Fields of the index by class.
const INDEX: &[(&str, &str, &[&str])] = &[
    ("index-annotations", "/annotations", &["{\"a\":\"b\"}"]),
    (
        "index-annotations",
        "/manifests/0/annotations",
        &["{\"org.opencontainers.image.ref.name\":\"2.0\"}"],
    ),
    ("index-unknown", "/future", &["1", "[]"]),
    ("index-unknown", "/manifests/0/future", &["1"]),
    (
        "index-unknown",
        "/subject",
        &[
            "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:a815f2ceb3b0c8e16829cfa5c6b5a96dad4d17f5e35be3d52ee81ce2e3cc0ced\",\"size\":453}",
        ],
    ),
    (
        "index-unknown",
        "/manifests/0/artifactType",
        &["\"application/vnd.example\""],
    ),
    (
        "index-platform",
        "/manifests/0/platform/variant",
        &["\"v2\"", "\"v3\""],
    ),
    (
        "index-platform",
        "/manifests/0/platform/os.version",
        &["\"10.0.1\""],
    ),
    (
        "index-platform",
        "/manifests/0/platform/os.features",
        &["[\"win32k\"]"],
    ),
    (
        "index-platform",
        "/manifests/0/platform/features",
        &["[\"sse4\"]"],
    ),
    (
        "index-other-image",
        "/manifests/3",
        &[
            "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:7a3ebe5bfd1a4a19797d20b0c0bb39d44393e9a03fd852c0865b0f540d868df0\",\"size\":610,\"platform\":{\"architecture\":\"s390x\",\"os\":\"linux\"}}",
        ],
    ),
    (
        "index-other-image",
        "/manifests/1/platform/variant",
        &["\"v9\""],
    ),
    ("index-other-image", "/manifests/1/size", &["454"]),
    (
        "index-other-image",
        "/manifests/1/annotations",
        &["{\"a\":\"b\"}"],
    ),
];

/// Every class of change to a document.
pub(crate) const CLASSES: &[(&str, Maker)] = &[
    ("config-architecture", config_architecture),
    ("config-history-entry", config_history_entry),
    ("config-metadata-removed", |image, random| {
        let metadata = [
            "/created",
            "/history",
            "/docker_version",
            "/container",
            "/container_config",
        ];
        let there: Vec<&str> = metadata
            .into_iter()
            .filter(|pointer| json::at(&image.config, pointer).is_some())
            .collect();
        let pointer = *random.pick(&there)?;
        let mut rebuilt = image.clone();
        rebuilt.config = json::remove(&image.config, pointer);
        Some(Change::new(image, rebuilt, pointer).at(format!("config {pointer}/*")))
    }),
    ("config-layout", |image, random| {
        layout(image, random, "config", |image| &mut image.config)
    }),
    ("config-duplicate-key", |image, _| {
        refused(image, "config", |image| {
            image.config = doubled(&image.config, "\"architecture\"");
        })
    }),
    ("config-case-of-key", |image, _| {
        refused(image, "config", |image| {
            image.config = image.config.replacen("\"config\"", "\"Config\"", 1);
        })
    }),
    ("config-diff-id-count", |image, _| {
        refused(image, "config", |image| {
            let diff_id = json::at(&image.config, "/rootfs/diff_ids/0")
                .unwrap()
                .to_owned();
            let pointer = format!("/rootfs/diff_ids/{}", image.layers.len());
            image.config = json::set(&image.config, &pointer, &diff_id);
        })
    }),
    ("config-created-type", |image, _| {
        refused(image, "config", |image| {
            image.config = json::set(&image.config, "/created", "1700000000");
        })
    }),
    ("config-not-json", |image, _| {
        refused(image, "config", |image| image.config.push('}'))
    }),
    ("manifest-docker", manifest_docker),
    ("manifest-data", manifest_data),
    ("manifest-layout", |image, random| {
        layout(image, random, "manifest", |image| &mut image.manifest)
    }),
    ("manifest-duplicate-key", |image, _| {
        refused(image, "manifest", |image| {
            image.manifest = doubled(&image.manifest, "\"layers\"");
        })
    }),
    ("manifest-schema-version", |image, _| {
        refused(image, "manifest", |image| {
            image.manifest = json::set(&image.manifest, "/schemaVersion", "3");
        })
    }),
    ("manifest-is-index", |image, _| {
        refused(image, "manifest", |image| {
            image.manifest = json::set(&image.manifest, "/manifests", "[]");
        })
    }),
    ("index-layout", |image, random| {
        layout(image, random, "index", |image| &mut image.index)
    }),
    ("index-entry-removed", index_entry_removed),
    ("index-architecture", |image, _| {
        refused(image, "arm64", |image| {
            let pointer = "/manifests/0/platform/architecture";
            image.index = json::set(&image.index, pointer, "\"arm64\"");
            if json::at(&image.index, "/manifests/1").is_some() {
                image.index = json::remove(&image.index, "/manifests/1");
            }
        })
    }),
    ("index-second-image", |image, _| {
        refused(image, "linux/amd64", |image| {
            // Docker takes the first, others the last; the second names another manifest.
            let entry = json::at(&image.index, "/manifests/0").unwrap();
            let other = json::set(
                entry,
                "/digest",
                "\"sha256:7a3ebe5bfd1a4a19797d20b0c0bb39d44393e9a03fd852c0865b0f540d868df0\"",
            );
            let pointer = format!(
                "/manifests/{}",
                json::keys(&image.index, "/manifests").len()
            );
            image.index = json::set(&image.index, &pointer, &other);
            image.nested = true;
        })
    }),
];

/// Returns the fields of all three documents by class.
pub(crate) fn field_classes() -> Vec<&'static str> {
    let all = [CONFIG, MANIFEST, INDEX].into_iter().flatten();
    let mut classes: Vec<&str> = all.map(|(class, _, _)| *class).collect();
    classes.dedup();
    classes.sort_unstable();
    classes.dedup();
    classes
}

/// Changes one field of a class, at random; `None` where the image has no place for it.
pub(crate) fn field(class: &str, image: &Image, random: &mut Random) -> Option<Change> {
    let documents: [(&str, &[(&str, &str, &[&str])]); 3] =
        [("config", CONFIG), ("manifest", MANIFEST), ("index", INDEX)];
    let fields: Vec<_> = documents
        .into_iter()
        .flat_map(|(document, fields)| fields.iter().map(move |field| (document, field)))
        .filter(|(_, (of, _, _))| *of == class)
        .collect();
    let &(document, &(_, pointer, values)) = random.pick(&fields)?;
    let mut rebuilt = image.clone();
    let text = match document {
        "config" => &mut rebuilt.config,
        "manifest" => &mut rebuilt.manifest,
        _ => &mut rebuilt.index,
    };
    let (parent, _) = pointer.rsplit_once('/').unwrap();
    json::at(text, parent)?;
    let elements = json::keys(text, parent);
    if text_is_list(text, parent) && !elements.contains(&pointer[parent.len() + 1..].to_owned()) {
        // Only the element after the last can be added.
        (pointer[parent.len() + 1..] == elements.len().to_string()).then_some(())?;
    }
    let current = json::at(text, pointer).map(str::to_owned);
    let value = random.pick(values).unwrap();
    let removable = [
        "config-type",
        "config-number",
        "config-metadata-odd",
        "manifest-layer-type",
        "manifest-layer-foreign",
        "manifest-config-type",
        "index-other-image",
        "config-unset",
        "config-history",
        "config-container",
    ];
    let what = match current {
        Some(_) if random.below(3) == 0 && !removable.contains(&class) => {
            *text = json::remove(text, pointer);
            "removed"
        }
        Some(current) if parsed(&current) == parsed(value) => return None,
        _ => {
            *text = json::set(text, pointer, value);
            value
        }
    };
    let at = format!("{document} {pointer}/*");
    let change = Change::new(image, rebuilt, format!("{document} {pointer}: {what}")).at(at);
    // Where a number cannot be trusted, the whole document is said to differ too.
    Some(if class == "config-number" {
        change.at(document)
    } else {
        change
    })
}

fn text_is_list(document: &str, pointer: &str) -> bool {
    json::at(document, pointer).is_some_and(|value| value.starts_with('['))
}

fn parsed(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// Returns the document with the member of this key written twice.
fn doubled(document: &str, key: &str) -> String {
    let pointer = format!("/{}", key.trim_matches('"'));
    let value = json::at(document, &pointer).unwrap();
    document.replacen(key, &format!("{key}:{value},{key}"), 1)
}

/// Makes a change that must be refused, with an error that says `naming`.
fn refused(image: &Image, naming: &'static str, change: impl FnOnce(&mut Image)) -> Option<Change> {
    let mut rebuilt = image.clone();
    change(&mut rebuilt);
    Some(Change::new(image, rebuilt, naming).at(naming))
}

/// Another architecture in a config that no index entry contradicts.
fn config_architecture(image: &Image, random: &mut Random) -> Option<Change> {
    let mut published = image.clone();
    while json::at(&published.index, "/manifests/1").is_some() {
        published.index = json::remove(&published.index, "/manifests/1");
    }
    if json::at(&published.index, "/manifests/0/platform").is_some() {
        published.index = json::remove(&published.index, "/manifests/0/platform");
    }
    let pointer = *random.pick(&["/architecture", "/os"]).unwrap();
    let value = if pointer == "/os" {
        "\"freebsd\""
    } else {
        "\"s390x\""
    };
    let mut rebuilt = published.clone();
    rebuilt.config = json::set(&published.config, pointer, value);
    let mut change = Change::new(&published, rebuilt, pointer).at(format!("config {pointer}"));
    change.platform = None;
    Some(change)
}

/// One history entry more, or one less.
fn config_history_entry(image: &Image, random: &mut Random) -> Option<Change> {
    let count = json::keys(&image.config, "/history").len();
    if count == 0 {
        return None;
    }
    let mut rebuilt = image.clone();
    let pointer = if random.below(2) == 0 {
        let pointer = format!("/history/{count}");
        let entry =
            r#"{"created":"2024-01-01T00:00:00Z","created_by":"ENV a=b","empty_layer":true}"#;
        rebuilt.config = json::set(&image.config, &pointer, entry);
        pointer
    } else {
        let pointer = format!("/history/{}", count - 1);
        rebuilt.config = json::remove(&image.config, &pointer);
        pointer
    };
    Some(Change::new(image, rebuilt, &*pointer).at(format!("config {pointer}")))
}

/// The same values in other bytes.
fn layout(
    image: &Image,
    random: &mut Random,
    document: &'static str,
    text: fn(&mut Image) -> &mut String,
) -> Option<Change> {
    let mut rebuilt = image.clone();
    let text = text(&mut rebuilt);
    let way = random.below(5);
    *text = match way {
        0 => format!("{text}\n"),
        1 => format!("{{ {}", &text[1..]),
        2 => text.replacen(':', " :", 1),
        // The first letter of the first key as an escape.
        3 => {
            let (before, after) = text.split_at(text.find('"').unwrap() + 1);
            format!("{before}\\u{:04x}{}", after.as_bytes()[0], &after[1..])
        }
        // The first member last.
        _ => {
            let keys = json::keys(text, "");
            let pointer = format!("/{}", keys[0]);
            let value = json::at(text, &pointer).unwrap().to_owned();
            json::set(&json::remove(text, &pointer), &pointer, &value)
        }
    };
    Some(Change::new(image, rebuilt, format!("way {way}")).at(document))
}

/// All of Docker's media types in place of OCI's.
fn manifest_docker(image: &Image, _: &mut Random) -> Option<Change> {
    let mut rebuilt = image.clone();
    let docker = "\"application/vnd.docker.distribution.manifest.v2+json\"";
    rebuilt.manifest = json::set(&rebuilt.manifest, "/mediaType", docker);
    let config = "\"application/vnd.docker.container.image.v1+json\"";
    rebuilt.manifest = json::set(&rebuilt.manifest, "/config/mediaType", config);
    rebuilt.index = json::set(&rebuilt.index, "/manifests/0/mediaType", docker);
    let mut change = Change::new(image, rebuilt, "Docker's media types")
        .at("manifest /mediaType")
        .at("manifest /config/mediaType")
        .at("index /manifests/0/mediaType");
    for number in 0..image.layers.len() {
        let pointer = format!("/layers/{number}/mediaType");
        let layer = "\"application/vnd.docker.image.rootfs.diff.tar.gzip\"";
        change.rebuilt.manifest = json::set(&change.rebuilt.manifest, &pointer, layer);
        change = change.at(format!("manifest {pointer}"));
    }
    Some(change)
}

/// The config's bytes embedded in its descriptor.
fn manifest_data(image: &Image, _: &mut Random) -> Option<Change> {
    let mut rebuilt = image.clone();
    rebuilt.manifest = json::set(&rebuilt.manifest, "/config/data", "\"\"");
    Some(Change::new(image, rebuilt, "embedded config").at("manifest /config/data"))
}

fn index_entry_removed(image: &Image, _: &mut Random) -> Option<Change> {
    let count = json::keys(&image.index, "/manifests").len();
    // The last, so that the others keep their numbers.
    let pointer = format!(
        "/manifests/{}",
        count.checked_sub(1).filter(|&last| last > 0)?
    );
    let mut rebuilt = image.clone();
    rebuilt.index = json::remove(&image.index, &pointer);
    Some(Change::new(image, rebuilt, &*pointer).at(format!("index {pointer}")))
}
