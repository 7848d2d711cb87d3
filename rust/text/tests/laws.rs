//! What holds between a text's tokens and those of other texts, whatever the tokenizer.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use fastft_text::{Encoding, Library, Tokenizer};
use proptest::prelude::*;
use serde_json::Value;

mod fixtures;
mod grammar;

use fixtures::{MANY, Pair, byte_level, drawn, faithful, pieces};

/// A tokenizer, and the added tokens that take no white space and are looked for in the text as it is given.
struct Joined {
    library: Library,
    tokens: Vec<(String, u32)>,
}

static JOINED: LazyLock<Vec<Joined>> = LazyLock::new(|| {
    let taken = ["<|im_start|>", "<|im_end|>", "<think>", "<y>", "e\u{301}", "fi", "  "];
    byte_level()
        .into_iter()
        // one of the pipelines puts a mark before a text alone, not before what follows a token
        .chain(pieces().into_iter().enumerate().filter(|(form, _)| *form != 2).map(|(_, pair)| pair))
        .map(|pair| {
            let tokens = pair.ours.added_tokens().iter();
            let plain = tokens.filter(|token| !taken.contains(&&*token.content));
            let tokens = plain.map(|token| (token.content.clone(), token.id)).collect();
            Joined { library: pair.ours, tokens }
        })
        .collect()
});

static FAITHFUL: LazyLock<Vec<Pair>> = LazyLock::new(faithful);

/// One encoding behind another, that begins so many bytes into the text.
fn append(whole: &mut Encoding, part: &Encoding, from: usize) {
    let from = u32::try_from(from).unwrap();
    whole.ids.extend(&part.ids);
    whole.offsets.extend(part.offsets.iter().map(|(begin, end)| (begin + from, end + from)));
}

fn length(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_token_parts_a_text_in_two(
        (before, behind) in (grammar::text(8), grammar::text(8)),
        token in any::<prop::sample::Index>(),
    ) {
        for Joined { library, tokens } in &*JOINED {
            let (content, id) = token.get(tokens);
            let mut wanted = library.encode(&before).unwrap();
            let one = Encoding { ids: vec![*id], offsets: vec![(0, length(content))] };
            append(&mut wanted, &one, before.len());
            append(&mut wanted, &library.encode(&behind).unwrap(), before.len() + content.len());
            let text = [&*before, content, &behind].concat();
            prop_assert_eq!(library.encode(&text).unwrap(), wanted, "{:?}", text);
        }
    }

    #[test]
    fn ids_are_decoded_to_the_text(text in grammar::text(14)) {
        for Pair { ours, .. } in &*FAITHFUL {
            for ids in [ours.encode(&text).unwrap().ids, ours.encode_plain(&text).unwrap().ids] {
                prop_assert_eq!(ours.decode(&ids, false).unwrap(), &*text);
            }
        }
    }

    #[test]
    fn ids_of_pieces_are_decoded_to_the_text_with_spaces_for_marks(text in grammar::text(14)) {
        static NEVER: LazyLock<Pair> =
            LazyLock::new(|| Pair::of(&drawn(1, &[(0, 0), (1, 1), (0, 1), (7, 8)], 256, false)));
        let ids = NEVER.ours.encode_plain(&text).unwrap().ids;
        prop_assert_eq!(NEVER.ours.decode(&ids, false).unwrap(), text.replace('\u{2581}', " "));
    }

    #[test]
    fn tokens_cover_a_text(text in grammar::text(14)) {
        for Pair { ours, .. } in FAITHFUL.iter() {
            let offsets = ours.encode(&text).unwrap().offsets;
            let ends = offsets.iter().map(|(_, end)| *end);
            let begins = offsets.iter().map(|(begin, _)| *begin).chain([length(&text)]);
            prop_assert!([0].into_iter().chain(ends).eq(begins), "{:?}: {:?}", text, offsets);
        }
    }
}

type Asked = (String, Sender<Vec<Encoding>>);

/// A thread whose tables are full of other words, which encodes what it is sent.
static CROWDED: LazyLock<Sender<Asked>> = LazyLock::new(|| {
    let (send, asked) = channel::<Asked>();
    thread::spawn(move || {
        let words: Vec<String> =
            (0..250_000_u32).map(|word| format!(" {:x}", word.wrapping_mul(2_654_435_761))).collect();
        for library in TABLES.iter() {
            library.encode(&words.concat()).unwrap();
        }
        for (text, answer) in asked {
            answer.send(TABLES.iter().map(|library| library.encode(&text).unwrap()).collect()).unwrap();
        }
    });
    send
});

/// Of words of one stage and of many, and of pieces.
static TABLES: LazyLock<Vec<Library>> = LazyLock::new(|| {
    let (mut words, mut pieces) = (byte_level(), pieces());
    [words.swap_remove(4), words.swap_remove(0), pieces.swap_remove(0)].map(|pair| pair.ours).into()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_a_thread_has_seen_before_changes_nothing(text in grammar::text(14)) {
        let all = || TABLES.iter().map(|library| library.encode(&text).unwrap()).collect::<Vec<_>>();
        let cold = thread::scope(|scope| scope.spawn(all).join()).unwrap();
        let (send, answer) = channel();
        CROWDED.send((text.clone(), send)).unwrap();
        prop_assert_eq!(&answer.recv().unwrap(), &cold);
        prop_assert_eq!(&all(), &cold);
        prop_assert_eq!(all(), cold);
    }
}

#[test]
fn every_token_of_a_vocabulary_has_the_references_ids() {
    for json in [MANY, fixtures::CHATML] {
        let pair = Pair::of(json);
        let file: Value = serde_json::from_str(json).unwrap();
        let ids: Vec<u32> =
            (0..u32::try_from(file["model"]["vocab"].as_object().unwrap().len()).unwrap()).collect();
        let texts: HashSet<String> = ids.iter().map(|id| pair.ours.decode(&[*id], false).unwrap()).collect();
        assert!(texts.len() > 256);
        for one in &texts {
            assert_eq!(pair.difference(one), None);
            assert_eq!(pair.difference(&format!(" {one}{one}x")), None);
        }
    }
}
