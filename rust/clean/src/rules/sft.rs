//! Rules for the answers of conversations: what a model should not learn to say.
//!
//! Looked at are the assistant's messages that carry a loss; of ranked answers, the best. Plain
//! text has no answers, and of labelled conversations the unwanted ones are bad by intent.

use fastft_record::{Document, Message};
use serde::{Deserialize, Serialize};

use crate::cleaner::{Broken, Held};
use crate::tokens::hash_tokens;

/// Which rules are on; 0 turns a threshold off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftPlan {
    /// Leave out rows with an answer that has no letter, digit or other sign than punctuation.
    pub empty_answer: bool,
    /// Characters of an answer, at least.
    pub min_answer_chars: usize,
    /// Leave out rows with an answer that begins by saying the whole question again (five words or
    /// more).
    pub repeats_prompt: bool,
    /// How often a stretch of 1 to 64 words may follow upon itself in an answer, when that is 20
    /// words and a fifth of the answer or more.
    pub max_loop: usize,
    /// Leave out rows with an answer that begins by refusing.
    pub refusals: bool,
    /// How refusals begin, without regard to case.
    pub refusal_phrases: Vec<String>,
}

impl Default for SftPlan {
    fn default() -> Self {
        Self {
            empty_answer: true,
            min_answer_chars: 0,
            repeats_prompt: true,
            max_loop: 5,
            refusals: false,
            refusal_phrases: [
                "as an ai language model",
                "as a language model",
                "as an artificial intelligence",
                "i'm sorry, but i can't",
                "i'm sorry, but i cannot",
                "i'm sorry, i can't",
                "i am sorry, but i cannot",
                "sorry, but i can't",
                "i cannot assist",
                "i can't assist",
                "i can't help with",
                "i cannot help with",
                "i'm unable to assist",
                "i am unable to assist",
                "作为一个ai语言模型",
                "作为一个人工智能",
                "作为ai语言模型",
                "对不起，我不能",
                "抱歉，我不能",
                "很抱歉，我无法",
                "抱歉，我无法",
            ]
            .map(str::to_owned)
            .into(),
        }
    }
}

/// Words in a loop before it is one.
const LEAST_LOOP: usize = 20;
const LONGEST_STRETCH: usize = 64;
/// Words of a question before an answer can repeat it.
const LEAST_PROMPT: usize = 5;
/// Characters of an answer in which a refusal is looked for.
const BEGINNING: usize = 120;

pub(crate) struct Sft {
    plan: SftPlan,
    refusals: Vec<String>,
}

impl Sft {
    pub(crate) fn new(plan: &SftPlan) -> Self {
        Self {
            refusals: plan.refusal_phrases.iter().map(|phrase| plain(phrase)).collect(),
            plan: plan.clone(),
        }
    }

    pub(crate) fn check(&self, document: &Document) -> Held {
        match document {
            Document::Text(_) | Document::Labelled { desirable: false, .. } => Ok(()),
            Document::Conversation(conversation) | Document::Labelled { conversation, .. } => {
                self.turns(&conversation.messages, &[])
            }
            Document::Ranked { conversation, answers } => {
                self.turns(&conversation.messages, answers.first().map_or(&[], Vec::as_slice))
            }
        }
    }

    fn turns(&self, messages: &[Message], best: &[Message]) -> Held {
        let mut prompt = Vec::new();
        for message in messages.iter().chain(best) {
            let text = message.content.as_deref();
            if message.role != "assistant" {
                if message.role == "user" {
                    prompt.clear();
                    hash_tokens(text.unwrap_or_default(), &mut prompt);
                }
            } else if message.weight != Some(0.0) && message.parts.is_empty() {
                if text.is_none_or(|text| text.trim().is_empty()) && message.tool_calls.is_some() {
                    continue;
                }
                self.answer(text.unwrap_or_default(), &prompt)?;
            }
        }
        Ok(())
    }

    fn answer(&self, answer: &str, prompt: &[u64]) -> Held {
        let plan = &self.plan;
        if plan.empty_answer && answer.chars().all(says_nothing) {
            return Err(Broken::new("sft.empty_answer", answer.trim()));
        }
        let chars = if plan.min_answer_chars > 0 { answer.trim().chars().count() } else { 0 };
        if chars < plan.min_answer_chars {
            return Err(Broken::new("sft.short_answer", format!("{chars} characters")));
        }
        let mut tokens = Vec::new();
        hash_tokens(answer, &mut tokens);
        if plan.repeats_prompt && prompt.len() >= LEAST_PROMPT && tokens.starts_with(prompt) {
            return Err(Broken::new("sft.repeats_prompt", ""));
        }
        if plan.max_loop > 0
            && let Some((stretch, times)) = longest_loop(&tokens, plan.max_loop)
        {
            return Err(Broken::new("sft.loop", format!("{stretch} words, {times} times")));
        }
        if plan.refusals {
            let beginning = plain(&answer.chars().take(BEGINNING).collect::<String>());
            if let Some(phrase) = self.refusals.iter().find(|phrase| beginning.contains(phrase.as_str())) {
                return Err(Broken::new("sft.refusal", phrase));
            }
        }
        Ok(())
    }
}

fn plain(text: &str) -> String {
    text.to_lowercase().replace('’', "'")
}

fn says_nothing(letter: char) -> bool {
    letter.is_whitespace()
        || letter.is_control()
        || letter.is_ascii_punctuation()
        || matches!(
            letter,
            '。' | '、' | '，' | '．' | '！' | '？' | '…' | '—' | '–' | '·' | '•' | '「' | '」'
        )
        || matches!(letter, '“' | '”' | '‘' | '’' | '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{fffd}')
}

/// A stretch of words that follows upon itself more than `most` times: its length, and how often.
fn longest_loop(tokens: &[u64], most: usize) -> Option<(usize, usize)> {
    for stretch in 1..=LONGEST_STRETCH.min(tokens.len() / 2) {
        let (mut same, mut longest) = (0, 0);
        for (one, other) in tokens.iter().zip(&tokens[stretch..]) {
            same = if one == other { same + 1 } else { 0 };
            longest = longest.max(same);
        }
        let words = longest + stretch;
        let times = words / stretch;
        if times > most && words >= LEAST_LOOP && words * 5 >= tokens.len() {
            return Some((stretch, times));
        }
    }
    None
}
