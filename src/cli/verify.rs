//! `reprove verify`: the main job.

use reprove::{
    image::ImageName,
    recipe::TreeTrust,
    verify::{self, Request},
};

use super::{
    Status,
    context::{self, Context},
    options,
};

/// Rebuilds a published image from its source, and says whether the two are the same.
///
/// The image is read, its source is checked out, the image is rebuilt as a recipe
/// says and compared with the published one down to each file. What the published
/// image tells the rebuild is which builder and compressor wrote its bytes, and
/// nothing else; the report lists it.
///
/// Where no recipe is named, the built-in one for the image's name is taken. Where no
/// source or revision is named, the recipe's is taken, or what the image says in its
/// labels. A source that only the image names is self-declared, and the verdict then
/// inconclusive at best.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Images:
  NAME[:TAG][@DIGEST]                 in a registry, as Docker names it; also docker://NAME
  oci:DIR[:TAG][@DIGEST]              an OCI layout
  oci-archive:FILE[:TAG][@DIGEST]     a tar of one
  docker-archive:FILE[:REFERENCE]     what `docker save` writes
  listing:FILE                        what `reprove listing` writes: hashes, no bytes

Exit statuses:
  0  reproduced            1  not reproduced, or only with waivers
  2  trouble               3  inconclusive; the report says what would settle it

Examples:
  reprove verify alpine:3.20.3
  reprove verify registry.example/app:1.2 --source https://git.example/app --revision v1.2 \\
      --recipe scratch --report app.json --html app.html
  reprove verify oci:./image --source ./checkout --revision HEAD --recipe git-layout \\
      --policy bit-for-bit")]
pub(super) struct Arguments {
    /// The published image.
    image: ImageName,
    #[command(flatten)]
    reading: options::Reading,
    #[command(flatten)]
    source: options::Source,
    #[command(flatten)]
    building: options::Building,
    #[command(flatten)]
    making: options::Making,
    #[command(flatten)]
    judging: options::Judging,
}

impl Arguments {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Status> {
        let policy = options::policy(&self.judging.policy)?;
        let request = Request {
            image: self.image,
            source: self.source.location,
            revision: self.source.revision,
            source_mirrors: self.source.mirrors,
            recipe: self.building.recipe,
            tree_recipe: if self.building.trust_tree_recipe {
                TreeTrust::Trusted
            } else {
                TreeTrust::Untrusted
            },
            variables: self.building.set.into_iter().collect(),
            dialect: self.building.dialect,
            compressor: self.building.gzip,
            context: self.building.context.into(),
            platform: self.reading.platform.clone(),
            policy,
            rerun: context::command_line(),
        };
        let folders = context.folders()?;
        let access = self.reading.registries.access(&folders);
        let made = self.making.made(&folders, &self.reading.registries);
        let world = context.world(&folders, &access);
        let listing = self.judging.listing();
        let workplace = made.workplace(&folders);
        let listed = verify::verify_listed(&request, listing, &workplace, &world)?;
        self.judging.conclude(&listed, context)
    }
}
