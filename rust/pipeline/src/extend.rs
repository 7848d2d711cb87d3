//! A store with the copies of its rows that were made beforehand: the rows' own tokens are taken from the store
//! without these copies, which was there before anybody could make them, and only the copies are tokenized.
//!
//! The result is what reading the sources anew would give: documents of one row stand together, by variant.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use fastft_augment::{AugmentPlan, Copy, Derived};
use fastft_record::{Books, SourceBooks};

use crate::encode::{Encoded, Encoder, take_noted};
use crate::error::EngineError;
use crate::job::Job;
use crate::plan::Plan;
use crate::store::{Manifest, Part, PartWriter, Section, Store};
use crate::truncate::{self, Cut};
use crate::worker::{Progress, Rules};

/// A store without copies, and those that it lacks.
pub struct Extension {
    base: Store,
    derived: Vec<Derived>,
}

/// One document, and the number of the copy that it belongs to.
type Numbered = (u16, Encoded);

impl Extension {
    /// What a job's store can be made of; None when its plan names no copies, or there is no store without them.
    ///
    /// # Errors
    /// When the copies can't be read.
    pub fn find(job: &Job) -> Result<Option<Self>, EngineError> {
        let Some(augment) = &job.plan.augment else { return Ok(None) };
        let augment: AugmentPlan = serde_json::from_value(augment.clone())?;
        if augment.derived.is_empty() {
            return Ok(None);
        }
        let base = Job::new(bare(&job.plan))?.folder();
        let Ok(base) = Store::open(&base) else { return Ok(None) };
        let derived = augment.derived.iter().map(|path| Derived::open(path)).collect::<Result<_, _>>()?;
        Ok(Some(Self { base, derived }))
    }

