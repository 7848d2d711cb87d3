//! An expression as a table: one step a character, without going back.
//!
//! Characters that the expression can't tell apart are one class. A state is the list of places in
//! the expression that are still open, those that the engine would try first in front; a match closes
//! those behind it. So the last match before the list is empty is the one that the engine finds.

use std::collections::HashMap;

use crate::pattern::{Pattern, parse};
use crate::sets::{END, Set};

/// More states than any tokenizer's expression makes.
const MOST_STATES: usize = 4096;
const MATCH: u32 = 1 << 31;
/// The letters a to z lead from the next state to itself.
const SMALL: u32 = 1 << 30;
/// So do A to Z.
const LARGE: u32 = 1 << 29;
/// And a match ends before each of them.
const GROWS: u32 = 1 << 28;
const ROW: u32 = GROWS - 1;
/// The state that nothing is open in.
const DEAD: usize = 0;
const START: usize = 1;
/// Characters from which on two searches are in the same state, if ever they are.
const SAME_WITHIN: usize = 16;
/// The class of the end of the text.
const EDGE: usize = 0;

/// Finds where the match that begins at a place ends.
#[derive(Debug)]
pub struct Automaton {
    /// `[state * classes + class]`: where the next state's row begins, and in the upper bits whether a match ends
    /// before this character and what letters do to the next state.
    steps: Vec<u32>,
    classes: usize,
    ascii: [u8; 128],
    /// Classes of 256 code points each, and which block those of each 256 are.
    blocks: Vec<[u8; 256]>,
    block_of: Vec<u16>,
}

#[derive(Clone, Debug)]
enum Node {
    One(usize),
    Ahead { set: usize, at_end: bool },
    Split(Vec<usize>),
    Match,
}

/// Places of the expression, each with where it leads.
#[derive(Default)]
struct Program {
    nodes: Vec<(Node, usize)>,
    sets: Vec<Set>,
}

impl Program {
    fn set(&mut self, set: &Set) -> usize {
        self.sets.iter().position(|known| known == set).unwrap_or_else(|| {
            self.sets.push(set.clone());
            self.sets.len() - 1
        })
    }

    fn node(&mut self, node: Node, next: usize) -> usize {
        self.nodes.push((node, next));
        self.nodes.len() - 1
    }

    /// Add a pattern that leads to `next`; where it begins.
    fn add(&mut self, pattern: &Pattern, next: usize) -> usize {
        match pattern {
            Pattern::One(set) => {
                let set = self.set(set);
                self.node(Node::One(set), next)
            }
            Pattern::Ahead { set, at_end } => {
                let set = self.set(set);
                self.node(Node::Ahead { set, at_end: *at_end }, next)
            }
            Pattern::Sequence(parts) => parts.iter().rev().fold(next, |next, part| self.add(part, next)),
            Pattern::Choice(ways) => {
                let starts = ways.iter().map(|way| self.add(way, next)).collect();
                self.node(Node::Split(starts), next)
            }
            Pattern::Repeat { what, least, most, greedy } => {
                let either = |once, not| if *greedy { vec![once, not] } else { vec![not, once] };
                let mut start = next;
                if let Some(most) = most {
                    for _ in *least..*most {
                        let once = self.add(what, start);
                        start = self.node(Node::Split(either(once, next)), next);
                    }
                } else {
                    let again = self.node(Node::Match, next); // known below
                    let once = self.add(what, again);
                    self.nodes[again].0 = Node::Split(either(once, next));
                    start = again;
                }
                (0..*least).fold(start, |next, _| self.add(what, next))
            }
        }
    }

    /// Append the places open at `node` to `list`; false once a match closes the rest.
    fn open(&self, node: usize, list: &mut Vec<usize>, seen: &mut Vec<bool>) -> bool {
        if std::mem::replace(&mut seen[node], true) {
            return true;
        }
        match &self.nodes[node].0 {
            Node::Split(ways) => ways.iter().all(|way| self.open(*way, list, seen)),
            kind => {
                list.push(node);
                !matches!(kind, Node::Match)
            }
        }
    }

    /// The places open when the next character is of a class, looks ahead decided; whether a match ends here.
    fn resolved(&self, list: &[usize], holds: impl Fn(usize, bool) -> bool) -> (Vec<usize>, bool) {
        let mut found = Vec::new();
        let mut seen = vec![false; self.nodes.len()];
        let mut todo: Vec<usize> = list.iter().rev().copied().collect();
        while let Some(node) = todo.pop() {
            if std::mem::replace(&mut seen[node], true) {
                continue;
            }
            let (kind, next) = &self.nodes[node];
            match kind {
                Node::One(_) => found.push(node),
                Node::Split(ways) => todo.extend(ways.iter().rev()),
                Node::Ahead { set, at_end } if holds(*set, *at_end) => todo.push(*next),
                Node::Ahead { .. } => {}
                Node::Match => return (found, true),
            }
        }
        (found, false)
    }
}

impl Automaton {
    /// The table of an expression; None where it can't be one, or matches nothing at all.
    pub fn of(expression: &str) -> Option<Self> {
        Self::new(&parse(expression)?, None)
    }

