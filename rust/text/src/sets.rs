//! Sets of code points: ranges, general categories and white space as the reference's engine has them.

use std::sync::LazyLock;

/// One more than the last code point.
pub const END: u32 = 0x11_0000;

/// Code points as half-open ranges, in order, none touching the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set(Vec<(u32, u32)>);

impl Set {
    /// The characters from `first` to `last`.
    pub fn range(first: char, last: char) -> Self {
        Self(vec![(first.into(), u32::from(last) + 1)])
    }

    /// Those of any of the ranges.
    pub fn from_ranges(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.retain(|(from, to)| from < to);
        ranges.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match joined.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => joined.push((from, to)),
            }
        }
        Self(joined)
    }

    /// A general category by its name of one letter or two (`L`, `Lu`); None for what is none.
    pub fn category(name: &str) -> Option<Self> {
        let wanted: Vec<usize> = (0..CATEGORIES.len())
            .filter(|index| !name.is_empty() && CATEGORIES[*index].starts_with(name))
            .collect();
        let ranges = wanted.iter().flat_map(|index| TABLE.categories[*index].iter().copied());
        (!wanted.is_empty()).then(|| Self::from_ranges(ranges.collect()))
    }

    /// `\s`.
    pub fn space() -> Self {
        Self(TABLE.space.clone())
    }

    /// What `char::is_numeric` says, by which the reference's `Digits` goes; a test looks behind the last one, too.
    pub fn numeric() -> Self {
        let ranges =
            ('\0'..='\u{1ffff}').filter(|c| c.is_numeric()).map(|c| (u32::from(c), u32::from(c) + 1));
        Self::from_ranges(ranges.collect())
    }

    /// All characters of both.
    pub fn with(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        Self::from_ranges(self.0)
    }

    /// All characters that are not in it.
    pub fn inverse(&self) -> Self {
        let starts = [0].into_iter().chain(self.0.iter().map(|range| range.1));
        let ends = self.0.iter().map(|range| range.0).chain([END]);
        Self::from_ranges(starts.zip(ends).collect())
    }

    /// Whether it has a code point.
    pub fn has(&self, point: u32) -> bool {
        let after = self.0.partition_point(|range| range.0 <= point);
        after > 0 && point < self.0[after - 1].1
    }

    /// Where membership changes, in order.
    pub fn borders(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|range| [range.0, range.1])
    }
}

/// Names of the general categories, in the order of the table's letters.
pub const CATEGORIES: [&str; 30] = [
    "Cc", "Cf", "Cn", "Co", "Cs", "Ll", "Lm", "Lo", "Lt", "Lu", "Mc", "Me", "Mn", "Nd", "Nl", "No", "Pc",
    "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sk", "Sm", "So", "Zl", "Zp", "Zs",
];

struct Table {
    categories: Vec<Vec<(u32, u32)>>,
    space: Vec<(u32, u32)>,
}

/// `categories.txt`: the category of each run of code points, read out of the reference (`tests/classes.rs`).
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table { categories: vec![Vec::new(); CATEGORIES.len()], space: Vec::new() };
    let mut lines = include_str!("categories.txt").lines().filter(|line| !line.starts_with('#')).peekable();
    while let Some((start, kind)) = lines.next().and_then(|line| line.split_once(' ')) {
        let point = |text: &str| u32::from_str_radix(text, 16).unwrap_or(END);
        let next = lines.peek().and_then(|line| line.split_once(' ')).map_or(END, |(next, _)| point(next));
        let range = (point(start), next);
        if let Some(index) = CATEGORIES.iter().position(|name| kind.starts_with(name)) {
            table.categories[index].push(range);
        }
        if kind.ends_with('s') && kind.len() == 3 {
            table.space.push(range);
        }
    }
    table.space = Set::from_ranges(table.space).0;
    table
});

#[cfg(test)]
mod tests {
    use tokenizers::utils::SysRegex;

    use super::*;

    #[test]
    fn numbers_are_those_of_the_language() {
        let numeric = Set::numeric();
        assert!(('\0'..=char::MAX).all(|c| numeric.has(u32::from(c)) == c.is_numeric()));
    }

    #[test]
    fn categories_and_white_space_are_those_of_the_reference_for_every_code_point() {
        let all: String = ('\0'..=char::MAX).collect();
        let read = |pattern: &str| {
            let found = SysRegex::new(pattern).unwrap();
            let taken = found.find_iter(&all).flat_map(|(from, to)| all[from..to].chars());
            Set::from_ranges(taken.map(|c| (u32::from(c), u32::from(c) + 1)).collect())
        };
        let surrogates = Set(vec![(0xd800, 0xe000)]);
        for name in CATEGORIES.iter().copied().chain(["L", "M", "N", "P", "S", "Z"]) {
            let ours = Set::category(name).unwrap().inverse().with(surrogates.clone()).inverse();
            assert_eq!(ours, read(&format!(r"\p{{{name}}}+")), "{name}");
        }
        assert_eq!(Set::space(), read(r"\s+"));
        assert!(Set::category("").is_none() && Set::category("Xx").is_none());
    }
}
