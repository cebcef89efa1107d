//! A text inside a record.

/// A text inside a record: bytes that are known to be UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// A text of ours.
    pub const fn new(text: &'a str) -> Self {
        Self(text.as_bytes())
    }

    /// Bytes that the caller knows to be UTF-8.
    #[inline]
    pub(super) const fn known(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Bytes that may be UTF-8.
    pub(super) fn from_utf8(bytes: &'a [u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(Self::new)
    }

    /// The text. It walks the bytes: compare [`Self::as_bytes`] where that is enough.
    pub fn as_str(self) -> &'a str {
        std::str::from_utf8(self.0).expect("a Text is made of checked UTF-8")
    }

    /// The bytes.
    #[inline]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Bytes in it.
    #[inline]
    pub const fn len(self) -> usize {
        self.0.len()
    }

    /// True when nothing is in it.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq<&str> for Text<'_> {
    #[inline]
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl std::fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}
