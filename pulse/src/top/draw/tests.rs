//! What the view looks like at several sizes.

use insta::assert_snapshot;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use schemas::event::{Event, EventType};

use super::super::board::Figures;
use super::super::board::tests::{NOW_MS, event, put};
use super::*;
use crate::status::report::Pipeline;

const QUOTES: [(&str, [(&str, &str); 7]); 2] = [
    (
        "coinbase:BTC-USD",
        [
            ("price", "65083.67"),
            ("best_bid", "65083.66"),
            ("best_ask", "65083.67"),
            ("open_24h", "64102.5"),
            ("low_24h", "63250.01"),
            ("high_24h", "65900"),
            ("volume_24h", "8123.45678901"),
        ],
    ),
    (
        "coinbase:ETH-USD",
        [
            ("price", "1919.41"),
            ("best_bid", "1919.4"),
            ("best_ask", "1919.45"),
            ("open_24h", "1950.02"),
            ("low_24h", "1902.5"),
            ("high_24h", "1961.17"),
            ("volume_24h", "120456.7"),
        ],
    ),
];

fn trade(subject: &str, at_ms: i64, price: &str, side: &str) -> Event {
    let numbers = [("price", price), ("size", "0.002186")];
    let mut trade = event(EventType::Trade, subject, at_ms, &numbers);
    trade.tags.insert("side".into(), side.into());
    trade
}

fn board() -> Board {
    let mut board = Board::new("demo", "BTC-USD and ETH-USD from Coinbase");
    for (subject, numbers) in &QUOTES {
        put(
            &mut board,
            &event(EventType::Quote, subject, NOW_MS - 2_000, numbers),
        );
    }
    for at in 0..20_i64 {
        let side = if at % 3 == 0 { "sell" } else { "buy" };
        let (subject, price) = match at % 2 {
            0 => ("coinbase:BTC-USD", format!("{}.67", 65_080 + at)),
            _ => ("coinbase:ETH-USD", format!("1919.{}", 30 + at)),
        };
        put(
            &mut board,
            &trade(subject, NOW_MS - 1_900 + at * 90, &price, side),
        );
    }
    board.figures.pipeline = Pipeline {
        events_per_second: Some(123.4),
        late: Some(0),
        duplicate: Some(12),
        dead_lettered: Some(3),
        open_short_windows: Some(4),
    };
    board.figures.lag = Some(17);
    board.figures.at_ms = NOW_MS - 300;
    board.figures.counts_at_ms = NOW_MS - 300;
    board
}

fn drawn(board: &Board, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, board, NOW_MS)).unwrap();
    terminal
}

fn line_of(buffer: &Buffer, words: &str) -> u16 {
    let text = |y| {
        (0..buffer.area.width)
            .map(|x| buffer[(x, y)].symbol())
            .collect::<String>()
    };
    (0..buffer.area.height)
        .find(|y| text(*y).contains(words))
        .unwrap_or_else(|| panic!("no line with {words:?}"))
}

fn is_dim(buffer: &Buffer, y: u16) -> bool {
    (0..buffer.area.width)
        .map(|x| &buffer[(x, y)])
        .filter(|cell| cell.symbol() != " ")
        .all(|cell| cell.modifier.contains(Modifier::DIM))
}

#[test]
fn a_usual_terminal() {
    assert_snapshot!("usual", drawn(&board(), 80, 24).backend());
}

#[test]
fn a_large_terminal() {
    assert_snapshot!("large", drawn(&board(), 120, 40).backend());
}

#[test]
fn a_small_terminal() {
    assert_snapshot!("small", drawn(&board(), 40, 10).backend());
}

#[test]
fn nothing_yet() {
    let board = Board::new("demo", "BTC-USD and ETH-USD from the built-in simulator");
    assert_snapshot!("nothing", drawn(&board, 80, 8).backend());
}

#[test]
fn what_is_old_is_dimmed_and_says_since_when() {
    let mut board = board();
    board.figures.at_ms = NOW_MS - 60_000;
    board.figures.counts_at_ms = NOW_MS - 60_000;
    board.figures.trouble = Some("no broker answers".into());
    let fresh = drawn(&board, 120, 40).backend().buffer().clone();
    assert!(!is_dim(&fresh, line_of(&fresh, "BTC-USD     ")));
    assert!(is_dim(&fresh, line_of(&fresh, "LAST UPDATES")));

    let mut terminal = Terminal::new(TestBackend::new(120, 40)).unwrap();
    terminal
        .draw(|frame| draw(frame, &board, NOW_MS + 60_000))
        .unwrap();
    assert_snapshot!("old", terminal.backend());
    let buffer = terminal.backend().buffer();
    for words in ["BTC-USD     ", "ETH-USD     ", "since 21:04:48"] {
        assert!(is_dim(buffer, line_of(buffer, words)), "{words}");
    }
}

#[test]
fn a_metrics_process_that_is_gone_leaves_its_counts_dimmed_with_their_time() {
    let mut board = board();
    board.figures.replace(Figures {
        pipeline: Pipeline {
            events_per_second: Some(99.0),
            ..Pipeline::default()
        },
        lag: Some(18),
        at_ms: NOW_MS + 60_000,
        counts_at_ms: 0,
        trouble: Some("pulse-metrics does not answer".into()),
    });
    for (width, height) in [(80, 24), (110, 36)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let now_ms = NOW_MS + 60_000;
        terminal.draw(|frame| draw(frame, &board, now_ms)).unwrap();
        let buffer = terminal.backend().buffer();
        let word_is_dim = |words: &str| {
            let y = line_of(buffer, words);
            let text: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
            let x = text[..text.find(words).unwrap()].chars().count() as u16;
            let end = x + words.chars().count() as u16;
            (x..end).all(|x| buffer[(x, y)].modifier.contains(Modifier::DIM))
        };
        assert!(word_is_dim("counts since 21:05:47"), "{width}");
        line_of(buffer, "pulse-metrics does not");
        match width < 100 {
            true => {
                assert!(word_is_dim("dead-lettered 3") && word_is_dim("duplicates 12"));
                assert!(!word_is_dim("99 events/s") && !word_is_dim("lag 18"));
            }
            false => assert!(word_is_dim("             3") && !word_is_dim("            18")),
        }
    }
}

#[test]
fn many_markets_leave_room_for_updates_and_say_how_many_are_not_shown() {
    let mut board = board();
    for at in 0..40 {
        let subject = format!("coinbase:M{at:02}-USD");
        put(
            &mut board,
            &trade(&subject, NOW_MS - 90_000 + at, "1.5", "buy"),
        );
    }
    assert_snapshot!("many", drawn(&board, 80, 24).backend());
}

#[test]
fn every_size_is_drawn_without_a_panic() {
    let board = board();
    for width in [1, 10, 19, 20, 35, 36, 59, 60, 79, 80, 99, 100, 200] {
        for height in [1, 4, 5, 6, 9, 10, 24, 60] {
            drawn(&board, width, height);
        }
    }
}
