//! What the library says while it works.
//!
//! Nothing here reaches a report: the command line draws it, tests drop it.

/// Hears about long work as it goes on.
pub trait Progress: Send + Sync {
    /// Says that `what` begins, and how many bytes it will take where that is known.
    ///
    /// The work has ended when the returned task is dropped.
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Task>;

    /// Says something that a person who waits would want to know.
    fn note(&self, text: &str);
}

/// One piece of work under way.
pub trait Task: Send {
    /// Says that `bytes` more are done.
    fn advance(&self, bytes: u64);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: Option<u64>) -> Box<dyn Task> {
        Box::new(Self)
    }

    fn note(&self, _: &str) {}
}

impl Task for Silent {
    fn advance(&self, _: u64) {}
}
