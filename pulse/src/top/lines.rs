//! The same for programs: one line per update, no colours, no cursor.

use schemas::decimal::Decimal;

use super::board::{Update, What};
use super::number;
use crate::cli::text;

/// An update as a line: when, what, of which market, and its numbers by name.
pub fn line(update: &Update) -> String {
    let at = text::instant(update.occurred_at.as_ms());
    let subject = text::harmless(&update.subject);
    let price = |value: &Decimal| number::exact(*value, update.places).replace(',', "");
    match &update.what {
        What::Trade {
            price: at_price,
            size,
            side,
        } => {
            let size = size.map_or(String::new(), |size| format!(" size={size}"));
            let side = text::harmless(side);
            format!(
                "{at} trade {subject} price={}{size} side={side}\n",
                price(at_price)
            )
        }
        What::Quote { bid, ask } => {
            let named = |name: &str, value: &Option<Decimal>| {
                value
                    .as_ref()
                    .map_or(String::new(), |value| format!(" {name}={}", price(value)))
            };
            format!(
                "{at} quote {subject}{}{}\n",
                named("bid", bid),
                named("ask", ask)
            )
        }
        What::Note(title) => format!("{at} note {subject} {}\n", text::harmless(title)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::time::EventTime;

    fn check(what: What, expect: &str) {
        let update = Update {
            occurred_at: EventTime::from_ms(1_786_309_548_228),
            subject: "coinbase:BTC-USD".into(),
            places: 2,
            what,
        };
        assert_eq!(
            line(&update),
            format!("2026-08-09T21:05:48.228Z {expect}\n")
        );
    }

    #[test]
    fn lines_can_be_cut_at_blanks() {
        let decimal = |text: &str| text.parse::<Decimal>().unwrap();
        let trade = What::Trade {
            price: decimal("65083.6"),
            size: Some(decimal("0.002")),
            side: "buy".into(),
        };
        check(
            trade,
            "trade coinbase:BTC-USD price=65083.60 size=0.002 side=buy",
        );
        let quote = What::Quote {
            bid: Some(decimal("1")),
            ask: None,
        };
        check(quote, "quote coinbase:BTC-USD bid=1.00");
        check(
            What::Note("5 are missing".into()),
            "note coinbase:BTC-USD 5 are missing",
        );
    }

    #[test]
    fn nobody_writes_a_second_line_or_commands_for_the_terminal() {
        check(
            What::Note("\u{1b}]52;c;eA==\u{7} a\n2026-08-09T21:05:48Z trade é".into()),
            "note coinbase:BTC-USD \\u{1b}]52;c;eA==\\u{7} a\\n2026-08-09T21:05:48Z trade é",
        );
        let trade = What::Trade {
            price: Decimal::default(),
            size: None,
            side: "buy\r\u{9b}2J".into(),
        };
        check(
            trade,
            "trade coinbase:BTC-USD price=0.00 side=buy\\r\\u{9b}2J",
        );
    }
}
