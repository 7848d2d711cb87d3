//! Every short string over the classes of characters that the automata of a pre-tokenizer tell apart is cut as by the
//! reference: pieces depend on these alone, so that up to its length nothing is left to try.
//!
//! `pre_tokenizers.json` has one a family. The example `strings` goes to any length.

use fastft_text::Cuts;
use serde_json::{Map, Value};

mod strings;

use strings::{Compared, compare};

const PRE_TOKENIZERS: &str = include_str!("pre_tokenizers.json");

/// Most strings of one length that are cut of one family.
const MOST: usize = 120_000;

#[test]
fn every_short_string_over_the_classes_is_cut_as_by_the_reference() {
    let families: Map<String, Value> = serde_json::from_str(PRE_TOKENIZERS).unwrap();
    for (name, part) in families {
        let cuts = Cuts::from_json(&part.to_string()).unwrap();
        assert!(cuts.is_generated(), "{name}");
        let classes = cuts.classes();
        for length in (0..).take_while(|length| classes.len().pow(*length) <= MOST) {
            for stretched in [false, true] {
                let Compared { strings, different, first } =
                    compare(&cuts, &classes, length, stretched, (0, 1));
                assert_eq!(strings, classes.len().pow(length));
                assert_eq!((different, first), (0, None), "{name}, strings of {length}");
            }
        }
    }
}
