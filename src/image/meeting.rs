//! Meeting: files of two images that are read at the same time → those that differ, kept on disk.
//!
//! Whatever differs would else have to be inflated a second time. A file of one image
//! waits in memory until the other image's file of the same path has been read: equal
//! ones are forgotten, both of a pair that differs are kept. Little may wait, so one
//! image does not run far ahead of the other, and what waits longest is forgotten: that
//! something was kept is never relied on.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, BufWriter, Read, Write},
    os::unix::fs::FileExt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{Entry, EntryKind, EntryPath};
use crate::digest::Digest;

/// The largest file that is kept, in bytes.
pub(super) const LARGEST: usize = 4 << 20;

/// How many bytes of one image's files wait for the other's.
const WAITING: usize = 4 << 20;

/// Two images that are read at the same time.
pub struct Meeting {
    state: Mutex<State>,
    /// Something was read, or an image's reading ended.
    moved: Condvar,
    /// Says which files are kept whatever the other image has.
    always: fn(&EntryPath) -> bool,
}

struct State {
    sides: [Side; 2],
    /// `None` once nothing more can be written.
    keeping: Option<Keeping>,
}

/// One image.
#[derive(Default)]
struct Side {
    /// How many of its layers are being read now.
    reading: usize,
    /// How many bytes of files it has given.
    given: u64,
    waiting: BTreeMap<EntryPath, (Digest, Vec<u8>)>,
    order: VecDeque<EntryPath>,
    bytes: usize,
}

/// Files that are being kept, in one unlinked file on disk.
pub struct Keeping {
    spool: BufWriter<File>,
    end: u64,
    extents: BTreeMap<Digest, (u64, u64)>,
}

/// Files that were kept, by digest.
pub struct Kept {
    file: File,
    extents: BTreeMap<Digest, (u64, u64)>,
}

/// A layer that is being read; until it is dropped, the other image may wait for it.
pub struct Attending<'a> {
    meeting: &'a Meeting,
    side: usize,
}

impl Meeting {
    /// Returns a meeting that keeps files of these paths in any case.
    pub fn new(always: fn(&EntryPath) -> bool) -> Self {
        Self {
            state: Mutex::new(State {
                sides: Default::default(),
                // Without a temporary file nothing is kept; reading again says why, if it must.
                keeping: Keeping::new().ok(),
            }),
            moved: Condvar::new(),
            always,
        }
    }

    /// Says that a layer of image 0 or 1 is being read.
    pub(super) fn attend(&self, side: usize) -> Attending<'_> {
        self.state().sides[side].reading += 1;
        Attending {
            meeting: self,
            side,
        }
    }

    /// Returns what was kept; `None` where that could not be written.
    pub fn end(self) -> Option<Kept> {
        let state = self.state.into_inner();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        // What cannot be written is read again, which says why if it fails too.
        state.keeping?.finish().ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attending<'_> {
    /// Takes a file's content.
    pub(super) fn give(&self, entry: &Entry, content: Vec<u8>) {
        let EntryKind::File {
            size,
            content: digest,
        } = &entry.kind
        else {
            return;
        };
        let (this, other) = (self.side, 1 - self.side);
        let mut state = self.meeting.state();
        state.sides[this].given += size;
        if content.len() as u64 == *size {
            if (self.meeting.always)(&entry.path) {
                state.keep(*digest, &content);
            }
            match state.sides[other].take(&entry.path) {
                Some((its, _)) if its == *digest => {}
                Some((its, bytes)) => {
                    state.keep(its, &bytes);
                    state.keep(*digest, &content);
                }
                None => state.sides[this].wait(entry.path.clone(), *digest, content),
            }
        }
        self.meeting.moved.notify_all();
        while state.sides[this].bytes > WAITING {
            let [one, two] = &state.sides;
            let (mine, its) = if this == 0 { (one, two) } else { (two, one) };
            // The one behind never waits, so that they never wait for each other.
            if its.reading == 0 || its.given >= mine.given {
                state.sides[this].forget_oldest();
                continue;
            }
            state = (self.meeting.moved)
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Attending<'_> {
    fn drop(&mut self) {
        self.meeting.state().sides[self.side].reading -= 1;
        self.meeting.moved.notify_all();
    }
}

impl State {
    fn keep(&mut self, digest: Digest, content: &[u8]) {
        if let Some(keeping) = &mut self.keeping
            && keeping.keep(digest, content).is_err()
        {
            self.keeping = None;
        }
    }
}

impl Keeping {
    /// Begins with nothing.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            spool: BufWriter::new(tempfile::tempfile()?),
            end: 0,
            extents: BTreeMap::new(),
        })
    }

    /// Keeps bytes that have this digest.
    pub fn keep(&mut self, digest: Digest, content: &[u8]) -> io::Result<()> {
        if self.extents.contains_key(&digest) {
            return Ok(());
        }
        self.write(content)?;
        self.written(digest, content.len() as u64);
        Ok(())
    }

    /// Adds to what is kept next.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.spool.write_all(piece)
    }

    /// Keeps what was written since the last time, bytes that have this digest.
    pub fn written(&mut self, digest: Digest, size: u64) {
        self.extents.insert(digest, (self.end, size));
        self.end += size;
    }

    /// Returns what was kept.
    pub fn finish(self) -> io::Result<Kept> {
        Ok(Kept {
            file: (self.spool.into_inner()).map_err(io::IntoInnerError::into_error)?,
            extents: self.extents,
        })
    }
}

