//! The primitives of Avro, at their bounds.

use proptest::prelude::*;

use super::*;
use crate::decimal::Decimal;
use crate::wire::DecodeError;

/// Bytes that may stand behind a value: none, some that look like part of it, many.
const NEIGHBOURS: [&[u8]; 4] = [&[], &[0xff; 3], &[0x00; 9], &[0x80; 40]];

fn varint(value: i64) -> Vec<u8> {
    let mut rest = (value as u64) << 1 ^ if value < 0 { u64::MAX } else { 0 };
    let mut out = vec![];
    while rest >= 0x80 {
        out.push((rest % 0x80) as u8 + 0x80);
        rest /= 0x80;
    }
    out.push(rest as u8);
    out
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&varint(bytes.len() as i64), bytes].concat()
}

/// Reads a value with each neighbour behind it; what was read, if it is always the same and leaves
/// exactly the neighbour.
#[track_caller]
fn read<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut values = NEIGHBOURS.map(|neighbour| {
        let body = [bytes, neighbour].concat();
        let mut reader = Reader::new(&body);
        let value = read(&mut reader);
        if value.is_ok() {
            assert_eq!(reader.rest, neighbour, "{bytes:02x?}");
        }
        value
    });
    values[1..]
        .iter()
        .for_each(|value| assert_eq!(*value, values[0], "{bytes:02x?}"));
    std::mem::replace(&mut values[0], Err(DecodeError::Trailing { count: 0 }))
}

#[test]
fn numbers_of_every_length_are_read_and_written() {
    let near =
        (0..64).flat_map(|bits| (-2..=2).map(move |near| (1_i64 << bits).wrapping_add(near)));
    for value in near.flat_map(|value| [value, value.wrapping_neg()]) {
        let mut out = vec![0xaa; 3];
        put_long(&mut out, value);
        assert_eq!(out[3..], varint(value), "{value}");
        assert_eq!(read(&out[3..], |r| r.long("n")), Ok(value));
        let int = read(&out[3..], |r| r.int("n"));
        assert_eq!(int.ok(), i32::try_from(value).ok(), "{value}");
    }
}

#[test]
fn numbers_may_be_longer_than_they_need() {
    assert_eq!(read(&[0x80, 0x00], |r| r.long("n")), Ok(0));
    assert_eq!(read(&[0x82, 0x80, 0x80, 0x00], |r| r.long("n")), Ok(1));
    assert_eq!(read(&[0x80, 0x00], |r| r.is_some("n")), Ok(false));
    assert_eq!(read(&[0x82, 0x00], |r| r.is_some("n")), Ok(true));
    assert_eq!(
        read(&[0x82, 0x00, b'x'], |r| r.text("n").map(|_| ())),
        Ok(())
    );
    let [first, second] = [[0x82, 0x00, b'x'].as_slice(), &[0x82, 0x00, 0xff]];
    let body = [first, second].concat();
    let mut reader = Reader::new(&body);
    assert!(reader.text("n").is_ok() && reader.text("n").is_err());
}

#[test]
fn numbers_beyond_64_bits_are_refused() {
    let check = |last: &[u8], expect: Result<i64, ()>| {
        let bytes = [&[0xff; 9], last].concat();
        assert_eq!(
            read(&bytes, |r| r.long("n")).map_err(|_| ()),
            expect,
            "{last:02x?}"
        );
    };
    check(&[0x00], Ok(i64::MIN >> 1));
    check(&[0x01], Ok(i64::MIN));
    check(&[0x02], Err(()));
    check(&[0x80], Err(()));
    check(&[0x81, 0x00], Err(()));
    check(&[0xff; 30], Err(()));
}

#[test]
fn texts_of_every_length_are_read_and_written() {
    for length in 0..200 {
        let ascii: String = (0..length)
            .map(|at| char::from(b'!' + (at % 90) as u8))
            .collect();
        let mut out = vec![];
        put_bytes(&mut out, ascii.as_bytes());
        assert_eq!(out, sized(ascii.as_bytes()));
        let check = |r: &mut Reader<'_>| r.text("t").map(|text| text == ascii.as_str());
        assert_eq!(read(&out, check), Ok(true));
        assert_eq!(
            read(&out, |r| r
                .bytes("t")
                .map(|bytes| bytes == ascii.as_bytes())),
            Ok(true)
        );
    }
}

