//! From a name to files: a file, a folder (its data files, at any depth) or a pattern, sorted.

use std::fs;
use std::path::{Path, PathBuf};

use crate::SourceError;

/// Endings of data; those of text may be followed by one of a packed file.
const TEXT: [&str; 9] = ["jsonl", "ndjson", "json", "txt", "text", "md", "csv", "tsv", "tab"];
const COLUMNAR: [&str; 3] = ["parquet", "arrow", "feather"];
const PACKED: [&str; 4] = ["gz", "gzip", "zst", "zstd"];
/// Names of files that tell about data, whatever their ending.
const ABOUT: [&str; 8] =
    ["readme", "license", "licence", "copying", "notice", "changelog", "citation", "dataset_info"];

/// The files that `path` names, sorted by name.
///
/// `*` and `?` match within one part of the path, `**` any number of folders. Hidden files and
/// folders are left out unless they are named.
///
/// # Errors
/// When there is nothing of that name, or no data file in it.
pub fn expand(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    Ok(expand_told(path)?.0)
}

/// The same, and a sentence for each file of a folder that has the ending of data but is taken for a text about it.
///
/// # Errors
/// See `expand`.
pub fn expand_told(path: &Path) -> Result<(Vec<PathBuf>, Vec<String>), SourceError> {
    if path.is_file() {
        return Ok((vec![path.to_owned()], Vec::new()));
    }
    let mut found = Vec::new();
    let mut skipped = Vec::new();
    if path.is_dir() {
        walk(path, None, &mut Vec::new(), &mut found)?;
        found.retain(|file| has_data_ending(file));
        found.sort();
        skipped = found.iter().filter(|file| tells_about(file)).cloned().collect();
        found.retain(|file| !tells_about(file));
    } else if path.to_string_lossy().contains(['*', '?']) {
        let parts: Vec<String> =
            path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        let fixed = parts.iter().take_while(|part| !part.contains(['*', '?'])).count();
        let root: PathBuf = path.components().take(fixed).collect();
        let here = root.as_os_str().is_empty();
        let root = if here { PathBuf::from(".") } else { root };
        if root.is_dir() {
            walk(&root, Some(&parts[fixed..]), &mut Vec::new(), &mut found)?;
        }
        if here {
            found = found.iter().map(|file| file.strip_prefix(".").unwrap_or(file).to_owned()).collect();
        }
    } else {
        return Err(SourceError::NotFound(path.to_owned()));
    }
    if found.is_empty() {
        return Err(SourceError::Empty(path.to_owned()));
    }
    found.sort();
    found.dedup();
    let told = |file: &PathBuf| {
        format!("`{}` is taken for a text about the data and left out; name it to read it", file.display())
    };
    Ok((found, skipped.iter().map(told).collect()))
}

/// Whether a name has an ending of data.
pub fn has_data_ending(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let mut parts = name.rsplit('.');
    match parts.next() {
        Some(ending) if PACKED.contains(&ending) => parts.next().is_some_and(|ending| TEXT.contains(&ending)),
        Some(ending) => name.contains('.') && (TEXT.contains(&ending) || COLUMNAR.contains(&ending)),
        None => false,
    }
}

/// Whether a file of a folder tells about the data and is none itself: `README.md`, `LICENSE.txt`, `dataset_info.json`.
pub fn tells_about(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let stem = name.split('.').next().unwrap_or_default();
    ABOUT.iter().any(|about| {
        stem == *about || stem.strip_prefix(about).is_some_and(|rest| rest.starts_with(['-', '_']))
    })
}

/// The files below a folder: all, or those that a pattern matches, entering no folder in vain.
///
/// Links are followed, but not into a folder that we are in: that would find its files for ever.
fn walk(
    folder: &Path,
    pattern: Option<&[String]>,
    within: &mut Vec<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Result<(), SourceError> {
    let io = |error| SourceError::Io { path: folder.to_owned(), error };
    let real = fs::canonicalize(folder).map_err(io)?;
    if within.contains(&real) {
        return Ok(());
    }
    within.push(real);
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            // `**` may stand for this folder and more, or for none and what follows it for this one
            for rest in pattern.map_or(vec![None], |pattern| below(pattern, &name).map(Some).collect()) {
                walk(&path, rest, within, found)?;
            }
        } else if path.is_file()
            && pattern.is_none_or(|pattern| parts_match(pattern, std::slice::from_ref(&name)))
        {
            found.push(path);
        }
    }
    within.pop();
    Ok(())
}

