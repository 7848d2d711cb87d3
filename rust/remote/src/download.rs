//! Bringing one file: in pieces, several at a time, where its size is known and the server gives ranges; else as one.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use futures_util::{StreamExt, stream};

use crate::journal::{Journal, beside, finish};
use crate::retry::{pause, retried};
use crate::server::{Body, Server};
use crate::{Address, Counters, Found, Kind, Options, RemoteError};

/// Pieces that are under way at a time.
const AT_ONCE: usize = 4;

/// A file on its way.
pub struct Download<'a> {
    server: &'a Server,
    address: &'a Address,
    found: &'a Found,
    target: &'a Path,
    options: &'a Options,
    counters: &'a Counters<'a>,
}

/// Why pieces ended.
enum Ended {
    /// The server gives whole files only.
    NoRanges,
    Error(RemoteError),
}

impl<'a> Download<'a> {
    pub fn new(
        server: &'a Server,
        address: &'a Address,
        found: &'a Found,
        target: &'a Path,
        options: &'a Options,
        counters: &'a Counters<'a>,
    ) -> Self {
        Self { server, address, found, target, options, counters }
    }

    /// Bring it: its bytes.
    pub async fn run(&self) -> Result<u64, RemoteError> {
        if let Some(size) = self.found.size.filter(|&size| size > self.options.piece_bytes) {
            match self.pieces(size).await {
                Ok(()) => return Ok(size),
                Err(Ended::Error(error)) => return Err(error),
                Err(Ended::NoRanges) => {}
            }
        }
        retried(self.options, || self.whole()).await
    }

    async fn pieces(&self, size: u64) -> Result<(), Ended> {
        let disk = |error| Ended::Error(RemoteError::disk(&self.found.shown, self.target)(error));
        let mut journal =
            Journal::open(self.target, self.found, size, self.options.piece_bytes).map_err(disk)?;
        let missing: Vec<usize> = (0..journal.done.len()).filter(|&piece| !journal.done[piece]).collect();
        let all: u64 =
            missing.iter().map(|&piece| self.bounds(piece, size)).map(|(from, to)| to - from).sum();
        self.counters.bytes.fetch_add(size - all, Ordering::Relaxed);
        let part = journal.part.try_clone().map_err(disk)?;
        let part = &part;
        let work =
            |piece: usize| async move { self.piece(part, self.bounds(piece, size)).await.map(|()| piece) };
        let mut under_way = stream::iter(missing.into_iter().map(work)).buffer_unordered(AT_ONCE);
        while let Some(piece) = under_way.next().await {
            match piece {
                Ok(piece) => journal.note(piece).map_err(disk)?,
                Err(Ended::NoRanges) => {
                    self.counters.bytes.fetch_sub(size - all, Ordering::Relaxed);
                    return Err(Ended::NoRanges);
                }
                Err(error) => return Err(error),
            }
        }
        drop(under_way);
        journal.finish(self.target).map_err(disk)
    }

    fn bounds(&self, piece: usize, size: u64) -> (u64, u64) {
        let from = piece as u64 * self.options.piece_bytes;
        (from, (from + self.options.piece_bytes).min(size))
    }

    /// Bring a piece; a request that breaks off is followed by one for the rest.
    async fn piece(&self, part: &File, (from, to): (u64, u64)) -> Result<(), Ended> {
        let (at, mut failures) = (Cell::new(from), 0);
        while at.get() < to {
            let before = at.get();
            match self.rest(part, &at, to).await {
                Ok(()) => {}
                Err(Ended::Error(mut error)) if error.again => {
                    failures = if at.get() > before { 1 } else { failures + 1 };
                    if failures >= self.options.attempts {
                        error.message = format!("{} ({failures} attempts)", error.message);
                        return Err(Ended::Error(error));
                    }
                    tokio::time::sleep(pause(self.options, failures)).await;
                }
                Err(ended) => return Err(ended),
            }
        }
        Ok(())
    }

    async fn rest(&self, part: &File, at: &Cell<u64>, to: u64) -> Result<(), Ended> {
        let mut body = self.server.get(self.address, Some((at.get(), to))).await.map_err(Ended::Error)?;
        self.same(&body).map_err(Ended::Error)?;
        if body.start.is_none() {
            return Err(Ended::NoRanges);
        }
        while let Some(bytes) = body.stream.next().await {
            let bytes = bytes.map_err(Ended::Error)?;
            let left = usize::try_from(to - at.get()).unwrap_or(usize::MAX);
            let bytes = &bytes[..bytes.len().min(left)];
            part.write_all_at(bytes, at.get())
                .map_err(|error| Ended::Error(RemoteError::disk(&self.found.shown, self.target)(error)))?;
            at.set(at.get() + bytes.len() as u64);
            self.counters.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        if at.get() < to {
            let message = format!("the server broke off, {} bytes are missing", to - at.get());
            return Err(Ended::Error(RemoteError::passing(&self.found.shown, message)));
        }
        Ok(())
    }

    /// Bring all of it with one request.
    async fn whole(&self) -> Result<u64, RemoteError> {
        let counted = Cell::new(0);
        let done = self.stream(&counted).await;
        if done.is_err() {
            self.counters.bytes.fetch_sub(counted.get(), Ordering::Relaxed);
        }
        done
    }

    async fn stream(&self, counted: &Cell<u64>) -> Result<u64, RemoteError> {
        let mut body = self.server.get(self.address, None).await?;
        self.same(&body)?;
        let path = beside(self.target, "part");
        let disk = RemoteError::disk(&self.found.shown, self.target);
        let part = File::create(&path).map_err(&disk)?;
        while let Some(bytes) = body.stream.next().await {
            let bytes = bytes?;
            part.write_all_at(&bytes, counted.get()).map_err(&disk)?;
            counted.set(counted.get() + bytes.len() as u64);
            self.counters.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        let got = counted.get();
        if let Some(size) = self.found.size.filter(|&size| size != got) {
            let message = format!("the server gave {got} bytes of {size}");
            return Err(RemoteError::passing(&self.found.shown, message));
        }
        finish(&part, &path, self.target).map_err(&disk)?;
        // pieces that were begun when the server still gave ranges
        let _ = std::fs::remove_file(beside(self.target, "journal"));
        Ok(got)
    }

    fn same(&self, body: &Body) -> Result<(), RemoteError> {
        if self.found.agrees(body.etag.as_deref(), body.modified.as_deref()) {
            return Ok(());
        }
        let message = "the file changed while it was fetched".to_owned();
        Err(RemoteError::new(Kind::Changed, &self.found.shown, message))
    }
}
