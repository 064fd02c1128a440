//! Configs: what runs, apart from who built it and when.
//!
//! The list of [`BUILD_METADATA`] is closed: a field that is not on it, known or
//! not, counts as running. Fields are compared in the raw JSON, so that one that
//! no specification knows is seen too.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Attribute, Bearing, Difference, Location, Value, json};
use crate::{image::RawConfig, pair::Pair};

/// How equal two configs are; a stronger grade is greater.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigGrade {
    /// Something differs that a container is run by, or may be.
    Differs,
    /// All that differs is in the closed list of build metadata.
    Running,
    /// Every byte is the same, but for the diffIDs that the layers settle.
    Bytes,
}

impl fmt::Display for ConfigGrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Differs => "differs",
            Self::Running => "running",
            Self::Bytes => "bytes",
        })
    }
}

/// A field that says who built the image and when, and the values it may take.
#[derive(Debug)]
pub struct MetadataField {
    /// JSON pointer; `*` stands for any array index.
    pub pointer: &'static str,
    /// What values are allowed, in words.
    pub grammar: &'static str,
    /// Whether a value is one of them; the field may always be absent.
    allows: fn(&Json) -> bool,
}

/// The closed list of config fields that nothing runs by.
///
/// The second half are the fields that Docker writes with their zero value and
/// others leave out; only that zero value is allowed there.
pub const BUILD_METADATA: &[MetadataField] = &[
    MetadataField {
        pointer: "/created",
        grammar: "an RFC 3339 time",
        allows: is_time,
    },
    MetadataField {
        pointer: "/history",
        grammar: "a list of history entries, as below",
        allows: |value| {
            value
                .as_array()
                .is_some_and(|list| list.iter().all(is_history_entry))
        },
    },
    MetadataField {
        pointer: "/history/*",
        grammar: "an object of created, created_by, comment, author and empty_layer only",
        allows: is_history_entry,
    },
    MetadataField {
        pointer: "/history/*/created",
        grammar: "an RFC 3339 time",
        allows: is_time,
    },
    MetadataField {
        pointer: "/history/*/created_by",
        grammar: "text",
        allows: Json::is_string,
    },
    MetadataField {
        pointer: "/history/*/comment",
        grammar: "text",
        allows: Json::is_string,
    },
    MetadataField {
        pointer: "/history/*/author",
        grammar: "text",
        allows: Json::is_string,
    },
    MetadataField {
        pointer: "/history/*/empty_layer",
        grammar: "true or false",
        allows: Json::is_boolean,
    },
    MetadataField {
        pointer: "/docker_version",
        grammar: "up to 64 letters, digits and . + ~ -",
        allows: |value| {
            value.as_str().is_some_and(|text| {
                text.len() <= 64
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b".+~-".contains(&byte))
            })
        },
    },
    MetadataField {
        pointer: "/container",
        grammar: "64 hex digits, or empty",
        allows: |value| is_hex(value, 64),
    },
    MetadataField {
        pointer: "/container_config",
        grammar: "an object: the builder's temporary container",
        allows: Json::is_object,
    },
    MetadataField {
        pointer: "/container_config/*",
        grammar: "any value: nothing is run by the temporary container",
        allows: |_| true,
    },
    MetadataField {
        pointer: "/config/Hostname",
        grammar: "12 hex digits (the temporary container's id), or empty",
        allows: |value| is_hex(value, 12),
    },
    MetadataField {
        pointer: "/config/Image",
        grammar: "a digest (the temporary parent image), or empty",
        allows: |value| {
            value.as_str().is_some_and(|text| {
                text.is_empty() || text.parse::<crate::digest::Digest>().is_ok()
            })
        },
    },
    MetadataField {
        pointer: "/config/Domainname",
        grammar: "empty",
        allows: is_empty,
    },
    MetadataField {
        pointer: "/config/User",
        grammar: "empty",
        allows: is_empty,
    },
    MetadataField {
        pointer: "/config/WorkingDir",
        grammar: "empty",
        allows: is_empty,
    },
    MetadataField {
        pointer: "/config/AttachStdin",
        grammar: "false",
        allows: is_false,
    },
    MetadataField {
        pointer: "/config/AttachStdout",
        grammar: "false",
        allows: is_false,
    },
    MetadataField {
        pointer: "/config/AttachStderr",
        grammar: "false",
        allows: is_false,
    },
    MetadataField {
        pointer: "/config/Tty",
        grammar: "false",
        allows: is_false,
    },
    MetadataField {
        pointer: "/config/OpenStdin",
        grammar: "false",
        allows: is_false,
    },
    MetadataField {
        pointer: "/config/StdinOnce",
        grammar: "false",
        allows: is_false,
    },
    MetadataField {
        pointer: "/config/ArgsEscaped",
        grammar: "false",
        allows: is_false,
    },
    MetadataField {
        pointer: "/config/Volumes",
        grammar: "null",
        allows: Json::is_null,
    },
    MetadataField {
        pointer: "/config/Entrypoint",
        grammar: "null",
        allows: Json::is_null,
    },
    MetadataField {
        pointer: "/config/Cmd",
        grammar: "null",
        allows: Json::is_null,
    },
    MetadataField {
        pointer: "/config/OnBuild",
        grammar: "null or an empty list",
        allows: is_null_or_empty,
    },
    MetadataField {
        pointer: "/config/Labels",
        grammar: "null or an empty object",
        allows: is_null_or_empty,
    },
];

