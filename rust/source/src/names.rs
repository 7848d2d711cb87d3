//! Which files a folder or a pattern means, by their names alone: for listings of files that lie elsewhere.

use std::path::Path;

use crate::files::{has_data_ending, parts_match, tells_about};

/// Whether a path is a pattern.
#[must_use]
pub fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?'])
}

/// The folder that everything a pattern matches is in; of any other path, itself.
#[must_use]
pub fn fixed_folder(path: &str) -> &str {
    let Some(star) = path.find(['*', '?']) else { return path.trim_end_matches('/') };
    path[..star].rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Whether a folder or pattern means the file of that name, as `expand` would find it on disk.
#[must_use]
pub fn chosen(path: &str, name: &str) -> bool {
    let parts = |text: &str| text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let (wanted, names): (Vec<String>, Vec<String>) = (parts(path), parts(name));
    // hidden ones are left out unless they are named
    let hidden = names.iter().enumerate().any(|(at, part)| {
        part.starts_with('.') && wanted.get(at).is_none_or(|wanted| !wanted.starts_with('.'))
    });
    if hidden {
        return false;
    }
    if is_pattern(path) {
        return parts_match(&wanted, &names);
    }
    let file = Path::new(name);
    names.len() > wanted.len() && names.starts_with(&wanted) && has_data_ending(file) && !tells_about(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_means_its_data_files_and_a_pattern_what_it_matches() {
        assert!(
            chosen("data", "data/deep/a.jsonl.gz")
                && chosen("", "a.parquet")
                && chosen("data/", "data/a.csv")
        );
        for name in ["data/README.md", "data/a.bin", "data2/a.jsonl", "data/.git/a.jsonl", "data"] {
            assert!(!chosen("data", name), "{name}");
        }
        assert!(chosen("d*/*.bin", "data/a.bin") && !chosen("d*/*.bin", "data/b/a.bin"));
        assert!(chosen("**/*.jsonl", "a.jsonl") && !chosen("**/*.jsonl", ".a/a.jsonl"));
    }

    #[test]
    fn the_folder_of_a_pattern_is_what_is_before_its_first_star() {
        assert_eq!(fixed_folder("a/b*/c"), "a");
        assert_eq!(fixed_folder("*.jsonl"), "");
        assert_eq!(fixed_folder("a/b/"), "a/b");
    }
}
