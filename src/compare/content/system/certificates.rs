//! Certificates in PEM, one or many.
//!
//! Source: RFC 7468, RFC 5280.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use x509_cert::{Certificate, der::Decode as _};

use super::{
    super::Format,
    records::{self, Record},
};
use crate::{digest::Digest, image::entry::Printable, pair::Pair};

const BEGIN: &[u8] = b"-----BEGIN ";
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

pub(super) const FORMAT: Format = Format {
    name: "certificates",
    is: |_, bytes| {
        let start = &bytes[..bytes.len().min(64 << 10)];
        start
            .windows(CERTIFICATE.len())
            .any(|window| window == CERTIFICATE)
    },
    compare: |sides, limits| {
        let sides = Pair::new(records(sides.published)?, records(sides.rebuilt)?);
        let sides = sides.as_ref().map(Vec::as_slice);
        Some(records::compare(FORMAT.name, sides, limits))
    },
};

/// How many blocks are read; the largest bundles have some 500.
const MAX_BLOCKS: usize = 20_000;

/// What lies between two PEM boundaries.
pub(crate) struct Block<'a> {
    /// The text before it, such as comments.
    pub(crate) before: &'a [u8],
    /// What it says to be.
    pub(crate) label: &'a [u8],
    /// The bytes that it stands for.
    pub(crate) der: Vec<u8>,
    /// Whether it is written in lines of 64 characters, the one way that is usual.
    pub(crate) is_usual: bool,
    /// Its text, boundaries and all.
    pub(crate) text: &'a [u8],
}

/// Reads all blocks of a file, and what is left after the last; `None` where one cannot be read.
pub(crate) fn blocks(bytes: &[u8]) -> Option<(Vec<Block<'_>>, &[u8])> {
    let mut blocks = Vec::new();
    let mut rest = bytes;
    while let Some(begin) = find(rest, BEGIN) {
        if blocks.len() == MAX_BLOCKS {
            return None;
        }
        let (before, from) = rest.split_at(begin);
        let label_end = find(from, b"-----\n")?;
        let label = from.get(BEGIN.len()..label_end)?;
        let body = &from[label_end + 6..];
        let boundary = [b"-----END ", label, b"-----\n"].concat();
        let end = find(body, &boundary)?;
        let base64: Vec<u8> = body[..end]
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let der = STANDARD.decode(base64).ok()?;
        let text = &from[..label_end + 6 + end + boundary.len()];
        blocks.push(Block {
            before,
            label,
            is_usual: text == written(label, &der),
            der,
            text,
        });
        rest = &from[text.len()..];
    }
    Some((blocks, rest))
}

/// Writes a block in the usual way.
pub(crate) fn written(label: &[u8], der: &[u8]) -> Vec<u8> {
    let mut text = [BEGIN, label, b"-----\n"].concat();
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend([b"-----END ", label, b"-----\n"].concat());
    text
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// Returns the SHA-256 fingerprint.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    format!("SHA-256 {}", Digest::of(der).hex())
}

/// Returns whose certificate it is; `None` where it cannot be read.
pub(crate) fn subject(der: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(der).ok()?;
    let subject = certificate.tbs_certificate().subject().to_string();
    Some(Printable(subject.as_bytes()).to_string())
}

fn records(bytes: &[u8]) -> Option<Vec<Record>> {
    let (blocks, rest) = blocks(bytes)?;
    let mut records = Vec::new();
    for block in blocks {
        let certificate = (block.label == b"CERTIFICATE")
            .then(|| Certificate::from_der(&block.der).ok())
            .flatten();
        let mut record = match &certificate {
            Some(certificate) => {
                let certificate = certificate.tbs_certificate();
                let mut record = Record::new(certificate.subject().to_string().as_bytes());
                if certificate.issuer() != certificate.subject() {
                    record.field("issuer", certificate.issuer().to_string().as_bytes());
                }
                let serial = hex::encode(certificate.serial_number().as_bytes());
                record.field("serial number", serial.as_bytes());
                let validity = certificate.validity();
                record.field("not before", validity.not_before.to_string().as_bytes());
                record.field("not after", validity.not_after.to_string().as_bytes());
                record
            }
            None => Record::new(&[b"block ", block.label].concat()),
        };
        record.field("fingerprint", fingerprint(&block.der).as_bytes());
        if !block.is_usual {
            let text = Digest::of(block.text).hex();
            record.field("writing", format!("unusual, SHA-256 {text}").as_bytes());
        }
        if !block.before.is_empty() {
            record.field("text before", block.before);
        }
        records.push(record);
    }
    if !rest.is_empty() {
        let mut end = Record::new(b"end of file");
        end.field("text", rest);
        records.push(end);
    }
    Some(records)
}
