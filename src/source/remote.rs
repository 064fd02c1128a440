//! Repositories behind git's smart HTTP: what they have, and what we take of it.
//!
//! Only what is needed is fetched. The files of one commit come as a pack of
//! that commit alone, since repositories that hold images are large. History is
//! asked for only where a branch or tag does not point at the commit itself,
//! and then, where the server can, without trees and files.
//!
//! Nothing that a server says is believed beyond its list of branches and tags:
//! a pack is indexed anew, so each object's id is computed from its bytes.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use git2::{Indexer, Oid};
use reqwest::Url;

use super::{
    Error, History, Resolution,
    objects::{Objects, References},
    pkt_line::{self, Packet},
    revision::{self, Named},
    server::{Dialect, Server, oid, packet, plain, refused, text},
    tree,
};
use crate::{
    digest::Digest,
    progress::{Progress, Task},
};

/// A commit of a remote repository, its objects at hand.
pub(super) struct Fetched {
    /// The objects fetched now and before.
    pub(super) objects: Objects,
    /// The branches and tags that the server has now.
    pub(super) references: References,
    /// The URL that answered, without a password.
    pub(super) contacted: String,
    /// What the revision turned out to be.
    pub(super) resolution: Resolution,
    /// The commit.
    pub(super) commit: Oid,
    /// Whether the server's history is cut off, as far as it was asked for.
    pub(super) history: History,
}

/// Resolves `revision` on the server and fetches its commit.
pub(super) fn fetch(
    url: &Url,
    shown: &str,
    revision: &str,
    cache: &Path,
    progress: &dyn Progress,
) -> Result<Fetched, Error> {
    let server = Server::greet(url, shown)?;
    let references = server.references()?;
    let name = &server.shown;
    let named = revision::name(revision, &references, name)?;
    let folder = Folder::prepare(cache, url)?;
    let objects = Objects::open(&folder.path.join("objects"), name)?;
    let client = Fetcher {
        server: &server,
        folder: &folder,
        objects: &objects,
        references: &references,
        progress,
    };
    let (target, resolution) = match named {
        Named::Reference { resolution, id } => (id, resolution),
        Named::Full(id) => (id, Resolution::Commit),
        Named::Abbreviated(digits) => {
            client.history()?;
            let commit = revision::complete(&objects, &digits, &references)?;
            (commit, Resolution::AbbreviatedCommit)
        }
    };
    client.files(target, revision)?;
    let commit = revision::peel(&objects, target)?;
    let history = match revision::tip(commit, &references) {
        Some(_) => History::Complete,
        None => client.history()?,
    };
    Ok(Fetched {
        references,
        contacted: server.shown,
        resolution,
        commit,
        history,
        objects,
    })
}

/// The folder of one remote repository within the cache.
///
/// It has the layout of a bare repository, so that git can look into it. Packs
/// are named by their contents and appear by renaming, and nothing is ever
/// taken away, so any number of processes may add to it at once. The list of
/// branches and tags is replaced by renaming; whatever is in it, all of the
/// history behind it is in the packs.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn prepare(cache: &Path, url: &Url) -> Result<Self, Error> {
        let plain = plain(url);
        let readable: String = plain
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .chars()
            .filter(|letter| letter.is_ascii_alphanumeric() || "._-".contains(*letter))
            .take(40)
            .collect();
        let key = Digest::of(plain.as_bytes()).hex();
        let path = cache.join(format!(
            "{}-{}",
            readable.trim_start_matches('.'),
            &key[..16]
        ));
        for folder in ["objects/pack", "objects/info", "refs/heads", "refs/tags"] {
            let folder = path.join(folder);
            fs::create_dir_all(&folder).map_err(|source| Error::File {
                path: folder,
                source,
            })?;
        }
        let folder = Self { path };
        if !folder.path.join("HEAD").exists() {
            folder.replace("HEAD", b"ref: refs/heads/main\n")?;
        }
        Ok(folder)
    }

    /// Writes a file so that no reader ever sees half of it.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path.join(name);
        let written = tempfile::NamedTempFile::new_in(&self.path)
            .and_then(|mut file| file.write_all(bytes).map(|()| file))
            .and_then(|file| file.persist(&path).map_err(|error| error.error));
        match written {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    /// Returns the text of a file, empty where there is none.
    fn text(&self, name: &str) -> Result<String, Error> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    /// Returns the objects whose whole history is at hand.
    fn known(&self) -> Result<BTreeSet<Oid>, Error> {
        Ok(self
            .text("packed-refs")?
            .lines()
            .filter_map(|line| oid(line.split(' ').next()?))
            .collect())
    }
}

