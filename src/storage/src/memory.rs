//! An engine in memory, for tests and simulation, that knows what a crash would take from it.
//!
//! Contract: everything that [`Engine`] promises, and the same answers on every run. What was not flushed is kept apart
//! batch by batch, so that [`MemoryEngine::crash_after`] can leave any prefix of it behind, as a real engine may.
//! Left out: giving memory back, and files; only a [checkpoint](Engine::checkpoint) is written to disk.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::map::{Map, Position};
use crate::{Batch, Column, Cursor, Engine, EngineError, EngineSize, View, checkpoint};

/// Most batches that are kept unflushed; at the limit the engine flushes by itself, as engines may at any moment.
const MAX_UNFLUSHED_BATCHES: usize = 4_096;

/// What each entry is taken to occupy besides its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 16;

/// All columns at one moment. A copy shares everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Columns([Map; Column::ALL.len()]);

impl Columns {
    pub(crate) fn column(&self, column: Column) -> &Map {
        &self.0[column as usize]
    }

    pub(crate) fn apply(&mut self, batch: &Batch) {
        for write in batch.writes() {
            let map = &mut self.0[write.column as usize];
            match &write.value {
                Some(value) => map.insert(write.key.clone(), value.clone()),
                None => map.remove(&write.key),
            }
        }
    }

    fn bytes(&self) -> u64 {
        let entries = Column::ALL.iter().flat_map(|column| self.column(*column).iter());
        entries.map(|(key, value)| (key.len() + value.len() + ENTRY_OVERHEAD_BYTES) as u64).sum()
    }
}

/// Invariant: `live` is `durable` with all of `unflushed` applied in order.
#[derive(Debug, Default)]
struct State {
    live: Columns,
    durable: Columns,
    unflushed: Vec<Batch>,
}

impl State {
    fn flush(&mut self) {
        self.durable = self.live.clone();
        self.unflushed.clear();
    }
}

/// An engine in memory.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    state: Mutex<State>,
}

impl MemoryEngine {
    /// An empty engine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a checkpoint of a memory engine holds.
    ///
    /// # Errors
    /// Where `path` holds no checkpoint or a damaged one.
    pub fn open_checkpoint(path: &Path) -> Result<Self, EngineError> {
        checkpoint::read(path).map(Self::holding)
    }

    /// The engine as a crash right now would leave it that takes everything unflushed. This one is not changed.
    #[must_use]
    pub fn crash(&self) -> Self {
        self.crash_after(0)
    }

    /// As [`crash`](Self::crash), but the first `batches` of the unflushed batches had reached the disk by luck.
    #[must_use]
    pub fn crash_after(&self, batches: usize) -> Self {
        let state = self.lock();
        let mut columns = state.durable.clone();
        for batch in state.unflushed.iter().take(batches) {
            columns.apply(batch);
        }
        Self::holding(columns)
    }

    /// How many batches a crash could take.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.lock().unflushed.len()
    }

    fn holding(columns: Columns) -> Self {
        Self { state: Mutex::new(State { live: columns.clone(), durable: columns, unflushed: Vec::new() }) }
    }

    /// A panic cannot leave the state half changed where it matters: the test that panicked is over.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for MemoryEngine {
    fn view(&self) -> Result<Arc<dyn View>, EngineError> {
        Ok(Arc::new(MemoryView { columns: self.lock().live.clone() }))
    }

    fn write(&self, batch: &Batch) -> Result<(), EngineError> {
        let mut state = self.lock();
        state.live.apply(batch);
        state.unflushed.push(batch.clone());
        if state.unflushed.len() >= MAX_UNFLUSHED_BATCHES {
            state.flush();
        }
        Ok(())
    }

    fn persisted(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.lock().durable.column(column).get(key).cloned())
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.lock().flush();
        Ok(())
    }

    fn reclaim(&self, _column: Column, _start: &[u8], _end: &[u8]) -> Result<(), EngineError> {
        Ok(())
    }

    fn checkpoint(&self, target: &Path) -> Result<(), EngineError> {
        let columns = self.lock().live.clone();
        checkpoint::write(&columns, target)
    }

    fn size(&self) -> Result<EngineSize, EngineError> {
        let columns = self.lock().live.clone();
        let bytes = columns.bytes();
        Ok(EngineSize { total: bytes, in_use: bytes })
    }
}

struct MemoryView {
    columns: Columns,
}

impl View for MemoryView {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.columns.column(column).get(key).cloned())
    }

    fn scan<'a>(
        &'a self,
        column: Column,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        let map = self.columns.column(column);
        let place = Place::Before(map.at_or_after(start));
        Ok(Box::new(MemoryCursor { map, end: end.map(Bytes::copy_from_slice), place }))
    }
}

enum Place {
    /// Before the first entry, which is there.
    Before(Position),
    /// On an entry within the scan's end.
    At(Position),
    /// Past the last.
    After,
}

struct MemoryCursor<'a> {
    map: &'a Map,
    end: Option<Bytes>,
    place: Place,
}

impl MemoryCursor<'_> {
    fn settle(&mut self, position: Position) -> bool {
        let within = match (self.map.entry(position), &self.end) {
            (Some((key, _)), Some(end)) => key < end,
            (entry, None) => entry.is_some(),
            (None, Some(_)) => false,
        };
        self.place = if within { Place::At(position) } else { Place::After };
        within
    }

    fn entry(&self) -> Option<(&Bytes, &Bytes)> {
        match self.place {
            Place::At(position) => self.map.entry(position),
            Place::Before(_) | Place::After => None,
        }
    }
}

impl Cursor for MemoryCursor<'_> {
    fn advance(&mut self) -> Result<bool, EngineError> {
        let next = match self.place {
            Place::Before(position) => position,
            Place::At(position) => self.map.after(position),
            Place::After => return Ok(false),
        };
        Ok(self.settle(next))
    }

    fn seek(&mut self, key: &[u8]) -> Result<bool, EngineError> {
        let floor = match self.place {
            Place::Before(position) | Place::At(position) => position,
            Place::After => return Ok(false),
        };
        let ahead = self.map.entry(floor).is_some_and(|(at, _)| at.as_ref() < key);
        let position = if ahead { self.map.at_or_after(key) } else { floor };
        Ok(self.settle(position))
    }

    fn key(&self) -> &[u8] {
        self.entry().map_or(&[], |(key, _)| key)
    }

    fn value(&self) -> &[u8] {
        self.entry().map_or(&[], |(_, value)| value)
    }
}