    /// The table that takes one character of a set.
    pub fn one_of(set: Set) -> Option<Self> {
        Self::new(&Pattern::One(set), None)
    }

    /// The table of an expression that is looked for in what lies between the characters of a set,
    /// and takes each of these alone.
    pub fn between(set: &Set, expression: &str) -> Option<Self> {
        Self::new(&parse(expression)?, Some(set))
    }

    fn new(pattern: &Pattern, alone: Option<&Set>) -> Option<Self> {
        let mut program = Program::default();
        let end = program.node(Node::Match, 0);
        let start = program.add(pattern, end);
        let alone = alone.map(|set| program.set(set));
        if program.nodes.len() > MOST_STATES || program.sets.len() > 64 {
            return None;
        }
        let (classes, ascii, blocks, block_of, members) = classes(&program.sets)?;
        let mut automaton = Self { steps: Vec::new(), classes, ascii, blocks, block_of };
        automaton.determinize(&program, start, &members)?;
        // an empty match is not progress: the engine has rules of its own for it
        let is_empty = (0..classes).any(|class| automaton.steps[START * classes + class] & MATCH != 0);
        if let Some(set) = alone {
            automaton.set_alone(&members, set);
        }
        automaton.find_loops();
        (!is_empty).then_some(automaton)
    }

    fn determinize(&mut self, program: &Program, start: usize, members: &[u64]) -> Option<()> {
        let unseen = || vec![false; program.nodes.len()];
        let mut first = Vec::new();
        program.open(start, &mut first, &mut unseen());
        // the start is a state of its own, even where a match comes back to the places that it begins with
        let mut states = vec![Vec::new(), first];
        let mut known: HashMap<Vec<usize>, usize> = HashMap::from([(Vec::new(), DEAD)]);
        let mut at = 0;
        while at < states.len() {
            let list = states[at].clone();
            for (class, member) in members.iter().enumerate() {
                let has = |set: usize| member >> set & 1 == 1;
                let (open, matched) =
                    program.resolved(&list, |set, at_end| if class == EDGE { at_end } else { has(set) });
                let (mut next, mut seen) = (Vec::new(), unseen());
                for node in open {
                    let (Node::One(set), target) = &program.nodes[node] else { continue };
                    if has(*set) && !program.open(*target, &mut next, &mut seen) {
                        break;
                    }
                }
                let state = *known.entry(next).or_insert_with_key(|next| {
                    states.push(next.clone());
                    states.len() - 1
                });
                if state >= MOST_STATES {
                    return None;
                }
                let row = u32::try_from(state * self.classes).ok()?;
                self.steps.push(row | if matched { MATCH } else { 0 });
            }
            at += 1;
        }
        Some(())
    }

    /// Let the characters of a set be the end of the text for all others, and matches by themselves.
    fn set_alone(&mut self, members: &[u64], set: usize) {
        let classes = self.classes;
        #[allow(clippy::cast_possible_truncation, reason = "less than 4,096 states of 256 classes")]
        let one = self.steps.len() as u32;
        for (class, member) in members.iter().enumerate().skip(EDGE + 1) {
            if member >> set & 1 == 1 {
                for row in (0..self.steps.len()).step_by(classes) {
                    self.steps[row + class] = self.steps[row + EDGE];
                }
                self.steps[START * classes + class] = one;
            }
        }
        self.steps.resize(self.steps.len() + classes, MATCH);
    }

    /// Mark the steps to states that stay the same for letters.
    fn find_loops(&mut self) {
        let loops: Vec<u32> = (0..self.steps.len())
            .map(|row| {
                let step = |letter: u8| self.steps.get(row + usize::from(self.ascii[usize::from(letter)]));
                let Some(first) = step(b'a').filter(|step| (**step & ROW) as usize == row && row != DEAD)
                else {
                    return 0;
                };
                if !(b'a'..=b'z').all(|letter| step(letter) == Some(first)) {
                    return 0;
                }
                let large = (b'A'..=b'Z').all(|letter| step(letter) == Some(first));
                SMALL | if large { LARGE } else { 0 } | if first & MATCH != 0 { GROWS } else { 0 }
            })
            .collect();
        for step in &mut self.steps {
            *step |= loops[(*step & ROW) as usize];
        }
    }

    /// Which characters are one to it: those of the same number.
    pub fn class(&self, c: char) -> u8 {
        self.blocks[usize::from(self.block_of[c as usize >> 8])][c as usize & 0xff]
    }

