//! Causes in layers: compression, tar encoding, order and times.

use std::borrow::Cow;

use super::{Cause, Context, Recogniser, Root};
use crate::compare::{Attribute, Bearing, Difference};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "gz.stream",
        root: Root::Packing,
        title: "another compressor packed the same bytes",
        advice: "compare diffIDs, or compress with the same program and level",
        recognise: Recogniser::Difference(|difference, _| {
            (difference.attribute == Attribute::Bytes && difference.bearing == Bearing::Encoding)
                .then_some(Cow::Borrowed("the uncompressed tars have the same diffID"))
        }),
    },
    Cause {
        id: "gz.header",
        root: Root::Packing,
        title: "the gzip header names another system, time or file",
        advice: "compress with gzip -n, or with the same program",
        recognise: Recogniser::Difference(|difference, _| {
            let known = matches!(
                difference.attribute,
                Attribute::GzipHeader | Attribute::Members | Attribute::Oddity(_)
            );
            (known && difference.bearing == Bearing::Encoding).then_some(Cow::Borrowed(
                "only fields that do not reach the uncompressed bytes differ",
            ))
        }),
    },
    Cause {
        id: "img.compression",
        root: Root::Packing,
        title: "the layers are compressed by other algorithms",
        advice: "compare diffIDs, or push with the same compression",
        recognise: Recogniser::Difference(|difference, _| {
            (difference.attribute == Attribute::Compression)
                .then_some(Cow::Borrowed("the layers' own first bytes say so"))
        }),
    },
    Cause {
        id: "tar.order",
        root: Root::Packing,
        title: "the archives list the same entries in another order",
        advice: "sort entries (GNU tar: --sort=name)",
        recognise: Recogniser::Difference(|difference, _| {
            (difference.attribute == Attribute::Order).then_some(Cow::Borrowed(
                "both archives have these entries, at other places",
            ))
        }),
    },
    Cause {
        id: "tar.mode-bits",
        root: Root::Packing,
        title: "one writer sets file-type bits in the mode field",
        advice: "Docker's classic builder and buildah set them, BuildKit and GNU tar do not",
        recognise: Recogniser::Difference(|difference, _| {
            (difference.attribute == Attribute::TypeBits).then_some(Cow::Borrowed(
                "permission bits are compared apart from these",
            ))
        }),
    },
    Cause {
        id: "tar.names",
        root: Root::Packing,
        title: "owners' names are looked up on the machine that builds",
        advice: "write numeric owners only (GNU tar: --numeric-owner)",
        recognise: Recogniser::Difference(|difference, _| {
            matches!(
                difference.attribute,
                Attribute::OwnerName | Attribute::GroupName
            )
            .then_some(Cow::Borrowed(
                "numeric owners are compared apart from names",
            ))
        }),
    },
    Cause {
        id: "tar.hardlink",
        root: Root::Packing,
        title: "another of a file's names is written as the file, the rest as links to it",
        advice: "write names in sorted order",
        recognise: Recogniser::Difference(|difference, _| {
            let which = matches!(
                difference.attribute,
                Attribute::Type | Attribute::LinkTarget
            );
            (which && difference.bearing == Bearing::Encoding)
                .then_some(Cow::Borrowed("the same names share one file on both sides"))
        }),
    },
    Cause {
        id: "tar.prefix",
        root: Root::Packing,
        title: "names are written with another decoration",
        advice: "write names with the same program",
        recognise: Recogniser::Difference(|difference, _| {
            matches!(
                difference.attribute,
                Attribute::RawName | Attribute::RawTarget
            )
            .then_some(Cow::Borrowed("the names lead to the same path"))
        }),
    },
    Cause {
        id: "tar.atime-ctime",
        root: Root::Clock,
        title: "access and change times are recorded",
        advice: "leave them out (GNU tar: --pax-option=delete=atime,delete=ctime)",
        recognise: Recogniser::Difference(|difference, _| {
            matches!(difference.attribute, Attribute::Atime | Attribute::Ctime)
                .then_some(Cow::Borrowed("no runtime restores these times"))
        }),
    },
    Cause {
        id: "tar.format",
        root: Root::Packing,
        title: "the same fields are written in another tar format",
        advice: "write the archive with the same program",
        recognise: Recogniser::Difference(|difference, _| {
            let format = matches!(
                difference.attribute,
                Attribute::Header | Attribute::Sparse | Attribute::Pax(_)
            );
            (format && difference.bearing == Bearing::Encoding).then_some(Cow::Borrowed(
                "every field that the header holds is compared by itself",
            ))
        }),
    },
    Cause {
        id: "tar.padding",
        root: Root::Packing,
        title: "the archives end with other numbers of zero blocks",
        advice: "write the archive with the same program (GNU tar pads to 10 KiB: --blocking-factor)",
        recognise: Recogniser::Difference(|difference, _| {
            (difference.attribute == Attribute::EndPadding
                && difference.bearing == Bearing::Encoding)
                .then_some(Cow::Borrowed("all that follows the last entry is zero"))
        }),
    },
    Cause {
        id: "git.checkout-time",
        root: Root::Clock,
        title: "git records no modification times, so each checkout sets its own",
        advice: "build with rewrite-timestamp=true and SOURCE_DATE_EPOCH",
        recognise: Recogniser::Difference(|difference, context| {
            let path = difference.path()?;
            (only_time(difference, context) && (context.chosen_times)(path)).then_some(
                Cow::Borrowed(
                    "the file was copied from the source tree, and only its time differs",
                ),
            )
        }),
    },
    Cause {
        id: "tar.mtime",
        root: Root::Clock,
        title: "files were unpacked or written at another time",
        advice: "clamp times to SOURCE_DATE_EPOCH (BuildKit: rewrite-timestamp=true)",
        recognise: Recogniser::Difference(|difference, context| {
            only_time(difference, context)
                .then_some(Cow::Borrowed("nothing but the time differs at this path"))
        }),
    },
];

/// Returns whether a modification time differs and nothing else at that path.
fn only_time(difference: &Difference, context: &Context<'_>) -> bool {
    difference.attribute == Attribute::Mtime
        && difference
            .path()
            .is_some_and(|path| !context.beyond_times.contains_key(path))
}
