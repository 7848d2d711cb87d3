//! What is to be made: the plan with its files, their formats, the units and the key.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dedup;
use crate::error::EngineError;
use crate::inputs::{self, Opened};
use crate::key::{self, Digests, Files};
use crate::options::Tools;
use crate::plan::{Plan, SourcePlan};
use crate::store::InputFile;
use crate::units::{self, Input, Unit};
use crate::worker::Progress;

/// Name of the file that tells shards what to do.
pub const SHARDS: &str = "shards.json";

/// A plan of which all is known that its store depends on.
#[derive(Debug)]
pub struct Job {
    /// What is wanted.
    pub plan: Plan,
    /// The files of each source.
    pub files: Vec<Files>,
    /// The content key.
    pub key: String,
    /// What it was made of.
    pub key_fields: Vec<(String, String)>,
}

/// A job whose files were looked into.
#[derive(Debug)]
pub struct Opening {
    /// The sources.
    pub opened: Vec<Opened>,
    /// The files, in order.
    pub inputs: Vec<Input>,
    /// What they are read in.
    pub units: Vec<Unit>,
    /// Bytes of a piece.
    pub unit_bytes: u64,
}

/// A job as shards are told of it: the files are not read again to be sure of their content.
#[derive(Serialize, Deserialize)]
struct Shards {
    version: u32,
    key: String,
    key_fields: Vec<(String, String)>,
    units: usize,
    files: Vec<Files>,
    plan: serde_json::Value,
}

impl Job {
    /// Find the files of a plan and take their digests.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn new(plan: Plan) -> Result<Self, EngineError> {
        fs::create_dir_all(&plan.cache).map_err(EngineError::io(&plan.cache))?;
        let mut digests = Digests::open(plan.cache.join("digests.json"));
        let files = inputs::files(&plan, &mut digests)?;
        let options = key::option_files(&plan, &mut digests)?;
        digests.save()?;
        let key_fields = key::fields(&plan, &files, &options);
        Ok(Self { key: key::key(&key_fields), key_fields, plan, files })
    }

    /// Bytes of all files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().flatten().map(|file| file.2).sum()
    }

    /// The folder of the cache in which the store is, or will be.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.plan.cache.join("tokens").join(&self.key)
    }

    /// Look into the files: formats, and the units.
    ///
    /// # Errors
    /// When a format can't be found or does not go with the plan, or a file can't be read.
    pub fn open(&self) -> Result<Opening, EngineError> {
        let pairs = self.plan.sources.iter().zip(&self.files);
        let opened = pairs
            .map(|(source, files)| inputs::open(&self.plan, source, files))
            .collect::<Result<Vec<_>, _>>()?;
        inputs::check_template(&self.plan, &self.files, &opened)?;
        let mut inputs = Vec::new();
        for (index, (source, opened)) in (0u32..).zip(self.plan.sources.iter().zip(&opened)) {
            inputs.extend(opened.inputs(source, index));
        }
        let unit_bytes = units::unit_bytes(self.plan.unit_bytes, self.total_bytes());
        let units = units::list(&inputs, unit_bytes)?;
        Ok(Opening { opened, inputs, units, unit_bytes })
    }

    /// The files as the manifest names them.
    #[must_use]
    pub fn listed(&self) -> Vec<InputFile> {
        let of = |(source, (plan, files)): (u32, (&SourcePlan, &Files))| {
            let file = move |(path, digest, bytes): &(PathBuf, String, u64)| InputFile {
                path: plan.shown(path),
                digest: digest.clone(),
                bytes: *bytes,
                source,
            };
            files.iter().map(file).collect::<Vec<_>>()
        };
        (0u32..).zip(self.plan.sources.iter().zip(&self.files)).flat_map(of).collect()
    }

    /// Tell shards what to do: `folder` gets the job and the tokenizer, so that it is all they need
    /// beside the data. The number of units is returned.
    ///
    /// # Errors
    /// When a file can't be read or written.
    pub fn write(&self, plan: &str, folder: &Path, progress: &Progress) -> Result<usize, EngineError> {
        Tools::of(&self.plan)?; // what can't be met is told here and not by each shard
        let opening = self.open()?;
        let units = opening.units.len();
        fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
        dedup::find(self, &opening, folder, progress)?;
        let mut plan: serde_json::Value = serde_json::from_str(plan)?;
        let tokenizer = folder.join("tokenizer.json");
        let file = &self.plan.tokenizer.file;
        fs::copy(file, &tokenizer).map_err(EngineError::io(file))?;
        plan["tokenizer"]["file"] = tokenizer.to_string_lossy().into();
        let shards = Shards {
            version: key::FORMAT_VERSION,
            key: self.key.clone(),
            key_fields: self.key_fields.clone(),
            units,
            files: self.files.clone(),
            plan,
        };
        let path = folder.join(SHARDS);
        let text = serde_json::to_vec_pretty(&shards)?;
        fs::write(&path, text).map_err(EngineError::io(&path))?;
        Ok(units)
    }

    /// What `write` told.
    ///
    /// # Errors
    /// When it can't be read, or is of another version of the engine.
    pub fn read(folder: &Path) -> Result<Self, EngineError> {
        let path = folder.join(SHARDS);
        let text = fs::read(&path).map_err(EngineError::io(&path))?;
        let shards: Shards =
            serde_json::from_slice(&text).map_err(|error| EngineError::store(&path, error))?;
        if shards.version != key::FORMAT_VERSION {
            let reason = "another version of the engine planned it; plan it again with this one";
            return Err(EngineError::store(&path, reason));
        }
        Ok(Self {
            plan: serde_json::from_value(shards.plan)?,
            files: shards.files,
            key: shards.key,
            key_fields: shards.key_fields,
        })
    }
}
