//! Whether a secret can be guessed: by its length, its variety, and the words that everybody tries.

/// Shorter secrets can be tried through.
const LENGTH_MIN: usize = 16;
/// Different characters that a secret has at least.
const VARIETY_MIN: usize = 8;
/// Characters that must be left when the words that everybody tries are taken away.
const REST_MIN: usize = 8;

/// What people write where a secret should be, in small letters and digits alone, long ones before
/// the ones that they hold.
const WORDS: [&str; 29] = [
    "abcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmnop",
    "0123456789abcdef",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertyuiop",
    "qwertzuiop",
    "asdfghjkl",
    "1234567890",
    "0123456789",
    "123456789",
    "12345678",
    "setitinenv",
    "replaceme",
    "changethis",
    "changeme",
    "change",
    "correcthorsebatterystaple",
    "pulsestream",
    "pulse",
    "installation",
    "control",
    "secret",
    "password",
    "passwort",
    "default",
    "example",
    "letmein",
    "admin",
    "insecure",
];

/// Why a secret can be guessed, if it can; never a part of it.
pub fn weakness(secret: &str) -> Option<&'static str> {
    if secret.chars().count() < LENGTH_MIN {
        return Some("has fewer than 16 characters");
    }
    let mut different: Vec<char> = secret.chars().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < VARIETY_MIN {
        return Some("has fewer than 8 different characters");
    }
    if repeats(secret.as_bytes()) {
        return Some("is the same text again and again");
    }
    match rest(secret) < REST_MIN {
        true => Some("is made of words that everybody tries"),
        false => None,
    }
}

/// True for a text that is another one, two or more times; the last of them may be cut off.
fn repeats(text: &[u8]) -> bool {
    let has_period = |period: usize| text[period..] == text[..text.len() - period];
    (1..=text.len() / 2).any(has_period)
}

/// Letters and digits that are left without the known words: signs between them make nothing harder
/// to guess.
fn rest(secret: &str) -> usize {
    let is_sign = |letter: char| letter.is_ascii() && !letter.is_ascii_alphanumeric();
    let letters = secret.chars().filter(|letter| !is_sign(*letter));
    let mut text: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    for word in WORDS {
        text = text.replace(word, "");
    }
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(secret: &str, expect: Option<&str>) {
        let found = weakness(secret);
        assert_eq!(found.is_some(), expect.is_some(), "{secret}: {found:?}");
        let has = |part: &str| found.is_some_and(|found| found.contains(part));
        assert!(expect.is_none_or(has), "{secret}: {found:?}");
    }

    #[test]
    fn what_everybody_would_try_is_weak() {
        check("", Some("16 characters"));
        check("secret", Some("16 characters"));
        check("fifteen letters", Some("16 characters"));
        check("aaaaaaaaaaaaaaaaaaaaaaaa", Some("8 different"));
        check("changemechangeme", Some("8 different"));
        check("passwordpassword", Some("8 different"));
        check("abcdefgh-abcdefgh-abcdefgh", Some("again and again"));
        check("pulsestream-secret", Some("everybody"));
        check("PulseStream-Control-Secret-2026!", Some("everybody"));
        check("change-me-secret-change-it", Some("everybody"));
        check("0123456789abcdef0123456789", Some("everybody"));
        check("0123456789abcdef-secret", Some("everybody"));
        check("qwertyuiop1234567890", Some("everybody"));
        check("correct horse battery staple", Some("everybody"));
        check("changeme-changeme-password", Some("everybody"));
    }

    #[test]
    fn what_is_made_at_random_is_fine_and_so_is_a_sentence_of_ones_own() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let digits: String = (0..64).map(|_| format!("{:x}", random.u8(..16))).collect();
            check(&digits, None);
            let letters: String = (0..20).map(|_| random.alphanumeric()).collect();
            check(&letters, None);
        }
        check("a secret of the tests alone", None);
        check("the secret of 0a1b2c3d", None);
    }
}
