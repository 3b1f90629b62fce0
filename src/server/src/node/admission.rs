//! Back-pressure: how much may be proposed and not yet applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_api::ApiError;
use cairn_types::limits::{MAX_UNAPPLIED_BYTES, MAX_UNAPPLIED_COMMANDS};

/// Counts what is on its way. Clones share the counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admission(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    commands: AtomicUsize,
    bytes: AtomicUsize,
}

/// One command's share; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    counters: Arc<Counters>,
    bytes: usize,
}

impl Admission {
    /// Takes a share for a client's command.
    ///
    /// # Errors
    /// `too many requests` at either limit.
    pub(crate) fn admit(&self, bytes: usize) -> Result<Ticket, ApiError> {
        let ticket = self.admit_own(bytes);
        let over = self.0.commands.load(Ordering::Relaxed) > MAX_UNAPPLIED_COMMANDS
            || self.0.bytes.load(Ordering::Relaxed) > MAX_UNAPPLIED_BYTES;
        if over { Err(ApiError::TooManyRequests) } else { Ok(ticket) }
    }

    /// Takes a share for a command of the member itself, of which few are on their way at once: never refused, so that
    /// leases run out under load too.
    pub(crate) fn admit_own(&self, bytes: usize) -> Ticket {
        self.0.commands.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ticket { counters: self.0.clone(), bytes }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.counters.commands.fetch_sub(1, Ordering::Relaxed);
        self.counters.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_limit_of_commands_the_next_is_refused_until_one_is_done() {
        let admission = Admission::default();
        let mut tickets: Vec<_> = (0..MAX_UNAPPLIED_COMMANDS).map(|_| admission.admit(1).unwrap()).collect();
        assert_eq!(admission.admit(1).unwrap_err(), ApiError::TooManyRequests);
        tickets.pop();
        tickets.push(admission.admit(1).unwrap());
        drop(tickets);
        assert_eq!(admission.0.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn at_the_limit_of_bytes_clients_are_refused_and_the_member_s_own_commands_are_not() {
        let admission = Admission::default();
        let _large = admission.admit(MAX_UNAPPLIED_BYTES).unwrap();
        assert_eq!(admission.admit(1).unwrap_err(), ApiError::TooManyRequests);
        let _own = admission.admit_own(1);
    }
}
