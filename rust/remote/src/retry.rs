//! Trying again, with pauses that grow.

use std::future::Future;
use std::time::Duration;

use crate::{Options, RemoteError};

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(20);

/// Do `work` until it succeeds, fails for good, or has failed too often.
pub async fn retried<T, W: Future<Output = Result<T, RemoteError>>>(
    options: &Options,
    mut work: impl FnMut() -> W,
) -> Result<T, RemoteError> {
    let mut failures = 0;
    loop {
        match work().await {
            Ok(done) => return Ok(done),
            Err(mut error) => {
                failures += 1;
                if !error.again || failures >= options.attempts {
                    if error.again && failures > 1 {
                        error.message = format!("{} ({failures} attempts)", error.message);
                    }
                    return Err(error);
                }
                tokio::time::sleep(pause(options, failures)).await;
            }
        }
    }
}

/// The pause after so many failures.
#[must_use]
pub fn pause(options: &Options, failures: u32) -> Duration {
    options.pause.saturating_mul(1 << (failures - 1).min(10)).min(LONGEST)
}
