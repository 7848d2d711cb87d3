//! The key of a token store: what its tokens depend on, and nothing else.
//!
//! Files enter by content. Their digests are kept by (size, mtime, ctime, inode), so that an
//! unchanged file is not read again; a file that changed within the last two seconds is not kept, as
//! a later write could leave all four as they are. The ctime tells a file that was rewritten and given
//! its old mtime back, as copying programs do.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fastft_clean::DedupPlan;
use fastft_record::KeyHasher;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::EngineError;
use crate::format;
use crate::plan::Plan;
use crate::store::digest;

/// Raised whenever the engine would make other tokens, or store them otherwise.
pub const FORMAT_VERSION: u32 = 6;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    size: u64,
    mtime_ns: i128,
    ctime_ns: i128,
    inode: u64,
    digest: String,
}

/// Digests of files by path.
#[derive(Debug, Default)]
pub struct Digests {
    path: PathBuf,
    known: BTreeMap<String, Known>,
    changed: bool,
}

impl Digests {
    /// Read what is known; a damaged or missing file is an empty one.
    #[must_use]
    pub fn open(path: PathBuf) -> Self {
        let known =
            fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { path, known, changed: false }
    }

    /// The BLAKE3 digest of a file's content and its size.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn of(&mut self, file: &Path) -> Result<(String, u64), EngineError> {
        let meta = fs::metadata(file).map_err(EngineError::io(file))?;
        let mtime_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        let ctime_ns = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
        let name = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned()).to_string_lossy().into_owned();
        if let Some(known) = self.known.get(&name)
            && (known.size, known.mtime_ns, known.ctime_ns, known.inode)
                == (meta.len(), mtime_ns, ctime_ns, meta.ino())
        {
            return Ok((known.digest.clone(), known.size));
        }
        let digest = digest(file)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let settled = i128::try_from(now.saturating_sub(Duration::from_secs(2)).as_nanos()).unwrap_or(0);
        if mtime_ns < settled && ctime_ns < settled {
            let known =
                Known { size: meta.len(), mtime_ns, ctime_ns, inode: meta.ino(), digest: digest.clone() };
            self.known.insert(name, known);
            self.changed = true;
        }
        Ok((digest, meta.len()))
    }

    /// Write what is known, if it changed.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&self) -> Result<(), EngineError> {
        if !self.changed {
            return Ok(());
        }
        let temporary = self.path.with_extension(format!("tmp-{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(&serde_json::to_vec(&self.known)?)?;
            fs::rename(&temporary, &self.path)
        };
        write().map_err(EngineError::io(&self.path))
    }
}

/// The files of one source with their digests and sizes.
pub type Files = Vec<(PathBuf, String, u64)>;

/// What the tokens of the plan's store depend on, by name: the key is made of it, and two stores are
/// told apart by it. Long values stand as their digests.
#[must_use]
pub fn fields(plan: &Plan, files: &[Files], options: &[(String, String)]) -> Vec<(String, String)> {
    let mut fields = vec![("version".to_owned(), FORMAT_VERSION.to_string())];
    let mut add = |name: String, value: String| {
        let value = match value.len() {
            0..=256 => value,
            _ => format!("blake3 {}", &blake3::hash(value.as_bytes()).to_hex()[..32]),
        };
        fields.push((name, value));
    };
    for (index, (source, files)) in plan.sources.iter().zip(files).enumerate() {
        add(format!("sources[{index}].name"), source.name.clone());
        add(format!("sources[{index}].format"), json(&source.format));
        add(format!("sources[{index}].rows"), json(&source.rows));
        if format::labels().any(|label| source.ignores(label)) {
            add(format!("sources[{index}].ignore"), json(&source.ignore)); // the format that is found depends on it
        }
        if source.encoding.is_some() {
            add(format!("sources[{index}].encoding"), json(&source.encoding));
        }
        for (number, (_, digest, _)) in files.iter().enumerate() {
            // where a file lies is no part of it: the same bytes from elsewhere find the same store
            add(format!("sources[{index}].files[{number}].digest"), digest.clone());
        }
    }
    for (name, value) in [
        ("rows", format!("{:?}", plan.rows)),
        ("tokenizer", plan.tokenizer.key.clone()),
        ("vocab_size", plan.tokenizer.vocab_size.to_string()),
        ("special_tokens", json(&plan.tokenizer.special_tokens)),
        ("template", plan.tokenizer.template.clone().unwrap_or_default()),
        ("template_key", plan.tokenizer.template_key.clone()),
        ("encode", format!("{:?}", plan.encode)),
        ("max_length", plan.max_length.to_string()),
        ("truncate", format!("{:?}", plan.truncate)),
        ("unit_bytes", plan.unit_bytes.to_string()),
        ("clean", json(&placeless(serde_json::to_value(&plan.clean).unwrap_or_default()))),
        ("dedup", json(&without_memory(plan.dedup.as_ref()))),
        ("augment", json(&plan.augment.clone().map(placeless))),
    ] {
        add(name.to_owned(), value);
    }
    for (name, digest) in options {
        add(name.clone(), digest.clone());
    }
    fields
}

