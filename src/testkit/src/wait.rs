//! Waiting on conditions: the only place where the suites pass time.

use std::time::{Duration, Instant};

use anyhow::bail;

/// How long a condition may take before the test fails; generous, because two cores may be shared by everything.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Calls `probe` until it yields a value. `Ok(None)` means not yet; an error ends the wait at once.
///
/// # Errors
/// What `probe` returned, or that `what` did not come true within [`DEADLINE`].
pub async fn wait_until<T>(what: &str, mut probe: impl AsyncFnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = probe().await? {
            return Ok(value);
        }
        if started.elapsed() > DEADLINE {
            bail!("{what}: not within {} s", DEADLINE.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
