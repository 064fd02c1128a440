//! Causes in manifests, indexes and in how images are put together.

use std::borrow::Cow;

use super::{Cause, Recogniser, Root};
use crate::compare::{Attribute, Bearing, Location};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "img.media-type",
        root: Root::Packing,
        title: "Docker and OCI media types name the same thing",
        advice: "export with the same media types (BuildKit: oci-mediatypes)",
        recognise: Recogniser::Difference(|difference, _| match &difference.location {
            Location::Manifest { pointer }
                if pointer.ends_with("/mediaType") && difference.bearing == Bearing::Encoding =>
            {
                Some(Cow::Borrowed(
                    "both media types are ones that every runtime reads",
                ))
            }
            _ => None,
        }),
    },
    Cause {
        id: "img.annotations",
        root: Root::Packing,
        title: "annotations say who built or pushed the image, and when",
        advice: "pass the same annotations",
        recognise: Recogniser::Difference(|difference, _| match &difference.location {
            Location::Manifest { pointer }
                if pointer.contains("/annotations") && difference.bearing == Bearing::Encoding =>
            {
                Some(Cow::Borrowed(
                    "annotations name no content and nothing is run by them",
                ))
            }
            _ => None,
        }),
    },
    Cause {
        id: "img.embedded-data",
        root: Root::Packing,
        title: "a descriptor embeds the bytes that it names",
        advice: "push with the same tool",
        recognise: Recogniser::Difference(|difference, _| match &difference.location {
            Location::Manifest { pointer }
                if pointer.ends_with("/data") && difference.bearing == Bearing::Encoding =>
            {
                Some(Cow::Borrowed(
                    "the embedded bytes have the descriptor's digest",
                ))
            }
            _ => None,
        }),
    },
    Cause {
        id: "img.index",
        root: Root::Packing,
        title: "the index holds other platforms, attestations and annotations too",
        advice: "compare manifests: an index changes whenever something is attached to it",
        recognise: Recogniser::Difference(|difference, _| {
            (difference.bearing == Bearing::Index).then_some(Cow::Borrowed(
                "the difference is outside of the compared platform's entry",
            ))
        }),
    },
    Cause {
        id: "img.layer-split",
        root: Root::Packing,
        title: "the same files are spread over layers differently",
        advice: "build with the same instructions, without squashing",
        recognise: Recogniser::Difference(|difference, _| {
            (difference.attribute == Attribute::LayerCount).then_some(Cow::Borrowed(
                "the numbers of layers differ; the file systems they make are compared as one",
            ))
        }),
    },
];
