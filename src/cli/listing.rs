//! `reprove listing`: an image as text, for review and for later comparison.

use std::{io::Write as _, path::PathBuf};

use anyhow::Context as _;
use reprove::image::{self, ImageName, listing, read_layers};

use super::{Status, context::Context, options, output};

/// Writes the listing of an image: manifest and config to the byte, and a line for each entry.
///
/// A listing is small enough to commit and to review. Given back as listing:FILE it
/// stands for the image in `diff` and `verify`: everything can be compared but the
/// contents of files, of which it has the hashes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Images are named as in `reprove verify --help`.

Examples:
  reprove listing alpine:3.20.3 --output alpine.txt
  reprove diff listing:alpine.txt alpine:3.20")]
pub(super) struct Arguments {
    /// The image.
    image: ImageName,
    #[command(flatten)]
    reading: options::Reading,
    /// Writes to a file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<Status> {
        let platform = self.reading.platform.as_ref();
        let folders = context.folders()?;
        let access = self.reading.registries.access(&folders);
        let image = image::resolve(&self.image, platform, &access, &context.progress)?;
        let layers = read_layers(&[&*image], &context.progress)?.remove(0);
        let mut text = Vec::new();
        listing::write(&*image, &layers, &mut text)
            .and_then(|()| text.flush())
            .context("cannot write the listing")?;
        match &self.output {
            Some(file) => output::write_file(file, &text)?,
            None => output::print_bytes(&text)?,
        }
        Ok(Status::Done)
    }
}
