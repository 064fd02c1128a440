//! The sums of Docker's classic builder, against those in published histories.

use std::fs;

use reprove::dialect::tarsum::{ContextFile, ContextKind, in_history, of_file};

use crate::support::test_image;

#[test]
fn the_published_history_of_alpine_names_its_tarball() {
    let name = "alpine-minirootfs-3.20.3-x86_64.tar.gz";
    let Some(file) = test_image(&format!("alpine/{name}")) else {
        return;
    };
    let content = fs::read(file).unwrap();
    let file = ContextFile {
        path: name.as_bytes(),
        mode: 0o664,
        kind: ContextKind::File {
            size: content.len() as u64,
        },
    };
    let published = "/bin/sh -c #(nop) ADD file:5758b97d8301c84a204a6e516241275d785a7cade40b2fb99f01fe122482e283 in / ";
    let sum = of_file(&file, content.as_slice()).unwrap();
    assert_eq!(in_history(published), Some(("file", sum.as_str())));
}