/// What a pack is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// The objects themselves and all their files, no history.
    One,
    /// All of history, without trees and files where the server can leave them out.
    History,
    /// Everything.
    Everything,
}

struct Fetcher<'a> {
    server: &'a Server,
    folder: &'a Folder,
    objects: &'a Objects,
    references: &'a References,
    progress: &'a dyn Progress,
}

impl Fetcher<'_> {
    /// Makes sure that the commit's files are at hand.
    fn files(&self, target: Oid, revision: &str) -> Result<(), Error> {
        if self.is_at_hand(target)? {
            return Ok(());
        }
        let depth = if self.server.dialect.has("shallow") {
            Depth::One
        } else {
            Depth::Everything
        };
        match self.pack(&[target], &[], depth) {
            Ok(_) => {}
            // A server may give only what a branch or tag leads to, and only from there.
            Err(Error::Refused { .. }) => {
                let wants = self.tips();
                if !wants.is_empty() {
                    self.pack(&wants, &[], Depth::Everything)?;
                }
            }
            Err(error) => return Err(error),
        }
        if self.objects.has(target) {
            Ok(())
        } else {
            Err(revision::no_such(
                revision,
                self.references,
                self.objects.name(),
            ))
        }
    }

    fn is_at_hand(&self, target: Oid) -> Result<bool, Error> {
        if !self.objects.has(target) {
            return Ok(false);
        }
        let commit = match revision::peel(self.objects, target) {
            Ok(commit) => commit,
            Err(Error::MissingObject { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let tree = self
            .objects
            .lock()
            .find_commit(commit)
            .map_err(|source| self.objects.failed(format!("commit {commit}"), source))?
            .tree_id();
        tree::is_complete(self.objects, tree)
    }

    /// Makes sure that the history of every branch and tag is at hand.
    fn history(&self) -> Result<History, Error> {
        let cut_off = !self.folder.text("shallow")?.is_empty();
        let known = self.folder.known()?;
        // What is cut off on the server may have grown since.
        let haves: Vec<Oid> = if cut_off {
            Vec::new()
        } else {
            known.iter().copied().collect()
        };
        let wants: Vec<Oid> = self
            .tips()
            .into_iter()
            .filter(|id| cut_off || !known.contains(id))
            .collect();
        let mut history = if cut_off {
            History::Shallow
        } else {
            History::Complete
        };
        if !wants.is_empty() {
            let shallow = self.pack(&wants, &haves, Depth::History)?;
            let mut lines = String::new();
            for id in shallow {
                lines += &id.to_string();
                lines += "\n";
            }
            history = if lines.is_empty() {
                History::Complete
            } else {
                History::Shallow
            };
            if cut_off || !lines.is_empty() {
                self.folder.replace("shallow", lines.as_bytes())?;
            }
        }
        let mut list = "# pack-refs with: sorted \n".to_owned();
        for (name, target) in &self.references.by_name {
            list += &target.id.to_string();
            list += " ";
            list += name;
            list += "\n";
        }
        self.folder.replace("packed-refs", list.as_bytes())?;
        Ok(history)
    }

    fn tips(&self) -> Vec<Oid> {
        let tips: BTreeSet<Oid> = self
            .references
            .by_name
            .values()
            .map(|target| target.id)
            .collect();
        tips.into_iter().collect()
    }

    /// Fetches one pack into the cache; returns where the server's own history is cut off.
    fn pack(&self, wants: &[Oid], haves: &[Oid], depth: Depth) -> Result<Vec<Oid>, Error> {
        let what = match depth {
            Depth::One => "fetching the commit from",
            Depth::History => "fetching the history from",
            Depth::Everything => "fetching everything from",
        };
        let task = self
            .progress
            .begin(&format!("{what} {}", self.server.shown), None);
        let filter = depth == Depth::History && self.server.dialect.has("filter");
        let shown = &self.server.shown;
        match &self.server.dialect {
            Dialect::Two { .. } => {
                let mut message = Vec::new();
                pkt_line::line(&mut message, "command=fetch");
                pkt_line::line(&mut message, "object-format=sha1");
                pkt_line::delimiter(&mut message);
                pkt_line::line(&mut message, "ofs-delta");
                pkt_line::line(&mut message, "no-progress");
                for (id, word) in listed(wants, "want").chain(listed(haves, "have")) {
                    pkt_line::line(&mut message, &format!("{word} {id}"));
                }
                if depth == Depth::One {
                    pkt_line::line(&mut message, "deepen 1");
                }
                if filter {
                    pkt_line::line(&mut message, "filter tree:0");
                }
                pkt_line::line(&mut message, "done");
                pkt_line::flush(&mut message);
                let mut body = self.server.post(message)?;
                let mut shallow = Vec::new();
                loop {
                    match packet(&mut body, shown)? {
                        Packet::Data(data) => match text(&data, shown)? {
                            "packfile" => break,
                            "shallow-info" | "acknowledgments" | "wanted-refs" => {}
                            line => shallow.extend(line.strip_prefix("shallow ").and_then(oid)),
                        },
                        Packet::Delimiter => {}
                        Packet::Flush | Packet::ResponseEnd => {
                            return Err(self.server.problem("no pack".to_owned()));
                        }
                    }
                }
                self.receive(&mut body, task.as_ref())?;
                Ok(shallow)
            }
            Dialect::Zero { shallow, .. } => {
                let mut words = " side-band-64k ofs-delta no-progress".to_owned();
                if depth == Depth::One {
                    words.push_str(" shallow");
                }
                if filter {
                    words.push_str(" filter");
                }
                let mut message = Vec::new();
                for (id, word) in listed(wants, "want") {
                    pkt_line::line(&mut message, &format!("{word} {id}{words}"));
                    words.clear();
                }
                if depth == Depth::One {
                    pkt_line::line(&mut message, "deepen 1");
                }
                if filter {
                    pkt_line::line(&mut message, "filter tree:0");
                }
                pkt_line::flush(&mut message);
                for (id, word) in listed(haves, "have") {
                    pkt_line::line(&mut message, &format!("{word} {id}"));
                }
                pkt_line::line(&mut message, "done");
                let mut body = self.server.post(message)?;
                let mut shallow = shallow.clone();
                loop {
                    match packet(&mut body, shown)? {
                        Packet::Data(data) => {
                            let line = text(&data, shown)?;
                            if line == "NAK" || line.starts_with("ACK ") {
                                break;
                            }
                            shallow.extend(line.strip_prefix("shallow ").and_then(oid));
                        }
                        Packet::Flush | Packet::Delimiter | Packet::ResponseEnd => {}
                    }
                }
                self.receive(&mut body, task.as_ref())?;
                Ok(shallow)
            }
        }
    }

    /// Takes the pack out of its bands, indexes it, and puts it into place.
    fn receive(&self, body: &mut impl Read, task: &dyn Task) -> Result<(), Error> {
        let incoming = tempfile::Builder::new()
            .prefix("incoming-")
            .tempdir_in(&self.folder.path)
            .map_err(|source| Error::File {
                path: self.folder.path.clone(),
                source,
            })?;
        let shown = &self.server.shown;
        let broken = |source: git2::Error| Error::Git {
            what: format!("the pack that {shown} sent"),
            source: source.into(),
        };
        let mut indexer = Indexer::new(None, incoming.path(), 0o444, false).map_err(broken)?;
        let mut header = Vec::new();
        loop {
            let data = match packet(body, shown)? {
                Packet::Data(data) => data,
                Packet::Flush | Packet::ResponseEnd => break,
                Packet::Delimiter => continue,
            };
            match data.split_first() {
                Some((1, bytes)) => {
                    task.advance(bytes.len() as u64);
                    let rest = PACK_HEADER.saturating_sub(header.len()).min(bytes.len());
                    header.extend_from_slice(&bytes[..rest]);
                    indexer.write_all(bytes).map_err(|source| Error::File {
                        path: incoming.path().to_owned(),
                        source,
                    })?;
                }
                Some((2, _)) => {}
                Some((3, message)) => return Err(refused(message, shown)),
                Some((band, _)) => {
                    return Err(self.server.problem(format!("the unknown band {band}")));
                }
                None => return Err(self.server.problem("an empty packet".to_owned())),
            }
        }
        // Everything was there already.
        if header.len() == PACK_HEADER && header.ends_with(&[0; 4]) {
            return Ok(());
        }
        let name = indexer.commit().map_err(broken)?;
        // The index last: a pack counts from when it has one.
        for ending in ["pack", "idx"] {
            let file = format!("pack-{name}.{ending}");
            let path = self.folder.path.join("objects/pack").join(&file);
            fs::rename(incoming.path().join(&file), &path)
                .map_err(|source| Error::File { path, source })?;
        }
        Ok(())
    }
}

/// The bytes of a pack before its objects: a mark, the version, and the number of objects.
const PACK_HEADER: usize = 12;

fn listed<'a>(ids: &'a [Oid], word: &'a str) -> impl Iterator<Item = (&'a Oid, &'a str)> {
    ids.iter().map(move |id| (id, word))
}
