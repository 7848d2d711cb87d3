//! Object stores: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

use std::sync::Arc;

use fastft_source::names;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};

use crate::address::file_name;
use crate::error::chain;
use crate::retry::retried;
use crate::server::Body;
use crate::{Address, Found, Kind, Options, RemoteError};

/// Set before the environment, which may say otherwise: a whole request would otherwise have 30 s, whatever its size.
const TIMEOUTS: [(&str, &str); 2] = [("timeout", "15 minutes"), ("connect_timeout", "20 seconds")];

/// A bucket or container.
pub struct Objects {
    store: Arc<dyn ObjectStore>,
}

/// A builder with what the environment says under a prefix, as its own `from_env` reads it, over our defaults.
macro_rules! configured {
    ($builder:ty, $prefix:literal, $url:expr) => {{
        let mut builder = <$builder>::new();
        let told = std::env::vars().filter(|(name, _)| name.starts_with($prefix));
        let ours = TIMEOUTS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (name, value) in ours.into_iter().chain(told) {
            if let Ok(key) = name.to_ascii_lowercase().parse() {
                builder = builder.with_config(key, value);
            }
        }
        // failures are counted and waited for in `retry.rs`, for all kinds of servers alike
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        builder.with_url($url).with_retry(retry)
    }};
}

impl Objects {
    pub fn new(address: &Address) -> Result<Self, RemoteError> {
        let url = format!("{}://{}/", address.scheme, address.authority);
        let built: Result<Arc<dyn ObjectStore>, Error> = match address.scheme.as_str() {
            "s3" | "s3a" => {
                configured!(AmazonS3Builder, "AWS_", url).build().map(|store| Arc::new(store) as _)
            }
            "gs" => {
                let mut builder = configured!(GoogleCloudStorageBuilder, "GOOGLE_", url);
                if let Ok(path) = std::env::var("SERVICE_ACCOUNT") {
                    builder = builder.with_service_account_path(path);
                }
                builder.build().map(|store| Arc::new(store) as _)
            }
            _ => configured!(MicrosoftAzureBuilder, "AZURE_", url).build().map(|store| Arc::new(store) as _),
        };
        let store =
            built.map_err(|error| RemoteError::new(Kind::Credentials, &address.shown, chain(&error)))?;
        Ok(Self { store })
    }

    pub async fn look(&self, address: &Address, options: &Options) -> Result<Vec<Found>, RemoteError> {
        let key = address.key.as_str();
        let pattern = names::is_pattern(key);
        if !(pattern || key.is_empty() || key.ends_with('/')) {
            let path = path(address, key)?;
            match retried(options, || async {
                self.store.head(&path).await.map_err(|error| said(&error, address))
            })
            .await
            {
                Ok(meta) => return Ok(vec![found(address, meta)]),
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let fixed = names::fixed_folder(key);
        let prefix = if fixed.is_empty() { None } else { Some(path(address, fixed)?) };
        let list = || async {
            let listed = self.store.list(prefix.as_ref()).try_collect::<Vec<ObjectMeta>>().await;
            listed.map_err(|error| said(&error, address))
        };
        let mut all = retried(options, list).await?;
        all.retain(|meta| meta.size > 0 && names::chosen(key, meta.location.as_ref()));
        if all.is_empty() {
            let message = if pattern {
                "no object matches"
            } else {
                "there is no such object, and no folder with data files"
            };
            return Err(RemoteError::new(Kind::NotFound, &address.shown, message.to_owned()));
        }
        all.sort_by(|one, two| one.location.cmp(&two.location));
        Ok(all.into_iter().map(|meta| found(address, meta)).collect())
    }

    pub async fn get(&self, address: &Address, range: Option<(u64, u64)>) -> Result<Body, RemoteError> {
        let options = GetOptions {
            range: range.map(|(from, to)| GetRange::Bounded(from..to)),
            ..GetOptions::default()
        };
        let path = path(address, &address.key)?;
        let given = self.store.get_opts(&path, options).await.map_err(|error| said(&error, address))?;
        let (etag, modified) = (given.meta.e_tag.clone(), Some(given.meta.last_modified.to_rfc3339()));
        let start = range.map(|_| given.range.start);
        let address = address.clone();
        let stream = given.into_stream().map_err(move |error| said(&error, &address)).boxed();
        Ok(Body { etag, modified, start, stream })
    }
}

fn path(address: &Address, key: &str) -> Result<Path, RemoteError> {
    Path::parse(key).map_err(|error| RemoteError::new(Kind::Address, &address.shown, chain(&error)))
}

fn found(address: &Address, meta: ObjectMeta) -> Found {
    let url = address.of_key(meta.location.as_ref());
    Found {
        shown: url.clone(),
        url,
        name: file_name(meta.location.filename().unwrap_or_default()),
        size: Some(meta.size),
        etag: meta.e_tag,
        modified: Some(meta.last_modified.to_rfc3339()),
    }
}

/// The error of a store as ours; its kind is in the words where its class does not tell.
fn said(error: &Error, address: &Address) -> RemoteError {
    let (text, shown) = (chain(error), address.shown.as_str());
    let status = text.split("status code: ").nth(1).and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
    let inner = between(&text, "<Code>", "</Code>").unwrap_or_default();
    match (error, status) {
        (_, Some(status)) => RemoteError::status(status, shown, inner),
        (Error::NotFound { .. }, None) => RemoteError::status(404, shown, inner),
        (Error::PermissionDenied { .. }, None) => RemoteError::status(403, shown, inner),
        (Error::Unauthenticated { .. }, None) => RemoteError::status(401, shown, inner),
        (Error::Precondition { .. }, None) => RemoteError::status(412, shown, inner),
        (Error::NotSupported { .. } | Error::NotImplemented { .. }, None) => {
            RemoteError::new(Kind::Refused, shown, text)
        }
        _ if text.contains("169.254.169.254") || text.contains("metadata.google.internal") => {
            let message =
                "there are no credentials in the environment, and no machine that gives them".to_owned();
            RemoteError::new(Kind::Credentials, shown, message)
        }
        _ if text.contains("configured region") => RemoteError::new(Kind::Credentials, shown, text),
        _ => RemoteError::passing(shown, text),
    }
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    text.split_once(begin)?.1.split_once(end).map(|(inner, _)| inner)
}
