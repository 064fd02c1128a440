//! Causes in configs: who built the image, when, and with what.

use std::borrow::Cow;

use super::{Cause, Recogniser, Root};
use crate::compare::{Attribute, Bearing, Difference, Location, Value};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "img.created",
        root: Root::Clock,
        title: "the config says when the image was built",
        advice: "set SOURCE_DATE_EPOCH, or build with --timestamp",
        recognise: Recogniser::Difference(|difference, _| {
            let pointer = metadata(difference)?;
            (pointer == "/created"
                || pointer.starts_with("/history/") && pointer.ends_with("/created"))
            .then_some(Cow::Borrowed("both sides hold an RFC 3339 time, or none"))
        }),
    },
    Cause {
        id: "img.history-text",
        root: Root::Builder,
        title: "the history is worded by the builder",
        advice: "build with the same builder and version",
        recognise: Recogniser::Difference(|difference, _| {
            metadata(difference)?
                .starts_with("/history")
                .then_some(Cow::Borrowed(
                    "the history only describes how the image came about; nothing runs by it",
                ))
        }),
    },
    Cause {
        id: "img.docker-version",
        root: Root::Builder,
        title: "the config names the builder's version",
        advice: "build with the same version",
        recognise: Recogniser::Difference(|difference, _| {
            (metadata(difference)? == "/docker_version")
                .then_some(Cow::Borrowed("both sides hold a version, or none"))
        }),
    },
    Cause {
        id: "img.container",
        root: Root::Builder,
        title: "the config describes the builder's temporary container",
        advice: "build with BuildKit, which keeps none",
        recognise: Recogniser::Difference(|difference, _| {
            let pointer = metadata(difference)?;
            (["/container", "/config/Hostname", "/config/Image"].contains(&pointer)
                || pointer.starts_with("/container_config"))
            .then_some(Cow::Borrowed("the values have the form of the container's or its image's id, or are its settings"))
        }),
    },
    Cause {
        id: "img.unset-field",
        root: Root::Builder,
        title: "a field without effect is written by one builder and left out by another",
        advice: "build with the same builder",
        recognise: Recogniser::Difference(|difference, _| {
            let pointer = metadata(difference)?;
            pointer.starts_with("/config/").then_some(Cow::Borrowed(
                "one side has the zero value, the other has not the field",
            ))
        }),
    },
    Cause {
        id: "img.builder-label",
        root: Root::Builder,
        title: "a label names the builder's version",
        advice: "build with buildah's --identity-label=false",
        recognise: Recogniser::Difference(|difference, _| {
            let Location::Config { pointer } = &difference.location else {
                return None;
            };
            let version = |value: &Option<Value>| match value {
                None => true,
                Some(Value::Json(value)) => value.as_str().is_some_and(|text| {
                    !text.is_empty()
                        && text.len() <= 32
                        && text
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || b".+-".contains(&byte))
                }),
                Some(_) => false,
            };
            (pointer == "/config/Labels/io.buildah.version"
                && version(&difference.values.published)
                && version(&difference.values.rebuilt))
            .then_some(Cow::Borrowed(
                "the label's value is a version; a label counts as running all the same",
            ))
        }),
    },
    Cause {
        id: "img.json-format",
        root: Root::Builder,
        title: "the same values are written as JSON in another way",
        advice: "build with the same builder",
        recognise: Recogniser::Difference(|difference, _| {
            (difference.attribute == Attribute::Serialisation).then_some(Cow::Borrowed(
                "white space, key order or escapes differ beyond the values listed",
            ))
        }),
    },
];

/// Returns the pointer of a config field that the comparison found to be build metadata.
fn metadata(difference: &Difference) -> Option<&str> {
    match (
        &difference.location,
        difference.bearing,
        &difference.attribute,
    ) {
        (Location::Config { pointer }, Bearing::BuildMetadata, Attribute::Json) => Some(pointer),
        _ => None,
    }
}
