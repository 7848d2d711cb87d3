//! What a post-processor puts around a text.

use serde_json::Value;
use tokenizers::{Encoding, PostProcessor as _, PostProcessorWrapper, Token};

use crate::TextError;

/// The ids before a text and behind it.
pub fn around(processor: &PostProcessorWrapper) -> Result<(Vec<u32>, Vec<u32>), TextError> {
    if let Some(token) = undeclared(&serde_json::to_value(processor).unwrap_or_default()) {
        return Err(TextError::Load(format!(
            "its post-processor puts `{token}` around a text, and has no ids of that among its `special_tokens`"
        )));
    }
    // tokens that are in no vocabulary, so that they are found again
    let around = |bare: &[u32]| -> Result<_, TextError> {
        let tokens = bare.iter().map(|id| Token::new(*id, String::new(), (0, 0))).collect();
        let whole = processor
            .process(Encoding::from_tokens(tokens, 0), None, true)
            .map_err(|error| TextError::Encode(error.to_string()))?;
        let whole = whole.get_ids();
        let begin = whole.windows(bare.len()).position(|part| part == bare);
        Ok(begin.map(|at| (whole[..at].to_vec(), whole[at + bare.len()..].to_vec())))
    };
    match (around(&[u32::MAX])?, around(&[u32::MAX, u32::MAX - 1])?) {
        (Some(one), Some(other)) if one == other => Ok(one),
        _ => Err(TextError::Encode("what it puts around a text depends on the text".into())),
    }
}

/// A token that a template puts around a text without saying what its ids are: the reference panics there.
fn undeclared(processor: &Value) -> Option<&str> {
    let parts = |name: &str| processor[name].as_array().into_iter().flatten();
    let mut around = parts("single").filter_map(|piece| piece["SpecialToken"]["id"].as_str());
    let own = around.find(|token| processor["special_tokens"].get(token).is_none());
    own.or_else(|| parts("processors").find_map(undeclared))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_without_the_ids_of_its_tokens_is_refused() {
        let template = json!({
            "type": "TemplateProcessing", "pair": [], "special_tokens": {},
            "single": [{"SpecialToken": {"id": "<end>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        });
        for processor in [template.clone(), json!({"type": "Sequence", "processors": [template]})] {
            let refused = around(&serde_json::from_value(processor).unwrap()).unwrap_err();
            assert!(refused.to_string().contains("`<end>`"), "{refused}");
        }
    }
}
