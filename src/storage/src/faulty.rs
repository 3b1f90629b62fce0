//! An engine that fails on demand, to test that the program stops where it must.
//!
//! Contract: an armed [`Fault`] lets the given number of calls of its operation pass and fails the next; from then on
//! every call fails, through every view and cursor too, as with a disk that is gone. A failed call has no effect on the
//! engine inside, which a test may then "restart" from.
//! Left out: silent damage and lies about durability, which an engine cannot notice and the program cannot survive.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::{Batch, Column, Cursor, Engine, EngineError, EngineSize, View};

/// The calls that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`Engine::view`].
    View,
    /// [`Engine::write`].
    Write,
    /// [`Engine::persisted`].
    Persisted,
    /// [`Engine::flush`].
    Flush,
    /// [`Engine::reclaim`].
    Reclaim,
    /// [`Engine::checkpoint`].
    Checkpoint,
    /// [`Engine::size`].
    Size,
    /// [`View::get`].
    Get,
    /// [`View::scan`].
    Scan,
    /// [`Cursor::advance`] and [`Cursor::seek`].
    Step,
}

impl Operation {
    const fn verb(self) -> &'static str {
        match self {
            Self::View => "take a view",
            Self::Write => "write a batch",
            Self::Persisted => "read what is persisted",
            Self::Flush => "flush",
            Self::Reclaim => "reclaim space",
            Self::Checkpoint => "write a checkpoint",
            Self::Size => "measure its size",
            Self::Get => "read a key",
            Self::Scan => "begin a scan",
            Self::Step => "move a cursor",
        }
    }
}

/// A failure that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of which operation.
    pub operation: Operation,
    /// How many more calls of it succeed first.
    pub after: u64,
}

#[derive(Debug, Default)]
struct Faults {
    armed: Mutex<Vec<Fault>>,
    /// Whether one has struck; never goes back.
    failed: AtomicBool,
}

impl Faults {
    fn check(&self, operation: Operation) -> Result<(), EngineError> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(EngineError::Stopped { operation: operation.verb(), cause: "injected fault".to_owned() });
        }
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut strikes = false;
        for fault in armed.iter_mut().filter(|fault| fault.operation == operation) {
            strikes |= fault.after == 0;
            fault.after = fault.after.saturating_sub(1);
        }
        if strikes {
            self.failed.store(true, Ordering::SeqCst);
            return Err(EngineError::Backend { operation: operation.verb(), message: "injected fault".to_owned() });
        }
        Ok(())
    }
}

/// An engine that passes every call on until a fault strikes.
#[derive(Debug)]
pub struct FaultyEngine<E> {
    inner: E,
    faults: Arc<Faults>,
}

impl<E: Engine> FaultyEngine<E> {
    /// Around `inner`, without faults.
    pub fn new(inner: E) -> Self {
        Self { inner, faults: Arc::default() }
    }

    /// Makes `fault` come. Several may be armed; the first to strike ends it.
    pub fn arm(&self, fault: Fault) {
        self.faults.armed.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// Whether a fault has struck.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.faults.failed.load(Ordering::SeqCst)
    }

    /// The engine inside, which never fails by itself here.
    pub fn inner(&self) -> &E {
        &self.inner
    }
}

impl<E: Engine> Engine for FaultyEngine<E> {
    fn view(&self) -> Result<Arc<dyn View>, EngineError> {
        self.faults.check(Operation::View)?;
        Ok(Arc::new(FaultyView { inner: self.inner.view()?, faults: Arc::clone(&self.faults) }))
    }

    fn write(&self, batch: &Batch) -> Result<(), EngineError> {
        self.faults.check(Operation::Write)?;
        self.inner.write(batch)
    }

    fn persisted(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.faults.check(Operation::Persisted)?;
        self.inner.persisted(column, key)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.faults.check(Operation::Flush)?;
        self.inner.flush()
    }

    fn reclaim(&self, column: Column, start: &[u8], end: &[u8]) -> Result<(), EngineError> {
        self.faults.check(Operation::Reclaim)?;
        self.inner.reclaim(column, start, end)
    }

    fn checkpoint(&self, target: &Path) -> Result<(), EngineError> {
        self.faults.check(Operation::Checkpoint)?;
        self.inner.checkpoint(target)
    }

    fn size(&self) -> Result<EngineSize, EngineError> {
        self.faults.check(Operation::Size)?;
        self.inner.size()
    }
}

struct FaultyView {
    inner: Arc<dyn View>,
    faults: Arc<Faults>,
}

impl fmt::Debug for FaultyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyView").field("faults", &self.faults).finish_non_exhaustive()
    }
}

impl View for FaultyView {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.faults.check(Operation::Get)?;
        self.inner.get(column, key)
    }

    fn scan<'a>(
        &'a self,
        column: Column,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        self.faults.check(Operation::Scan)?;
        Ok(Box::new(FaultyCursor { inner: self.inner.scan(column, start, end)?, faults: &self.faults }))
    }
}

struct FaultyCursor<'a> {
    inner: Box<dyn Cursor + 'a>,
    faults: &'a Faults,
}

impl Cursor for FaultyCursor<'_> {
    fn advance(&mut self) -> Result<bool, EngineError> {
        self.faults.check(Operation::Step)?;
        self.inner.advance()
    }

    fn seek(&mut self, key: &[u8]) -> Result<bool, EngineError> {
        self.faults.check(Operation::Step)?;
        self.inner.seek(key)
    }

    fn key(&self) -> &[u8] {
        self.inner.key()
    }

    fn value(&self) -> &[u8] {
        self.inner.value()
    }
}
