//! The names that formats have, with their defaults: columns of a row, keys and roles of messages.

use serde::{Deserialize, Serialize};

/// A struct of names with their defaults.
macro_rules! names {
    ($(#[$about:meta])* $format:ident { $($(#[$doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $format { $($(#[$doc])* pub $field: $type,)* }

        impl Default for $format {
            fn default() -> Self {
                Self { $($field: $default.into(),)* }
            }
        }
    };
}

/// Which of several answers an ordinary conversation ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The best one; the others are not read.
    Chosen,
}

/// What becomes of answers that are equally good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ties {
    /// The row is refused.
    #[default]
    Error,
    /// The first of them stays.
    First,
}

names! {
    /// Instruction data: question and answer in columns of their own.
    Alpaca {
        /// What is asked.
        instruction: String = "instruction",
        /// More of what is asked, set below the instruction.
        input: String = "input",
        /// The answer.
        output: String = "output",
        /// The system message.
        system: String = "system",
        /// Earlier turns, a list of `[question, answer]`.
        history: String = "history",
        /// Tools that may be called.
        tools: String = "tools",
        /// References of pictures.
        images: String = "images",
        /// References of films.
        videos: String = "videos",
        /// References of sounds.
        audios: String = "audios",
        /// The better answer; with it, rows are preferences.
        chosen: String = "",
        /// The worse answer.
        rejected: String = "",
        /// Whether the answer is wanted; with it, rows are labelled.
        label: String = "",
        /// With preferences: learn from the chosen answer as from any other.
        answer: Option<Answer> = None,
    }
}

impl Alpaca {
    /// Whether rows have a better and a worse answer.
    #[must_use]
    pub fn rows_are_pairs(&self) -> bool {
        !self.chosen.is_empty() && self.label.is_empty()
    }
}

names! {
    /// `ShareGPT` data: turns of `from` and `value`.
    ShareGpt {
        /// Column of the list of messages.
        messages: String = "conversations",
        /// Column of the system message.
        system: String = "system",
        /// Column of the tools.
        tools: String = "tools",
        /// Key of a message's role.
        role_tag: String = "from",
        /// Key of a message's text.
        content_tag: String = "value",
        /// Role of the user.
        user_tag: String = "human",
        /// Role of the assistant.
        assistant_tag: String = "gpt",
        /// Role of a tool's answer.
        observation_tag: String = "observation",
        /// Role of an assistant's call of a tool.
        function_tag: String = "function_call",
        /// Role of a system message at the head of the list.
        system_tag: String = "system",
        /// References of pictures.
        images: String = "images",
        /// References of films.
        videos: String = "videos",
        /// References of sounds.
        audios: String = "audios",
        /// The better answer; with it, rows are preferences.
        chosen: String = "",
        /// The worse answer.
        rejected: String = "",
        /// Whether the conversation is wanted; with it, rows are labelled.
        label: String = "",
        /// With preferences: learn from the chosen answer as from any other.
        answer: Option<Answer> = None,
    }
}

names! {
    /// Messages as `OpenAI` writes them.
    OpenAi {
        /// Column of the list of messages.
        messages: String = "messages",
        /// Column of the system message.
        system: String = "system",
        /// Column of the tools.
        tools: String = "tools",
        /// Column of tools without their envelope, as they once were.
        functions: String = "functions",
        /// Key of a message's role.
        role_tag: String = "role",
        /// Key of a message's text or parts.
        content_tag: String = "content",
        /// Role of the user.
        user_tag: String = "user",
        /// Role of the assistant.
        assistant_tag: String = "assistant",
        /// Role of a tool's answer.
        observation_tag: String = "tool",
        /// Role of an assistant's call of tools, its text JSON.
        function_tag: String = "function_call",
        /// Role of the system.
        system_tag: String = "system",
        /// References of pictures.
        images: String = "images",
        /// References of films.
        videos: String = "videos",
        /// References of sounds.
        audios: String = "audios",
        /// The better answer; with it, rows are preferences.
        chosen: String = "",
        /// The worse answer.
        rejected: String = "",
        /// Whether the conversation is wanted; with it, rows are labelled.
        label: String = "",
        /// With preferences: learn from the chosen answer as from any other.
        answer: Option<Answer> = None,
    }
}