/// What is left of a pattern inside a folder of this name; nothing when no match can be there.
fn below<'a>(pattern: &'a [String], name: &str) -> impl Iterator<Item = &'a [String]> {
    let (stars, rest) = pattern.split_at(pattern.iter().take_while(|part| *part == "**").count());
    let enters = |part: &String| {
        let (part, name): (Vec<char>, Vec<char>) = (part.chars().collect(), name.chars().collect());
        name_matches(&part, &name)
    };
    let through = (!stars.is_empty()).then_some(pattern);
    // with stars before it, the first part is met again further down by the pattern itself
    let past =
        rest.split_first().filter(|(part, rest)| !rest.is_empty() && enters(part)).map(|(_, rest)| rest);
    through.into_iter().chain(past)
}

/// Whether parts of a path match those of a pattern.
pub fn parts_match(pattern: &[String], names: &[String]) -> bool {
    match (pattern.first(), names.first()) {
        (None, None) => true,
        (Some(part), _) if part == "**" => {
            parts_match(&pattern[1..], names) || (!names.is_empty() && parts_match(pattern, &names[1..]))
        }
        (Some(part), Some(name)) => {
            let (part, name): (Vec<char>, Vec<char>) = (part.chars().collect(), name.chars().collect());
            name_matches(&part, &name) && parts_match(&pattern[1..], &names[1..])
        }
        _ => false,
    }
}

fn name_matches(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n, mut retry) = (0, 0, None);
    while n < name.len() {
        if p < pattern.len() && pattern[p] == '*' {
            retry = Some((p, n));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((star, at)) = retry {
            retry = Some((star, at + 1));
            p = star + 1;
            n = at + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        let split = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        parts_match(&split(pattern), &split(name))
    }

    /// A folder with files, links and a folder that can't be told from outside to be in vain.
    fn tree(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("fastft files é {name} {}", std::process::id()));
        for file in ["a.jsonl", "b c.txt", "deep/er/d.jsonl", "deep/e.jsonl", ".hidden/f.jsonl", "deep/g.bin"]
        {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink(root.join("deep"), root.join("deep/again")).unwrap();
        root
    }

    fn names(root: &Path, pattern: &str) -> Vec<String> {
        let found = expand(&root.join(pattern)).unwrap();
        found.iter().map(|file| file.strip_prefix(root).unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_link_back_finds_no_file_twice() {
        let root = tree("link");
        assert_eq!(names(&root, ""), ["a.jsonl", "b c.txt", "deep/e.jsonl", "deep/er/d.jsonl"]);
        assert_eq!(names(&root, "**/*.jsonl"), ["a.jsonl", "deep/e.jsonl", "deep/er/d.jsonl"]);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_folder_has_data_of_all_endings_but_no_readme() {
        let root = std::env::temp_dir().join(format!("fastft endings {}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        for file in [
            "a.csv.gz",
            "b.PARQUET",
            "c.arrow.gz",
            "d.zst",
            "csv",
            "e.tsv",
            "README.md",
            "LICENSE-data.txt",
            "readmes.md",
        ] {
            fs::write(root.join(file), "x").unwrap();
        }
        let (found, told) = expand_told(&root).unwrap();
        let names: Vec<_> = found.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.csv.gz", "b.PARQUET", "e.tsv", "readmes.md"]);
        assert!(told.len() == 2 && told[1].contains("README.md"), "{told:?}");
        assert_eq!(expand(&root.join("README.md")).unwrap().len(), 1);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn patterns_find_what_they_say_at_their_depth() {
        let root = tree("depth");
        assert_eq!(names(&root, "*.jsonl"), ["a.jsonl"]);
        assert_eq!(names(&root, "d*/*.jsonl"), ["deep/e.jsonl"]);
        assert_eq!(names(&root, "**/er/*"), ["deep/er/d.jsonl"]);
        assert_eq!(names(&root, "deep/**/*.jsonl"), ["deep/e.jsonl", "deep/er/d.jsonl"]);
        assert_eq!(names(&root, "**/deep/**/d.jsonl"), ["deep/er/d.jsonl"]);
        assert!(expand(&root.join("*.csv")).is_err());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_pattern_enters_no_folder_in_vain() {
        let parts = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let count = |pattern: &str, name: &str| below(&parts(pattern), name).count();
        assert_eq!(
            (count("*.jsonl", "x"), count("a*/b/*.jsonl", "x"), count("a*/b/*.jsonl", "ax")),
            (0, 0, 1)
        );
        assert_eq!((count("**/*.jsonl", "x"), count("**/x/*.jsonl", "x")), (1, 2));
    }

    #[test]
    fn stars_stay_within_a_part_and_double_stars_do_not() {
        assert!(matches("*.jsonl", "a.jsonl"));
        assert!(!matches("*.jsonl", "a/b.jsonl"));
        assert!(matches("**/*.jsonl", "a/b/c.jsonl"));
        assert!(matches("**/*.jsonl", "c.jsonl"));
        assert!(matches("part-?-*.txt", "part-1-of-2.txt"));
        assert!(!matches("part-?-*.txt", "part-12-of-2.txt"));
    }
}
