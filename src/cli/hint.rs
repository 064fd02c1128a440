//! What would help, for the errors where that is known and their text does not say.

use reprove::{
    image::{self, registry::Refusal},
    report,
};

/// Returns a sentence that says what to do about the error.
pub(super) fn hint(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        if let Some(image::Error::NoSuchPlatform { .. }) = cause.downcast_ref() {
            return Some("choose one with --platform");
        }
        if let Some(image::Error::AmbiguousPlatform { .. }) = cause.downcast_ref() {
            return Some("name the image by its digest, as NAME@sha256:…");
        }
        if let Some(Refusal::Connection(_)) = cause.downcast_ref() {
            return Some(
                "where the registry speaks plain HTTP, say so with --plain-http; \
                 `reprove doctor` shows proxies and certificates",
            );
        }
        if let Some(report::Error::NotJson(_) | report::Error::NotAReport) = cause.downcast_ref() {
            return Some("`reprove verify IMAGE --report FILE` writes one");
        }
        if let Some(report::Error::OtherVersion { .. }) = cause.downcast_ref() {
            return Some("show it with the version of reprove that wrote it, or a later one");
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_hint_is_found_behind_whatever_was_being_done() {
        let missing = || image::Error::NoSuchPlatform {
            name: "a".to_owned(),
            platform: image::Platform::host(),
            available: Vec::new(),
        };
        let error = Err::<(), _>(missing())
            .context("cannot read a")
            .unwrap_err();
        assert_eq!(hint(&error), Some("choose one with --platform"));
        assert_eq!(hint(&anyhow::anyhow!("something else")), None);
    }
}
