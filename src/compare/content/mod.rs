//! What differs inside of a file whose bytes differ, as far as its format can be read.
//!
//! Bytes of both sides come in, a tree of parts goes out. Nothing is judged and
//! nothing is left out silently: what a limit cuts off is counted, and where a
//! format's own fields are all equal the bytes themselves are the difference.
//! Which format a file is in is told from its bytes; its path only chooses among
//! formats that its bytes allow.

mod ar;
mod cpio;
mod data;
pub mod elf;
mod gzip;
mod inflate;
mod json;
mod listed;
mod packed;
pub mod pieces;
mod pyc;
mod sqlite;
pub(crate) mod system;
mod tar;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod text;
mod zip;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pair::Pair;

pub use data::ranges;

/// What differs inside of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// The format that both sides are in, such as `text`, `elf`, `tar` or `data`.
    pub format: String,
    /// The differences, in the order of the file.
    pub parts: Vec<Part>,
    /// How many further differences a limit cut off; at least this many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// One difference inside of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// Where, in the words of the format: `section .text`, `member etc/passwd`, `root password`.
    pub place: String,
    /// What.
    pub change: Change,
}

/// What differs at a place inside of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Change {
    /// A value; `null` where a side has none.
    Value {
        /// What the published file has.
        published: Option<String>,
        /// What the rebuilt file has.
        rebuilt: Option<String>,
    },
    /// Lines of text, with some that are equal around them.
    Lines {
        /// The first line's number on each side, from 1.
        from: Pair<u64>,
        /// The lines, in order.
        lines: Vec<Line>,
    },
    /// Bytes at an offset.
    Bytes {
        /// Where the range begins on each side.
        offset: Pair<u64>,
        /// How long it is on each side.
        length: Pair<u64>,
        /// The first bytes of each, in hexadecimal; equal ones among them included.
        hex: Pair<String>,
        /// The equal bytes right before the range, in hexadecimal; no more than a few.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        before: String,
        /// The equal bytes right after the range, in hexadecimal; no more than a few.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        after: String,
        /// Shannon entropy of each in thousandths of a bit per byte, 8000 for random bytes.
        entropy: Pair<u32>,
    },
    /// What differs inside of what lies here.
    Inside {
        /// The differences.
        content: Content,
    },
}

/// One line of two texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Which side has it.
    pub on: On,
    /// The line, without its end.
    pub text: String,
}

/// Which side has a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    /// Both.
    Both,
    /// The published one only.
    Published,
    /// The rebuilt one only.
    Rebuilt,
}

/// What is left of what may be spent on one file; the same for the same bytes on any machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many archives may still be opened inside of each other.
    pub depth: usize,
    /// How many parts may still be listed.
    pub parts: usize,
    /// How many bytes may still be inflated.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 6,
            parts: 200,
            bytes: 256 << 20,
        }
    }
}

/// A format whose inside can be compared.
struct Format {
    /// What it is called in reports.
    name: &'static str,
    /// Returns whether a file of this path begins like one.
    is: fn(&[u8], &[u8]) -> bool,
    /// Returns what differs; `None` where a side cannot be read after all.
    compare: fn(Pair<&[u8]>, &mut Limits) -> Option<Content>,
}

/// All formats, the most telling first.
const FORMATS: &[Format] = &[
    Format {
        name: elf::NAME,
        is: elf::is,
        compare: elf::compare,
    },
    Format {
        name: gzip::NAME,
        is: gzip::is,
        compare: gzip::compare,
    },
    Format {
        name: packed::XZ,
        is: packed::is_xz,
        compare: packed::compare_xz,
    },
    Format {
        name: packed::BZIP2,
        is: packed::is_bzip2,
        compare: packed::compare_bzip2,
    },
    Format {
        name: packed::ZSTD,
        is: packed::is_zstd,
        compare: packed::compare_zstd,
    },
    Format {
        name: ar::NAME,
        is: ar::is,
        compare: ar::compare,
    },
    Format {
        name: cpio::NAME,
        is: cpio::is,
        compare: cpio::compare,
    },
    Format {
        name: zip::NAME,
        is: zip::is,
        compare: zip::compare,
    },
    Format {
        name: tar::NAME,
        is: tar::is,
        compare: tar::compare,
    },
    Format {
        name: sqlite::NAME,
        is: sqlite::is,
        compare: sqlite::compare,
    },
    Format {
        name: pyc::NAME,
        is: pyc::is,
        compare: pyc::compare,
    },
    Format {
        name: json::NAME,
        is: json::is,
        compare: json::compare,
    },
    Format {
        name: text::NAME,
        is: text::is,
        compare: text::compare,
    },
];

/// Returns what differs inside of a file.
///
/// Never empty where the bytes differ: what no format tells apart is shown as bytes.
pub fn content(path: &[u8], sides: Pair<&[u8]>, limits: &mut Limits) -> Content {
    if sides.is_equal() {
        return Content {
            format: "equal".to_owned(),
            parts: Vec::new(),
            left_out: 0,
        };
    }
    if limits.depth == 0 {
        return data::compare(sides, limits);
    }
    let fitting = system::FORMATS
        .iter()
        .chain(FORMATS)
        .filter(|format| (format.is)(path, sides.published) && (format.is)(path, sides.rebuilt));
    for format in fitting {
        if let Some(content) = (format.compare)(sides, limits)
            && (!content.parts.is_empty() || content.left_out > 0)
        {
            debug_assert_eq!(content.format, format.name);
            return content;
        }
    }
    data::compare(sides, limits)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}
