//! A report read back from its JSON.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Report, model::SCHEMA_VERSION};

/// Why a file is no report that can be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no JSON at all.
    #[error("it is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// It does not say that it is a report.
    #[error("it is JSON but no report: it has no schemaVersion")]
    NotAReport,
    /// Another version of the program wrote it, in another format.
    #[error("its schemaVersion is {found}, and only {SCHEMA_VERSION} is known")]
    OtherVersion {
        /// The version that it has.
        found: u64,
    },
    /// A field is missing or has a value that no report has.
    #[error("it is not a whole report")]
    Invalid(#[source] serde_json::Error),
    /// A finding has a cause that is not among the causes, by which findings are told.
    #[error("it names the cause {cause:?} and does not say what that is")]
    UnknownCause {
        /// The cause's name.
        cause: String,
    },
}

/// What is read before it is known what the rest means.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    schema_version: u64,
}

/// Reads a report that was written as JSON.
///
/// Nothing in it is believed but its form: numbers may point nowhere, and text may
/// hold any character. Only what a finding would be lost for is an error.
pub fn read(bytes: &[u8]) -> Result<Report, Error> {
    // The whole is gone through first, so that a torn file is told from a foreign one.
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(Error::NotJson)?;
    let head: Head = serde_json::from_slice(bytes).map_err(|_| Error::NotAReport)?;
    if head.schema_version != u64::from(SCHEMA_VERSION) {
        return Err(Error::OtherVersion {
            found: head.schema_version,
        });
    }
    let report: Report = serde_json::from_slice(bytes).map_err(Error::Invalid)?;
    let known: BTreeSet<&str> = report.causes.iter().map(|cause| &*cause.id).collect();
    let unknown = (report.findings.iter())
        .filter_map(|finding| finding.cause.as_ref())
        .find(|cause| !known.contains(&*cause.id));
    match unknown {
        Some(cause) => Err(Error::UnknownCause {
            cause: cause.id.clone(),
        }),
        None => Ok(report),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::verdict::{Policy, Rules};

    #[test]
    fn what_is_no_report_is_told_by_what_is_wrong_with_it() {
        let policy = Policy::builtin(Rules::Standard);
        let report = Report::begun(jiff::Timestamp::UNIX_EPOCH, &policy, &[]);
        let good = serde_json::to_string(&report).unwrap();
        assert_eq!(read(good.as_bytes()).unwrap().schema_version, 1);

        let torn = &good[..good.len() / 2];
        let newer = good.replacen("\"schemaVersion\":1", "\"schemaVersion\":2", 1);
        let wrong = good.replacen("\"inconclusive\"", "\"fine\"", 1);
        let cases = [
            ("", "it is not JSON"),
            (torn, "it is not JSON"),
            ("[]", "it is JSON but no report: it has no schemaVersion"),
            ("{}", "it is JSON but no report: it has no schemaVersion"),
            (&newer, "its schemaVersion is 2, and only 1 is known"),
            (&wrong, "it is not a whole report"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text.as_bytes()).unwrap_err().to_string(), expected);
        }
        let why = read(wrong.as_bytes()).unwrap_err();
        assert!(why.source().unwrap().to_string().contains("fine"));
    }
}
