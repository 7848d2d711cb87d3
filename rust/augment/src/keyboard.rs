//! Which keys lie beside which, so that a typing error is one that fingers make.

use serde::Deserialize;

/// Where letters lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keyboard {
    /// English and most others.
    #[default]
    Qwerty,
    /// German and its neighbours.
    Qwertz,
    /// French and Belgian.
    Azerty,
}

impl Keyboard {
    /// The rows of letters; each row lies half a key to the right of the one above.
    const fn rows(self) -> [&'static str; 3] {
        match self {
            Self::Qwerty => ["qwertyuiop", "asdfghjkl", "zxcvbnm"],
            Self::Qwertz => ["qwertzuiop", "asdfghjkl", "yxcvbnm"],
            Self::Azerty => ["azertyuiop", "qsdfghjklm", "wxcvbn"],
        }
    }

    /// The letters beside a letter, in its case; none for what is no ASCII letter.
    #[must_use]
    pub fn neighbours(self, letter: char) -> Vec<char> {
        let lower = letter.to_ascii_lowercase();
        let rows = self.rows();
        let Some((row, column)) = (0..3).find_map(|row| Some((row, rows[row].find(lower)?))) else {
            return Vec::new();
        };
        let at = |row: usize, column: Option<usize>| {
            rows.get(row)
                .zip(column)
                .and_then(|(keys, column)| keys.as_bytes().get(column))
                .map(|&key| key as char)
        };
        let above = row.checked_sub(1).unwrap_or(usize::MAX);
        let before = column.checked_sub(1);
        [
            at(row, before),
            at(row, Some(column + 1)),
            at(above, Some(column)),
            at(above, Some(column + 1)),
            at(row + 1, before),
            at(row + 1, Some(column)),
        ]
        .into_iter()
        .flatten()
        .map(|key| if letter.is_ascii_uppercase() { key.to_ascii_uppercase() } else { key })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(keyboard: Keyboard, letter: char) -> String {
        let mut keys = keyboard.neighbours(letter);
        keys.sort_unstable();
        keys.into_iter().collect()
    }

    #[test]
    fn neighbours_are_the_keys_around() {
        assert_eq!(sorted(Keyboard::Qwerty, 's'), "adewxz");
        assert_eq!(sorted(Keyboard::Qwerty, 'Q'), "AW");
        assert_eq!(sorted(Keyboard::Qwertz, 'z'), "ghtu");
        assert_eq!(sorted(Keyboard::Azerty, 'm'), "lp");
        assert_eq!(sorted(Keyboard::Qwerty, 'ß'), "");
    }

    #[test]
    fn to_be_beside_goes_both_ways() {
        for keyboard in [Keyboard::Qwerty, Keyboard::Qwertz, Keyboard::Azerty] {
            for letter in 'a'..='z' {
                let keys = keyboard.neighbours(letter);
                assert!(!keys.is_empty());
                assert!(keys.iter().all(|&key| keyboard.neighbours(key).contains(&letter)), "{letter}");
            }
        }
    }
}
