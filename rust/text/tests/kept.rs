//! What is kept of a tokenizer.json: it is used, made anew when it is damaged, and replaced by what newer code makes.

use std::fs;
use std::path::{Path, PathBuf};

use fastft_text::{Library, Tokenizer};
use serde_json::{Value, json};

const CHATML: &str = include_str!("../../../tests/templates/fixtures/chatml_tokenizer.json");
const TEXT: &str = "a banana and a cab <|im_end|>\n12345 \u{e9}\u{4e00}\u{1f642}";

/// `SentencePiece`'s BPE with a few merges, whose ids begin at `first`.
fn pieces(first: u32) -> String {
    let bytes = (0..=255_u8).map(|byte| format!("<0x{byte:02X}>"));
    let merges = ["\u{2581} a", "a n", "an a", "\u{2581}a n"];
    let letters = "\u{2581}abcn".chars().map(String::from);
    let tokens = bytes.chain(letters).chain(merges.iter().map(|merge| merge.replace(' ', "")));
    let vocab: serde_json::Map<String, Value> =
        tokens.zip(first..).map(|(token, id)| (token, id.into())).collect();
    json!({
        "added_tokens": [],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
        "model": {"type": "BPE", "byte_fallback": true, "vocab": vocab, "merges": merges},
    })
    .to_string()
}

/// The same byte-level tokenizer, with two ids the other way round, and every word that is a token left as one.
fn changed() -> String {
    let mut file: Value = serde_json::from_str(CHATML).unwrap();
    file["model"]["ignore_merges"] = true.into();
    let vocabulary = file["model"]["vocab"].as_object_mut().unwrap();
    let (a, b) = (vocabulary["a"].clone(), vocabulary["b"].clone());
    vocabulary.insert("a".into(), b);
    vocabulary.insert("b".into(), a);
    file.to_string()
}

fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.into_iter().next().unwrap()
}

struct Case {
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Case {
    fn new(json: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokenizer.json");
        fs::write(&file, json).unwrap();
        Self { folder, file }
    }

    fn kept(&self) -> PathBuf {
        self.folder.path().join("kept")
    }

    fn ids(&self) -> Vec<u32> {
        let library = Library::from_file(&self.file, Some(&self.kept())).unwrap();
        assert!(library.has_words());
        let made = library.encode(TEXT).unwrap();
        assert_eq!(made, library.encode(TEXT).unwrap());
        assert_eq!(
            library.decode(&made.ids, false).unwrap(),
            library.without_words().decode(&made.ids, false).unwrap()
        );
        made.ids
    }
}

#[test]
fn ids_are_the_same_from_what_is_kept_which_is_what_they_are_made_from() {
    for (one, other) in [(CHATML.to_owned(), changed()), (pieces(0), pieces(7))] {
        let expected = |json: &str| Library::from_json(json).unwrap().encode(TEXT).unwrap().ids;
        let (case, another) = (Case::new(&one), Case::new(&other));
        for _ in 0..2 {
            assert_eq!((case.ids(), another.ids()), (expected(&one), expected(&other)));
        }
        // the other's tables under this one's name: they are what is read
        fs::copy(only_file(&another.kept()), only_file(&case.kept())).unwrap();
        assert_eq!(case.ids(), expected(&other));
        assert_ne!(expected(&one), expected(&other));
    }
}

#[test]
fn what_is_damaged_is_made_anew() {
    let case = Case::new(&pieces(0));
    let expected = case.ids();
    let kept = only_file(&case.kept());
    let whole = fs::read(&kept).unwrap();
    let damages = (0..whole.len()).step_by(whole.len() / 40).map(|at| {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x81;
        damaged
    });
    let cut = [0, 7, whole.len() / 2, whole.len() - 1].map(|length| whole[..length].to_vec());
    let longer = [whole.clone(), vec![0; 8]].concat();
    for damaged in damages.chain(cut).chain([longer]) {
        fs::write(&kept, damaged).unwrap();
        assert_eq!(case.ids(), expected);
        assert_eq!(fs::read(&kept).unwrap(), whole);
    }
}

#[test]
fn what_other_code_kept_of_the_same_file_goes_and_all_else_stays() {
    let case = Case::new(&pieces(0));
    case.ids();
    let kept = only_file(&case.kept());
    let name = kept.file_name().unwrap().to_str().unwrap();
    let older = case.kept().join(format!("{}-000000000000000000000000.tables", &name[..24]));
    let others = ["f".repeat(24) + "-000000000000000000000000.tables", name[..24].to_owned() + ".json"];
    fs::rename(&kept, &older).unwrap();
    for other in &others {
        fs::write(case.kept().join(other), "").unwrap();
    }
    case.ids();
    assert!(kept.exists() && !older.exists() && others.iter().all(|other| case.kept().join(other).exists()));
}

#[test]
fn a_folder_that_can_not_be_written_to_changes_nothing() {
    let case = Case::new(&pieces(0));
    fs::write(case.kept(), "a file in the folder's place").unwrap();
    assert_eq!(case.ids(), case.ids());
    let missing = Library::from_file(&case.folder.path().join("none.json"), None).err().unwrap();
    assert!(missing.to_string().contains("none.json"), "{missing}");
}
