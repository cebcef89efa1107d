//! JSON in one pass, without a tree: a cursor that moves over one token after the other.
//!
//! Each function returns `None` where the text is not JSON, and also where it is odd: then the
//! thorough way decides. So this may refuse what is JSON, and never takes what is not.

use std::borrow::Cow;

/// How deep values are walked; what is deeper is odd.
const DEPTH_MAX: u32 = 64;

/// A place in a text.
#[derive(Clone, Copy)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// At the byte `at`, which begins a character.
    pub(super) fn new(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// The byte that comes next.
    #[inline]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next byte; 0, which stands nowhere in JSON, at the end.
    #[inline]
    pub(super) fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// Moves over white space.
    #[inline]
    pub(super) fn skip_blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Moves over `byte` if it comes next.
    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == byte;
        self.at += usize::from(is_next);
        is_next
    }

    /// Moves over `byte`, which must come next.
    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }

    /// Moves over a word, which must come next.
    #[inline]
    pub(super) fn word(&mut self, word: &str) -> Option<&'a str> {
        let start = self.at;
        self.text.as_bytes()[start..].strip_prefix(word.as_bytes())?;
        self.at += word.len();
        self.text.get(start..self.at)
    }

    /// A name in an object and the colon behind it; one with an escape is odd.
    #[inline]
    pub(super) fn name(&mut self) -> Option<&'a str> {
        self.skip_blanks();
        self.expect(b'"')?;
        let start = self.at;
        self.at = special(self.text.as_bytes(), start);
        let name = self.text.get(start..self.at)?;
        self.expect(b'"')?;
        self.skip_blanks();
        self.expect(b':')?;
        self.skip_blanks();
        Some(name)
    }

    /// Moves over a comma and the blanks behind it and says yes, or over `end` and says no.
    #[inline]
    pub(super) fn goes_on(&mut self, end: u8) -> Option<bool> {
        self.skip_blanks();
        if self.eat(b',') {
            self.skip_blanks();
            return Some(true);
        }
        self.expect(end).map(|()| false)
    }

    /// A text, as what it stands for.
    #[inline]
    pub(super) fn text(&mut self) -> Option<Cow<'a, str>> {
        self.expect(b'"')?;
        let start = self.at;
        self.at = special(self.text.as_bytes(), start);
        if self.peek() == b'\\' {
            return self.escaped(start).map(Cow::Owned);
        }
        let text = self.text.get(start..self.at)?;
        self.expect(b'"')?;
        Some(Cow::Borrowed(text))
    }

    /// The rest of a text that began at `start` and has its first escape here.
    #[cold]
    fn escaped(&mut self, start: usize) -> Option<String> {
        let mut text = String::from(self.text.get(start..self.at)?);
        loop {
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Some(text);
                }
                b'\\' => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                _ => return None,
            }
            let start = self.at;
            self.at = special(self.text.as_bytes(), start);
            text.push_str(self.text.get(start..self.at)?);
        }
    }

    /// The character that an escape stands for, behind its backslash.
    fn escape(&mut self) -> Option<char> {
        let letter = self.peek();
        self.at += 1;
        Some(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex()?;
                if !(0xd800..0xdc00).contains(&high) {
                    return char::from_u32(high);
                }
                self.expect(b'\\')?;
                self.expect(b'u')?;
                let low = self.hex()?.checked_sub(0xdc00).filter(|l| *l < 0x400)?;
                return char::from_u32(0x1_0000 + ((high - 0xd800) << 10 | low));
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |value, digit| {
            Some(value << 4 | char::from(*digit).to_digit(16)?)
        })
    }

    /// A number, as it stands there.
    #[inline]
    pub(super) fn number(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.eat(b'-');
        match self.peek() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.eat(b'.') {
            self.some_digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.some_digits()?;
        }
        self.text.get(start..self.at)
    }

    #[inline]
    fn digits(&mut self) {
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
    }

    #[inline]
    fn some_digits(&mut self) -> Option<()> {
        let start = self.at;
        self.digits();
        (self.at > start).then_some(())
    }

    /// Any value, as it stands there.
    pub(super) fn value(&mut self) -> Option<&'a str> {
        let start = self.at;
        // One bit for each value that is open, the innermost lowest: 1 for an object.
        let (mut open, mut depth) = (0_u64, 0);
        loop {
            let (brackets, is_object) = match self.peek() {
                b'{' => (*b"{}", true),
                b'[' => (*b"[]", false),
                _ => ([0, 0], false),
            };
            if brackets[0] == 0 {
                self.leaf()?;
            } else {
                self.at += 1;
                self.skip_blanks();
                if !self.eat(brackets[1]) {
                    if depth == DEPTH_MAX {
                        return None;
                    }
                    (open, depth) = (open << 1 | u64::from(is_object), depth + 1);
                    if is_object {
                        self.name_unread()?;
                    }
                    continue;
                }
            }
            // A value has ended, and with it whatever ends right behind it.
            loop {
                if depth == 0 {
                    return self.text.get(start..self.at);
                }
                let is_object = open & 1 == 1;
                if self.goes_on(if is_object { b'}' } else { b']' })? {
                    if is_object {
                        self.name_unread()?;
                    }
                    break;
                }
                (open, depth) = (open >> 1, depth - 1);
            }
        }
    }

    /// A value without parts.
    fn leaf(&mut self) -> Option<()> {
        match self.peek() {
            b'"' => self.text_unread(),
            b't' => self.word("true").map(drop),
            b'f' => self.word("false").map(drop),
            b'n' => self.word("null").map(drop),
            _ => self.number().map(drop),
        }
    }

    fn name_unread(&mut self) -> Option<()> {
        self.text_unread()?;
        self.skip_blanks();
        self.expect(b':')?;
        self.skip_blanks();
        Some(())
    }

    /// A text that nobody reads: its escapes must have the right form and may stand for nothing.
    fn text_unread(&mut self) -> Option<()> {
        self.expect(b'"')?;
        loop {
            self.at = special(self.text.as_bytes(), self.at);
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => {
                    let letter = *self.text.as_bytes().get(self.at + 1)?;
                    self.at += 2;
                    match letter {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => drop(self.hex()?),
                        _ => return None,
                    }
                }
                _ => return None,
            }
        }
    }
}

/// The first byte from `at` on that ends a text or means something in it: a quote, a backslash, or
/// a control character, which may not stand there.
#[inline]
fn special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        // Each sets the highest bit of the bytes in question. It may set those of bytes above such
        // a one as well, by the borrow, so the lowest is the one to trust.
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * b' ' as u64) & !word);
        if found & HIGHS != 0 {
            return at + (found & HIGHS).trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes
        .get(at)
        .is_some_and(|byte| *byte >= b' ' && *byte != b'"' && *byte != b'\\')
    {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests;