/// Compares two configs and returns their grade.
///
/// The diffIDs are left to the layers. A document that is no JSON, or whose
/// numbers a double would round, is compared as bytes and graded `differs`.
pub(super) fn compare(configs: Pair<&RawConfig>, differences: &mut Vec<Difference>) -> ConfigGrade {
    if configs.map(|config| config.digest).is_equal() {
        return ConfigGrade::Bytes;
    }
    let parsed = configs.map(|config| serde_json::from_slice::<Json>(&config.bytes));
    let whole = |attribute, bearing| Difference {
        location: Location::Config {
            pointer: String::new(),
        },
        attribute,
        values: configs.map(|config| Some(Value::Digest(config.digest))),
        bearing,
    };
    let (Ok(published), Ok(rebuilt)) = (parsed.published, parsed.rebuilt) else {
        differences.push(whole(Attribute::Bytes, Bearing::Running));
        return ConfigGrade::Differs;
    };
    let documents = Pair::new(&published, &rebuilt);
    let found = json::differences(documents);
    let mut grade = ConfigGrade::Running;
    let same_values = found.is_empty();
    for difference in found
        .into_iter()
        .filter(|found| !is_settled_by_layers(&found.pointer))
    {
        let bearing = if is_build_metadata(&difference) {
            Bearing::BuildMetadata
        } else {
            grade = ConfigGrade::Differs;
            Bearing::Running
        };
        differences.push(Difference {
            location: Location::Config {
                pointer: difference.pointer.clone(),
            },
            attribute: Attribute::Json,
            values: difference.into_values(),
            bearing,
        });
    }
    if json::has_inexact_number(&published) || json::has_inexact_number(&rebuilt) {
        // Two numbers that a double rounds to the same value would pass as equal.
        differences.push(whole(Attribute::Bytes, Bearing::Running));
        return ConfigGrade::Differs;
    }
    if same_values || !configs.map(|config| json::layout(&config.bytes)).is_equal() {
        differences.push(whole(Attribute::Serialisation, Bearing::BuildMetadata));
    }
    grade
}

/// Returns whether the pointer is one whose value follows from a layer.
fn is_settled_by_layers(pointer: &str) -> bool {
    pointer.starts_with("/rootfs/diff_ids/")
}

/// Returns whether the field is in the closed list and both values are allowed there.
fn is_build_metadata(difference: &json::JsonDifference) -> bool {
    let fits = |field: &&MetadataField| {
        let mut given = difference.pointer.split('/');
        let mut wanted = field.pointer.split('/');
        loop {
            match (given.next(), wanted.next()) {
                (None, None) => return true,
                (Some(_), Some("*")) => {}
                (Some(given), Some(wanted)) if given == wanted => {}
                // Inside the temporary container's config any depth is its own business.
                (Some(_), None) => return field.pointer == "/container_config/*",
                (Some(_) | None, _) => return false,
            }
        }
    };
    BUILD_METADATA.iter().filter(fits).any(|field| {
        let allowed = |value: &Option<Json>| value.as_ref().is_none_or(field.allows);
        allowed(&difference.values.published) && allowed(&difference.values.rebuilt)
    })
}

fn is_time(value: &Json) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok())
}