names! {
    /// A prompt with a better and a worse answer, or two whole conversations.
    Preference {
        /// What is asked: a text or messages. May be missing where the answers contain it.
        prompt: String = "prompt",
        /// The better answer: a text, a message, messages, or the whole conversation.
        chosen: String = "chosen",
        /// The worse answer.
        rejected: String = "rejected",
        /// The system message.
        system: String = "system",
        /// Tools that may be called.
        tools: String = "tools",
        /// Key of a message's role.
        role_tag: String = "role",
        /// Key of a message's text or parts.
        content_tag: String = "content",
        /// References of pictures.
        images: String = "images",
        /// References of films.
        videos: String = "videos",
        /// References of sounds.
        audios: String = "audios",
        /// Learn from the chosen answer as from any other.
        answer: Option<Answer> = None,
    }
}

names! {
    /// A prompt with answers that have ranks or scores.
    Ranked {
        /// What is asked: a text or messages.
        prompt: String = "prompt",
        /// A list of answers: texts, messages, lists of messages, or objects with a text.
        answers: String = "answers",
        /// Column of their ranks, 1 the best.
        ranks: String = "ranks",
        /// Column of their scores, the highest the best.
        scores: String = "scores",
        /// In an answer that is an object: key of its text.
        text_tag: String = "text",
        /// In an answer that is an object: key of its rank.
        rank_tag: String = "rank",
        /// In an answer that is an object: key of its score.
        score_tag: String = "score",
        /// What becomes of answers that are equally good.
        ties: Ties = Ties::Error,
        /// The system message.
        system: String = "system",
        /// Tools that may be called.
        tools: String = "tools",
        /// Key of a message's role.
        role_tag: String = "role",
        /// Key of a message's text or parts.
        content_tag: String = "content",
        /// References of pictures.
        images: String = "images",
        /// References of films.
        videos: String = "videos",
        /// References of sounds.
        audios: String = "audios",
        /// Learn from the best answer as from any other.
        answer: Option<Answer> = None,
    }
}

names! {
    /// A prompt with an answer that is wanted or not.
    Kto {
        /// What is asked: a text or messages.
        prompt: String = "prompt",
        /// The answer: a text, a message or messages.
        completion: String = "completion",
        /// Whether the answer is wanted.
        label: String = "label",
        /// The system message.
        system: String = "system",
        /// Tools that may be called.
        tools: String = "tools",
        /// Key of a message's role.
        role_tag: String = "role",
        /// Key of a message's text or parts.
        content_tag: String = "content",
        /// References of pictures.
        images: String = "images",
        /// References of films.
        videos: String = "videos",
        /// References of sounds.
        audios: String = "audios",
    }
}

names! {
    /// A prompt with its answer, of which only the answer is learnt.
    Completion {
        /// What is asked: a text or messages.
        prompt: String = "prompt",
        /// The answer: a text, a message or messages.
        completion: String = "completion",
        /// The system message.
        system: String = "system",
        /// Tools that may be called.
        tools: String = "tools",
        /// Key of a message's role.
        role_tag: String = "role",
        /// Key of a message's text or parts.
        content_tag: String = "content",
        /// References of pictures.
        images: String = "images",
        /// References of films.
        videos: String = "videos",
        /// References of sounds.
        audios: String = "audios",
    }
}

names! {
    /// Where plain text stands.
    Text {
        /// Column of the text in rows of JSON; a row may also be a bare string.
        column: String = "text",
        /// What a document of a text file is: `line`, `paragraph` or `file`.
        unit: Unit = Unit::Line,
    }
}

/// See `TextUnit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Every line.
    #[default]
    Line,
    /// Lines up to a blank line.
    Paragraph,
    /// The whole file.
    File,
}
