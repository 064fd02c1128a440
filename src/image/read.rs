//! All layers of several images, read at once on all processors.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    num::NonZero,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use super::{Error, Image, Layer, meeting::Meeting, pinned::from_io};
use crate::{
    digest::{DiffId, Digest},
    pair::Pair,
    progress::Progress,
};

/// One blob to read: where it is, and whether its entries were or are being read elsewhere.
struct Job {
    image: usize,
    layer: usize,
    size: u64,
    task: Task,
}

/// What became of a job: the layer, where it was scanned.
type Finished = Result<Option<Layer>, Error>;

enum Task {
    /// Inflate it and list its entries.
    Scan,
    /// Only check that the bytes are the ones that the digest names; what is in them is known.
    Check(Scanned),
}

/// Where it is known from what a blob holds.
#[derive(Clone)]
enum Scanned {
    /// It was read before.
    Before(Arc<Layer>),
    /// The job of this number, which comes before this one, scans the same bytes.
    By(usize),
}

/// Returns the layers of every image, base first, in the order of `images`.
///
/// A blob that several images name is inflated once; its bytes are checked in
/// each of them all the same. Memory grows with the number of entries and of
/// processors, not with the bytes.
pub fn read_layers(
    images: &[&dyn Image],
    progress: &dyn Progress,
) -> Result<Vec<Vec<Arc<Layer>>>, Error> {
    read(images, &[], progress, None)
}

/// Returns the layers of an image, base first, where `known` are layers that were read before.
///
/// A blob that holds one of those is not inflated again; its bytes are checked all the same.
/// The layer keeps the descriptor that it was read with.
pub fn read_knowing(
    image: &dyn Image,
    known: &[Arc<Layer>],
    progress: &dyn Progress,
) -> Result<Vec<Arc<Layer>>, Error> {
    Ok(read(&[image], known, progress, None)?.remove(0))
}

/// Returns the layers of two images, whose files meet while they are read.
pub fn read_both(
    images: Pair<&dyn Image>,
    progress: &dyn Progress,
    meeting: &Meeting,
) -> Result<Pair<Vec<Arc<Layer>>>, Error> {
    let images = [images.published, images.rebuilt];
    let mut layers = read(&images, &[], progress, Some(meeting))?.into_iter();
    let mut next = || layers.next().expect("as many are returned as are read");
    Ok(Pair::new(next(), next()))
}

fn read(
    images: &[&dyn Image],
    known: &[Arc<Layer>],
    progress: &dyn Progress,
    meeting: Option<&Meeting>,
) -> Result<Vec<Vec<Arc<Layer>>>, Error> {
    let jobs = jobs(images, known)?;
    // The largest first, so that the last to end is a small one.
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|&job| std::cmp::Reverse(jobs[job].size));
    let results: Vec<Mutex<Option<Finished>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let threads = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(jobs.len().max(1));
    let work = || {
        while let Some(&job) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.load(Ordering::Relaxed) {
                return;
            }
            let Job {
                image,
                layer,
                ref task,
                ..
            } = jobs[job];
            let result = match task {
                Task::Scan => match meeting {
                    None => images[image].layer(layer, progress).map(Some),
                    Some(meeting) => images[image]
                        .layer_met(layer, progress, &meeting.attend(image))
                        .map(Some),
                },
                Task::Check(_) => check(images[image], layer, progress).map(|()| None),
            };
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            *results[job].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let mut layers: Vec<Option<Arc<Layer>>> = Vec::with_capacity(jobs.len());
    // The first error in the order of images and layers, so that runs agree on it.
    let finished: Vec<Option<Finished>> = results
        .into_iter()
        .map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect();
    for result in finished {
        match result {
            Some(Ok(layer)) => layers.push(layer.map(Arc::new)),
            Some(Err(error)) => return Err(error),
            None => layers.push(None),
        }
    }
    let mut all: Vec<Vec<Arc<Layer>>> = images.iter().map(|_| Vec::new()).collect();
    for (number, job) in jobs.iter().enumerate() {
        let by = |job: usize| {
            layers[job]
                .as_ref()
                .expect("every scan ended well, or an error was returned")
        };
        let layer = match &job.task {
            Task::Scan => by(number),
            Task::Check(Scanned::By(job)) => by(*job),
            Task::Check(Scanned::Before(layer)) => layer,
        };
        all[job.image].push(Arc::clone(layer));
    }
    Ok(all)
}

/// Returns what has to be read, image by image and layer by layer.
fn jobs(images: &[&dyn Image], known: &[Arc<Layer>]) -> Result<Vec<Job>, Error> {
    let mut jobs = Vec::new();
    let diff_ids: Vec<Vec<DiffId>> = images
        .iter()
        .map(|image| {
            Ok(image
                .config()
                .parse(&format!("the config of {}", image.name()))?
                .diff_ids)
        })
        .collect::<Result<_, Error>>()?;
    let before = known.iter().map(|layer| {
        let scanned = Scanned::Before(Arc::clone(layer));
        ((layer.digest, Some(layer.diff_id)), scanned)
    });
    let mut scans: BTreeMap<(Digest, Option<DiffId>), Scanned> = before.collect();
    for (image, &of) in images.iter().enumerate() {
        for layer in 0..of.layer_count() {
            let descriptor = of.layer_descriptor(layer);
            // The diffID belongs to the key: each config's claim is checked by a scan.
            let key = descriptor
                .filter(|_| of.name().has_bytes())
                .map(|descriptor| (descriptor.digest, diff_ids[image].get(layer).copied()));
            let scanned = key.as_ref().and_then(|key| scans.get(key)).cloned();
            if let (Some(key), None) = (key, &scanned) {
                scans.insert(key, Scanned::By(jobs.len()));
            }
            jobs.push(Job {
                image,
                layer,
                size: descriptor.map_or(u64::MAX, |descriptor| descriptor.size),
                task: scanned.map_or(Task::Scan, Task::Check),
            });
        }
    }
    Ok(jobs)
}

/// Reads a blob to its end, where its digest and size are checked.
fn check(image: &dyn Image, layer: usize, progress: &dyn Progress) -> Result<(), Error> {
    let what = format!("layer {layer} of {}", image.name());
    let size = image
        .layer_descriptor(layer)
        .map(|descriptor| descriptor.size);
    let task = progress.begin(&format!("checking {what}"), size);
    let mut reader = image.open(layer)?;
    let mut buffer = vec![0; 1 << 17];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => task.advance(count as u64),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(from_io(&what, error)),
        }
    }
}