impl Side {
    fn wait(&mut self, path: EntryPath, digest: Digest, content: Vec<u8>) {
        self.bytes += content.len();
        // A path that a layer has twice: the later one counts.
        match self.waiting.insert(path.clone(), (digest, content)) {
            Some((_, before)) => self.bytes -= before.len(),
            None => self.order.push_back(path),
        }
    }

    fn take(&mut self, path: &EntryPath) -> Option<(Digest, Vec<u8>)> {
        let taken = self.waiting.remove(path)?;
        self.bytes -= taken.1.len();
        // Most files meet in order, so that the front is soon one that is gone.
        while let Some(first) = self.order.front()
            && !self.waiting.contains_key(first)
        {
            self.order.pop_front();
        }
        Some(taken)
    }

    fn forget_oldest(&mut self) {
        if let Some(path) = self.order.pop_front() {
            self.take(&path);
        }
    }
}

impl Kept {
    /// Opens a file that was kept.
    pub fn open(&self, digest: &Digest) -> Option<KeptReader<'_>> {
        let &(offset, size) = self.extents.get(digest)?;
        Some(KeptReader {
            file: &self.file,
            offset,
            size,
        })
    }
}

/// Reads a file that was kept.
pub struct KeptReader<'a> {
    file: &'a File,
    offset: u64,
    size: u64,
}

impl KeptReader<'_> {
    /// Returns how many bytes are left.
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl Read for KeptReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.offset)?;
        self.offset += count as u64;
        self.size -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::image::testing::entry;

    /// How large each file is.
    const SIZE: usize = 64 << 10;

    /// Returns a file whose bytes are all `byte`, and its entry.
    fn file(number: usize, byte: u8) -> (Entry, Vec<u8>) {
        let content = vec![byte; SIZE];
        let mut entry = entry(&format!("f 0644 {number} @0 x"));
        entry.kind = EntryKind::File {
            size: SIZE as u64,
            content: Digest::of(&content),
        };
        (entry, content)
    }

    /// Has two images meet, each read by a thread of its own; returns which bytes were kept.
    fn kept(published: &[(usize, u8)], rebuilt: &[(usize, u8)]) -> Vec<u8> {
        let meeting = Meeting::new(|path| path.as_bytes() == b"7");
        // Both are there before either gives anything.
        let attending = [0, 1].map(|side| meeting.attend(side));
        thread::scope(|scope| {
            for (attending, files) in attending.into_iter().zip([published, rebuilt]) {
                scope.spawn(move || {
                    for &(number, byte) in files {
                        let (entry, content) = file(number, byte);
                        attending.give(&entry, content);
                    }
                });
            }
        });
        let kept = meeting.end().unwrap();
        let bytes = (0..=u8::MAX).filter(|&byte| {
            let content = vec![byte; SIZE];
            kept.open(&Digest::of(&content)).is_some_and(|mut reader| {
                let mut read = Vec::new();
                reader.read_to_end(&mut read).unwrap();
                read == content
            })
        });
        bytes.collect()
    }

    #[test]
    fn files_that_differ_are_kept_and_equal_ones_are_not() {
        // Four times what may wait: neither image may run away from the other.
        let published: Vec<(usize, u8)> = (0..256).map(|number| (number, 0)).collect();
        let mut rebuilt = published.clone();
        (rebuilt[5].1, rebuilt[250].1) = (1, 2);
        assert_eq!(kept(&published, &rebuilt), [0, 1, 2]);
        assert_eq!(kept(&published[8..], &published[8..]), [0; 0]);
        // One that is always kept.
        assert_eq!(kept(&published, &published), [0]);
    }

    #[test]
    fn images_in_any_order_and_of_any_length_come_to_an_end() {
        let forth: Vec<(usize, u8)> = (10..300).map(|number| (number, 3)).collect();
        let back: Vec<(usize, u8)> = forth.iter().rev().copied().collect();
        let others: Vec<(usize, u8)> = (1000..1300).map(|number| (number, 4)).collect();
        assert_eq!(kept(&forth, &back), [0; 0]);
        assert_eq!(kept(&forth, &others), [0; 0]);
        assert_eq!(kept(&forth, &[]), [0; 0]);
        assert_eq!(kept(&[], &[]), [0; 0]);
    }
}
