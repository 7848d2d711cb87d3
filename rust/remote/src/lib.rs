//! Files that lie elsewhere, brought here: `http(s)://`, `s3://`, `gs://`, `az://`.
//!
//! `look` says which files an address names, with what tells one version of a file from another; `fetch` brings one of
//! them. What was fetched of a file stays when that is cut off, and the next `fetch` goes on behind it, unless the file
//! has changed. A file appears under its name when all of it is there and durable, never before.
//!
//! Credentials and endpoints are those of the environment, as the `object_store` crate reads it. Addresses in messages
//! carry no secrets: passwords and signatures are left out.

mod address;
mod download;
mod error;
mod http;
mod journal;
mod object;
mod retry;
mod server;

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use address::{Address, SCHEMES, redacted};
pub use error::{Kind, RemoteError};
use server::Server;

/// Between two looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// A file that an address names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Where it is.
    pub url: String,
    /// Where it is, without secrets.
    pub shown: String,
    /// The last part of its path.
    pub name: String,
    /// Its bytes; None where the server does not say.
    pub size: Option<u64>,
    /// What the server calls this version of its content.
    pub etag: Option<String>,
    /// When it was written, as the server says it.
    pub modified: Option<String>,
}

impl Found {
    /// Whether two answers are about the same content, as far as the server tells.
    #[must_use]
    pub fn agrees(&self, etag: Option<&str>, modified: Option<&str>) -> bool {
        match (&self.etag, etag) {
            (Some(was), Some(is)) => was == is,
            _ => match (&self.modified, modified) {
                (Some(was), Some(is)) => was == is,
                _ => true,
            },
        }
    }

    /// Whether a change of the content would be seen.
    #[must_use]
    pub fn is_versioned(&self) -> bool {
        self.etag.is_some() || self.modified.is_some()
    }
}

/// How patient to be, and how large a request is.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Requests for the same thing before it is given up.
    pub attempts: u32,
    /// Pause after the first failure; each further one is twice as long, up to 20 s.
    pub pause: Duration,
    /// Bytes of one request; a larger file takes several at a time.
    pub piece_bytes: u64,
}

/// Counters that others look at while files come.
#[derive(Debug)]
pub struct Counters<'a> {
    /// Bytes that are here.
    pub bytes: &'a AtomicU64,
    /// Set to stop.
    pub cancelled: &'a AtomicBool,
}

/// The files that `url` names: one, those of a folder that have an ending of data, or those that a pattern matches.
///
/// # Errors
/// When there are none, or the server refuses; see `Kind`.
pub fn look(url: &str, options: &Options, counters: &Counters<'_>) -> Result<Vec<Found>, RemoteError> {
    let address = Address::parse(url)?;
    run(counters, &address.shown, async {
        let server = Server::of(&address)?;
        server.look(&address, options).await
    })
}

/// Bring a file to `target`, beside which `*.part` and `*.journal` keep what is there until all is: its bytes.
///
/// # Errors
/// When it has changed since it was found, the server refuses or fails again and again, or the disk does.
pub fn fetch(
    found: &Found,
    target: &Path,
    options: &Options,
    counters: &Counters<'_>,
) -> Result<u64, RemoteError> {
    let address = Address::parse(&found.url)?;
    run(counters, &found.shown, async {
        let server = Server::of(&address)?;
        download::Download::new(&server, &address, found, target, options, counters).run().await
    })
}

/// Wait for `work` on this thread; it is dropped, with all its requests, when others say stop.
fn run<T>(
    counters: &Counters<'_>,
    shown: &str,
    work: impl Future<Output = Result<T, RemoteError>>,
) -> Result<T, RemoteError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| RemoteError::new(Kind::Network, shown, error.to_string()))?;
    let stop = async {
        while !counters.cancelled.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK).await;
        }
    };
    runtime.block_on(async {
        let (work, stop) = (std::pin::pin!(work), std::pin::pin!(stop));
        match futures_util::future::select(work, stop).await {
            futures_util::future::Either::Left((done, _)) => done,
            futures_util::future::Either::Right(((), _)) => {
                Err(RemoteError::new(Kind::Cancelled, shown, "stopped".to_owned()))
            }
        }
    })
}
