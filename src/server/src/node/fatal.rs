//! The end of the process: a thread that fails takes all others with it, because half a member breaks promises.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::logging::chain;

/// Called with the reason; in the program it logs and ends the process.
#[derive(Clone)]
pub(crate) struct Fatal(Arc<dyn Fn(String) + Send + Sync>);

impl Fatal {
    pub(crate) fn new(end: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self(Arc::new(end))
    }

    pub(crate) fn report(&self, what: &str, error: &dyn std::error::Error) {
        (self.0)(format!("{what}: {}", chain(error)));
    }

    /// Runs `body` on a thread of its own; an error or a panic of it is fatal.
    ///
    /// # Panics
    /// Where the system has no thread left, at the start only.
    pub(crate) fn spawn<E: std::error::Error + 'static>(
        &self,
        name: &'static str,
        body: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> JoinHandle<()> {
        let fatal = self.clone();
        let run = move || match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => fatal.report(&format!("the {name} thread failed"), &error),
            Err(panic) => (fatal.0)(format!("the {name} thread panicked: {}", panic_text(panic.as_ref()))),
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .expect("a thread can be started when the program starts")
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn an_error_and_a_panic_of_a_thread_are_both_reported_with_their_cause() {
        let reasons = Arc::new(Mutex::new(Vec::new()));
        let sink = reasons.clone();
        let fatal = Fatal::new(move |reason| sink.lock().unwrap().push(reason));
        fatal.spawn("one", || Err(std::io::Error::other("disk gone"))).join().unwrap();
        fatal.spawn::<std::io::Error>("two", || panic!("at the {}", "disco")).join().unwrap();
        fatal.spawn::<std::io::Error>("three", || Ok(())).join().unwrap();
        let reasons = reasons.lock().unwrap();
        assert_eq!(*reasons, ["the one thread failed: disk gone", "the two thread panicked: at the disco"]);
    }
}
