//! What can be wrong with a file that lies elsewhere.

use std::path::Path;

/// What kind of trouble it is, which decides what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The address can't be one.
    Address,
    /// Nothing is there.
    NotFound,
    /// Who asks is not known, or may not read.
    Credentials,
    /// The server answers, and not with the file.
    Refused,
    /// The server can't be reached, fails or breaks off.
    Network,
    /// The file is not the one that was found.
    Changed,
    /// The server can't say which files there are.
    NoListing,
    /// The file can't be written here.
    Disk,
    /// Stopped from outside.
    Cancelled,
}

/// A file can't be brought.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}`: {message}")]
pub struct RemoteError {
    /// What kind of trouble.
    pub kind: Kind,
    /// The address, without secrets.
    pub shown: String,
    /// What happened, with the HTTP status where there is one.
    pub message: String,
    /// Whether the same request may succeed later.
    pub again: bool,
}

impl RemoteError {
    /// Trouble that the same request would meet again.
    #[must_use]
    pub fn new(kind: Kind, shown: &str, message: String) -> Self {
        Self { kind, shown: shown.to_owned(), message, again: false }
    }

    /// Trouble that may pass.
    #[must_use]
    pub fn passing(shown: &str, message: String) -> Self {
        Self { kind: Kind::Network, shown: shown.to_owned(), message, again: true }
    }

    /// An answer that is not the file.
    #[must_use]
    pub fn status(status: u16, shown: &str, said: &str) -> Self {
        let reason = reqwest::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason());
        let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
        let message = format!("HTTP {status} {}{said}", reason.unwrap_or_default());
        match status {
            404 | 410 => Self::new(Kind::NotFound, shown, message),
            401 | 403 | 407 => Self::new(Kind::Credentials, shown, message),
            408 | 425 | 429 | 500..=599 => Self::passing(shown, message),
            412 | 416 => Self::new(Kind::Changed, shown, message),
            _ => Self::new(Kind::Refused, shown, message),
        }
    }

    /// The disk refuses.
    pub fn disk(shown: &str, path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |error| Self::new(Kind::Disk, shown, format!("`{}` can't be written: {error}", path.display()))
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let scheme = self.shown.split("://").next().unwrap_or_default();
        Some(match self.kind {
            Kind::NotFound => "look at the spelling; a folder or a pattern (`*.jsonl`) may be named too, except on http".into(),
            Kind::Credentials => match scheme {
                "s3" | "s3a" => "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_REGION, AWS_SESSION_TOKEN, \
                     AWS_ENDPOINT where they are needed); for a public bucket AWS_SKIP_SIGNATURE=true"
                    .into(),
                "gs" => "set GOOGLE_APPLICATION_CREDENTIALS to a key file; for a public bucket \
                     GOOGLE_SKIP_SIGNATURE=true"
                    .into(),
                "http" | "https" => "the server wants a login: `https://USER:PASSWORD@...`, or a signed address".into(),
                _ => "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or AZURE_STORAGE_SAS_TOKEN); for a \
                     public container AZURE_SKIP_SIGNATURE=true"
                    .into(),
            },
            Kind::Network => "what was fetched is kept; the same command goes on where it was cut off".into(),
            Kind::Changed => "it was written while it was read; run the command again when that has ended".into(),
            Kind::NoListing => "name each file; `s3://`, `gs://`, `az://` and `hf://` take folders and patterns".into(),
            Kind::Disk => "is there room, and may we write there? FASTFT_CACHE names another folder".into(),
            Kind::Address => "such are `https://HOST/FILE`, `s3://BUCKET/KEY`, `gs://BUCKET/KEY`, `az://CONTAINER/KEY`".into(),
            Kind::Refused | Kind::Cancelled => return None,
        })
    }
}

/// An error with all that led to it, each said once.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let (mut said, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        next = cause.source();
    }
    said
}
