//! What a person at a terminal sees while the library works.
//!
//! Bars are drawn on standard error, only where it is a terminal, and only for
//! work that takes over a second; elsewhere nothing is said unless asked for.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use reprove::progress::{Progress, Task};

use super::output;

/// Work shorter than this shows no bar: it would only flicker.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the bars are drawn anew.
const TICK: Duration = Duration::from_millis(125);

/// How much is said on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Errors only.
    Quiet,
    /// Errors; on a terminal also notes and progress bars.
    Normal,
    /// Notes, and each piece of work as it begins.
    Verbose,
}

/// Draws bars and prints notes.
pub(crate) struct Bars {
    verbosity: Verbosity,
    /// `None` where nothing is drawn.
    drawn: Option<Arc<Drawn>>,
}

/// The bars on the screen and the work that may become one.
struct Drawn {
    multi: MultiProgress,
    patience: Duration,
    work: Mutex<Vec<Arc<Work>>>,
}

/// A piece of work under way.
struct Work {
    began: Instant,
    what: String,
    total: Option<u64>,
    done: AtomicU64,
    bar: Mutex<Option<ProgressBar>>,
}

impl Bars {
    /// Returns what draws on standard error where that is a terminal.
    pub(crate) fn on_standard_error(verbosity: Verbosity) -> Self {
        let target = ProgressDrawTarget::stderr();
        let visible = !target.is_hidden() && verbosity != Verbosity::Quiet;
        Self::new(verbosity, visible.then_some(target), PATIENCE)
    }

    fn new(verbosity: Verbosity, target: Option<ProgressDrawTarget>, patience: Duration) -> Self {
        let drawn = target.map(|target| {
            Arc::new(Drawn {
                multi: MultiProgress::with_draw_target(target),
                patience,
                work: Mutex::new(Vec::new()),
            })
        });
        if let Some(drawn) = &drawn {
            // The thread ends with the last task's owner: it holds no strong reference.
            let drawn = Arc::downgrade(drawn);
            thread::spawn(move || {
                while let Some(drawn) = drawn.upgrade() {
                    drawn.draw();
                    drop(drawn);
                    thread::sleep(TICK);
                }
            });
        }
        Self { verbosity, drawn }
    }

    fn say(&self, text: &str) {
        match &self.drawn {
            Some(drawn) => drawn.multi.suspend(|| output::log(text)),
            None => output::log(text),
        }
    }
}

impl Progress for Bars {
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Task> {
        if self.verbosity == Verbosity::Verbose {
            self.say(what);
        }
        let work = Arc::new(Work {
            began: Instant::now(),
            what: what.to_owned(),
            total,
            done: AtomicU64::new(0),
            bar: Mutex::new(None),
        });
        if let Some(drawn) = &self.drawn {
            locked(&drawn.work).push(Arc::clone(&work));
        }
        Box::new(UnderWay {
            work,
            drawn: self.drawn.clone(),
        })
    }

    fn note(&self, text: &str) {
        let heard = match self.verbosity {
            Verbosity::Quiet => false,
            Verbosity::Normal => self.drawn.is_some(),
            Verbosity::Verbose => true,
        };
        if heard {
            self.say(text);
        }
    }
}

impl Drawn {
    fn draw(&self) {
        for work in &*locked(&self.work) {
            let mut bar = locked(&work.bar);
            if bar.is_none() && work.began.elapsed() >= self.patience {
                *bar = Some(self.multi.add(work.bar()));
            }
            if let Some(bar) = &*bar {
                bar.set_position(work.done.load(Ordering::Relaxed));
                bar.tick();
            }
        }
    }
}

impl Work {
    fn bar(&self) -> ProgressBar {
        let (bar, template) = match self.total {
            Some(total) => (
                ProgressBar::new(total),
                "{spinner} {wide_msg} {bytes:>10} of {total_bytes:<10} [{bar:24}] {eta:>4}",
            ),
            None => (
                ProgressBar::new_spinner(),
                "{spinner} {wide_msg} {bytes:>10} {elapsed:>4}",
            ),
        };
        let style = ProgressStyle::with_template(template).expect("the templates above are valid");
        bar.with_elapsed(self.began.elapsed())
            .with_style(style.progress_chars("=> "))
            .with_message(self.what.clone())
    }
}

/// Work that has not ended; its bar goes when it is dropped.
struct UnderWay {
    work: Arc<Work>,
    drawn: Option<Arc<Drawn>>,
}

impl Task for UnderWay {
    fn advance(&self, bytes: u64) {
        self.work.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Some(drawn) = &self.drawn else { return };
        locked(&drawn.work).retain(|work| !Arc::ptr_eq(work, &self.work));
        if let Some(bar) = locked(&self.work.bar).take() {
            bar.finish_and_clear();
            drawn.multi.remove(&bar);
        }
    }
}

/// Locks also where another thread panicked: what is drawn cannot be wrong in a way that matters.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    fn bars(patience: Duration) -> (InMemoryTerm, Bars) {
        let terminal = InMemoryTerm::new(10, 80);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        (
            terminal,
            Bars::new(Verbosity::Normal, Some(target), patience),
        )
    }

    fn until(condition: impl Fn() -> bool) -> bool {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            if condition() {
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
        false
    }

    #[test]
    fn work_has_a_bar_while_it_lasts_and_none_after() {
        let (terminal, bars) = bars(Duration::ZERO);
        let task = bars.begin("reading layer 1", Some(2048));
        task.advance(1024);
        assert!(until(|| {
            let seen = terminal.contents();
            seen.contains("reading layer 1") && seen.contains("1.00 KiB of 2.00 KiB")
        }));
        drop(task);
        assert!(until(|| terminal.contents().is_empty()));
    }

    #[test]
    fn short_work_has_no_bar() {
        let (terminal, bars) = bars(Duration::from_secs(3600));
        let task = bars.begin("reading layer 1", None);
        thread::sleep(3 * TICK);
        assert_eq!(terminal.contents(), "");
        drop(task);
        assert_eq!(terminal.contents(), "");
    }
}