#[test]
fn what_is_no_utf_8_is_refused_wherever_it_is() {
    for length in 1..100 {
        for at in 0..length {
            let mut bytes = vec![b'a'; length];
            bytes[at] = 0x80;
            let text = read(&sized(&bytes), |r| r.text("t").map(|_| ()));
            assert!(
                matches!(text, Err(DecodeError::Invalid { .. })),
                "{at} of {length}"
            );
            if at + 1 < length {
                bytes[at..at + 2].copy_from_slice("é".as_bytes());
                let text = read(&sized(&bytes), |r| r.text("t").map(|text| text.len()));
                assert_eq!(text, Ok(length), "{at}");
            }
        }
    }
}

#[test]
fn lengths_are_believed_only_as_far_as_there_are_bytes() {
    for length in [
        1,
        15,
        16,
        17,
        63,
        64,
        100,
        8_192,
        i64::from(i32::MAX),
        i64::MAX,
    ] {
        let mut body = varint(length);
        body.extend(vec![b'a'; usize::try_from(length - 1).unwrap().min(9_000)]);
        let mut reader = Reader::new(&body);
        assert_eq!(
            reader.text("t").err(),
            Some(DecodeError::Truncated { field: "t" })
        );
        assert_eq!(
            reader.bytes("t").err(),
            Some(DecodeError::Truncated { field: "t" })
        );
    }
    for length in [-1, -2, -64, -65, i64::MIN] {
        let text = read(&varint(length), |r| r.text("t").map(|_| ()));
        assert!(matches!(text, Err(DecodeError::Invalid { .. })), "{length}");
    }
}

#[test]
fn decimals_take_as_few_bytes_as_hold_them() {
    let check = |units: i128, expect: &[u8]| {
        let mut out = vec![];
        put_decimal(&mut out, Decimal::from_units(units).unwrap());
        assert_eq!(out[1..], *expect, "{units}");
    };
    check(0, &[0]);
    check(127, &[0x7f]);
    check(128, &[0, 0x80]);
    check(-1, &[0xff]);
    check(-128, &[0x80]);
    check(-129, &[0xff, 0x7f]);
}

#[test]
fn decimals_of_every_length_are_read() {
    for bits in 0..127 {
        for units in (-1..=1).flat_map(|near| [(1_i128 << bits) + near, -(1_i128 << bits) + near]) {
            let expect = Decimal::from_units(units);
            let wide = units.to_be_bytes();
            for length in 1..=16 {
                let bytes = &wide[16 - length..];
                let fits = units >> (8 * length - 1) == units >> 127;
                let value = read(&sized(bytes), |r| r.decimal("d"));
                if fits {
                    assert_eq!(value.ok(), expect, "{units} in {length} bytes");
                }
            }
        }
    }
}

#[test]
fn what_is_no_decimal_of_38_digits_is_refused() {
    let most = 10_i128.pow(38);
    for (units, valid) in [
        (most - 1, true),
        (most, false),
        (1 - most, true),
        (-most, false),
        (i128::MAX, false),
        (i128::MIN, false),
    ] {
        let value = read(&sized(&units.to_be_bytes()), |r| r.decimal("d"));
        assert_eq!(value.is_ok(), valid, "{units}");
    }
    for length in [0, 17, 63, 64, 1_000] {
        let value = read(&sized(&vec![0; length]), |r| r.decimal("d"));
        assert!(
            matches!(value, Err(DecodeError::Invalid { .. })),
            "{length}"
        );
    }
}

#[test]
fn booleans_symbols_and_branches_are_those_of_the_schema() {
    for byte in 0..=255_u8 {
        let mut reader = Reader::new(std::slice::from_ref(&byte));
        let boolean = reader.boolean("b");
        assert_eq!(boolean.ok(), [false, true].get(usize::from(byte)).copied());
    }
    for value in [i64::MIN, -1, 0, 1, 2, 4, 5, 6, i64::MAX] {
        let expect = usize::try_from(value).ok().filter(|value| *value < 5);
        assert_eq!(
            read(&varint(value), |r| r.symbol(5, "s")).ok(),
            expect,
            "{value}"
        );
        let expect = [(0, false), (1, true)]
            .into_iter()
            .find(|(branch, _)| *branch == value);
        let branch = read(&varint(value), |r| r.is_some("u")).ok();
        assert_eq!(branch, expect.map(|(_, some)| some), "{value}");
    }
}

