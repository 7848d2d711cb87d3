//! Web servers, also those that can't do ranges, say no length or refuse HEAD.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED, RANGE};
use reqwest::{Client, Method, Response, StatusCode};

use crate::error::chain;
use crate::retry::retried;
use crate::server::Body;
use crate::{Address, Found, Kind, Options, RemoteError};

/// Silence after which a connection counts as broken.
const SILENCE: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(20);

/// A web server.
pub struct Web {
    client: Client,
}

impl Web {
    pub fn new(address: &Address) -> Result<Self, RemoteError> {
        let client = Client::builder()
            .user_agent(concat!("fastft/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .build()
            .map_err(|error| RemoteError::new(Kind::Network, &address.shown, chain(&error)))?;
        Ok(Self { client })
    }

    pub async fn look(&self, address: &Address, options: &Options) -> Result<Vec<Found>, RemoteError> {
        if address.key.contains('*') {
            let message = "a web server can't be asked which files match a pattern".to_owned();
            return Err(RemoteError::new(Kind::NoListing, &address.shown, message));
        }
        Ok(vec![retried(options, || self.head(address)).await?])
    }

    pub async fn get(&self, address: &Address, range: Option<(u64, u64)>) -> Result<Body, RemoteError> {
        let response = self.send(Method::GET, address, range).await?;
        let headers = response.headers();
        let (etag, modified) = (text(headers, &ETAG), text(headers, &LAST_MODIFIED));
        let start = match (response.status(), range) {
            (StatusCode::PARTIAL_CONTENT, Some((from, _))) => {
                let given = text(headers, &CONTENT_RANGE).unwrap_or_default();
                if range_start(&given) != Some(from) {
                    let message = format!("asked for bytes from {from}, given `{given}`");
                    return Err(RemoteError::new(Kind::Refused, &address.shown, message));
                }
                Some(from)
            }
            (StatusCode::OK, _) => None,
            (status, _) => return Err(RemoteError::status(status.as_u16(), &address.shown, "")),
        };
        let shown = address.shown.clone();
        let stream = response.bytes_stream().map_err(move |error| broken(error, &shown)).boxed();
        Ok(Body { etag, modified, start, stream })
    }

    /// What the server says of a file.
    async fn head(&self, address: &Address) -> Result<Found, RemoteError> {
        let answer = self.send(Method::HEAD, address, None).await;
        let (response, size) = match answer {
            Ok(response) => {
                let size = text(response.headers(), &CONTENT_LENGTH).and_then(|size| size.parse().ok());
                (response, size)
            }
            // an address that is signed for GET, or a server that knows nothing else
            Err(error)
                if matches!(error.kind, Kind::Refused | Kind::Credentials)
                    || error.message.contains("501") =>
            {
                let response = self.send(Method::GET, address, Some((0, 1))).await?;
                let headers = response.headers();
                let size = if response.status() == StatusCode::PARTIAL_CONTENT {
                    text(headers, &CONTENT_RANGE).and_then(|range| range.rsplit('/').next()?.parse().ok())
                } else {
                    text(headers, &CONTENT_LENGTH).and_then(|size| size.parse().ok())
                };
                (response, size)
            }
            Err(error) => return Err(error),
        };
        let headers = response.headers();
        Ok(Found {
            url: address.url.clone(),
            shown: address.shown.clone(),
            name: address.name(),
            size,
            etag: text(headers, &ETAG),
            modified: text(headers, &LAST_MODIFIED),
        })
    }

    async fn send(
        &self,
        method: Method,
        address: &Address,
        range: Option<(u64, u64)>,
    ) -> Result<Response, RemoteError> {
        let mut request = self.client.request(method, &address.url);
        if let Some((from, to)) = range {
            request = request.header(RANGE, format!("bytes={from}-{}", to - 1));
        }
        let response = request.send().await.map_err(|error| broken(error, &address.shown))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(RemoteError::status(status.as_u16(), &address.shown, ""))
    }
}

/// A request that failed without an answer.
fn broken(error: reqwest::Error, shown: &str) -> RemoteError {
    let error = error.without_url();
    let passes = !(error.is_builder() || error.is_redirect());
    let text = chain(&error);
    if passes { RemoteError::passing(shown, text) } else { RemoteError::new(Kind::Refused, shown, text) }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// The first byte of `bytes 5-9/10`.
fn range_start(range: &str) -> Option<u64> {
    range.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
