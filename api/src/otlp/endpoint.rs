//! A raw path as something that a route could be: ids left out, and never long.

/// Parts of a path that are kept; what is behind them is `*`.
const PARTS_MAX: usize = 8;
/// Bytes of a part; a longer one is an id.
const PART_BYTES_MAX: usize = 48;
/// Digits that make an id of a part that has letters too: `order-1041`, and not `v1` or `oauth2`.
const DIGITS_MIN: usize = 4;
/// Digits in hexadecimal that make an id, one of them from 0 to 9 at least.
const HEX_MIN: usize = 8;

/// What stands for an id.
const ID: &str = "{id}";

/// The path with its ids replaced by `{id}`, without query and fragment; always begins with `/`.
///
/// A path without a route may hold anything, so this is a guess: numbers, UUIDs, hexadecimal
/// hashes, dates, addresses and long tokens are ids.
pub(super) fn template(path: &str) -> String {
    let end = path.find(['?', '#', ';']).unwrap_or(path.len());
    let mut out = String::new();
    let parts = path[..end].split('/').filter(|part| !part.is_empty());
    for (count, part) in parts.enumerate() {
        out.push('/');
        if count == PARTS_MAX {
            out.push('*');
            return out;
        }
        out.push_str(if is_id(part) { ID } else { part });
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

fn is_id(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let is_punctuated = |b: u8| matches!(b, b'-' | b'.' | b':' | b'_' | b',' | b'+');
    let is_number = digits > 0 && part.bytes().all(|b| b.is_ascii_digit() || is_punctuated(b));
    let hex = part.bytes().filter(u8::is_ascii_hexdigit).count();
    let is_hex = digits > 0
        && hex >= HEX_MIN
        && part
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || matches!(b, b'-' | b'{' | b'}'));
    is_number || is_hex || digits >= DIGITS_MIN || part.len() > PART_BYTES_MAX || part.contains('@')
}

/// The path of an absolute URL, `/` where it has none; the text itself where it is none.
pub(super) fn path_of(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else {
        return url;
    };
    rest.find(['/', '?', '#']).map_or("/", |at| &rest[at..])
}

/// The host of an absolute URL, without port, user and password.
pub(super) fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    Some(without_port(host)).filter(|host| !host.is_empty())
}

/// A host as it stands in a URL or a header, without its port.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // What has more colons is an address of IPv6, whose port stands behind its bracket.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            match port.bytes().all(|b| b.is_ascii_digit()) {
                true => name,
                false => host,
            }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expect: &str) {
        assert_eq!(template(path), expect, "{path}");
    }

    #[test]
    fn ids_are_left_out_and_words_are_kept() {
        check("", "/");
        check("/", "/");
        check("//a//b/", "/a/b");
        check("/users/42", "/users/{id}");
        check("/users/42/orders/7?page=3#top", "/users/{id}/orders/{id}");
        check("/v1/oauth2/token", "/v1/oauth2/token");
        check("/orders/order-1041", "/orders/{id}");
        check("/days/2024-01-05", "/days/{id}");
        check("/o/3f2504e0-4f89-11d3-9a0c-0305e82c3301", "/o/{id}");
        check("/o/{3F2504E0-4F89-11D3-9A0C-0305E82C3301}", "/o/{id}");
        check("/commits/9fceb02d", "/commits/{id}");
        check("/decade/facade/deadbeef", "/decade/facade/deadbeef");
        check("/mail/ann@example.com", "/mail/{id}");
        check("/s;jsessionid=1", "/s");
        check(&format!("/t/{}", "x".repeat(49)), "/t/{id}");
        check(
            &format!("/t/{}", "é".repeat(24)),
            &format!("/t/{}", "é".repeat(24)),
        );
        check("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/*");
    }

    #[test]
    fn urls_come_apart() {
        assert_eq!(path_of("https://a.example:8443/x?y"), "/x?y");
        assert_eq!(path_of("https://a.example"), "/");
        assert_eq!(path_of("/x"), "/x");
        assert_eq!(
            host_of("https://me:word@a.example:8443/x"),
            Some("a.example")
        );
        assert_eq!(host_of("http://[::1]:80/x"), Some("[::1]"));
        assert_eq!(without_port("::1"), "::1");
        assert_eq!(without_port("a:80"), "a");
        assert_eq!(host_of("https://a.example?x"), Some("a.example"));
        assert_eq!(host_of("/x"), None);
        assert_eq!(host_of("file:///x"), None);
    }
}
