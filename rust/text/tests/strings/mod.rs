//! All strings over the classes of characters that a pre-tokenizer's automata tell apart, cut as by the reference.

use fastft_text::Cuts;

/// What was compared.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// Strings that were cut twice.
    pub strings: usize,
    /// Those that were cut in other places.
    pub different: usize,
    /// The first of them.
    pub first: Option<String>,
}

/// How often a letter stands where strings are stretched: automata take runs of letters by eight.
const STRETCH: usize = 9;

/// Cut all strings of a length over the classes, or of `parts` shares of them one; each character is another one of its
/// class each time.
pub fn compare(
    cuts: &Cuts,
    classes: &[Vec<char>],
    length: u32,
    stretched: bool,
    part: (usize, usize),
) -> Compared {
    let mut found = Compared::default();
    let mut text = String::new();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for number in (part.0..classes.len().pow(length)).step_by(part.1) {
        let mut rest = number;
        text.clear();
        for _ in 0..length {
            let class = &classes[rest % classes.len()];
            rest /= classes.len();
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            #[allow(clippy::cast_possible_truncation, reason = "any bits of it")]
            let c = class[(random >> 20) as usize % class.len()];
            let times = if stretched && c.is_ascii_alphabetic() { STRETCH } else { 1 };
            text.extend(std::iter::repeat_n(c, times));
        }
        ours.clear();
        theirs.clear();
        cuts.own(&text, &mut ours).expect("pieces");
        cuts.reference(&text, &mut theirs).expect("pieces");
        found.strings += 1;
        if ours != theirs {
            found.different += 1;
            found.first.get_or_insert_with(|| text.clone());
        }
    }
    found
}
