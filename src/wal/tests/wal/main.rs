//! What the log on disk promises, tested through its public interface and by changing its files.

mod damage;
mod life;
mod model;
mod readers;
mod support;
mod torn;
