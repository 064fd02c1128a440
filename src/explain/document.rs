//! Causes in documents: when they were made.

use super::{
    Cause, File, Recogniser, Recognition, Root,
    archive::through_gzip,
    dates::{self, Only},
};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "doc-time",
        root: Root::Clock,
        title: "a generated document says when it was made",
        advice: "set SOURCE_DATE_EPOCH, or turn the time stamp off in the generator",
        recognise: Recogniser::File(|file| through_gzip(file, document)),
    },
    Cause {
        id: "ruby-gem",
        root: Root::Clock,
        title: "a gem's specification holds the day on which it was built",
        advice: "set SOURCE_DATE_EPOCH, or give the date in the source's own specification",
        recognise: Recogniser::File(gem),
    },
];

/// Recognises a specification in which only the day in the line of the date differs.
///
/// Source: rubygems, `lib/rubygems/specification.rb` (`to_ruby`).
fn gem(file: &File<'_>) -> Recognition {
    const FOLDER: &[u8] = b"/specifications/";
    const LINE: &[u8] = b"\n  s.date = \"";
    let path = file.path.as_bytes();
    if !path.ends_with(b".gemspec") || !path.windows(FOLDER.len()).any(|part| part == FOLDER) {
        return Recognition::Elsewhere;
    }
    let bytes = file.bytes.published;
    let only = dates::only_dates(file.bytes, dates::DOCUMENT, |range| {
        let after = &bytes[range.published.end..];
        bytes[..range.published.start].ends_with(LINE)
            && (after.starts_with(b"\"\n") || after.starts_with(b"\".freeze\n"))
    });
    match only {
        Only::Dates(_) => {
            Recognition::Explained("only the day in the line “s.date” differs".into())
        }
        Only::More { dates, at } => Recognition::Refused(Only::refusal(dates, at)),
    }
}

/// What kinds of document are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Document {
    Html,
    Pdf,
    /// A manual page, in man or mdoc.
    Manual,
}

impl Document {
    fn of(path: &[u8], bytes: &[u8]) -> Option<Self> {
        let start: Vec<u8> = bytes
            .strip_prefix(b"\xef\xbb\xbf")
            .unwrap_or(bytes)
            .trim_ascii_start()
            .iter()
            .take(14)
            .map(u8::to_ascii_lowercase)
            .collect();
        if bytes.starts_with(b"%PDF-") {
            Some(Self::Pdf)
        } else if start == b"<!doctype html" || start.starts_with(b"<html") {
            Some(Self::Html)
        } else if path.windows(5).any(|part| part == b"/man/") && !bytes.contains(&0) {
            Some(Self::Manual)
        } else {
            None
        }
    }
}

fn document(file: &File<'_>) -> Recognition {
    let kinds = file
        .bytes
        .map(|bytes| Document::of(file.path.as_bytes(), bytes));
    let (Some(kind), true) = (kinds.published, kinds.is_equal()) else {
        return Recognition::Elsewhere;
    };
    let bytes = file.bytes.published;
    let only = dates::only_dates(file.bytes, dates::DOCUMENT, |range| match kind {
        Document::Html | Document::Pdf => true,
        // Elsewhere in a manual page a date can be an example that someone follows.
        Document::Manual => {
            let start = bytes[..range.published.start]
                .iter()
                .rposition(|&byte| byte == b'\n')
                .map_or(0, |found| found + 1);
            [&b".TH "[..], b".Dd ", b".\\\"", b"'\\\""]
                .iter()
                .any(|request| bytes[start..].starts_with(request))
        }
    });
    let what = match kind {
        Document::Html => "HTML",
        Document::Pdf => "PDF",
        Document::Manual => "manual page",
    };
    match only {
        Only::Dates(dates) => Recognition::Explained(
            format!(
                "{} dates differ in the {what}, and no other byte",
                dates.len()
            )
            .into(),
        ),
        Only::More { dates: 0, .. } => Recognition::Elsewhere,
        Only::More { dates, at } => Recognition::Refused(Only::refusal(dates, at)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::examined;

    #[test]
    fn a_document_may_differ_in_its_dates_only() {
        let cases = [
            (
                "a gem",
                "usr/share/gems/specifications/a.gemspec",
                "  s.name = \"a\"\n  s.date = \"2024-03-05\"\n",
                "  s.name = \"a\"\n  s.date = \"2024-04-06\"\n",
                Some("ruby-gem"),
            ),
            (
                "a gem and what it needs",
                "usr/share/gems/specifications/a.gemspec",
                "  s.name = \"a\"\n  s.date = \"2024-03-05\"\n  s.add_dependency(\"b\")\n",
                "  s.name = \"a\"\n  s.date = \"2024-04-06\"\n  s.add_dependency(\"c\")\n",
                None,
            ),
            (
                "a day elsewhere in a gem",
                "usr/share/gems/specifications/a.gemspec",
                "  s.name = \"a\"\n  x = \"2024-03-05\" # 1\n",
                "  s.name = \"a\"\n  x = \"2024-04-06\" # 2\n",
                None,
            ),
            (
                "HTML",
                "usr/share/doc/a.html",
                "<!DOCTYPE html><p>Generated on Tue Mar  5 10:11:12 2024</p>",
                "<!DOCTYPE html><p>Generated on Wed Mar 16 09:11:12 2024</p>",
                Some("doc-time"),
            ),
            (
                "HTML and a word",
                "usr/share/doc/a.html",
                "<!DOCTYPE html><p>Generated on 2024-03-05</p><a href=one>",
                "<!DOCTYPE html><p>Generated on 2024-03-06</p><a href=two>",
                None,
            ),
            (
                "PDF",
                "a.pdf",
                "%PDF-1.4 /CreationDate (D:20240305101112+01'00')",
                "%PDF-1.4 /CreationDate (D:20250101000000+00'00')",
                Some("doc-time"),
            ),
            (
                "PDF and its text",
                "a.pdf",
                "%PDF-1.4 /CreationDate (D:20240305101112+01'00') (a) Tj",
                "%PDF-1.4 /CreationDate (D:20250101000000+00'00') (b) Tj",
                None,
            ),
            (
                "manual page",
                "usr/share/man/man1/a.1",
                ".TH A 1 \"March 2024\" \"1.0\"\n",
                ".TH A 1 \"April 2024\" \"1.0\"\n",
                Some("doc-time"),
            ),
            (
                "text of a manual page",
                "usr/share/man/man1/a.1",
                ".TH A 1\nUse --since 2024-01-01\n",
                ".TH A 1\nUse --since 2024-01-02\n",
                None,
            ),
            ("other text", "etc/motd", "March 2024", "April 2024", None),
        ];
        for (case, path, published, rebuilt, cause) in cases {
            let found = examined(path, published.as_bytes(), rebuilt.as_bytes());
            assert_eq!(found, cause, "{case}");
            let found = examined(path, rebuilt.as_bytes(), published.as_bytes());
            assert_eq!(found, cause, "{case}, swapped");
        }
    }
}