/// The digests of the files that options name: block lists, evaluation sets, models, dictionaries and copies, by
/// the option's name.
///
/// They stand in the plan as lists called `files` or `derived` and texts called `dictionary` or `fasttext`, wherever.
///
/// # Errors
/// When one can't be read.
pub fn option_files(plan: &Plan, digests: &mut Digests) -> Result<Vec<(String, String)>, EngineError> {
    let mut named = Vec::new();
    let mut clean = serde_json::to_value(&plan.clean)?;
    let mut augment = plan.augment.clone().unwrap_or_default();
    for (name, value) in [("clean", &mut clean), ("augment", &mut augment)] {
        each_path(value, name, &mut |name, path| named.push((name.to_owned(), PathBuf::from(&*path))));
    }
    let mut files = Vec::new();
    for (name, path) in named {
        if path.is_dir() {
            let entries = fs::read_dir(&path).map_err(EngineError::io(&path))?;
            let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            inside.sort();
            let inside = inside.into_iter().filter(|file| file.is_file());
            files.extend(inside.map(|file| (format!("{name}/{}", file_name(&file)), file)));
        } else {
            files.push((name, path));
        }
    }
    files.into_iter().map(|(name, path)| digests.of(&path).map(|found| (name, found.0))).collect()
}

/// Visit the paths in options, each with the option's name.
fn each_path(value: &mut Value, at: &str, visit: &mut dyn FnMut(&str, &mut String)) {
    match value {
        Value::Array(items) => {
            for (number, item) in items.iter_mut().enumerate() {
                each_path(item, &format!("{at}[{number}]"), visit);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let at = format!("{at}.{name}");
                match (name.as_str(), value) {
                    ("files" | "derived", Value::Array(paths)) => {
                        for (number, path) in paths.iter_mut().enumerate() {
                            if let Value::String(path) = path {
                                visit(&format!("{at}[{number}]"), path);
                            }
                        }
                    }
                    ("dictionary" | "fasttext", Value::String(path)) => visit(&at, path),
                    (_, value) => each_path(value, &at, visit),
                }
            }
        }
        _ => {}
    }
}

/// Options without the folders of their files, which stand in the key by content: the same bytes from elsewhere find
/// the same store. Lists name rows of `files` by the file's name; copies are called after what was asked for.
fn placeless(mut options: Value) -> Value {
    each_path(&mut options, "", &mut |name, path| {
        *path = if name.contains(".derived[") { String::new() } else { file_name(Path::new(&*path)) };
    });
    options
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// How much memory finding duplicates may take changes none of them.
fn without_memory(dedup: Option<&DedupPlan>) -> Option<DedupPlan> {
    Some(DedupPlan { memory_bytes: 0, ..dedup?.clone() })
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The key of the plan's token store.
#[must_use]
pub fn key(fields: &[(String, String)]) -> String {
    let mut hasher = KeyHasher::new("fastft tokens");
    for (name, value) in fields {
        hasher.field(name, value);
    }
    hasher.key()
}