    /// Make the store in `folder`, all but its manifest, which is returned.
    ///
    /// # Errors
    /// When something can't be read or written, or the run is cancelled.
    pub fn make(
        &self,
        job: &Job,
        encoder: &Encoder,
        folder: &Path,
        progress: &Progress,
    ) -> Result<Manifest, EngineError> {
        let old = self.base.manifest();
        progress
            .total_bytes
            .store(old.parts.iter().map(|section| section.part.bytes).sum(), Ordering::Relaxed);
        let rules = Rules::new(&job.plan, encoder);
        let threads = job.plan.num_threads().max(1);
        let made: Vec<Result<Vec<_>, EngineError>> = std::thread::scope(|scope| {
            let one = |thread: usize| {
                let mine = (0..old.parts.len()).skip(thread).step_by(threads);
                mine.map(|number| Ok((number, self.part(number, &rules, folder, progress)?))).collect()
            };
            let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || one(thread))).collect();
            let first = one(0);
            let gone = |_| Err(EngineError::Worker("the copies of rows".into()));
            std::iter::once(first)
                .chain(others.into_iter().map(|other| other.join().unwrap_or_else(gone)))
                .collect()
        });
        let mut made: Vec<_> =
            made.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        encoder.proven()?;
        made.sort_unstable_by_key(|(number, _)| *number);
        let mut books = old.books.sources.clone();
        let mut parts = Vec::new();
        for (number, (part, added)) in made {
            let section = &old.parts[number];
            books.entry(old.sources[section.source as usize].name.clone()).or_default().merge(&added);
            parts.push(Section { part, ..section.clone() });
        }
        for list in &old.lists {
            let (from, to) = (self.base.folder().join(&list.name), folder.join(&list.name));
            fs::copy(&from, &to).map_err(EngineError::io(&from))?;
        }
        let books = Books::close(books)?;
        Ok(Manifest {
            key: job.key.clone(),
            key_fields: job.key_fields.clone(),
            documents: books.total.pieces + books.total.augmented,
            parts,
            files: job.listed(),
            notes: books.total.notes.clone(),
            books,
            ..old.clone()
        })
    }

    /// Write a part anew, with the copies of its rows; what they add to the books.
    fn part(
        &self,
        number: usize,
        rules: &Rules<'_>,
        folder: &Path,
        progress: &Progress,
    ) -> Result<(Part, SourceBooks), EngineError> {
        let section = &self.base.manifest().parts[number];
        let before: u64 =
            self.base.manifest().parts[..number].iter().map(|section| section.part.documents).sum();
        let first = u32::try_from(before).unwrap_or(u32::MAX);
        let end = first + u32::try_from(section.part.documents).unwrap_or(u32::MAX);
        let mut part = PartWriter::new(folder, &section.part.name, rules.vocab_size);
        let mut books = SourceBooks::default();
        let _ = take_noted(); // what this thread noticed before
        let mut at = first;
        while at < end {
            if progress.cancelled.load(Ordering::Relaxed) {
                return Err(EngineError::Cancelled);
            }
            let place = self.base.place(at);
            let of_row = (at..end).take_while(|document| self.base.place(*document).row == place.row);
            let mut documents: Vec<Numbered> = of_row.map(|document| self.document(document)).collect();
            at += crate::order::count(&documents);
            self.add(place.hash, rules, &mut documents, &mut books)?;
            for (variant, document) in documents {
                let (row, line) = (place.row - section.first_row, place.line - section.first_line);
                let place = crate::store::Place { row, line, rank: document.rank, variant, ..place };
                progress.tokens.fetch_add(document.ids.len() as u64, Ordering::Relaxed);
                part.push(&document, place)?;
            }
            progress.rows.fetch_add(1, Ordering::Relaxed);
        }
        books.notes = take_noted();
        progress.bytes_read.fetch_add(section.part.bytes, Ordering::Relaxed);
        let part = part.finish()?;
        Ok((part.ok_or_else(|| EngineError::store(folder, "a part has no document"))?, books))
    }

    /// Add the copies of a row to its documents, which stand by variant.
    fn add(
        &self,
        hash: u64,
        rules: &Rules<'_>,
        documents: &mut Vec<Numbered>,
        books: &mut SourceBooks,
    ) -> Result<(), EngineError> {
        let mut copies: Vec<Copy> = Vec::new();
        for derived in &self.derived {
            for copy in derived.copies(hash)? {
                if copies.iter().all(|known| known.document != copy.document) {
                    copies.push(copy);
                }
            }
        }
        for copy in copies {
            // a copy that can't be encoded is no row that is lost
            let Ok((Cut::Whole(made) | Cut::Shortened(made, _), _)) = rules.encode(&copy.document) else {
                continue;
            };
            // of copies made by the engine only the tokens are known
            let is_there = |known: &[Numbered]| {
                known.iter().map(|each| &each.1.ids).eq(made.iter().map(|made| &made.ids))
            };
            if documents.chunk_by(|a, b| a.0 == b.0).any(|known| known[0].0 > 0 && is_there(known)) {
                continue;
            }
            for document in made.into_iter().filter(|document| truncate::num_targets(document) > 0) {
                books.augmented += 1;
                books.tokens += document.ids.len() as u64;
                books.trained_tokens += truncate::num_targets(&document);
                documents.push((copy.variant, document));
            }
        }
        documents.sort_by_key(|(variant, _)| *variant);
        Ok(())
    }

    fn document(&self, number: u32) -> Numbered {
        let mut ids = Vec::new();
        self.base.ids(number).for_each(|_, id| ids.push(id));
        let trained = self.base.spans(number).chunks_exact(2).map(|run| (run[0], run[1])).collect();
        let (weights, rank) = (self.base.weights(number).to_vec(), self.base.rank(number));
        (self.base.variant(number), Encoded { text: String::new(), ids, trained, weights, rank })
    }
}

/// The plan without copies that were made beforehand.
fn bare(plan: &Plan) -> Plan {
    let mut bare = plan.clone();
    if let Some(augment) = &mut bare.augment {
        augment["derived"] = serde_json::Value::Array(Vec::new());
        if augment["ops"].as_array().is_none_or(Vec::is_empty) {
            bare.augment = None;
        }
    }
    bare
}
