//! Which messages of a conversation are trained, and how strongly.

use fastft_record::{Code, Conversation, Message, RowError};

use super::TrainOn;

/// What each message's losses are multiplied by, 0 for none.
///
/// A message that says so itself is believed; the rule decides for the others. Under `All` the rule
/// says 1 for every message, under the others for assistant messages only.
pub fn weights(conversation: &Conversation, rule: TrainOn) -> Result<Vec<f32>, RowError> {
    let messages = &conversation.messages;
    let last = messages.iter().rposition(is_answer);
    let mut weights = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let by_rule = match rule {
            TrainOn::All => true,
            TrainOn::Responses => is_answer(message),
            TrainOn::LastResponse => Some(index) == last,
            TrainOn::PerMessage => false,
        };
        let weight = message.weight.unwrap_or(f32::from(u8::from(by_rule)));
        if !weight.is_finite() || weight < 0.0 {
            let reason = format!("a message's weight is a number from 0 on, not {weight}");
            return Err(RowError::new(Code::Type, reason).at(format!("messages[{index}].weight")));
        }
        weights.push(weight);
    }
    if weights.iter().any(|weight| *weight > 0.0) {
        return Ok(weights);
    }
    let reason = match rule {
        TrainOn::PerMessage => "no message of the row says that it is trained (`train` or `weight`)",
        _ => "no assistant message of the row carries a loss",
    };
    Err(RowError::new(Code::NoTarget, reason))
}

/// Whether the assistant speaks.
pub fn is_answer(message: &Message) -> bool {
    message.role == "assistant"
}

/// The conversation of a prompt and one answer to it, of which only the answer is trained.
pub fn answered(prompt: &Conversation, answer: &[Message]) -> Conversation {
    let silent = prompt.messages.iter().map(|message| Message { weight: Some(0.0), ..message.clone() });
    let spoken = answer.iter().map(|message| {
        let weight = message.weight.unwrap_or(f32::from(u8::from(is_answer(message))));
        Message { weight: Some(weight), ..message.clone() }
    });
    Conversation { messages: silent.chain(spoken).collect(), tools: prompt.tools.clone() }
}

/// A labelled conversation, of which only the last answer is trained.
pub fn labelled(conversation: &Conversation) -> Conversation {
    let mut conversation = conversation.clone();
    let last = conversation.messages.iter().rposition(is_answer);
    for (index, message) in conversation.messages.iter_mut().enumerate() {
        let weight = message.weight.filter(|_| Some(index) == last);
        message.weight = Some(weight.unwrap_or(f32::from(u8::from(Some(index) == last))));
    }
    conversation
}
