//! rpm's own format of a database, ndb, as openSUSE has it: slots that lead to headers.
//!
//! Source: rpm, `lib/backend/ndb/rpmpkg.c`.

use std::ops::Range;

use super::{MAX_PACKAGES, stretches::Stretches};

const MAGIC: &[u8] = b"RpmP";
const SLOT_MAGIC: &[u8] = b"Slot";
const HEAD_MAGIC: &[u8] = b"BlbS";
const TAIL_MAGIC: &[u8] = b"BlbE";

/// The bytes of a slot, and of a block, of which headers take up whole ones.
const BLOCK: usize = 16;

/// The bytes of a page of slots.
const PAGE: usize = 4096;

/// What stands before a header: a magic, its number, when it was written and its length.
const HEAD: usize = 16;

/// What stands at the end of a header's last block: a checksum, its length and a magic.
const TAIL: usize = 12;

/// A header in the file.
pub(super) struct Blob {
    /// Where it lies.
    pub(super) header: Stretches,
    /// Where the second lies in which it was written.
    pub(super) time: Range<usize>,
    /// Where the checksum lies of what stands before.
    pub(super) sum: Range<usize>,
    /// Whether that is right.
    pub(super) has_right_sum: bool,
}

/// Reads where each header lies, in the order of the slots.
///
/// Headers must lie apart, so that memory is bounded by the file.
pub(super) fn blobs(bytes: &[u8]) -> Result<Vec<Blob>, &'static str> {
    let word = |at: usize| {
        let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        let word = u32::from_le_bytes(*bytes.ok_or("it ends too early")?);
        usize::try_from(word).map_err(|_| "a number is too large")
    };
    if !bytes.starts_with(MAGIC) || word(4)? != 0 {
        return Err("it is no database of rpm's own format, version 0");
    }
    let slots = word(12)?
        .checked_mul(PAGE)
        .filter(|&end| end <= bytes.len())
        .ok_or("it has more slots than bytes")?;
    let mut blobs = Vec::new();
    let mut taken = Vec::new();
    // The first two slots are the file's own header.
    for slot in (2 * BLOCK..slots).step_by(BLOCK) {
        if bytes.get(slot..slot + 4) != Some(SLOT_MAGIC) {
            return Err("a slot does not begin like one");
        }
        let (number, block, blocks) = (word(slot + 4)?, word(slot + 8)?, word(slot + 12)?);
        if block == 0 {
            continue;
        }
        let start = block.checked_mul(BLOCK);
        let end = block
            .checked_add(blocks)
            .and_then(|end| end.checked_mul(BLOCK));
        let (Some(start), Some(end)) = (start, end.filter(|&end| end <= bytes.len())) else {
            return Err("a header lies outside of the file");
        };
        if start < slots || end - start < HEAD + TAIL {
            return Err("a header lies over the slots, or is too short");
        }
        let length = word(start + 12)?;
        let fits = bytes.get(start..start + 4) == Some(HEAD_MAGIC)
            && bytes.get(end - 4..end) == Some(TAIL_MAGIC)
            && word(start + 4)? == number
            && word(end - 8)? == length
            && (HEAD + TAIL)
                .checked_add(length)
                .is_some_and(|whole| whole.next_multiple_of(BLOCK) == end - start);
        if !fits {
            return Err("what a slot leads to is not the header that it says");
        }
        taken.push(start..end);
        let mut header = Stretches::default();
        header.push(start + HEAD..start + HEAD + length);
        let sum = end - TAIL..end - TAIL + 4;
        let right = adler2::adler32_slice(&bytes[start..sum.start]).to_le_bytes();
        blobs.push(Blob {
            header,
            time: start + 8..start + 12,
            has_right_sum: bytes[sum.clone()] == right,
            sum,
        });
        if blobs.len() > MAX_PACKAGES {
            return Err("it has more headers than an image has packages");
        }
    }
    taken.sort_unstable_by_key(|place| place.start);
    if taken.windows(2).any(|two| two[0].end > two[1].start) {
        return Err("headers lie over each other");
    }
    Ok(blobs)
}

#[cfg(test)]
mod tests {
    use super::{super::testing::ndb, *};

    #[test]
    fn headers_are_found_through_their_slots() {
        let headers = [b"one".to_vec(), vec![b'x'; 40]];
        let right = ndb(&headers);
        let read = |bytes: &[u8]| {
            blobs(bytes).map(|blobs| {
                let blobs = blobs.iter().filter(|blob| blob.has_right_sum);
                blobs
                    .map(|blob| blob.header.bytes(bytes))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(read(&right), Ok(headers.to_vec()));
        let mut wrong = right.clone();
        wrong[PAGE + HEAD] ^= 1;
        assert_eq!(read(&wrong), Ok(headers[1..].to_vec()));
        let again = [&right[2 * BLOCK..3 * BLOCK]; 8].concat();
        let cases: [(&str, usize, &[u8], &str); 6] = [
            (
                "another format",
                0,
                b"rpmP",
                "it is no database of rpm's own format, version 0",
            ),
            (
                "slots without end",
                12,
                &[0xff; 4],
                "it has more slots than bytes",
            ),
            (
                "a slot of another kind",
                BLOCK * 5,
                b"slot",
                "a slot does not begin like one",
            ),
            (
                "out of the file",
                2 * BLOCK + 12,
                &[0xff; 4],
                "a header lies outside of the file",
            ),
            (
                "another length",
                PAGE + 12,
                &[2],
                "what a slot leads to is not the header that it says",
            ),
            (
                "one header in many slots",
                2 * BLOCK,
                &[&again[..]; 31].concat(),
                "headers lie over each other",
            ),
        ];
        for (case, at, bytes, problem) in cases {
            let mut wrong = right.clone();
            wrong[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(read(&wrong), Err(problem), "{case}");
        }
    }
}