#[test]
fn nullable_texts_in_a_row_are_read_one_by_one() {
    for present in 0..8_u8 {
        let mut body = vec![];
        let expect = [0, 1, 2].map(|at| (present >> at & 1 == 1).then_some(["a", "b", "c"][at]));
        expect
            .iter()
            .for_each(|text| put_optional_text(&mut body, *text));
        let texts = read(&body, |r| {
            let texts = r.optional_texts(["a", "b", "c"])?;
            Ok(texts.map(|text| text.map(|text| text.as_str().to_owned())))
        });
        assert_eq!(texts, Ok(expect.map(|text| text.map(str::to_owned))));
    }
    let mut reader = Reader::new(&[0, 0]);
    let texts = reader.optional_texts(["a", "b", "c"]);
    assert_eq!(texts.err(), Some(DecodeError::Truncated { field: "c" }));
}

#[test]
fn a_huge_count_of_nothing_ends() {
    for count in [3, 1 << 20, 1 << 62, i64::MAX, i64::MIN, -3] {
        let mut body = vec![];
        put_long(&mut body, count);
        if count < 0 {
            put_long(&mut body, 2);
        }
        body.extend([0, 0]);
        let mut reader = Reader::new(&body);
        let items = reader.items::<(Text<'_>, Text<'_>)>("tags");
        assert_eq!(
            items.err(),
            Some(DecodeError::Truncated { field: "tags" }),
            "{count}"
        );
    }
}

#[test]
fn items_are_walked_across_blocks() {
    // Two items, then one with its length, then none.
    let body = [
        4, 2, b'a', 2, b'1', 2, b'b', 2, b'2', 1, 8, 2, b'a', 2, b'3', 0,
    ];
    let mut reader = Reader::new(&body);
    let items = reader.items::<(Text<'_>, Text<'_>)>("tags").unwrap();
    assert_eq!(reader.end(), Ok(()));
    assert_eq!(
        format!("{items:?}"),
        r#"[("a", "1"), ("b", "2"), ("a", "3")]"#
    );
    assert_eq!((items.len(), items.iter().len()), (3, 3));
    assert_eq!(items.get("a").unwrap(), "3");
    assert_eq!(items.get("c"), None);
    for names in [["a", "b"], ["b", "a"], ["a", "a"], ["c", "b"], ["c", "d"]] {
        assert_eq!(items.get_two(names), names.map(|name| items.get(name)));
    }
    let mut walk = items.iter();
    assert_eq!(walk.by_ref().count(), 3);
    assert!(walk.next().is_none() && walk.next().is_none());
}

proptest! {
    #[test]
    fn longs_read_back(value in any::<i64>()) {
        let mut out = vec![];
        put_long(&mut out, value);
        prop_assert_eq!(&out, &varint(value));
        prop_assert_eq!(read(&out, |r| r.long("n")), Ok(value));
    }

    #[test]
    fn decimals_read_back(units in any::<i128>(), shift in 0_u32..128) {
        if let Some(decimal) = Decimal::from_units(units.checked_shr(shift).unwrap_or(0)) {
            let mut out = vec![];
            put_decimal(&mut out, decimal);
            prop_assert_eq!(read(&out, |r| r.decimal("d")), Ok(decimal));
        }
    }

    #[test]
    fn texts_are_exactly_utf_8(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let text = read(&sized(&bytes), |r| r.text("t").map(|text| text.len()));
        prop_assert_eq!(text.is_ok(), std::str::from_utf8(&bytes).is_ok());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = Reader::new(&bytes);
        while reader.text("t").is_ok() && reader.decimal("d").is_ok() {}
        let mut reader = Reader::new(&bytes);
        while reader.long("n").is_ok() && reader.items::<(Text<'_>, Decimal)>("m").is_ok() {}
    }
}
