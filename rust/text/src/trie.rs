//! Tokens by their characters, for models that look for the tokens that a text begins with.
//!
//! A step from a node by a character is an entry of one table with open addresses: node, character and the node it
//! leads to take 21 bits each.

use crate::merges::NONE;

/// Bits of a node's number and of a code point.
const BITS: u32 = 21;
const MASK: u64 = (1 << BITS) - 1;
/// No entry: an entry's highest bit is not set.
const EMPTY: u64 = u64::MAX;

/// The tokens of a vocabulary.
pub struct Trie {
    slots: Vec<u64>,
    shift: u32,
    nodes: Vec<Node>,
    /// Where ASCII leads to from the root, `NONE` where it does not.
    first: [u32; 128],
}

#[derive(Clone, Copy)]
struct Node {
    /// The token that ends here.
    token: u32,
    /// A bit for each character that leads on, and for others: most steps that are not there are seen without a look
    /// into the table.
    onward: u64,
}

const BARE: Node = Node { token: NONE, onward: 0 };

impl Trie {
    /// Where every token begins.
    pub const ROOT: u32 = 0;

    /// The trie of tokens, of which the last of two alike counts; None where there are too many.
    pub fn new<'a>(tokens: impl Iterator<Item = (&'a str, u32)>) -> Option<Self> {
        let mut trie =
            Self { slots: vec![EMPTY; 1024], shift: 64 - 10, nodes: vec![BARE], first: [NONE; 128] };
        for (token, id) in tokens {
            let mut node = Self::ROOT;
            for c in token.chars() {
                node = match trie.step(node, c) {
                    Some(next) => next,
                    None => trie.grow(node, c)?,
                };
            }
            trie.nodes[node as usize].token = id;
        }
        Some(trie)
    }

    /// The node that a token's first character leads to.
    #[inline]
    pub fn begin(&self, c: char) -> Option<u32> {
        match self.first.get(c as usize) {
            Some(next) => Some(*next).filter(|next| *next != NONE),
            None => self.step(Self::ROOT, c),
        }
    }

    /// The node that a character leads to.
    #[inline]
    pub fn step(&self, node: u32, c: char) -> Option<u32> {
        if self.nodes[node as usize].onward & bit(c) == 0 {
            return None;
        }
        let key = key(node, c);
        let mut at = self.place(key);
        loop {
            let slot = self.slots[at];
            if slot >> BITS == key {
                return u32::try_from(slot & MASK).ok();
            }
            if slot == EMPTY {
                return None;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// The token that ends at a node, `NONE` where none does.
    #[inline]
    pub fn token(&self, node: u32) -> u32 {
        self.nodes[node as usize].token
    }

    /// The node that some characters lead to.
    pub fn walk(&self, chars: impl IntoIterator<Item = char>) -> Option<u32> {
        chars.into_iter().try_fold(Self::ROOT, |node, c| self.step(node, c))
    }

    /// Add a step that is not there.
    fn grow(&mut self, node: u32, c: char) -> Option<u32> {
        let next = u32::try_from(self.nodes.len()).ok().filter(|next| u64::from(*next) < MASK)?;
        self.nodes[node as usize].onward |= bit(c);
        self.nodes.push(BARE);
        if let (Self::ROOT, Some(first)) = (node, self.first.get_mut(c as usize)) {
            *first = next;
        }
        if self.nodes.len() * 3 > self.slots.len() * 2 {
            let entries = std::mem::take(&mut self.slots);
            self.slots = vec![EMPTY; entries.len() * 2];
            self.shift -= 1;
            for entry in entries.into_iter().filter(|entry| *entry != EMPTY) {
                self.put(entry);
            }
        }
        self.put(key(node, c) << BITS | u64::from(next));
        Some(next)
    }

    fn put(&mut self, entry: u64) {
        let mut at = self.place(entry >> BITS);
        while self.slots[at] != EMPTY {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = entry;
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the upper bits, as many as there are")]
    const fn place(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }
}

#[inline]
const fn bit(c: char) -> u64 {
    1 << (c as u32 % 64)
}

#[inline]
const fn key(node: u32, c: char) -> u64 {
    (node as u64) << BITS | c as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_found_and_nothing_else() {
        let tokens: Vec<String> =
            (0..5000_u32).map(|number| format!("{}\u{4e00}{number:x}\u{10ffff}", number % 7)).collect();
        let trie = Trie::new(tokens.iter().map(String::as_str).zip(0..)).unwrap();
        let token = |text: &str| trie.walk(text.chars()).map(|node| trie.token(node));
        for (id, text) in (0..).zip(&tokens) {
            assert_eq!(token(text), Some(id));
            assert_eq!(token(text.trim_end_matches('\u{10ffff}')), Some(NONE));
            assert_eq!(token(&format!("{text}a")), None);
        }
        assert_eq!((token(""), token("8")), (Some(NONE), None));
    }

    #[test]
    fn of_two_tokens_alike_the_last_counts() {
        let trie = Trie::new([("a", 1), ("ab", 2), ("a", 3)].into_iter()).unwrap();
        assert_eq!(trie.walk("a".chars()).map(|node| trie.token(node)), Some(3));
    }
}