    /// The end of the match that begins at `from`; where none does, how far it was looked for.
    #[inline]
    pub fn end(&self, text: &str, from: usize) -> Result<usize, usize> {
        let bytes = text.as_bytes();
        let (mut at, mut row, mut found) = (from, START * self.classes, from);
        loop {
            let (class, length) = self.next(bytes, at);
            let step = self.steps[row + class];
            if step & MATCH != 0 {
                found = at;
            }
            row = (step & ROW) as usize;
            if row == DEAD {
                return if found > from { Ok(found) } else { Err(at) };
            }
            at += length;
            if step & SMALL != 0
                && let Some(eight) = bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok())
            {
                let run = letters(u64::from_le_bytes(eight), step & LARGE != 0);
                if run > 0 && step & GROWS != 0 {
                    found = at + run - 1;
                }
                at += run;
            }
        }
    }

    /// The first place behind `from`, where no match begins that was looked for up to `to`, at which one may.
    ///
    /// What is looked for from two places in the same state is the same from there on: so for `\s+$` a run of spaces is
    /// gone through once, not from each of them.
    #[cold]
    pub fn next_start(&self, text: &str, from: usize, to: usize) -> usize {
        let bytes = text.as_bytes();
        let mut rows = vec![0; to - from + 1];
        let (mut at, mut row) = (from, START * self.classes);
        while at < to {
            let (class, length) = self.next(bytes, at);
            let step = self.steps[row + class] & ROW;
            (at, row) = (at + length, step as usize);
            rows[at - from] = step;
        }
        let mut start = from + self.next(bytes, from).1;
        while start < to && self.fails_as(&rows, bytes, from, start) {
            start += self.next(bytes, start).1;
        }
        start
    }

    /// Whether no match begins at `start`, by what became of one that was looked for from `from` on.
    fn fails_as(&self, rows: &[u32], bytes: &[u8], from: usize, start: usize) -> bool {
        let (mut at, mut row) = (start, START * self.classes);
        // where the states become the same, they do so early
        for _ in 0..SAME_WITHIN {
            let (class, length) = self.next(bytes, at);
            let step = self.steps[row + class];
            if step & MATCH != 0 {
                return false;
            }
            (at, row) = (at + length, (step & ROW) as usize);
            if row == DEAD || rows.get(at - from).is_some_and(|same| *same as usize == row) {
                return true;
            }
        }
        false
    }

    /// Class and length of the character at a place.
    #[inline]
    fn next(&self, bytes: &[u8], at: usize) -> (usize, usize) {
        match bytes.get(at) {
            Some(byte) if byte.is_ascii() => (usize::from(self.ascii[usize::from(*byte)]), 1),
            Some(byte) => self.beyond(*byte, &bytes[at + 1..]),
            None => (EDGE, 0),
        }
    }

    /// Class and length of a character beyond ASCII, of its first byte and what follows.
    #[inline]
    fn beyond(&self, first: u8, rest: &[u8]) -> (usize, usize) {
        let bits = |at: usize| rest.get(at).map_or(0, |byte| usize::from(byte & 0x3f));
        let (point, length) = match first {
            ..=0xdf => (usize::from(first & 0x1f) << 6 | bits(0), 2),
            0xe0..=0xef => (usize::from(first & 0x0f) << 12 | bits(0) << 6 | bits(1), 3),
            _ => (usize::from(first & 0x07) << 18 | bits(0) << 12 | bits(1) << 6 | bits(2), 4),
        };
        let block = &self.blocks[usize::from(self.block_of[point >> 8])];
        (usize::from(block[point & 0xff]), length)
    }
}

/// How many of eight bytes are letters of a to z before the first that is none, large ones too if wanted.
#[inline]
const fn letters(eight: u64, large: bool) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let bytes = eight | if large { EACH * 0x20 } else { 0 };
    let low = bytes & (EACH * 0x7f);
    let (from_a, beyond_z) = (low + EACH * (0x80 - b'a' as u64), low + EACH * (0x7f - b'z' as u64));
    let others = !(from_a & !beyond_z & !bytes) & (EACH * 0x80);
    (others.trailing_zeros() / 8) as usize
}

type Classes = (usize, [u8; 128], Vec<[u8; 256]>, Vec<u16>, Vec<u64>);

/// Which characters the sets can't tell apart; the sets of each class, as bits.
fn classes(sets: &[Set]) -> Option<Classes> {
    let mut borders: Vec<u32> = sets.iter().flat_map(Set::borders).chain([0, END]).collect();
    borders.sort_unstable();
    borders.dedup();
    let mut members: Vec<u64> = vec![0]; // the edge is in none
    let mut points = vec![0_u8; END as usize];
    for pair in borders.windows(2) {
        let bits = (0..sets.len()).filter(|set| sets[*set].has(pair[0])).fold(0, |bits, set| bits | 1 << set);
        let class = members[1..].iter().position(|known| *known == bits).unwrap_or_else(|| {
            members.push(bits);
            members.len() - 2
        });
        points[pair[0] as usize..pair[1] as usize].fill(u8::try_from(class + 1).ok()?);
    }
    let mut ascii = [0; 128];
    ascii.copy_from_slice(&points[..128]);
    let (mut blocks, mut block_of): (Vec<[u8; 256]>, Vec<u16>) = (Vec::new(), Vec::new());
    let mut known: HashMap<[u8; 256], u16> = HashMap::new();
    for chunk in points.chunks_exact(256) {
        let block: [u8; 256] = chunk.try_into().ok()?;
        let next = u16::try_from(blocks.len()).ok()?;
        let index = *known.entry(block).or_insert(next);
        if index == next {
            blocks.push(block);
        }
        block_of.push(index);
    }
    Some((members.len(), ascii, blocks, block_of, members))
}

#[cfg(test)]
mod tests;
