use proptest::prelude::*;

use super::*;
use crate::decimal::Decimal;
use crate::wire::DecodeError;

#[test]
fn a_huge_count_of_nothing_ends() {
    // A block of 2^62 items in a body that ends: an error, not a loop.
    let mut body = vec![];
    put_long(&mut body, 1 << 62);
    let mut reader = Reader::new(&body);
    let items = reader.items::<(Text<'_>, Text<'_>)>("tags");
    assert_eq!(items.err(), Some(DecodeError::Truncated { field: "tags" }));
}

#[test]
fn numbers_beyond_64_bits_are_refused() {
    let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]);
    assert!(matches!(reader.long("n"), Err(DecodeError::Invalid { .. })));
    let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    assert_eq!(reader.long("n"), Ok(i64::MIN));
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

proptest! {
    #[test]
    fn longs_read_back(value in any::<i64>()) {
        let mut out = vec![];
        put_long(&mut out, value);
        let mut reader = Reader::new(&out);
        prop_assert_eq!(reader.long("n"), Ok(value));
        prop_assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = Reader::new(&bytes);
        while reader.text("t").is_ok() && reader.decimal("d").is_ok() {}
    }
}
