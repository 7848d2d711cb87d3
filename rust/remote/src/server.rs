//! One face for the two kinds of servers.

use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::http::Web;
use crate::object::Objects;
use crate::{Address, Found, Options, RemoteError};

/// An answer with content.
pub struct Body {
    /// What the server calls this version.
    pub etag: Option<String>,
    /// When it was written.
    pub modified: Option<String>,
    /// Where the content begins in the file; None when the server gives all of it, whatever was asked for.
    pub start: Option<u64>,
    /// The content as it comes.
    pub stream: BoxStream<'static, Result<Bytes, RemoteError>>,
}

/// Who is asked.
pub enum Server {
    /// A web server.
    Web(Web),
    /// An object store.
    Objects(Objects),
}

impl Server {
    /// The server of an address, with what the environment says about it.
    pub fn of(address: &Address) -> Result<Self, RemoteError> {
        // reqwest has no TLS of its own as it is built here; a second call finds the first one's
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(if address.is_http() {
            Self::Web(Web::new(address)?)
        } else {
            Self::Objects(Objects::new(address)?)
        })
    }

    /// The files that an address names.
    pub async fn look(&self, address: &Address, options: &Options) -> Result<Vec<Found>, RemoteError> {
        match self {
            Self::Web(web) => web.look(address, options).await,
            Self::Objects(objects) => objects.look(address, options).await,
        }
    }

    /// The content of a file: all of it, or the bytes from the first to before the second.
    pub async fn get(&self, address: &Address, range: Option<(u64, u64)>) -> Result<Body, RemoteError> {
        match self {
            Self::Web(web) => web.get(address, range).await,
            Self::Objects(objects) => objects.get(address, range).await,
        }
    }
}
