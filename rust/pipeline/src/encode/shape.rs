//! to come
use fastft_record::{Conversation, RowError};
use super::{Encoder, Spans};
pub struct Shapes;
impl Shapes {
    pub fn new(_template: Option<&str>) -> Self { Self }
    pub fn spans(&self, _encoder: &Encoder, _conversation: &Conversation) -> Result<Option<Spans>, RowError> { Ok(None) }
}
