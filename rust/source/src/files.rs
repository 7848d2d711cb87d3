//! From a name to files: a file, a folder (its data files, at any depth) or a pattern, sorted.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::SourceError;

const ENDINGS: [&str; 6] = ["jsonl", "ndjson", "json", "txt", "text", "md"];

/// The files that `path` names, sorted by name.
///
/// `*` and `?` match within one part of the path, `**` any number of folders. Hidden files and
/// folders are left out unless they are named.
///
/// # Errors
/// When there is nothing of that name, or no data file in it.
pub fn expand(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    if path.is_dir() {
        walk(path, &mut found)?;
        found.retain(|file| has_data_ending(file));
    } else if path.to_string_lossy().contains(['*', '?']) {
        let parts: Vec<String> =
            path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        let fixed = parts.iter().take_while(|part| !part.contains(['*', '?'])).count();
        let root: PathBuf = path.components().take(fixed).collect();
        let root = if root.as_os_str().is_empty() { PathBuf::from(".") } else { root };
        if root.is_dir() {
            let mut all = Vec::new();
            walk(&root, &mut all)?;
            for file in all {
                let below = file.strip_prefix(&root).unwrap_or(&file);
                let names: Vec<String> = below
                    .components()
                    .filter(|part| matches!(part, Component::Normal(_)))
                    .map(|part| part.as_os_str().to_string_lossy().into_owned())
                    .collect();
                if parts_match(&parts[fixed..], &names) {
                    found.push(if path.starts_with(&root) { file } else { below.to_owned() });
                }
            }
        }
    } else {
        return Err(SourceError::NotFound(path.to_owned()));
    }
    if found.is_empty() {
        return Err(SourceError::Empty(path.to_owned()));
    }
    found.sort();
    Ok(found)
}

fn has_data_ending(file: &Path) -> bool {
    file.extension()
        .is_some_and(|ending| ENDINGS.contains(&ending.to_string_lossy().to_ascii_lowercase().as_str()))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), SourceError> {
    let io = |error| SourceError::Io { path: folder.to_owned(), error };
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            walk(&path, found)?;
        } else if path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

fn parts_match(pattern: &[String], names: &[String]) -> bool {
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
