//! Content keys: BLAKE3 over named fields, so that no two lists of fields share their bytes.

/// Hashes named fields; each name and value is preceded by its length.
#[derive(Clone, Debug, Default)]
pub struct KeyHasher(blake3::Hasher);

impl KeyHasher {
    /// A hasher for keys of one kind, for example `fastft tokens 1`.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        let mut hasher = Self(blake3::Hasher::new());
        hasher.raw(kind.as_bytes());
        hasher
    }

    /// Take in one named field.
    pub fn field(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.raw(name.as_bytes());
        self.raw(value.as_ref());
        self
    }

    /// The key: 32 hexadecimal digits (128 bits).
    #[must_use]
    pub fn key(&self) -> String {
        self.0.finalize().to_hex()[..32].to_owned()
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_between_fields_changes_the_key() {
        let one = KeyHasher::new("k").field("ab", "c").key();
        let two = KeyHasher::new("k").field("a", "bc").key();
        assert_ne!(one, two);
        assert_eq!(one.len(), 32);
    }
}
