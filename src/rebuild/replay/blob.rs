//! Blob: the store's bytes → the body of a response, or a part of them.
//!
//! The store knows only at a blob's end whether the bytes are still good. So
//! the last bytes that were asked for are held back until all have been read: a
//! client never has as many bytes as it was promised and wrong ones among them.

use std::{
    io::{self, Read},
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::{Refusal, Seen, Why, answers::Answer};
use crate::store::{self, BlobReader};

/// Bytes read at a time.
const CHUNK: usize = 1 << 16;

/// A blob that is being sent.
pub(super) struct Blob {
    reader: BlobReader,
    answer: Answer,
    /// Which bytes are asked for.
    range: Range<u64>,
    /// How many bytes have been read.
    position: u64,
    /// What was read first, not yet looked at.
    first: Option<Bytes>,
    /// The last bytes that are asked for, of those read.
    held: Bytes,
    /// How many bytes are still to be sent.
    left: u64,
    over: bool,
    /// Whom to tell of rot, and in which request.
    seen: Arc<Seen>,
    url: String,
}

impl Blob {
    /// Reads the beginning of a blob, all of which is asked for.
    pub(super) fn open(
        mut reader: BlobReader,
        answer: &Answer,
        seen: &Arc<Seen>,
        url: &str,
    ) -> Result<Self, Why> {
        let first = next(&mut reader).map_err(|error| why(&error, answer))?;
        Ok(Self {
            reader,
            answer: answer.clone(),
            range: 0..answer.size,
            position: 0,
            first: Some(first),
            held: Bytes::new(),
            left: answer.size,
            over: false,
            seen: Arc::clone(seen),
            url: url.to_owned(),
        })
    }

    /// Returns the first bytes.
    pub(super) fn beginning(&self) -> &[u8] {
        self.first.as_deref().unwrap_or_default()
    }

    /// Returns only these bytes of it.
    pub(super) fn part(self, range: Range<u64>) -> Self {
        Self {
            left: range.end - range.start,
            range,
            ..self
        }
    }

    /// Returns the next bytes that may be sent, `None` where those read are not asked for.
    ///
    /// Empty at the end.
    fn advance(&mut self) -> Result<Option<Bytes>, Why> {
        let chunk = match self.first.take() {
            Some(first) => first,
            None => next(&mut self.reader).map_err(|error| why(&error, &self.answer))?,
        };
        if chunk.is_empty() {
            self.over = true;
            // A pin with a wrong size promises what its own bytes cannot keep.
            return if self.position == self.answer.size {
                Ok(Some(std::mem::take(&mut self.held)))
            } else {
                Err(Why::Rotten(self.answer.digest))
            };
        }
        let begin = self.position;
        self.position += chunk.len() as u64;
        let within = |at: u64| {
            let at = at.clamp(begin, self.position) - begin;
            usize::try_from(at).unwrap_or(chunk.len())
        };
        let wanted = chunk.slice(within(self.range.start)..within(self.range.end));
        if wanted.is_empty() {
            return Ok(None);
        }
        let before = std::mem::replace(&mut self.held, wanted);
        Ok((!before.is_empty()).then_some(before))
    }
}

impl Body for Blob {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        match this.advance() {
            Ok(Some(bytes)) if bytes.is_empty() => Poll::Ready(None),
            Ok(Some(bytes)) => {
                this.left -= bytes.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Ok(None) => {
                // Others get their turn while it is read on.
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Err(why) => {
                this.over = true;
                let error = io::Error::new(io::ErrorKind::InvalidData, why.to_string());
                this.seen.refuse(Refusal {
                    url: this.url.clone(),
                    method: "GET".to_owned(),
                    why,
                });
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Reads some bytes; none at the end.
fn next(reader: &mut impl Read) -> io::Result<Bytes> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer) {
            Ok(count) => {
                buffer.truncate(count);
                return Ok(buffer.into());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Says what an error in reading a blob means.
fn why(error: &io::Error, answer: &Answer) -> Why {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(store::Error::Mismatch { .. }) => Why::Rotten(answer.digest),
        Some(store::Error::Io { .. } | store::Error::NotPrivate { .. }) | None => {
            Why::Unreadable(error.to_string())
        }
    }
}

/// What a `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it; also where the range is of a kind that may be ignored.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that there are not.
    Nothing,
}

/// Reads the value of a `Range` for so many bytes.
///
/// Several ranges are answered with all bytes, as is what cannot be understood.
///
/// Source: RFC 9110 section 14.
pub(super) fn asked(range: &str, size: u64) -> Asked {
    let number = |text: &str| -> Option<u64> {
        // `parse` takes a sign too.
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse().ok())?
    };
    let Some((first, last)) = range
        .trim()
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Asked::Whole;
    };
    let part = match (number(first.trim()), number(last.trim())) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.trim().is_empty() => first..size,
        (None, Some(count)) if first.trim().is_empty() => size.saturating_sub(count)..size,
        (Some(_) | None, Some(_) | None) => return Asked::Whole,
    };
    if part.is_empty() {
        Asked::Nothing
    } else {
        Asked::Part(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_within_the_bytes_or_ignored_or_refused() {
        let cases = [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=2-5", Asked::Part(2..6)),
            ("bytes=2-", Asked::Part(2..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-30", Asked::Part(0..10)),
            ("bytes=9-100", Asked::Part(9..10)),
            ("bytes=0-18446744073709551615", Asked::Part(0..10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=10-12", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-2", Asked::Whole),
            ("bytes=0-1,4-5", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=99999999999999999999-", Asked::Whole),
            ("lines=1-2", Asked::Whole),
            ("", Asked::Whole),
        ];
        for (range, expected) in cases {
            assert_eq!(asked(range, 10), expected, "{range}");
        }
        assert_eq!(asked("bytes=0-", 0), Asked::Nothing);
    }
}
