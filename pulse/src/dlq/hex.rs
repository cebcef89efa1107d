//! Bytes as people look at them.

use std::fmt::Write as _;

/// Bytes in a line.
const WIDTH: usize = 16;

/// The first `count_max` bytes: where they are, in hexadecimal digits, and as text where they are.
pub fn dump(bytes: &[u8], count_max: usize) -> String {
    let mut text = String::new();
    let shown = &bytes[..bytes.len().min(count_max)];
    for (line, chunk) in shown.chunks(WIDTH).enumerate() {
        let mut digits = String::with_capacity(3 * WIDTH + 1);
        for (at, byte) in chunk.iter().enumerate() {
            let gap = if at == WIDTH / 2 { " " } else { "" };
            write!(digits, "{gap}{byte:02x} ").expect("a String takes all that is written");
        }
        let letter = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        };
        let letters: String = chunk.iter().map(letter).collect();
        writeln!(text, "{:08x}  {digits:49} |{letters}|", line * WIDTH)
            .expect("a String takes all that is written");
    }
    if shown.len() < bytes.len() {
        let more = bytes.len() - shown.len();
        writeln!(text, "… and {more} bytes more: --bytes shows them")
            .expect("a String takes all that is written");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_line_up_and_say_where_they_are() {
        let bytes: Vec<u8> = (0x1e..0x32).collect();
        insta::assert_snapshot!(dump(&bytes, 100), @r##"
        00000000  1e 1f 20 21 22 23 24 25  26 27 28 29 2a 2b 2c 2d  |.. !"#$%&'()*+,-|
        00000010  2e 2f 30 31                                       |./01|
        "##);
        let cut = dump(&bytes, 16);
        assert!(
            cut.ends_with("… and 4 bytes more: --bytes shows them\n"),
            "{cut}"
        );
        assert_eq!(dump(&[], 16), "");
    }
}