fn is_hex(value: &Json, digits: usize) -> bool {
    value.as_str().is_some_and(|text| {
        text.is_empty() || text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn is_empty(value: &Json) -> bool {
    value.as_str() == Some("")
}

fn is_false(value: &Json) -> bool {
    value == &Json::Bool(false)
}

fn is_null_or_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Array(list) => list.is_empty(),
        Json::Object(map) => map.is_empty(),
        Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

fn is_history_entry(value: &Json) -> bool {
    value.as_object().is_some_and(|entry| {
        entry.iter().all(|(key, value)| match key.as_str() {
            "created" => is_time(value),
            "created_by" | "comment" | "author" => value.is_string(),
            "empty_layer" => value.is_boolean(),
            _ => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use serde_json::json;

    fn graded(published: &str, rebuilt: &str) -> (ConfigGrade, Vec<(String, Bearing)>) {
        let raw = |text: &str| RawConfig {
            digest: Digest::of(text.as_bytes()),
            bytes: text.into(),
        };
        let sides = Pair::new(raw(published), raw(rebuilt));
        let mut differences = Vec::new();
        let grade = compare(sides.as_ref(), &mut differences);
        let found = differences
            .into_iter()
            .map(|difference| (difference.location.to_string(), difference.bearing))
            .collect();
        (grade, found)
    }

    #[test]
    fn only_listed_fields_with_listed_values_are_build_metadata() {
        use Bearing::{BuildMetadata, Running};
        let hex = "0123456789ab";
        let cases = [
            (
                json!({"created": "2020-01-01T00:00:00Z"}),
                json!({}),
                BuildMetadata,
            ),
            (json!({"created": "yesterday"}), json!({}), Running),
            (
                json!({"Created": "2020-01-01T00:00:00Z"}),
                json!({}),
                Running,
            ),
            (
                json!({"docker_version": "20.10.23"}),
                json!({"docker_version": "28"}),
                BuildMetadata,
            ),
            (json!({"docker_version": "curl x | sh"}), json!({}), Running),
            (
                json!({"config": {"Hostname": hex}}),
                json!({"config": {"Hostname": ""}}),
                BuildMetadata,
            ),
            (
                json!({"config": {"Hostname": "evil"}}),
                json!({"config": {"Hostname": ""}}),
                Running,
            ),
            (
                json!({"config": {"User": ""}}),
                json!({"config": {}}),
                BuildMetadata,
            ),
            (
                json!({"config": {"User": "root"}}),
                json!({"config": {}}),
                Running,
            ),
            (
                json!({"config": {"Healthcheck": {"Test": ["NONE"]}}}),
                json!({"config": {}}),
                Running,
            ),
            (
                json!({"config": {"OnBuild": ["RUN x"]}}),
                json!({"config": {"OnBuild": null}}),
                Running,
            ),
            (
                json!({"config": {"Shell": ["/evil"]}}),
                json!({"config": {}}),
                Running,
            ),
            (
                json!({"config": {"Labels": {"a": "b"}}}),
                json!({"config": {"Labels": {}}}),
                Running,
            ),
            (
                json!({"container_config": {"Cmd": ["x"], "Labels": {"a": "b"}}}),
                json!({"container_config": {"Cmd": ["y"], "Labels": {}}}),
                BuildMetadata,
            ),
            (
                json!({"history": [{"created_by": "a"}]}),
                json!({"history": [{"created_by": "b"}]}),
                BuildMetadata,
            ),
            (
                json!({"history": [{"run": "a"}]}),
                json!({"history": []}),
                Running,
            ),
            (json!({"author": "a"}), json!({"author": "b"}), Running),
            (json!({"future": 1}), json!({}), Running),
        ];
        for (published, rebuilt, bearing) in cases {
            let (grade, found) = graded(&published.to_string(), &rebuilt.to_string());
            let expected = if bearing == Running {
                ConfigGrade::Differs
            } else {
                ConfigGrade::Running
            };
            assert_eq!(grade, expected, "{published} {rebuilt}");
            assert!(!found.is_empty(), "{published}");
            assert!(
                found.iter().all(|(_, found)| *found == bearing),
                "{found:?}"
            );
        }
    }

    #[test]
    fn the_same_values_in_other_bytes_are_one_difference() {
        let (grade, found) = graded("{\"a\": 1}", "{\"a\":1}");
        assert_eq!(grade, ConfigGrade::Running);
        assert_eq!(found, [("config".to_owned(), Bearing::BuildMetadata)]);
    }

    #[test]
    fn a_number_that_a_double_would_round_is_never_taken_for_equal() {
        let (grade, found) = graded("{\"a\":9007199254740993.0}", "{\"a\":9007199254740992.0}");
        assert_eq!(grade, ConfigGrade::Differs);
        assert_eq!(found, [("config".to_owned(), Bearing::Running)]);
    }
}
