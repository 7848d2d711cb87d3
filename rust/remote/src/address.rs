//! Addresses: which server, which file on it, and how it is shown.

use url::Url;

use crate::{Kind, RemoteError};

/// Schemes of servers that are asked here.
pub const SCHEMES: [&str; 9] = ["http", "https", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss"];
/// Parts of names of query fields that are secrets.
const SECRET: [&str; 8] = ["sig", "token", "key", "secret", "credential", "password", "auth", "policy"];

/// An address in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// All of it.
    pub url: String,
    /// All of it without secrets.
    pub shown: String,
    /// What is before `://`.
    pub scheme: String,
    /// Bucket, container or host, as it is written.
    pub authority: String,
    /// The path on it; of object stores the key itself, in which no letter is special.
    pub key: String,
}

impl Address {
    /// Take an address apart.
    ///
    /// # Errors
    /// When it is none, or of a scheme that is not known here.
    pub fn parse(url: &str) -> Result<Self, RemoteError> {
        let refuse = |message: &str| RemoteError::new(Kind::Address, &redacted(url), message.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(|| refuse("is no address"))?;
        let scheme = scheme.to_ascii_lowercase();
        if !SCHEMES.contains(&scheme.as_str()) {
            return Err(refuse(&format!("the scheme `{scheme}` is not known here")));
        }
        let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() {
            return Err(refuse("names no bucket or host"));
        }
        let key = if scheme.starts_with("http") {
            let parsed = Url::parse(url).map_err(|error| refuse(&error.to_string()))?;
            parsed.path().trim_start_matches('/').to_owned()
        } else {
            key.to_owned()
        };
        Ok(Self { url: url.to_owned(), shown: redacted(url), scheme, authority: authority.to_owned(), key })
    }

    /// Whether it is a web server and no object store.
    #[must_use]
    pub fn is_http(&self) -> bool {
        self.scheme.starts_with("http")
    }

    /// The address of another key of the same bucket.
    #[must_use]
    pub fn of_key(&self, key: &str) -> String {
        format!("{}://{}/{key}", self.scheme, self.authority)
    }

    /// The last part of the path, as a file can be called.
    #[must_use]
    pub fn name(&self) -> String {
        let last = self.key.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = if self.is_http() {
            percent_encoding::percent_decode_str(last).decode_utf8_lossy().into_owned()
        } else {
            last.to_owned()
        };
        file_name(&name)
    }
}

/// A name that every file system takes.
#[must_use]
pub fn file_name(name: &str) -> String {
    let plain = |letter: char| if letter == '/' || letter.is_control() { '_' } else { letter };
    let name: String = name.chars().map(plain).collect();
    match name.trim_start_matches('.') {
        "" => "data".to_owned(),
        // a name has 255 bytes at most, and endings follow; what tells files apart is mostly at the end
        long if long.len() > 200 => {
            let from = (long.len() - 200..long.len()).find(|&at| long.is_char_boundary(at)).unwrap_or(0);
            long[from..].to_owned()
        }
        _ => name,
    }
}

/// An address without password and without what signs it.
#[must_use]
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    if !scheme.to_ascii_lowercase().starts_with("http") {
        return url.to_owned();
    }
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let hidden = |field: &str| {
        let name = field.split('=').next().unwrap_or_default();
        let lower = name.to_ascii_lowercase();
        if SECRET.iter().any(|secret| lower.contains(secret)) {
            format!("{name}=***")
        } else {
            field.to_owned()
        }
    };
    let query = query.map(|query| query.split('&').map(hidden).collect::<Vec<_>>().join("&"));
    format!("{scheme}://{host}{path}{}", query.map(|query| format!("?{query}")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let url = "https://me:hush@host:8/a/b.jsonl?X-Amz-Signature=abc&part=1";
        assert_eq!(redacted(url), "https://host:8/a/b.jsonl?X-Amz-Signature=***&part=1");
        assert_eq!(redacted("s3://bucket/a?b"), "s3://bucket/a?b");
    }

    #[test]
    fn a_key_is_taken_as_it_is_and_a_web_path_is_decoded() {
        let address = Address::parse("s3://bucket/deep/a%20b?.jsonl").unwrap();
        assert_eq!((address.authority.as_str(), address.key.as_str()), ("bucket", "deep/a%20b?.jsonl"));
        assert_eq!(address.name(), "a%20b?.jsonl");
        assert_eq!(Address::parse("http://h/x/a%20b.txt?q=1").unwrap().name(), "a b.txt");
        assert_eq!(Address::parse("http://h").unwrap().name(), "data");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in ["rows.jsonl", "ftp://host/file", "s3:///key", "https://"] {
            assert_eq!(Address::parse(url).unwrap_err().kind, Kind::Address, "{url}");
        }
    }

    #[test]
    fn names_can_be_those_of_files() {
        assert_eq!(file_name(".."), "data");
        assert_eq!(file_name("a\n/b"), "a__b");
        assert!(file_name(&"ж".repeat(300)).len() <= 200);
    }
}
