//! `reprove diff`: two images that both exist.

use reprove::{
    image::ImageName,
    verify::{self, DiffRequest},
};

use super::{
    Status,
    context::{self, Context},
    options,
};

/// Compares two images down to each file, and says whether the policy accepts the differences.
///
/// The first image stands in the report as the published one, the second as the
/// rebuilt one. Nothing is said of any source: `reproduced` means that the second
/// satisfies the policy as a copy of the first.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Images are named as in `reprove verify --help`.

Examples:
  reprove diff alpine:3.20.2 alpine:3.20.3
  reprove diff oci:./one oci:./other --policy bit-for-bit
  reprove diff listing:golden.txt docker-archive:image.tar --json | jq .findings")]
pub(super) struct Arguments {
    /// The first image.
    #[arg(value_name = "A")]
    published: ImageName,
    /// The second image.
    #[arg(value_name = "B")]
    rebuilt: ImageName,
    #[command(flatten)]
    reading: options::Reading,
    #[command(flatten)]
    judging: options::Judging,
}

impl Arguments {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Status> {
        let request = DiffRequest {
            published: self.published,
            rebuilt: self.rebuilt,
            platform: self.reading.platform.clone(),
            policy: options::policy(&self.judging.policy)?,
            rerun: context::command_line(),
        };
        let folders = context.folders()?;
        let access = self.reading.registries.access(&folders);
        let world = context.world(&folders, &access);
        let listed = verify::diff_listed(&request, self.judging.listing(), &world)?;
        self.judging.conclude(&listed, context)
    }
}
