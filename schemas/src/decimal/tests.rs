//! Decimals against integers of any size.

use super::*;
use proptest::prelude::*;

#[track_caller]
fn check(text: &str, expect: &str) {
    let got = match text.parse::<Decimal>() {
        Ok(decimal) => decimal.to_string(),
        Err(error) => format!("{error:?}"),
    };
    assert_eq!(got, expect, "{text}");
}

#[test]
fn numbers_keep_their_digits() {
    check("65083.67", "65083.67");
    check("0.00000001", "0.00000001");
    check("-0.5", "-0.5");
    check("+7", "7");
    check(".5", "0.5");
    check("5.", "5");
    check("000120.500", "120.5");
    check("0.000", "0");
    check("-0", "0");
    check("1e-8", "0.00000001");
    check("1.25E3", "1250");
    check("1200e-2", "12");
    check("0.1234567890123456780", "0.123456789012345678");
    check(
        "99999999999999999999.999999999999999999",
        "99999999999999999999.999999999999999999",
    );
    check(
        "-99999999999999999999.999999999999999999",
        "-99999999999999999999.999999999999999999",
    );
}

#[test]
fn what_is_no_decimal_is_refused() {
    for text in [
        "", "-", ".", "NaN", "inf", "1,5", "1.2.3", "0x10", "1e", "e5", " 1", "1 ", "--1",
    ] {
        check(text, "Syntax");
    }
    check("0.1234567890123456789", "TooFine");
    check("1e-19", "TooFine");
    check("1e-2147483648", "TooFine");
    check("100000000000000000000", "OutOfRange");
    check("1e2147483647", "OutOfRange");
    check("1e20", "OutOfRange");
    check("0e2147483647", "0");
}

#[test]
fn products_round_half_away_from_zero() {
    let product = |a: &str, b: &str| {
        let units = a.parse::<Decimal>().unwrap().product(b.parse().unwrap());
        Decimal::from_units(units.as_i128()).unwrap().to_string()
    };
    assert_eq!(product("65083.67", "0.002186"), "142.27290262");
    assert_eq!(
        product("0.000000000000000001", "0.5"),
        "0.000000000000000001"
    );
    assert_eq!(
        product("-0.000000000000000001", "0.5"),
        "-0.000000000000000001"
    );
    assert_eq!(product("0.000000000000000001", "0.4"), "0");
}

/// The naive product: whole, in 256 bits, then rounded.
fn naive_product(a: i128, b: i128) -> I256 {
    let exact = I256::from(a) * I256::from(b);
    let d = I256::from(ONE);
    let half = d / 2;
    if exact >= 0 {
        (exact + half) / d
    } else {
        -((-exact + half) / d)
    }
}

proptest! {
    #[test]
    fn display_reads_back(units in -MAX..=MAX) {
        let decimal = Decimal(units);
        prop_assert_eq!(decimal.to_string().parse(), Ok(decimal));
    }

    #[test]
    fn the_short_product_equals_the_long(
        a in -MAX..=MAX, b in -MAX..=MAX, shift_a in 0_u32..127, shift_b in 0_u32..127,
    ) {
        let (a, b) = (a >> shift_a, b >> shift_b);
        let exact = naive_product(a, b);
        prop_assert_eq!(Decimal(a).product(Decimal(b)), exact);
        if let Some(narrow) = Decimal(a).product_narrow(Decimal(b)) {
            prop_assert_eq!(I256::from(narrow), exact);
        }
    }
}
