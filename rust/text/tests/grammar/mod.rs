//! Texts that are made of what tokenizers stumble over.

use proptest::prelude::*;
use proptest::sample::select;

/// Added tokens of the fixtures, and pieces of them.
const SPECIAL: [&str; 22] = [
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<think>",
    "</think>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "<unk>",
    "<x>",
    "<y>",
    "<",
    "<|",
    "<|im_",
    "im_end|>",
    "|>",
    "<|im_end|",
    "[/INS",
    "NST]",
    "<<s>>",
    "<s><",
];

const EMOJI: [&str; 8] = [
    "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    "\u{1f642}\u{200d}",
    "\u{1f44d}\u{1f3fd}",
    "\u{2764}\u{fe0f}",
    "\u{1f1e9}\u{1f1ea}",
    "\u{200d}",
    "1\u{fe0f}\u{20e3}",
    "\u{1f3f4}\u{e0067}\u{e007f}",
];

const CODE: [&str; 12] =
    ["    ", "->", "();", "//", "\r\n", "\n\n", "\\n", "\\u00e9", "\\ud83d", "...", "'s", "'LL"];

/// A text of up to so many parts, each of them one thing.
pub fn text(parts: usize) -> impl Strategy<Value = String> {
    let run = (
        select(vec![" ", "\n", "\t", "\r", "-", "a", "A", "0", "\u{4f60}", "\u{301}", "\u{2581}", "\u{a0}"]),
        1..90_usize,
    )
        .prop_map(|(unit, times)| unit.repeat(times));
    let spaced = ("[ \n\u{3000}]{0,3}", select(SPECIAL.to_vec()), "[ \n\u{3000}]{0,3}")
        .prop_map(|(before, token, behind)| format!("{before}{token}{behind}"));
    let part = prop_oneof![
        6 => "[a-z]{1,8}| [a-z]{1,8}|[A-Z][a-z]{0,6}|[A-Z]{1,4}|[a-zA-Z]{14,40}|[abc]{1,9}",
        2 => "[0-9]{1,8}|[\u{b2}\u{bd}\u{664}\u{966}\u{2460}\u{11de0}\u{96f6}]{1,3}",
        2 => "[!-/:-@\\[-`{-~]{1,4}",
        2 => "[ \t\n\r\u{85}\u{a0}\u{2028}\u{3000}]{1,4}",
        2 => run,
        1 => "[\u{0}-\u{1f}\u{7f}-\u{9f}]{1,3}",
        3 => spaced,
        2 => "'(s|t|re|ve|m|ll|d|S|T|LL|\u{17f})",
        // what composes, in order and out of it
        2 => "[eoa\u{e9}\u{212b}\u{915}\u{938}\u{5d0}]([\u{301}\u{30a}\u{327}\u{323}\u{344}\u{93c}\u{5bc}]){1,3}",
        2 => "[\u{1100}-\u{1112}][\u{1161}-\u{1175}][\u{11a8}-\u{11c2}]?|[\u{ac00}-\u{d7a3}]{1,4}",
        2 => "[\u{4e00}-\u{4e10}\u{4f60}\u{597d}]{1,6}|[\u{3041}-\u{3096}]{1,4}|[\u{30a1}-\u{30fa}]{1,4}|[\u{3001}-\u{3003}\u{ff01}-\u{ff3a}]{1,3}",
        1 => "[\u{430}-\u{44f}]{1,8}|[\u{627}-\u{64a}]{1,6}|[\u{e01}-\u{e3a}]{1,6}|[\u{905}-\u{94d}]{1,6}",
        1 => "\u{fb01}|[\u{a8}\u{ff21}\u{3392}\u{fdfa}\u{1d15e}\u{958}\u{ba}]",
        2 => select(EMOJI.to_vec()).prop_map(String::from),
        2 => select(CODE.to_vec()).prop_map(String::from),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(part, 0..parts).prop_map(|parts| parts.concat())
}
